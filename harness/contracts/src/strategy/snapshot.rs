//! Options of snapshots of the whole cluster: what nodes go back to when one of them has died.

use serde::{Deserialize, Serialize};

use crate::units::Duration;

/// What nodes go back to when one of them has died. Present: accounts are spread over all nodes, a
/// transfer is a message from one to the other, and what a node did since its checkpoint dies with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Snapshot {
    /// To nothing: the accounts of a node that restarts are empty (the control group).
    None {},
    /// Each to a checkpoint of its own, written when it pleases (wrong on purpose: money that one
    /// remembers to have sent and the other does not remember to have received is gone, and the other
    /// way round it is there twice).
    Uncoordinated {
        /// Time between two checkpoints of a node.
        #[serde(default = "default_interval")]
        interval: Duration,
    },
    /// All to the newest snapshot of nodes and channels that all have (Chandy & Lamport 1985).
    ChandyLamport {
        /// Time between two snapshots: about as much is lost at a death.
        #[serde(default = "default_interval")]
        interval: Duration,
    },
}

fn default_interval() -> Duration {
    Duration::from_secs(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_a_default_and_belongs_to_what_writes_checkpoints() {
        let read = serde_json::from_str::<Snapshot>;
        let interval = default_interval();
        let default = read(r#"{ "kind": "chandy-lamport" }"#).unwrap();
        assert_eq!(default, Snapshot::ChandyLamport { interval });
        assert!(read(r#"{ "kind": "none", "interval": "1s" }"#).is_err());
    }
}
