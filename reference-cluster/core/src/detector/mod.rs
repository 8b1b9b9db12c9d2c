//! Failure detectors: from which moment on is a silent peer suspected?
//!
//! A node has one [`Watch`], its opinion of all its peers. With all-to-all `heartbeats` that is a
//! [`Detector`] for each peer, which turns evidence of life into a deadline for the next evidence,
//! nothing else; when to send, what counts as evidence and whom to tell is the same for all of them.
//! [`swim`] asks one member at a time and tells the others, and `connection_close` waits for the end
//! of a connection.
//!
//! Invariant: with the same evidence at the same moments, the same opinion on every machine.

mod chen;
mod connection_close;
mod fixed_timeout;
mod heartbeats;
mod none;
mod phi_accrual;
pub mod progress_probe;
pub mod swim;
pub mod watch;

use std::fmt::Debug;
use std::sync::Arc;

use shakedown_contracts::strategy::Detector as Options;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use crate::flaw::Planted;
use crate::interface::Peer;
use crate::node::ConfigError;
use connection_close::ConnectionClose;
use heartbeats::Heartbeats;
use swim::Swim;
use watch::Watch;

/// Those who are watched, and one who watches: one of them, or a companion that nobody watches.
#[derive(Debug, Clone)]
pub struct Group {
    /// Names of all who are watched, by their numbers.
    pub names: Arc<[String]>,
    /// Who watches.
    pub me: Peer,
    /// Seeds what a detector draws.
    pub seed: u64,
    /// In tests alone.
    pub planted: Planted,
}

impl Group {
    /// Everybody but the one who watches.
    fn peers(&self) -> impl Iterator<Item = (Peer, &str)> {
        let names = self.names.iter().map(String::as_str);
        (0..)
            .map(Peer)
            .zip(names)
            .filter(|(peer, _)| *peer != self.me)
    }

    /// The first of `size` members, `n1` on.
    #[cfg(test)]
    fn of_size(size: u32) -> Group {
        Group {
            names: (1..=size).map(|number| format!("n{number}")).collect(),
            me: Peer(0),
            seed: 1,
            planted: Planted::default(),
        }
    }
}

/// The watch of the options.
pub fn watch(options: &Options, group: &Group) -> Result<Box<dyn Watch>, ConfigError> {
    Ok(match options {
        Options::Swim(options) => Box::new(Swim::new(options, group)?),
        Options::ConnectionClose { keepalive } => {
            Box::new(ConnectionClose::new(*keepalive, group)?)
        }
        heartbeats => Box::new(Heartbeats::new(heartbeats, group)?),
    })
}

/// A sign of life, as far as detectors care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// The peer was held for failed until now, so that the silence before was an outage and says
    /// nothing about its rhythm.
    pub suspected: bool,
    /// Which run of the process sent the heartbeat.
    pub incarnation: u64,
    /// Which point of that run's schedule the heartbeat stands for, counted from 1.
    pub sequence: u64,
    /// The newest probe that passed through the peer's disk.
    pub progress: u64,
}

#[cfg(test)]
impl Evidence {
    /// A heartbeat of a trusted peer's first run.
    fn beat(sequence: u64) -> Evidence {
        Evidence {
            suspected: false,
            incarnation: 1,
            sequence,
            progress: 0,
        }
    }
}

/// One observer's opinion of one peer.
pub trait Detector: Debug + Send {
    /// The peer was heard at `now`.
    fn heard(&mut self, now: Moment, evidence: Evidence);

    /// The moment at which the peer is suspected unless it is heard before; `None`: never, because
    /// it was not heard yet or because this detector does not suspect.
    fn next_deadline(&self) -> Option<Moment>;

    /// True when the peer is to be held for failed at `now`.
    fn suspects(&self, now: Moment) -> bool {
        self.next_deadline().is_some_and(|deadline| now >= deadline)
    }

    /// The observer itself was stopped for `slept`: moves all evidence by as much, as if that time
    /// had not been.
    fn shift(&mut self, slept: Duration);

    /// Silence after which a peer with the configured rhythm and no history would be suspected.
    fn nominal_silence(&self) -> Duration;
}

/// The detector of the options, for one peer.
pub fn detector(options: &Options, planted: Planted) -> Result<Box<dyn Detector>, ConfigError> {
    Ok(match options {
        Options::None {} => Box::new(none::Never),
        Options::FixedTimeout { timeout, .. } => {
            Box::new(fixed_timeout::FixedTimeout::new(*timeout)?)
        }
        Options::Chen { .. } => Box::new(chen::Chen::new(options)?),
        Options::ProgressProbe { timeout, .. } => {
            Box::new(progress_probe::ProgressProbe::new(*timeout, planted)?)
        }
        Options::PhiAccrual { .. } => Box::new(phi_accrual::PhiAccrual::new(options, planted)?),
        Options::ConnectionClose { .. } | Options::Swim(_) => {
            unreachable!("the registry hands over options of heartbeats alone")
        }
    })
}

/// Time between two heartbeats, and whether evidence of life is the ACK; `None`: no heartbeats.
fn rhythm(options: &Options) -> Option<(Duration, bool)> {
    let ack = match options {
        Options::None {} | Options::ConnectionClose { .. } | Options::Swim(_) => false,
        Options::FixedTimeout { ack, .. }
        | Options::Chen { ack, .. }
        | Options::PhiAccrual { ack, .. } => *ack,
        // A probe proves the way there and back as well.
        Options::ProgressProbe { .. } => true,
    };
    options.heartbeat_interval().map(|interval| (interval, ack))
}
