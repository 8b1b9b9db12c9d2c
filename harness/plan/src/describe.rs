//! A plan in words: what `shakedown plan` prints, nothing of which happens.

use serde::Serialize;
use serde_json::Value;
use shakedown_contracts::fault::{CutBehavior, FaultKind, PartitionShape, Selector};
use shakedown_contracts::metric::{self, Condition, Unit};
use shakedown_contracts::plan::{Gate, Injection, Plan, Requirement, Stage, Start, Trial};
use shakedown_contracts::units::{Duration, Ratio};

/// Schedules printed; the others differ in the draws alone.
const TRIALS_SHOWN: usize = 10;
/// Injections printed a trial.
const INJECTIONS_SHOWN: usize = 20;

/// Nodes, strategies with every option, workload, phases, schedules and gates, as text.
pub fn describe(plan: &Plan) -> String {
    let mut out = String::new();
    line(&mut out, &format!("{}: {}", plan.name, plan.title));
    let trials = plan.trials.len();
    let trials = format!("{trials} trial{}", if trials == 1 { "" } else { "s" });
    field(
        &mut out,
        "from",
        &format!("{}, seed {}", plan.source, plan.seed),
    );
    field(
        &mut out,
        "stage",
        &format!("{}, {trials}, about {}", stage(plan), how_long(plan)),
    );
    let nodes = plan.target.nodes.join(" ");
    let ready = plan.target.ready_timeout;
    let companions = plan.target.companions.iter();
    let companions: String = companions.map(|one| format!(" + {}", one.name)).collect();
    field(
        &mut out,
        "target",
        &format!(
            "{}: {nodes}{companions}, ready within {ready}",
            plan.target.system
        ),
    );
    strategies(&mut out, plan);
    workload(&mut out, plan);
    timeline(&mut out, plan);
    faults(&mut out, plan);
    for trial in plan.trials.iter().take(TRIALS_SHOWN) {
        schedule(&mut out, plan, trial);
    }
    if plan.trials.len() > TRIALS_SHOWN {
        let more = plan.trials.len() - TRIALS_SHOWN;
        field(
            &mut out,
            "",
            &format!("and {more} more, which differ in their draws alone"),
        );
    }
    gates(&mut out, plan);
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

fn field(out: &mut String, name: &str, text: &str) {
    line(out, &format!("  {name:<13} {text}"));
}

fn stage(plan: &Plan) -> String {
    word(&plan.stage)
}

/// A unit variant by the name an experiment file uses.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        _ => String::new(),
    }
}

fn how_long(plan: &Plan) -> String {
    let time = total_time(plan);
    match plan.stage {
        Stage::Local => time.to_string(),
        Stage::Simulation => format!("{time} of virtual time"),
    }
}

/// Sum of the phases over all trials: starting and final reads come on top.
fn total_time(plan: &Plan) -> Duration {
    let phases = &plan.phases;
    let trial = phases
        .warm_up
        .saturating_add(phases.fault)
        .saturating_add(phases.settle);
    Duration::from_nanos(trial.as_nanos().saturating_mul(plan.trials.len() as u64))
}

fn strategies(out: &mut String, plan: &Plan) {
    let strategy = &plan.target.strategy;
    field(out, "detector", &options(&strategy.detector));
    field(out, "recovery log", &options(&strategy.recovery_log));
    field(out, "replication", &options(&strategy.replication));
    let mut others = vec![
        "transactions",
        "snapshot",
        "redundancy",
        "balancing",
        "automation",
    ];
    let present = [
        ("transactions", strategy.transactions.as_ref().map(options)),
        ("snapshot", strategy.snapshot.as_ref().map(options)),
        ("redundancy", strategy.redundancy.as_ref().map(options)),
        ("balancing", strategy.balancing.as_ref().map(options)),
        ("automation", strategy.automation.as_ref().map(options)),
    ];
    for (name, options) in present {
        if let Some(options) = options {
            field(out, name, &options);
            others.retain(|other| *other != name);
        }
    }
    if !others.is_empty() {
        field(out, "others", &format!("{}: none", others.join(", ")));
    }
}

