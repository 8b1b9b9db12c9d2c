//! `[[fault]]`: what is injected, on which nodes, and when; and what of that cannot happen.

use std::ops::Range;

use shakedown_contracts::catalogue::{self, Availability};
use shakedown_contracts::event::AFTER_EVENTS;
use shakedown_contracts::fault::{
    Crash, Delay, Direction, Distribution, FaultKind, LinkSelection, PartitionShape, Selector,
};
use shakedown_contracts::host_fault::HostFault;
use shakedown_contracts::plan::{ClientGroup, Fault, Phases, Stage, Target};
use shakedown_contracts::strategy::Replication;
use shakedown_contracts::units::Duration;

use crate::problem::Log;
use crate::reader::{TableReader, quoted};
use crate::{host_fault, packet_fault, partition, ports, selector, suggestion};

/// Names that faults may speak of.
#[derive(Debug)]
pub(crate) struct Endpoints {
    pub nodes: Vec<String>,
    /// Processes of the cluster that are no nodes: only their names stand for them.
    pub companions: Vec<String>,
    pub groups: Vec<String>,
}

impl Endpoints {
    /// Of a target and its clients.
    pub fn new(target: &Target, groups: &[ClientGroup]) -> Self {
        let groups = groups.iter().map(|group| group.name.clone()).collect();
        let companions = target.companions.iter().map(|one| one.name.clone());
        Endpoints {
            nodes: target.nodes.clone(),
            companions: companions.collect(),
            groups,
        }
    }
}

/// A fault and when it comes, before jitter is drawn.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub fault: Fault,
    pub timing: Timing,
    pub duration: Option<Duration>,
    /// Its table in the file.
    pub span: Range<usize>,
}

/// When a fault comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Timing {
    /// So long after the fault phase began, and up to `jitter` later.
    At { at: Duration, jitter: Duration },
    /// Right after the first event of this name.
    After(String),
    /// Drawn by the nemesis; see [`crate::nemesis`].
    Drawn,
}

/// Events of the format that this version does not see yet, by their first part.
const EVENTS_NOT_YET: &[&str] = &["transaction", "saga", "read", "write"];

/// All faults of the experiment, in file order.
pub(crate) fn read(
    root: &TableReader<'_>,
    endpoints: &Endpoints,
    phases: &Phases,
    stage: Stage,
) -> Vec<Planned> {
    let mut planned = Vec::new();
    for table in root.tables("fault") {
        planned.extend(read_one(&table, endpoints, phases, stage));
        table.finish();
    }
    planned
}

fn read_one(
    table: &TableReader<'_>,
    endpoints: &Endpoints,
    phases: &Phases,
    stage: Stage,
) -> Option<Planned> {
    let name = table.text("name");
    if !table.has("kind") {
        let names: Vec<&str> = catalogue::FAULTS.iter().map(|choice| choice.name).collect();
        table.missing("kind", &format!("`kind` is one of {}", names.join(", ")));
        table.ignore_rest();
        return None;
    }
    let kind = table.available("kind", "fault", catalogue::FAULTS);
    let place = table.place("kind");
    let here = |kind: &&str| available_in(stage, kind, &place, &table.key("kind"), table.log);
    let Some(kind) = kind.filter(here) else {
        table.ignore_rest();
        return None;
    };
    let name = name.map_or(kind, |name| name.value);
    check_name(table, name);
    let (timing, duration) = read_timing(table, kind, phases);
    let fault = read_kind(table, kind, endpoints);
    let Some((kind, nodes)) = fault else {
        table.ignore_rest();
        return None;
    };
    if let (Stage::Simulation, FaultKind::Host(fault)) = (stage, &kind) {
        host_fault::check_simulated(table, fault);
    }
    ports::check_stage(table, &kind, stage);
    let fault = Fault {
        name: name.to_owned(),
        kind,
        nodes,
    };
    Some(Planned {
        fault,
        timing,
        duration,
        span: table.place("name"),
    })
}

/// Whether the stage has this kind of fault; the problem is logged.
pub(crate) fn available_in(
    stage: Stage,
    kind: &str,
    span: &Range<usize>,
    key: &str,
    log: &Log,
) -> bool {
    let availability = catalogue::find(catalogue::FAULTS, kind).map(|choice| choice.availability);
    if (stage, availability) != (Stage::Simulation, Some(Availability::OnProcesses)) {
        return true;
    }
    let message = format!("fault `{kind}` is not available in stage `simulation`");
    let hint = "available with --stage local: only real processes can meet it";
    log.unavailable(span, key, message, hint.to_owned());
    false
}

