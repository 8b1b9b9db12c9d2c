//! The process around a node of the reference cluster: real sockets, a real disk, real time.
//!
//! The node itself is a pure state machine (`shakedown-core`); this crate feeds it what happens and
//! carries out what it wants. `driver` is the loop; everything else turns one kind of I/O into
//! inputs: `heartbeats` (UDP), `peers` (TCP), `api` (HTTP), `disk` (a thread), `timers`
//! (a timerfd), `events` (a thread).
//!
//! Invariant: nothing here decides anything about data, roles or failures. The loop never waits for
//! a peer, a client, the disk or the reader of events, so that a heartbeat is late only when the
//! machine is.

mod api;
mod clock;
mod config;
mod disk;
mod driver;
mod error;
mod events;
mod heartbeats;
mod peers;
mod recording;
mod sockets;
mod timers;

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

pub use crate::error::NodeError;
use crate::events::EventSink;
pub use crate::recording::{Replayed, replay};

/// Turns of the runtime's queue between two looks at the kernel: a few microseconds of other tasks,
/// where the default of 61 could put a burst of HTTP parsing before a heartbeat.
const EVENT_INTERVAL_TASKS: u32 = 16;

/// How a node is started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Its [`shakedown_contracts::node::NodeConfig`].
    pub config: PathBuf,
    /// Events go there, one JSON line each; `None`: to stderr.
    pub events_descriptor: Option<i32>,
    /// Every input and its outputs are taken down in this file, for [`replay`].
    pub record: Option<PathBuf>,
}

/// `shakedown node --config FILE [--events-descriptor N] [--record FILE]`, for callers that have not parsed the
/// arguments: prints errors on stderr; 0 after SIGTERM, 1 otherwise.
pub fn main(arguments: &[String]) -> ExitCode {
    let ran = parse(arguments).and_then(|options| run(&options));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a node until SIGTERM (then `Ok`) or until it cannot go on.
///
/// What ends a node that
/// was already running (a failed disk operation, an unreadable log) is printed on stderr and ends
/// the process with code 1 at once: a node whose disk failed must not linger.
///
/// # Errors
/// See [`NodeError`]: what kept the node from starting.
pub fn run(options: &Options) -> Result<(), NodeError> {
    let config = config::load(&options.config)?;
    let events = EventSink::open(options.events_descriptor)?;
    let record = options.record.as_deref();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL_TASKS)
        .build()
        .map_err(NodeError::Runtime)?;
    let ended = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(NodeError::Runtime)?;
        driver::serve(config, &events, record, async move {
            terminate.recv().await;
        })
        .await
    });
    events.flush();
    match ended {
        Err(error) if error.is_fatal() => {
            eprintln!("{error}");
            std::process::exit(1);
        }
        other => other,
    }
}

fn parse(arguments: &[String]) -> Result<Options, NodeError> {
    let (mut config, mut events, mut record) = (None, None, None);
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let value = rest
            .next()
            .ok_or_else(|| NodeError::Argument(name.clone()))?;
        match name.as_str() {
            "--config" => config = Some(PathBuf::from(value)),
            "--events-descriptor" => {
                let parsed = value.parse();
                events = Some(parsed.map_err(|_| NodeError::Argument(format!("{name} {value}")))?);
            }
            "--record" => record = Some(PathBuf::from(value)),
            _ => return Err(NodeError::Argument(name.clone())),
        }
    }
    let config = config.ok_or_else(|| NodeError::Argument("no --config".to_owned()))?;
    Ok(Options {
        config,
        events_descriptor: events,
        record,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn arguments_are_read_and_wrong_ones_are_named() {
        let read = parse(&arguments(&[
            "--config",
            "n1.json",
            "--events-descriptor",
            "3",
            "--record",
            "n1.recording",
        ]));
        let expected = Options {
            config: "n1.json".into(),
            events_descriptor: Some(3),
            record: Some("n1.recording".into()),
        };
        assert_eq!(read.unwrap(), expected);
        for wrong in [
            &["--config"][..],
            &["--colour", "red"],
            &["--events-descriptor", "x"],
            &[],
        ] {
            let message = parse(&arguments(wrong)).unwrap_err().to_string();
            assert!(message.contains("--config FILE"), "{message}");
        }
    }
}
