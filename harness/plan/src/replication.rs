//! `[target.strategy] replication`: its options, and which of them contradict each other.
//!
//! An option that would have no effect is refused: an experiment that sets it asks a question that
//! its run would not answer.

use shakedown_contracts::strategy::{
    Acknowledge, Chain, ChainReads, DEFAULT_LEASE, Election, Fallback, Fencing, Reads, Replication,
    default_drift_bound,
};
use shakedown_contracts::units::{Duration, Ratio};

use crate::raft;
use crate::reader::{TableReader, quoted};

/// The replication of that kind, in a group whose primary shows itself every `beat`.
pub(crate) fn read(part: &TableReader<'_>, kind: &str, beat: Duration) -> Replication {
    if kind == "none" {
        return Replication::None {};
    }
    if kind == "raft" {
        return Replication::Raft(raft::read(part));
    }
    if kind == "chain" {
        return Replication::Chain(chain(part));
    }
    let acknowledge = acknowledge(part);
    let fallback = fallback(part, acknowledge);
    let (fencing, reads) = fencing_and_reads(part);
    let leased = fencing == Fencing::Lease || reads == Reads::Lease;
    let (lease, drift_bound) = lease(part, leased, beat);
    Replication::PrimaryBackup {
        acknowledge,
        fallback,
        fencing,
        election: election(part, fencing),
        reads,
        lease,
        drift_bound,
    }
}

fn chain(part: &TableReader<'_>) -> Chain {
    let reads = part.choice(
        "reads",
        &[
            ("through-chain", ChainReads::ThroughChain),
            ("tail", ChainReads::Tail),
            ("local", ChainReads::Local),
        ],
    );
    Chain {
        reads: reads.unwrap_or_default(),
    }
}

fn acknowledge(part: &TableReader<'_>) -> Acknowledge {
    let acknowledge = part.choice(
        "acknowledge",
        &[
            ("async", Acknowledge::Async),
            ("semi-sync", Acknowledge::SemiSync),
            ("majority", Acknowledge::Majority),
            ("all", Acknowledge::All),
        ],
    );
    acknowledge.unwrap_or_default()
}

fn fallback(part: &TableReader<'_>, acknowledge: Acknowledge) -> Option<Fallback> {
    let written = part.text("fallback");
    if acknowledge != Acknowledge::SemiSync {
        if written.is_some() {
            let message = "`fallback` has no effect without `acknowledge = \"semi-sync\"`";
            part.invalid("fallback", message, "leave one of the two out");
        }
        return None;
    }
    let fallback = written.and_then(|text| match Fallback::try_from(text.value.to_owned()) {
        Ok(Fallback::After(duration)) if duration.is_zero() => {
            let message = "`fallback` after no time at all is no semi-sync";
            part.invalid("fallback", message, "use `acknowledge = \"async\"`");
            None
        }
        Ok(fallback) => Some(fallback),
        Err(_) => {
            let message = format!("{} is no fallback", quoted(text.value));
            part.invalid(
                "fallback",
                message,
                "write \"never\" or a time like \"500ms\"",
            );
            None
        }
    });
    Some(fallback.unwrap_or_default())
}

fn fencing_and_reads(part: &TableReader<'_>) -> (Fencing, Reads) {
    let fencing = part.choice(
        "fencing",
        &[
            ("none", Fencing::None),
            ("epoch", Fencing::Epoch),
            ("lease", Fencing::Lease),
        ],
    );
    let reads = part.choice(
        "reads",
        &[
            ("local", Reads::Local),
            ("lease", Reads::Lease),
            ("read-index", Reads::ReadIndex),
        ],
    );
    let fencing = fencing.unwrap_or_default();
    let asking = [("read-index", Reads::ReadIndex), ("lease", Reads::Lease)];
    for (name, asking) in asking {
        if reads == Some(asking) && fencing == Fencing::None {
            let message =
                format!("`reads = \"{name}\"` has no effect without fencing: nobody refuses");
            let hint = "set `fencing = \"epoch\"`, or leave `reads` out";
            part.invalid("reads", message, hint);
        }
    }
    (fencing, reads.unwrap_or_default())
}

fn election(part: &TableReader<'_>, fencing: Fencing) -> Election {
    let election = part.choice(
        "election",
        &[
            ("up-to-date", Election::UpToDate),
            ("longest-log", Election::LongestLog),
        ],
    );
    if election.is_some() && fencing == Fencing::None {
        let message = "`election` has no effect without fencing: nobody is asked";
        let hint = "set `fencing = \"epoch\"`, or leave `election` out";
        part.invalid("election", message, hint);
    }
    election.unwrap_or_default()
}

/// Length and drift bound, where something rests on a lease.
fn lease(
    part: &TableReader<'_>,
    leased: bool,
    beat: Duration,
) -> (Option<Duration>, Option<Ratio>) {
    let length = part.duration_above_zero("lease").map(|placed| placed.value);
    let drift_bound = part.ratio("drift_bound");
    if leased {
        let length = length.unwrap_or(DEFAULT_LEASE);
        if length < beat.saturating_add(beat) {
            let message = format!("a lease of {length} is not renewed in time every {beat}");
            let hint = "give two heartbeat intervals at the very least; four or more are usual";
            part.invalid("lease", message, hint);
        }
        return (
            Some(length),
            Some(drift_bound.unwrap_or_else(default_drift_bound)),
        );
    }
    for key in ["lease", "drift_bound"] {
        if part.has(key) {
            let message =
                format!("`{key}` has no effect where neither `fencing` nor `reads` is \"lease\"");
            part.invalid(
                key,
                message,
                "set one of them to \"lease\", or leave this out",
            );
        }
    }
    (None, None)
}