fn check_name(table: &TableReader<'_>, name: &str) {
    const NAME_MAX: usize = 60;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(plain) {
        let message = format!("{} cannot name a fault", quoted(name));
        let hint = format!("use letters, digits, `-`, `_` and `.`, at most {NAME_MAX}");
        table.invalid("name", message, hint);
    }
}

fn read_kind(
    table: &TableReader<'_>,
    kind: &str,
    endpoints: &Endpoints,
) -> Option<(FaultKind, Selector)> {
    let kind = match kind {
        "partition" => return partition::read(table, endpoints),
        "kill" => {
            let crashes = [("process", Crash::Process), ("host", Crash::Host)];
            FaultKind::Kill {
                crash: table.choice("crash", &crashes).unwrap_or(Crash::Process),
            }
        }
        "terminate" => FaultKind::Terminate {},
        "pause" => FaultKind::Pause {},
        "restart" => FaultKind::Restart {},
        "delay" => FaultKind::Delay {
            delay: read_delay(table),
            links: read_links(table, endpoints),
        },
        "loss" => FaultKind::Loss {
            loss: packet_fault::read_loss(table),
            links: read_links(table, endpoints),
        },
        "reset" => FaultKind::Reset {
            links: read_links(table, endpoints),
        },
        "duplicate" | "reorder" | "corrupt" | "bandwidth" => {
            let (fault, links) = (
                packet_fault::read(table, kind),
                read_links(table, endpoints),
            );
            FaultKind::Packets {
                fault: fault?,
                links,
            }
        }
        _ => FaultKind::Host(host_fault::read(table, kind)?),
    };
    Some((
        kind,
        selector::read(table, endpoints).unwrap_or(Selector::Primary),
    ))
}

fn read_delay(table: &TableReader<'_>) -> Delay {
    if !table.has("latency") {
        table.missing(
            "latency",
            "say how much later packets arrive: `latency = \"50ms\"`",
        );
    }
    let latency = table
        .duration_above_zero("latency")
        .map(|placed| placed.value);
    let jitter = table
        .duration("jitter")
        .map(|placed| placed.value)
        .unwrap_or_default();
    let distributions = [
        ("uniform", Distribution::Uniform),
        ("normal", Distribution::Normal),
        ("pareto", Distribution::Pareto),
        ("paretonormal", Distribution::Paretonormal),
    ];
    let distribution = table
        .choice("distribution", &distributions)
        .unwrap_or_default();
    let correlation = table.ratio("correlation").unwrap_or_default();
    for key in ["distribution", "correlation"] {
        if jitter.is_zero() && table.has(key) && !table.has("jitter") {
            let message = format!("`{key}` has no effect without `jitter`");
            table.invalid(key, message, "add `jitter = \"10ms\"`, or leave it out");
        }
    }
    Delay {
        latency: latency.unwrap_or_default(),
        jitter,
        correlation,
        distribution,
    }
}

fn read_links(table: &TableReader<'_>, endpoints: &Endpoints) -> LinkSelection {
    let directions = [
        ("from", Direction::From),
        ("to", Direction::To),
        ("both", Direction::Both),
    ];
    let direction = table.choice("direction", &directions).unwrap_or_default();
    let peers: Vec<String> = table
        .texts("peers")
        .unwrap_or_default()
        .iter()
        .filter_map(|name| selector::endpoint(table, "peers", name, endpoints))
        .collect();
    if endpoints.nodes.len() < 2 && !table.has("peers") {
        let message = "one node has no links to other nodes";
        let hint =
            "name a client group, such as `peers = [\"c1\"]`, or set `target.nodes` to 2 or more";
        table.invalid("kind", message, hint);
    }
    LinkSelection {
        direction,
        peers,
        ports: ports::read(table),
    }
}

