//! Options of replication: who holds a write, who serves, who takes over, and what stops the old
//! primary.

use serde::{Deserialize, Serialize};

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
