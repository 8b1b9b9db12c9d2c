//! Options of replication: who holds a write, who serves, who takes over, and what stops the old
//! primary.

use serde::{Deserialize, Serialize};

use crate::units::Duration;

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
        /// How a read knows that its primary still is one.
        #[serde(default)]
        reads: Reads,
    },
}

impl Default for Replication {
    fn default() -> Self {
        Replication::PrimaryBackup {
            acknowledge: Acknowledge::default(),
            fallback: None,
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
