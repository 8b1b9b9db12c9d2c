//! Options of Raft: when a leader is missed, what keeps elections rare, and how reads are answered.

use serde::{Deserialize, Serialize};

use super::Reads;
use crate::range::DurationRange;
use crate::units::Duration;

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
    /// How a read knows that its leader still is one: `local` or `read-index`. Raft has no leases
    /// here, so a node refuses `lease`.
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

#[cfg(test)]
mod tests {
    use super::super::Replication;
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
