//! Options of the reference cluster's fault-tolerance strategies, every default filled in.
//!
//! Each table has a `none`, the control group: what happens without the strategy. Kinds that the
//! cluster does not have yet are in [`crate::catalogue`], where plan finds them to refuse them.

use serde::{Deserialize, Serialize};

use crate::range::DurationRange;
use crate::units::{Bytes, Duration};

/// The strategies of one cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Strategy {
    /// Who notices a failure.
    pub detector: Detector,
    /// What a node remembers over its own death.
    pub recovery_log: RecoveryLog,
    /// How many nodes hold the data, and who takes over.
    pub replication: Replication,
}

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
}

fn default_heartbeat_interval() -> Duration {
    Duration::from_millis(50)
}

fn default_timeout() -> Duration {
    Duration::from_millis(400)
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

/// What a node writes down so that its own death loses nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RecoveryLog {
    /// Nothing: a restarted node is empty.
    None {},
    /// Write-ahead log of operations, replayed at restart.
    Redo {
        /// When the log is forced to the disk.
        #[serde(default)]
        fsync: Fsync,
        /// When the state is written whole, so that the log before it can go.
        #[serde(default)]
        checkpoint: Checkpoint,
    },
}

impl Default for RecoveryLog {
    fn default() -> Self {
        RecoveryLog::Redo {
            fsync: Fsync::default(),
            checkpoint: Checkpoint::default(),
        }
    }
}

/// When a log is forced to the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fsync {
    /// Once for each operation, before it is acknowledged.
    PerOperation,
    /// Once for all operations that arrived during the sync before, before they are acknowledged.
    #[default]
    Group,
    /// Every 100 ms, whatever was acknowledged meanwhile.
    Interval,
    /// Never: the page cache survives a process, not a host.
    Never,
}

/// When a checkpoint is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Checkpoint {
    /// Never: recovery replays the whole log.
    None,
    /// After this many bytes of log.
    Bytes(Bytes),
    /// After this time.
    Every(Duration),
    /// After 4 MiB of log.
    #[default]
    Default,
}

impl Checkpoint {
    /// Log bytes after which a checkpoint is due, where that is the rule.
    pub fn bytes(self) -> Option<u64> {
        match self {
            Checkpoint::Bytes(bytes) => Some(bytes.0),
            Checkpoint::Default => Some(4 << 20),
            Checkpoint::None | Checkpoint::Every(_) => None,
        }
    }
}

impl From<Checkpoint> for String {
    fn from(value: Checkpoint) -> String {
        match value {
            Checkpoint::None => "none".to_owned(),
            Checkpoint::Bytes(bytes) => bytes.to_string(),
            Checkpoint::Every(duration) => duration.to_string(),
            Checkpoint::Default => "4MiB".to_owned(),
        }
    }
}

impl TryFrom<String> for Checkpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "none" {
            return Ok(Checkpoint::None);
        }
        let bytes = text.parse().map(Checkpoint::Bytes);
        bytes.or_else(|_| text.parse().map(Checkpoint::Every)).map_err(|_| {
            format!("{text:?} is no checkpoint rule; write \"none\", a size like \"4MiB\" or a time like \"10s\"")
        })
    }
}

/// How many nodes hold the data, and who takes over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Replication {
    /// Only the first node serves; its death is an outage until it returns.
    None {},
    /// One primary, the others are its backups; a backup takes over when the primary is suspected.
    PrimaryBackup {
        /// Who must hold a write before it is acknowledged.
        #[serde(default)]
        acknowledge: Acknowledge,
        /// What stops a deposed primary.
        #[serde(default)]
        fencing: Fencing,
        /// How a read knows that its primary still is one.
        #[serde(default)]
        reads: Reads,
    },
    /// Consensus on a log: a leader is elected for a term, and a write counts once a majority has
    /// it.
    Raft(Raft),
}

/// Options of Raft (Ongaro & Ousterhout 2014).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raft {
    /// Silence of the leader after which a node stands for election, drawn anew each time. Equal
    /// ends leave nothing to chance (wrong on purpose): votes are split again and again.
    pub election_timeout: DurationRange,
    /// Time between two heartbeats of the leader.
    pub heartbeat_interval: Duration,
    /// True: a node first asks whether it would be elected, so that one that comes back from a
    /// partition does not depose the leader with a higher term.
    pub pre_vote: bool,
    /// True: a leader that does not hear a majority for the longest election timeout steps down,
    /// and a node that hears its leader votes for nobody.
    pub check_quorum: bool,
    /// How a read knows that its leader still is one.
    pub reads: Reads,
}

impl Default for Raft {
    fn default() -> Self {
        Raft {
            election_timeout: DurationRange::between(
                Duration::from_millis(150),
                Duration::from_millis(300),
            ),
            heartbeat_interval: Duration::from_millis(50),
            pre_vote: true,
            check_quorum: true,
            reads: Reads::ReadIndex,
        }
    }
}

impl Default for Replication {
    fn default() -> Self {
        Replication::PrimaryBackup {
            acknowledge: Acknowledge::default(),
            fencing: Fencing::default(),
            reads: Reads::default(),
        }
    }
}

/// Who must hold a write before it is acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acknowledge {
    /// The primary alone; backups follow.
    Async,
    /// A majority of the group, the primary included.
    #[default]
    Majority,
    /// Every node that is not suspected; a dead backup stalls writes until it is evicted.
    All,
}

/// What stops a deposed primary from serving.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fencing {
    /// Nothing (wrong on purpose): whoever suspects the primary declares itself one.
    None,
    /// A takeover needs a majority's promise for a higher epoch, and stores refuse lower ones.
    #[default]
    Epoch,
}

/// How a read knows that its primary still is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// It does not: the node answers from its own state.
    Local,
    /// A majority confirms the epoch after the read arrived. Under `fencing = "none"` nobody
    /// refuses, so reads are local there.
    #[default]
    ReadIndex,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raft_gets_every_default_and_refuses_what_it_does_not_know() {
        let read = serde_json::from_str::<Replication>;
        let default = read(r#"{ "kind": "raft" }"#).unwrap();
        assert_eq!(default, Replication::Raft(Raft::default()));
        let json = serde_json::to_string(&default).unwrap();
        assert_eq!(read(&json).unwrap(), default);
        for wrong in [
            r#"{ "kind": "raft", "acknowledge": "all" }"#,
            r#"{ "kind": "raft", "election_timeout": "300ms..150ms" }"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
