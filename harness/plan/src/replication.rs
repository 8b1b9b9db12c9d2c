//! `[target.strategy] replication`: its options, and which of them contradict each other.
//!
//! An option that would have no effect is refused: an experiment that sets it asks a question that
//! its run would not answer.

use shakedown_contracts::strategy::{Acknowledge, Fallback, Fencing, Reads, Replication};

use crate::reader::{TableReader, quoted};

/// The replication of that kind.
pub(crate) fn read(part: &TableReader<'_>, kind: &str) -> Replication {
    if kind == "none" {
        return Replication::None {};
    }
    let acknowledge = acknowledge(part);
    let fallback = fallback(part, acknowledge);
    let (fencing, reads) = fencing_and_reads(part);
    Replication::PrimaryBackup {
        acknowledge,
        fallback,
        fencing,
        reads,
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
        &[("none", Fencing::None), ("epoch", Fencing::Epoch)],
    );
    let reads = part.choice(
        "reads",
        &[("local", Reads::Local), ("read-index", Reads::ReadIndex)],
    );
    let fencing = fencing.unwrap_or_default();
    if reads == Some(Reads::ReadIndex) && fencing == Fencing::None {
        let message = "`reads = \"read-index\"` has no effect without fencing: nobody refuses";
        part.invalid(
            "reads",
            message,
            "set `fencing = \"epoch\"`, or leave `reads` out",
        );
    }
    (fencing, reads.unwrap_or_default())
}