/// A tagged value: its kind, then every option.
fn options<T: Serialize>(value: &T) -> String {
    let Ok(Value::Object(mut object)) = serde_json::to_value(value) else {
        return String::new();
    };
    let kind = object
        .remove("kind")
        .map(|kind| plain(&kind))
        .unwrap_or_default();
    let options: Vec<String> = object
        .iter()
        .map(|(key, value)| format!("{key} {}", plain(value)))
        .collect();
    if options.is_empty() {
        kind
    } else {
        format!("{kind}: {}", options.join(", "))
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            if items.is_empty() {
                "all nodes".to_owned()
            } else {
                items.join(" ")
            }
        }
        Value::Object(options) => {
            let options = options.iter();
            let options: Vec<String> = options
                .map(|(key, value)| format!("{key} {}", plain(value)))
                .collect();
            format!("({})", options.join(", "))
        }
        other => other.to_string(),
    }
}

fn workload(out: &mut String, plan: &Plan) {
    let workload = &plan.workload;
    field(out, "workload", &options(&workload.kind));
    let mix: Vec<String> = workload
        .mix
        .iter()
        .map(|(name, share)| format!("{name} {}%", (share * 1e4).round() / 1e2))
        .collect();
    field(
        out,
        "",
        &format!("{}/s open loop: {}", workload.rate, mix.join(", ")),
    );
    let reads = if workload.final_reads {
        "everything read back at the end"
    } else {
        "no final reads"
    };
    field(out, "", &format!("timeout {}, {reads}", workload.timeout));
    let groups: Vec<String> = workload
        .groups
        .iter()
        .map(|group| match &group.beside {
            Some(node) => format!("{} ({} beside {node})", group.name, group.clients),
            None => format!("{} ({} outside)", group.name, group.clients),
        })
        .collect();
    field(
        out,
        "clients",
        &format!("{}: {}", workload.clients, groups.join(", ")),
    );
}

fn timeline(out: &mut String, plan: &Plan) {
    let phases = &plan.phases;
    let fault = phases.warm_up;
    let settle = fault.saturating_add(phases.fault);
    let end = settle.saturating_add(phases.settle);
    let text = format!(
        "0s ─ warm-up ─ {} ─ fault ─ {} ─ settle ─ {}, bins of {}",
        seconds(fault),
        seconds(settle),
        seconds(end),
        phases.bin
    );
    field(out, "timeline", &text);
}

fn faults(out: &mut String, plan: &Plan) {
    if plan.faults.is_empty() {
        field(out, "faults", "none");
    }
    for (index, fault) in plan.faults.iter().enumerate() {
        let nodes = match (&fault.kind, &fault.nodes) {
            (FaultKind::Partition { .. }, Selector::All) => String::new(),
            (_, nodes) => format!(" on {nodes}"),
        };
        let all = options(&fault.kind);
        let (kind, rest) = all.split_once(": ").unwrap_or((&all, ""));
        let rest = partition(&fault.kind).unwrap_or_else(|| rest.to_owned());
        let rest = if rest.is_empty() {
            rest
        } else {
            format!(" ({rest})")
        };
        let label = if index == 0 { "faults" } else { "" };
        field(out, label, &format!("{}: {kind}{nodes}{rest}", fault.name));
    }
    if plan.preparations.hold_unsynced {
        field(
            out,
            "preparation",
            "nodes hold written bytes back until they are synced",
        );
    }
    if plan.preparations.serve_disks && plan.stage == Stage::Local {
        field(out, "preparation", "nodes' folders are served through FUSE");
    }
    if plan.preparations.serve_names {
        let text = "nodes look names up at resolvers of their own";
        field(out, "preparation", text);
    }
}

/// A partition's links in words.
fn partition(kind: &FaultKind) -> Option<String> {
    let FaultKind::Partition {
        shape,
        behavior,
        ports,
    } = kind
    else {
        return None;
    };
    let shape = match shape {
        PartitionShape::Grudge(grudge) => {
            let deaf = grudge.iter().map(|(hearer, unheard)| {
                let unheard: Vec<&str> = unheard.iter().map(String::as_str).collect();
                format!("{hearer} does not hear {}", unheard.join(" "))
            });
            deaf.collect::<Vec<_>>().join("; ")
        }
        PartitionShape::FromTo { from, to } => format!("{to} does not hear {from}"),
        shape => format!("shape {}", word(shape)),
    };
    let of = match ports.is_all() {
        true => String::new(),
        false => format!(" of {ports}"),
    };
    Some(format!(
        "{shape}, packets{of} {}",
        match behavior {
            CutBehavior::Drop => "dropped",
            CutBehavior::Reject => "rejected",
        }
    ))
}