fn read_timing(table: &TableReader<'_>, kind: &str, phases: &Phases) -> (Timing, Option<Duration>) {
    let instant = match kind {
        "restart" => Some((
            "a restart has no duration: the node is started again at once",
            "leave it out, or use kind \"kill\"",
        )),
        "reset" => Some((
            "a reset has no duration: connections end at once, and new ones are not hindered",
            "leave it out, or use kind \"partition\"",
        )),
        _ => None,
    };
    let duration = if let Some((message, hint)) = instant.filter(|_| table.has("duration")) {
        table.invalid("duration", message, hint);
        None
    } else {
        table
            .duration_above_zero("duration")
            .map(|placed| placed.value)
    };
    if table.has("after") {
        for key in ["at", "at_jitter"] {
            if table.has(key) {
                let message = format!("`after` and `{key}` exclude each other");
                table.invalid(key, message, "keep one: a time, or an event");
            }
        }
        check_duration(table, duration, Duration::ZERO, phases);
        return (Timing::After(read_after(table)), duration);
    }
    let at = table
        .duration("at")
        .map(|placed| placed.value)
        .unwrap_or_default();
    let jitter = table
        .duration("at_jitter")
        .map(|placed| placed.value)
        .unwrap_or_default();
    let latest = at.saturating_add(jitter);
    if latest >= phases.fault {
        let key = if at >= phases.fault {
            "at"
        } else {
            "at_jitter"
        };
        let key = if table.has(key) { key } else { "kind" };
        let message = format!(
            "the fault may start at {latest}, the fault phase lasts {}",
            phases.fault
        );
        table.invalid(key, message, "start it earlier, or lengthen `phases.fault`");
    } else {
        check_duration(table, duration, latest, phases);
    }
    (Timing::At { at, jitter }, duration)
}

fn check_duration(
    table: &TableReader<'_>,
    duration: Option<Duration>,
    start: Duration,
    phases: &Phases,
) {
    let Some(duration) = duration else { return };
    let end = start.saturating_add(duration);
    if end > phases.fault {
        let message = format!(
            "the fault may last until {end}, the fault phase ends at {}",
            phases.fault
        );
        let hint = "shorten it, lengthen `phases.fault`, or leave `duration` out: then it is healed when the settle phase begins";
        table.invalid("duration", message, hint);
    }
}

fn read_after(table: &TableReader<'_>) -> String {
    let Some(event) = table.text("after") else {
        return String::new();
    };
    if !AFTER_EVENTS.contains(&event.value) {
        let first = event.value.split('.').next().unwrap_or_default();
        let list = AFTER_EVENTS.join(", ");
        if event.value.contains('.') && EVENTS_NOT_YET.contains(&first) {
            let message = format!("event `{}` is not available yet", event.value);
            let hint = format!("available: {list}");
            table
                .log
                .unavailable(&event.span, &table.key("after"), message, hint);
        } else {
            let hint = suggestion::hint(event.value, "known are", AFTER_EVENTS.iter().copied());
            table.invalid(
                "after",
                format!("unknown event {}", quoted(event.value)),
                hint,
            );
        }
    }
    event.value.to_owned()
}

/// What no fault can tell alone: equal names, and two faults on one process at a time.
pub(crate) fn check_together(
    root: &TableReader<'_>,
    planned: &[Planned],
    phases: &Phases,
    stage: Stage,
) {
    for (index, fault) in planned.iter().enumerate() {
        for other in &planned[..index] {
            let name = &fault.fault.name;
            if *name == other.fault.name {
                let message = format!("two faults are named `{name}`");
                let hint = "metrics and gates speak of faults by name; give each its own `name`";
                root.log
                    .invalid(&fault.span, "fault.name", message, Some(hint.to_owned()));
            } else if let Some(node) = contested(other, fault, phases, stage) {
                let message = format!(
                    "`{}` and `{name}` act on {node} at the same time",
                    other.fault.name
                );
                let hint = "a node that is down or stopped cannot be killed, paused or restarted again, nor a clock or a limit be set twice; move one of them";
                root.log
                    .invalid(&fault.span, "fault", message, Some(hint.to_owned()));
            }
        }
    }
}

