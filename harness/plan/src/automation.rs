//! `[target.strategy] automation`: its options, and which of them would do nothing.
//!
//! A spare takes over by a change of the group's voters in its log, so spares ask for a replication
//! that has such a log, and refuses older primaries.

use shakedown_contracts::strategy::{
    Acknowledge, Automation, Detector, Fencing, Replication, Strategy, Supervisor,
};

use crate::reader::TableReader;

/// Nodes without the spares: a majority of them must outlive the one that is lost.
const VOTERS_MIN: u32 = 3;
/// More spares than nodes of the largest local cluster make no sense.
const SPARES_MAX: u32 = 8;

/// The automation of that kind, for `nodes` with the strategies read so far.
pub(crate) fn read(
    part: &TableReader<'_>,
    kind: &str,
    nodes: u32,
    strategy: &Strategy,
) -> Automation {
    if kind == "none" {
        return Automation::None {};
    }
    let default = Supervisor::default();
    let duration = |key, otherwise| {
        let read = part.duration_above_zero(key);
        read.map_or(otherwise, |placed| placed.value)
    };
    let supervisor = Supervisor {
        backoff: part
            .duration_range("backoff")
            .map_or(default.backoff, |placed| placed.value),
        crash_loop_limit: part
            .integer("crash_loop_limit", 1, 1000)
            .unwrap_or(default.crash_loop_limit),
        stable_after: duration("stable_after", default.stable_after),
        spares: part
            .integer("spares", 0, SPARES_MAX)
            .unwrap_or(default.spares),
        replace_after: duration("replace_after", default.replace_after),
        slow_for: part
            .duration_above_zero("slow_for")
            .map(|placed| placed.value),
        slow_factor: part
            .integer("slow_factor", 2, 1000)
            .unwrap_or(default.slow_factor),
    };
    check(part, &supervisor, strategy);
    check_spares(part, &supervisor, nodes, strategy);
    Automation::Supervisor(supervisor)
}

fn check(part: &TableReader<'_>, supervisor: &Supervisor, strategy: &Strategy) {
    if strategy.detector == (Detector::None {}) {
        let message = "a supervisor without a detector notices nothing";
        part.invalid("kind", message, "set `target.strategy.detector`");
    }
    if matches!(strategy.detector, Detector::ConnectionClose { .. }) {
        let message = "a supervisor hears of nodes by what their detectors send, and \"connection-close\" sends nothing";
        part.invalid("kind", message, "choose another detector");
    }
    if matches!(strategy.detector, Detector::Swim(_)) && part.has("slow_for") {
        let message = "`slow_for` has no effect with detector \"swim\": who is slow is measured by heartbeats";
        let hint = "choose a detector with heartbeats, or leave this out";
        part.invalid("slow_for", message, hint);
    }
    if supervisor.backoff.low().is_zero() {
        let message = "a backoff from no time at all never grows";
        part.invalid("backoff", message, "write it like \"200ms..10s\"");
    }
    for key in ["replace_after", "slow_for"] {
        if supervisor.spares == 0 && part.has(key) {
            let message = format!("`{key}` has no effect without spares: nobody could take over");
            part.invalid(key, message, "set `spares = 1`, or leave this out");
        }
    }
    if supervisor.slow_for.is_none() && part.has("slow_factor") {
        let message = "`slow_factor` has no effect without `slow_for`";
        let hint = "say how long a node may be slow, or leave this out";
        part.invalid("slow_factor", message, hint);
    }
}

fn check_spares(part: &TableReader<'_>, supervisor: &Supervisor, nodes: u32, strategy: &Strategy) {
    let spares = supervisor.spares;
    if spares == 0 {
        return;
    }
    let others = [
        strategy.redundancy.is_some(),
        strategy.transactions.is_some(),
        strategy.snapshot.is_some(),
        strategy.balancing.is_some(),
    ];
    let other = others.contains(&true);
    let refused = match &strategy.replication {
        _ if other => Some("spares stand by for one group of primary and backups alone"),
        Replication::PrimaryBackup {
            fencing: Fencing::None,
            ..
        } => Some("without fencing nobody can tell a replaced node that it is replaced"),
        Replication::PrimaryBackup {
            acknowledge: Acknowledge::Async | Acknowledge::SemiSync,
            ..
        } => Some("a change of the voters must be held by a majority before it counts"),
        Replication::PrimaryBackup { .. } => None,
        Replication::Raft(_) => Some("raft here has no change of its servers"),
        Replication::Chain(_) => Some("a chain here has no change of its members"),
        Replication::None {} => Some("without replication there is nothing to take over"),
    };
    if let Some(message) = refused {
        let hint = "use `replication = { kind = \"primary-backup\" }` with `acknowledge` \
                    \"majority\" or \"all\" and fencing, or leave `spares` out";
        part.invalid("spares", message, hint);
    } else if nodes < spares + VOTERS_MIN {
        let message =
            format!("{nodes} nodes with {spares} of them spare leave no majority when one is lost");
        let hint = format!("set `target.nodes` to {} or more", spares + VOTERS_MIN);
        part.invalid("spares", message, hint);
    }
}