fn schedule(out: &mut String, plan: &Plan, trial: &Trial) {
    field(
        out,
        &format!("trial {}", trial.index),
        &format!("seed {}", trial.seed),
    );
    for injection in trial.schedule.iter().take(INJECTIONS_SHOWN) {
        field(out, "", &injection_line(plan, injection));
    }
    if trial.schedule.len() > INJECTIONS_SHOWN {
        let more = trial.schedule.len() - INJECTIONS_SHOWN;
        field(out, "", &format!("and {more} more injections"));
    }
}

/// Times are those of the trial, from the beginning of its warm-up.
fn injection_line(plan: &Plan, injection: &Injection) -> String {
    let fault = plan
        .faults
        .iter()
        .find(|fault| fault.name == injection.fault);
    let restart = fault.is_some_and(|fault| fault.kind.is_instant());
    let name = match injection.occurrence {
        0 => injection.fault.clone(),
        again => format!("{}#{again}", injection.fault),
    };
    let (when, healed) = match (&injection.start, injection.duration) {
        (Start::At(at), duration) => {
            let start = plan.phases.warm_up.saturating_add(*at);
            let end =
                duration.map(|duration| format!("at {}", seconds(start.saturating_add(duration))));
            (format!("at {}", seconds(start)), end)
        }
        (Start::After(event), duration) => (
            format!("after {event}"),
            duration.map(|duration| format!("{duration} later")),
        ),
    };
    let healed = match healed {
        _ if restart => "when it is ready again".to_owned(),
        Some(healed) => healed,
        None => "when the settle phase begins".to_owned(),
    };
    format!("{when} {name}, healed {healed}")
}

/// Seconds to the microsecond, without zeros at the end.
fn seconds(duration: Duration) -> String {
    let text = format!("{:.6}", duration.as_secs_f64());
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

fn gates(out: &mut String, plan: &Plan) {
    if plan.gates.is_empty() {
        field(out, "gates", "none stated: those on safety are implied");
    }
    for (index, gate) in plan.gates.iter().enumerate() {
        field(out, if index == 0 { "gates" } else { "" }, &gate_line(gate));
    }
    if let Some(expect) = &plan.expect {
        let gates = match expect.gates.is_empty() {
            true => String::new(),
            false => format!(", by exactly {}", expect.gates.join(", ")),
        };
        field(out, "expected", &format!("{}{gates}", expect.verdict));
    }
}

fn gate_line(gate: &Gate) -> String {
    let of = gate
        .fault
        .as_ref()
        .map(|fault| format!(" of {fault}"))
        .unwrap_or_default();
    match &gate.require {
        Requirement::Consistency(level) => format!("{} is {level}", gate.metric),
        Requirement::Condition(condition) => {
            let unit = metric::describe(&gate.metric).map(|metric| metric.unit);
            let bound = bound(condition, unit);
            format!("{} {}{of} {bound}", gate.statistic.name(), gate.metric)
        }
    }
}

fn bound(condition: &Condition, unit: Option<Unit>) -> String {
    let number = condition.bound;
    let bound = match unit {
        Some(Unit::Milliseconds) => Duration::from_nanos((number * 1e6).round() as u64).to_string(),
        Some(Unit::Seconds) => Duration::from_nanos((number * 1e9).round() as u64).to_string(),
        Some(Unit::Ratio) => Ratio::new(number).map_or(number.to_string(), |r| r.to_string()),
        Some(Unit::PerHour) => format!("{number} an hour"),
        Some(Unit::PerSecond) => format!("{number}/s"),
        Some(Unit::Factor) => format!("{number} ×"),
        Some(Unit::Count) | None => number.to_string(),
    };
    format!("{} {bound}", condition.comparison.symbol())
}
