//! `replication = { kind = "raft", … }`: its options, and what makes elections that cannot end.

use shakedown_contracts::strategy::{Raft, Reads};
use shakedown_contracts::units::Duration;

use crate::reader::TableReader;

/// Below this the machine's own scheduling decides elections.
const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// The options, with the contract's defaults for what is not written.
pub(crate) fn read(table: &TableReader<'_>) -> Raft {
    let default = Raft::default();
    let election_timeout = table.duration_range("election_timeout");
    let heartbeat_interval = table.duration("heartbeat_interval");
    let reads = table.choice(
        "reads",
        &[("local", Reads::Local), ("read-index", Reads::ReadIndex)],
    );
    let raft = Raft {
        election_timeout: election_timeout.map_or(default.election_timeout, |placed| placed.value),
        heartbeat_interval: heartbeat_interval
            .map_or(default.heartbeat_interval, |placed| placed.value),
        pre_vote: table.boolean("pre_vote").unwrap_or(default.pre_vote),
        check_quorum: table
            .boolean("check_quorum")
            .unwrap_or(default.check_quorum),
        reads: reads.unwrap_or(default.reads),
    };
    check(table, &raft);
    raft
}

fn check(table: &TableReader<'_>, raft: &Raft) {
    let (timeout, interval) = (raft.election_timeout, raft.heartbeat_interval);
    if interval < HEARTBEAT_INTERVAL_MIN {
        let message = format!("the heartbeat interval ({interval}) is below 1ms");
        let hint = "give at least \"1ms\"; 50ms is usual";
        table.invalid("heartbeat_interval", message, hint);
    } else if timeout.low() <= interval {
        let message = format!(
            "the shortest election timeout ({}) is not above the heartbeat interval ({interval})",
            timeout.low()
        );
        let key = if table.has("election_timeout") {
            "election_timeout"
        } else {
            "heartbeat_interval"
        };
        let hint = "nodes would stand for election between two heartbeats; three intervals or more are usual";
        table.invalid(key, message, hint);
    }
}