/// A node of which both faults surely claim the same thing at the same time: its process, a limit, or
/// its clock, which adds up in virtual time alone.
fn contested(left: &Planned, right: &Planned, phases: &Phases, stage: Stage) -> Option<String> {
    let claim = |planned: &Planned| match &planned.fault.kind {
        FaultKind::Kill { .. }
        | FaultKind::Terminate {}
        | FaultKind::Pause {}
        | FaultKind::Restart {} => Some("process"),
        FaultKind::Host(HostFault::FileDescriptors { .. }) => Some("descriptors"),
        FaultKind::Host(
            HostFault::ClockBump { .. }
            | HostFault::ClockRate { .. }
            | HostFault::ClockStrobe { .. },
        ) if stage == Stage::Local => Some("clock"),
        _ => None,
    };
    if claim(left).is_none() || claim(left) != claim(right) {
        return None;
    }
    let (left_start, left_end) = window(left, phases)?;
    let (right_start, right_end) = window(right, phases)?;
    if left_start.max(right_start) > left_end.min(right_end) {
        return None;
    }
    match (&left.fault.nodes, &right.fault.nodes) {
        (Selector::Names(left), Selector::Names(right)) => {
            left.iter().find(|name| right.contains(name)).cloned()
        }
        (Selector::All, Selector::Names(names)) | (Selector::Names(names), Selector::All) => {
            names.first().cloned()
        }
        (Selector::All, Selector::All) => Some("all nodes".to_owned()),
        _ => None,
    }
}

/// Earliest start and latest end.
fn window(planned: &Planned, phases: &Phases) -> Option<(Duration, Duration)> {
    let Timing::At { at, jitter } = planned.timing else {
        return None;
    };
    let latest = at.saturating_add(jitter);
    let end = match (&planned.fault.kind, planned.duration) {
        (kind, _) if kind.is_instant() => latest,
        (_, Some(duration)) => latest.saturating_add(duration),
        (_, None) => phases.fault,
    };
    Some((at, end))
}

/// Faults that this target and these clients leave without effect.
pub(crate) fn check_against_target(root: &TableReader<'_>, planned: &[Planned], target: &Target) {
    host_fault::check_damage(root, planned, target.nodes.len());
    host_fault::check_use(root, planned, target);
    let alone = target.strategy.replication == Replication::None {};
    let strategy = &target.strategy;
    let peers = strategy.transactions.is_some()
        || strategy.redundancy.is_some()
        || strategy.snapshot.is_some();
    for planned in planned {
        if target.strategy.balancing.is_some() {
            check_behind_balancer(root, planned, target);
            continue;
        }
        let by_role = matches!(planned.fault.nodes, Selector::Primary | Selector::Backups);
        if peers && by_role {
            let message = format!(
                "`{}` acts on nodes by role, and with transactions, redundancy or snapshot all are peers",
                planned.fault.name
            );
            let hint = "name nodes, as in `nodes = [\"n1\"]`, or draw some".to_owned();
            root.log
                .invalid(&planned.span, "fault.nodes", message, Some(hint));
        } else if alone && planned.fault.nodes == Selector::Backups {
            let message = format!(
                "`{}` acts on backups, and without replication there are none",
                planned.fault.name
            );
            let hint = "name nodes, or set `target.strategy.replication.kind = \"primary-backup\"`";
            root.log
                .invalid(&planned.span, "fault.nodes", message, Some(hint.to_owned()));
        }
    }
}

/// Behind a balancer no node is primary, and links between backends carry nothing that serves.
fn check_behind_balancer(root: &TableReader<'_>, planned: &Planned, target: &Target) {
    let (name, nodes) = (&planned.fault.name, &planned.fault.nodes);
    if matches!(nodes, Selector::Primary | Selector::Backups) {
        let message = format!("`{name}` acts on `{nodes}`, and behind a balancer no node is that");
        let hint = "name backends, such as `nodes = [\"n1\"]`, or the balancer: `nodes = [\"b1\"]`";
        let hint = Some(hint.to_owned());
        return root
            .log
            .invalid(&planned.span, "fault.nodes", message, hint);
    }
    let companion = |name: &String| target.companions.iter().any(|one| one.name == *name);
    let names_balancer = matches!(nodes, Selector::Names(names) if names.iter().any(companion));
    let between_backends = match &planned.fault.kind {
        FaultKind::Partition { shape, .. } => !matches!(
            shape,
            PartitionShape::Grudge(_) | PartitionShape::FromTo { .. }
        ),
        kind => kind
            .on_links()
            .is_some_and(|(_, links)| links.peers.is_empty()),
    };
    if between_backends && !names_balancer {
        let message = format!("`{name}` leaves alone the links between balancer and backends");
        let hint = "name the other end: `peers = [\"b1\"]`, or `from` and `to` of a partition";
        let hint = Some(hint.to_owned());
        root.log.invalid(&planned.span, "fault", message, hint);
    }
}
