//! Options of failure detectors: who notices that a node is gone, how soon, how often wrongly.
//!
//! Durations are of the observer's own clock. To compare two kinds, compare them at equal detection
//! time: with their defaults, `fixed-timeout`, `chen` and `phi-accrual` suspect a dead peer within
//! 400 ms or so.

use serde::{Deserialize, Serialize};

use super::Swim;
use crate::units::Duration;

/// Failure detection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Detector {
    /// Nobody notices anything.
    None {},
    /// Suspect after a fixed silence.
    FixedTimeout {
        /// Time between two heartbeats.
        #[serde(default = "default_heartbeat_interval")]
        heartbeat_interval: Duration,
        /// Silence after which the peer is suspected.
        #[serde(default = "default_timeout")]
        timeout: Duration,
        /// True: the evidence of life is the ACK of one's own heartbeat, which proves both
        /// directions. False: the peer's heartbeat alone.
        #[serde(default = "default_ack")]
        ack: bool,
    },
    /// Suspect when no heartbeat as fresh as due has come by its expected arrival and a margin
    /// (NFD-E; Chen, Toueg, Aguilera 2002).
    Chen {
        /// Time between two heartbeats.
        #[serde(default = "default_heartbeat_interval")]
        heartbeat_interval: Duration,
        /// Added to the expected arrival of the next heartbeat. A crash is noticed at most
        /// `heartbeat_interval` + `margin` after it, whatever the network's mean delay.
        #[serde(default = "default_margin")]
        margin: Duration,
        /// Arrivals from which the next is expected.
        #[serde(default = "default_window")]
        window: u32,
        /// As in `fixed-timeout`.
        #[serde(default = "default_ack")]
        ack: bool,
    },
    /// Suspect when no probe has passed through the peer's disk for a fixed time: notices a hung
    /// disk, which leaves heartbeats as they are.
    ProgressProbe {
        /// Time between two heartbeats, and between two probes of a node's own disk. Each probe is
        /// a write and a sync.
        #[serde(default = "default_probe_interval")]
        probe_interval: Duration,
        /// Time without a newly passed probe after which the peer is suspected. A sync that takes
        /// longer than this less the interval is a failure.
        #[serde(default = "default_probe_timeout")]
        timeout: Duration,
    },
    /// Suspect when the silence is improbable after the arrivals so far (Hayashibara 2004).
    PhiAccrual {
        /// Time between two heartbeats.
        #[serde(default = "default_heartbeat_interval")]
        heartbeat_interval: Duration,
        /// Suspect at φ = −log10 P(silence this long) above this.
        #[serde(default = "default_threshold")]
        threshold: f64,
        /// Least standard deviation assumed.
        #[serde(default = "default_min_std_deviation")]
        min_std_deviation: Duration,
        /// Added to the mean of the arrivals.
        #[serde(default)]
        acceptable_pause: Duration,
        /// Arrivals remembered.
        #[serde(default = "default_window")]
        window: u32,
        /// As in `fixed-timeout`.
        #[serde(default = "default_ack")]
        ack: bool,
    },
    /// Suspect when the connection to the peer is closed by its other end, and at no other time: a
    /// process that ends is noticed at once, a host that falls silent is not.
    ConnectionClose {
        /// Silence on a connection after which the kernels are made to speak on it; if the other
        /// one does not, the peer is suspected. Linux waits as long by itself.
        #[serde(default = "default_keepalive")]
        keepalive: Duration,
    },
    /// Ask one member at a time, others where it does not answer, and tell by gossip.
    Swim(Swim),
}

impl Detector {
    /// Time between two heartbeats; `None`: there are none.
    pub fn heartbeat_interval(&self) -> Option<Duration> {
        match self {
            Detector::None {} | Detector::ConnectionClose { .. } => None,
            Detector::FixedTimeout {
                heartbeat_interval, ..
            }
            | Detector::Chen {
                heartbeat_interval, ..
            }
            | Detector::PhiAccrual {
                heartbeat_interval, ..
            } => Some(*heartbeat_interval),
            Detector::ProgressProbe { probe_interval, .. } => Some(*probe_interval),
            Detector::Swim(swim) => Some(swim.probe_interval),
        }
    }

    /// The step in which a node retries, and in which a primary shows itself to its backups: a
    /// heartbeat interval within 20 to 200 ms; 100 ms without heartbeats.
    pub fn beat(&self) -> Duration {
        let interval = self.heartbeat_interval();
        interval
            .unwrap_or(Duration::from_millis(100))
            .clamp(Duration::from_millis(20), Duration::from_millis(200))
    }
}

fn default_heartbeat_interval() -> Duration {
    Duration::from_millis(50)
}

fn default_timeout() -> Duration {
    Duration::from_millis(400)
}

fn default_probe_interval() -> Duration {
    Duration::from_millis(100)
}

/// `net.ipv4.tcp_keepalive_time` of Linux.
fn default_keepalive() -> Duration {
    Duration::from_secs(7200)
}

/// More than any sync of a disk that is only busy.
fn default_probe_timeout() -> Duration {
    Duration::from_secs(1)
}

/// With the default interval: noticed after 400 ms, as by the default fixed timeout.
fn default_margin() -> Duration {
    Duration::from_millis(350)
}

fn default_ack() -> bool {
    true
}

fn default_threshold() -> f64 {
    8.0
}

fn default_min_std_deviation() -> Duration {
    Duration::from_millis(10)
}

fn default_window() -> u32 {
    1000
}

impl Default for Detector {
    fn default() -> Self {
        Detector::FixedTimeout {
            heartbeat_interval: default_heartbeat_interval(),
            timeout: default_timeout(),
            ack: default_ack(),
        }
    }
}
