//! A child process that speaks frames on its standard input and output.
//!
//! Orders are written at once (an injection must not wait in a queue); reports are read by a task
//! of their own and go into one bounded channel, in which all processes of the trial meet.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;
use shakedown_contracts::frame::{Decoder, encode};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use super::{Arrival, Process, Report};
use crate::clock;

/// A process that does not take an order within this time hangs: a pipe holds 64 KiB, and orders
/// are smaller, so only one that reads nothing at all lets us wait.
const WRITE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Why a process of the trial cannot be used.
#[derive(Debug, Error)]
pub enum StageError {
    /// It could not be started.
    #[error("cannot start {process} ({}): {source}", executable.display())]
    Start {
        /// Which.
        process: Process,
        /// The program.
        executable: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It takes no orders.
    #[error("{process} takes no orders: {reason}; see {}", log.display())]
    Order {
        /// Which.
        process: Process,
        /// Why.
        reason: String,
        /// Its log.
        log: PathBuf,
    },
}

/// How to start a process.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Which it is.
    pub process: Process,
    /// The program.
    pub executable: &'a Path,
    /// Arguments after it.
    pub arguments: &'a [&'a str],
    /// Its standard error goes here.
    pub log: PathBuf,
}

/// A started process.
#[derive(Debug)]
pub struct Connection {
    process: Process,
    child: Child,
    orders: Option<ChildStdin>,
    log: PathBuf,
}

impl Connection {
    /// Starts the process; `wrap` turns its reports into the stage's.
    ///
    /// # Errors
    /// [`StageError::Start`].
    pub fn open<R: DeserializeOwned + Send + 'static>(
        launch: Launch<'_>,
        arrivals: mpsc::Sender<Arrival>,
        wrap: impl Fn(R) -> Report + Send + 'static,
    ) -> Result<Self, StageError> {
        let Launch {
            process,
            executable,
            arguments,
            log,
        } = launch;
        let spawned = File::create(&log).and_then(|output| {
            Command::new(executable)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(output)
                .kill_on_drop(true)
                .spawn()
        });
        let mut child = spawned.map_err(|source| StageError::Start {
            process: process.clone(),
            executable: executable.to_owned(),
            source,
        })?;
        let orders = child.stdin.take();
        let output = child
            .stdout
            .take()
            .expect("standard output was asked to be a pipe");
        tokio::spawn(read_reports(process.clone(), output, arrivals, wrap));
        Ok(Connection {
            process,
            child,
            orders,
            log,
        })
    }

    /// Gives an order.
    ///
    /// # Errors
    /// [`StageError::Order`] when the process is gone or does not read.
    pub async fn order<O: Serialize>(&mut self, order: &O) -> Result<(), StageError> {
        let frame = encode(order).map_err(|error| self.refused(&error))?;
        let Some(orders) = self.orders.as_mut() else {
            return Err(self.refused(&"its input was closed"));
        };
        match tokio::time::timeout(WRITE_PATIENCE, orders.write_all(&frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.refused(&error)),
            Err(_) => Err(self.refused(&"it has not read its input for 5 s")),
        }
    }

    /// Closes its input, which ends it: an agent heals everything first.
    pub fn close_orders(&mut self) {
        self.orders = None;
    }

    /// Waits for its end; SIGKILL after `patience`.
    ///
    /// # Errors
    /// When the kernel does not tell how it ended.
    pub async fn end(mut self, patience: std::time::Duration) -> std::io::Result<ExitStatus> {
        self.orders = None;
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.child.start_kill()?;
                self.child.wait().await
            }
        }
    }

    /// Where its standard error goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    fn refused(&self, reason: &dyn std::fmt::Display) -> StageError {
        StageError::Order {
            process: self.process.clone(),
            reason: reason.to_string(),
            log: self.log.clone(),
        }
    }
}

/// Until the stream ends, then `Closed`; also ends when nobody takes arrivals any more.
async fn read_reports<R: DeserializeOwned>(
    process: Process,
    mut output: ChildStdout,
    arrivals: mpsc::Sender<Arrival>,
    wrap: impl Fn(R) -> Report,
) {
    let mut decoder = Decoder::default();
    let mut bytes = vec![0; 64 << 10];
    let reason = 'stream: loop {
        match output.read(&mut bytes).await {
            Ok(0) if decoder.is_mid_frame() => {
                break "it ended in the middle of a report".to_owned();
            }
            Ok(0) => break "it ended".to_owned(),
            Ok(length) => decoder.feed(&bytes[..length]),
            Err(error) => break format!("its output cannot be read: {error}"),
        }
        // Each turn takes one whole message out of what was fed.
        loop {
            let report = match decoder.next_message::<R>() {
                Ok(Some(message)) => wrap(message),
                Ok(None) => break,
                Err(error) => break 'stream error.to_string(),
            };
            if arrivals
                .send(Arrival {
                    received: clock::now(),
                    report,
                })
                .await
                .is_err()
            {
                return;
            }
        }
    };
    let closed = Report::Closed { process, reason };
    // Nobody to tell is fine: the trial is over.
    let _ = arrivals
        .send(Arrival {
            received: clock::now(),
            report: closed,
        })
        .await;
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::control::{NetworkOrder, NetworkReport};

    use super::*;

    fn launch<'a>(folder: &Path, executable: &'a Path, arguments: &'a [&'a str]) -> Launch<'a> {
        let process = Process::NetworkAgent;
        Launch {
            process,
            executable,
            arguments,
            log: folder.join("network-agent.log"),
        }
    }

    async fn next(arrivals: &mut mpsc::Receiver<Arrival>) -> Report {
        let patience = std::time::Duration::from_secs(30);
        tokio::time::timeout(patience, arrivals.recv())
            .await
            .unwrap()
            .unwrap()
            .report
    }

    #[tokio::test]
    async fn an_order_comes_back_from_a_process_that_echoes_and_its_end_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, mut arrivals) = mpsc::channel(8);
        let mut echo = Connection::open(
            launch(folder.path(), Path::new("cat"), &[]),
            sender,
            |order: NetworkOrder| {
                let message = format!("{order:?}");
                Report::Network(NetworkReport::Failed { message })
            },
        )
        .unwrap();
        echo.order(&NetworkOrder::Shutdown).await.unwrap();
        let report = next(&mut arrivals).await;
        let Report::Network(NetworkReport::Failed { message }) = report else {
            panic!("{report:?}")
        };
        assert_eq!(message, "Shutdown");
        echo.close_orders();
        assert!(matches!(next(&mut arrivals).await, Report::Closed { .. }));
        assert!(
            echo.end(std::time::Duration::from_secs(30))
                .await
                .unwrap()
                .success()
        );
    }

    #[tokio::test]
    async fn a_program_that_speaks_something_else_is_closed_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, mut arrivals) = mpsc::channel(8);
        let wrap = Report::Network;
        let arguments = ["this is no frame"];
        let process = Connection::open(
            launch(folder.path(), Path::new("echo"), &arguments),
            sender,
            wrap,
        )
        .unwrap();
        let report = next(&mut arrivals).await;
        let Report::Closed { reason, .. } = report else {
            panic!("{report:?}")
        };
        assert!(reason.contains("no Shakedown process"), "{reason}");
        process
            .end(std::time::Duration::from_secs(30))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, _arrivals) = mpsc::channel(8);
        let missing = folder.path().join("missing");
        let result = Connection::open(
            launch(folder.path(), &missing, &[]),
            sender,
            Report::Network,
        );
        let message = result.err().unwrap().to_string();
        assert!(message.contains("cannot start network-agent"), "{message}");
        assert!(message.contains("missing"), "{message}");
    }
}
