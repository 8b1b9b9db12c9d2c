//! Options of replication: who holds a write, who serves, who takes over, and what stops the old
//! primary.

use serde::{Deserialize, Serialize};

use super::{Chain, Raft};
use crate::units::{Duration, Ratio};

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
        /// With `acknowledge = "semi-sync"` alone: what a primary does without a backup. Absent:
        /// the default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fallback: Option<Fallback>,
        /// What stops a deposed primary.
        #[serde(default)]
        fencing: Fencing,
        /// Whose log is good enough to take over.
        #[serde(default)]
        election: Election,
        /// How a read knows that its primary still is one.
        #[serde(default)]
        reads: Reads,
        /// With `lease` as fencing or reads alone: how long a majority's answer lets a primary
        /// serve, counted from when it asked. Absent: [`DEFAULT_LEASE`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease: Option<Duration>,
        /// With a lease alone: by how much one clock may run faster than another. A takeover waits
        /// lease × (1 + this), so that a lease has run out by the slowest clock too. `"0%"` is
        /// wrong on purpose when clocks drift. Absent: [`default_drift_bound`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drift_bound: Option<Ratio>,
    },
    /// Writes travel along a chain of nodes, from the head to the tail, and count once the tail has
    /// them.
    Chain(Chain),
    /// Consensus on a log: a leader is elected for a term, and a write counts once a majority has
    /// it.
    Raft(Raft),
}

/// Length of a lease, where nothing else is said: as long as the default detector waits, so that a
/// takeover waits little longer with it than without.
pub const DEFAULT_LEASE: Duration = Duration::from_millis(400);

/// Drift between two clocks, where nothing else is said: 1 %, a hundred times that of quartz.
pub fn default_drift_bound() -> Ratio {
    Ratio::new(0.01).expect("1 % is a share")
}

impl Default for Replication {
    fn default() -> Self {
        Replication::PrimaryBackup {
            acknowledge: Acknowledge::default(),
            fallback: None,
            fencing: Fencing::default(),
            election: Election::default(),
            reads: Reads::default(),
            lease: None,
            drift_bound: None,
        }
    }
}

/// Who must hold a write before it is acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acknowledge {
    /// The primary alone; backups follow.
    Async,
    /// The primary and one backup (MySQL's semi-synchronous replication); `fallback` says for how
    /// long. In a group of more than three a takeover can miss the one backup that holds a write.
    SemiSync,
    /// A majority of the group, the primary included.
    #[default]
    Majority,
    /// Every node that is not suspected; a dead backup stalls writes until it is evicted.
    All,
}

/// What a semi-synchronous primary does while no backup holds its writes; written `"500ms"` or
/// `"never"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Fallback {
    /// It blocks.
    Never,
    /// After this long without progress it acknowledges alone until a backup is back in step
    /// (wrong on purpose: what it acknowledges then dies with it).
    After(Duration),
}

impl Default for Fallback {
    /// Fits trials of some seconds; MySQL waits 10 s (`rpl_semi_sync_source_timeout`).
    fn default() -> Self {
        Fallback::After(Duration::from_millis(500))
    }
}

impl From<Fallback> for String {
    fn from(value: Fallback) -> String {
        match value {
            Fallback::Never => "never".to_owned(),
            Fallback::After(duration) => duration.to_string(),
        }
    }
}

impl TryFrom<String> for Fallback {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "never" {
            return Ok(Fallback::Never);
        }
        let duration = text.parse().map(Fallback::After);
        duration.map_err(|_| {
            format!("{text:?} is no fallback; write \"never\" or a time like \"500ms\"")
        })
    }
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
    /// As `epoch`, and a primary serves only while its lease holds: a majority has answered what
    /// it sent less than `lease` ago, and promises no later epoch until that is over.
    Lease,
}

/// Whose log is good enough to become primary, in the eyes of those who promise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Election {
    /// One whose last entry is of a later epoch, or of the same and as far (Raft's rule).
    #[default]
    UpToDate,
    /// One that is at least as long (wrong on purpose: a long tail that nobody acknowledged beats
    /// a shorter one that a majority did, and erases it).
    LongestLog,
}

/// How a read knows that its primary still is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// It does not: the node answers from its own state.
    Local,
    /// It has a lease: the node answers from its own state while the lease holds, and asks nobody.
    /// Right only while clocks keep within `drift_bound`.
    Lease,
    /// A majority confirms the epoch after the read arrived. Under `fencing = "none"` nobody
    /// refuses, so reads are local there.
    #[default]
    ReadIndex,
}
