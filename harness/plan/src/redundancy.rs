//! `[target.strategy] redundancy`: its options, what cannot work, and what it leaves no room for.
//!
//! Where it is present no node is primary: replication is `none`, and operations that must see and
//! change a value in one step do not exist.

use shakedown_contracts::plan::{Target, WorkloadKind};
use shakedown_contracts::strategy::{AntiEntropy, Erasure, Quorum, ReadRepair, Redundancy};
use shakedown_contracts::units::Duration;

use crate::reader::{TableReader, quoted};

/// As many nodes as a plan can have.
const COPIES_MAX: u32 = 64;

/// The redundancy of that kind.
pub(crate) fn read(part: &TableReader<'_>, kind: &str) -> Redundancy {
    match kind {
        "quorum" => Redundancy::Quorum(quorum(part)),
        "erasure" => Redundancy::Erasure(erasure(part)),
        _ => Redundancy::None {},
    }
}

fn quorum(part: &TableReader<'_>) -> Quorum {
    let default = Quorum::default();
    let count = |key| part.integer(key, 1, COPIES_MAX);
    let n = count("n").unwrap_or(default.n);
    let most = |key: &'static str, default: u32| {
        let count = count(key).unwrap_or(default.min(n));
        if count > n {
            let message = format!("`{key} = {count}` of `n = {n}` nodes can never answer");
            part.invalid(key, message, format!("give a number from 1 to {n}"));
        }
        count
    };
    let (r, w) = (most("r", default.r), most("w", default.w));
    let repairs = repairs(part);
    let sloppy = part.boolean("sloppy").unwrap_or(default.sloppy);
    if sloppy && !repairs.hinted_handoff {
        let message = "`sloppy` without `hinted_handoff` leaves writes where nobody looks for them";
        part.invalid("sloppy", message, "leave one of the two out");
    }
    Quorum {
        n,
        r,
        w,
        sloppy,
        hinted_handoff: repairs.hinted_handoff,
        hint_window: repairs.hint_window,
        read_repair: repairs.read_repair,
        anti_entropy: repairs.anti_entropy,
        patience: repairs.patience,
    }
}

fn erasure(part: &TableReader<'_>) -> Erasure {
    let default = Erasure::default();
    let k = part.integer("k", 1, COPIES_MAX).unwrap_or(default.k);
    let m = part.integer("m", 0, COPIES_MAX).unwrap_or(default.m);
    let repairs = repairs(part);
    Erasure {
        k,
        m,
        hinted_handoff: repairs.hinted_handoff,
        hint_window: repairs.hint_window,
        read_repair: repairs.read_repair,
        anti_entropy: repairs.anti_entropy,
        patience: repairs.patience,
    }
}

/// What both kinds have.
struct Repairs {
    hinted_handoff: bool,
    hint_window: Duration,
    read_repair: ReadRepair,
    anti_entropy: AntiEntropy,
    patience: Duration,
}

fn repairs(part: &TableReader<'_>) -> Repairs {
    let default = Quorum::default();
    let duration = |key| part.duration_above_zero(key).map(|placed| placed.value);
    let hinted_handoff = part.boolean("hinted_handoff");
    let hinted_handoff = hinted_handoff.unwrap_or(default.hinted_handoff);
    let hint_window = duration("hint_window");
    if hint_window.is_some() && !hinted_handoff {
        let message = "`hint_window` has no effect without `hinted_handoff`";
        part.invalid("hint_window", message, "leave one of the two out");
    }
    let read_repair = part.choice(
        "read_repair",
        &[
            ("sync", ReadRepair::Sync),
            ("async", ReadRepair::Async),
            ("none", ReadRepair::None),
        ],
    );
    Repairs {
        hinted_handoff,
        hint_window: hint_window.unwrap_or(default.hint_window),
        read_repair: read_repair.unwrap_or_default(),
        anti_entropy: anti_entropy(part),
        patience: duration("patience").unwrap_or(default.patience),
    }
}

fn anti_entropy(part: &TableReader<'_>) -> AntiEntropy {
    let Some(text) = part.text("anti_entropy") else {
        return AntiEntropy::default();
    };
    match AntiEntropy::try_from(text.value.to_owned()) {
        Ok(AntiEntropy::Every(interval)) if interval < Duration::from_millis(10) => {
            let message = format!("comparing copies every {interval} leaves time for nothing else");
            part.invalid(
                "anti_entropy",
                message,
                "give at least \"10ms\"; 1s is usual",
            );
            AntiEntropy::default()
        }
        Ok(anti_entropy) => anti_entropy,
        Err(_) => {
            let message = format!("{} is no interval", quoted(text.value));
            part.invalid(
                "anti_entropy",
                message,
                "write a time like \"1s\" or \"none\"",
            );
            AntiEntropy::default()
        }
    }
}

/// Whether there are enough nodes, and the workload asks nothing that redundancy cannot do.
pub(crate) fn check_nodes(root: &TableReader<'_>, target: &Target) {
    let (needed, words) = match &target.strategy.redundancy {
        Some(Redundancy::Quorum(quorum)) => (quorum.n, format!("n = {}", quorum.n)),
        Some(Redundancy::Erasure(erasure)) => {
            let Erasure { k, m, .. } = erasure;
            (k.saturating_add(*m), format!("k = {k} and m = {m}"))
        }
        Some(Redundancy::None {}) | None => return,
    };
    if (target.nodes.len() as u32) < needed {
        let message = format!(
            "redundancy with {words} needs {needed} nodes, and the target has {}",
            target.nodes.len()
        );
        let hint = format!("set `target.nodes = {needed}` or more");
        root.invalid("target", message, hint);
    }
}

/// Refuses a workload that redundancy cannot serve.
pub(crate) fn check_workload(
    table: &TableReader<'_>,
    target: &Target,
    kind: &WorkloadKind,
    compares: bool,
) {
    if target.strategy.redundancy.is_none() {
        return;
    }
    if matches!(kind, WorkloadKind::Bank { .. }) {
        let message = "a bank needs transactions, and nodes under `redundancy` know single keys";
        table.invalid("kind", message, "use `kind = \"register\"`");
    } else if compares {
        let message = "`cas` compares and sets in one step, and nodes under `redundancy` do not";
        table.invalid("mix", message, "write it like { read = 0.5, write = 0.5 }");
    }
}
