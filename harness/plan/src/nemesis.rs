//! `[nemesis]`: faults drawn from the seed, one an interval.
//!
//! The fault phase is cut into slots of one interval. Each slot draws a kind and a start in its
//! first half; the fault lasts half the interval, so that none overlaps the next or the end of the
//! phase. A slot draws from a stream of its own: a longer phase changes no earlier slot.

use std::collections::BTreeMap;

use shakedown_contracts::catalogue;
use shakedown_contracts::dns_fault::{DnsFault, DnsTrouble};
use shakedown_contracts::fault::{
    Crash, CutBehavior, Delay, Direction, Distribution, FaultKind, LinkSelection, Loss,
    PartitionShape, Selector,
};
use shakedown_contracts::host_fault::{BumpDirection, Damage, DiskMethod, Errno, HostFault};
use shakedown_contracts::packet_fault::PacketFault;
use shakedown_contracts::plan::{Fault, Injection, Phases, Stage, Start, Trial};
use shakedown_contracts::ports::Ports;
use shakedown_contracts::random::Random;
use shakedown_contracts::units::{Bytes, Duration, Rate, Ratio};

use crate::fault::{self, Endpoints, Planned, Timing};
use crate::reader::{TableReader, find_available};

/// Half of it is the fault; shorter than this and injection itself takes longer.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// A schedule longer than this is a mistake in a unit.
const SLOTS_MAX: u64 = 10_000;

/// What the nemesis draws from; empty without `[nemesis]`.
#[derive(Debug, Default)]
pub(crate) struct Nemesis {
    faults: Vec<Planned>,
    interval: Duration,
    slots: u64,
}

/// Reads the table.
pub(crate) fn read(
    root: &TableReader<'_>,
    fixed: &[Planned],
    endpoints: &Endpoints,
    (phases, stage): (&Phases, Stage),
) -> Nemesis {
    let Some(table) = root.table("nemesis") else {
        return Nemesis::default();
    };
    let faults = read_faults(&table, fixed, endpoints, stage);
    let interval = table.duration("interval").map(|placed| placed.value);
    let interval = interval.unwrap_or(Duration::from_secs(2));
    let slots = phases.fault.as_nanos() / interval.as_nanos().max(1);
    let place = if table.has("interval") {
        "interval"
    } else {
        "faults"
    };
    if interval < INTERVAL_MIN {
        let message = format!("the nemesis cannot act every {interval}");
        table.invalid(place, message, format!("give at least {INTERVAL_MIN}"));
    } else if slots == 0 {
        let message = format!(
            "no interval of {interval} fits the fault phase of {}",
            phases.fault
        );
        table.invalid(
            place,
            message,
            "shorten `nemesis.interval`, or lengthen `phases.fault`",
        );
    } else if slots > SLOTS_MAX {
        let message = format!("the nemesis would act {slots} times a trial");
        table.invalid(
            place,
            message,
            format!("lengthen `nemesis.interval`; at most {SLOTS_MAX} times"),
        );
    }
    table.finish();
    Nemesis {
        faults,
        interval,
        slots: slots.min(SLOTS_MAX),
    }
}

fn read_faults(
    table: &TableReader<'_>,
    fixed: &[Planned],
    endpoints: &Endpoints,
    stage: Stage,
) -> Vec<Planned> {
    let hint = "list fault kinds: `faults = [\"kill\", \"pause\", \"partition\"]`";
    if !table.has("faults") {
        table.missing("faults", hint);
    }
    let Some(kinds) = table.texts("faults") else {
        return Vec::new();
    };
    if kinds.is_empty() {
        table.invalid("faults", "the nemesis has nothing to draw from", hint);
    }
    let key = table.key("faults");
    let mut faults: Vec<Planned> = Vec::new();
    for kind in kinds {
        let Some(name) = find_available(&kind, &key, "fault", catalogue::FAULTS, table.log) else {
            continue;
        };
        if !fault::available_in(stage, name, &kind.span, &key, table.log) {
            continue;
        }
        let links = matches!(name, "partition" | "delay" | "loss");
        if links && endpoints.nodes.len() < 2 {
            let message = format!("`{name}` needs links between nodes, and there is one node");
            let hint = Some("set `target.nodes` to 2 or more".to_owned());
            table.log.invalid(&kind.span, &key, message, hint);
        }
        let fault = default_fault(name);
        if matches!(&fault.kind, FaultKind::Host(host) if host.may_end_node()) {
            let message = format!("`{name}` can end a node, and the nemesis starts none again");
            let hint = Some("add it as a `[[fault]]`, with a `restart` after it".to_owned());
            table.log.invalid(&kind.span, &key, message, hint);
        }
        if faults
            .iter()
            .chain(fixed)
            .any(|other| other.fault.name == fault.name)
        {
            let message = format!("there would be two faults named `{}`", fault.name);
            let hint = Some("list each kind once, and name no fault of your own so".to_owned());
            table.log.invalid(&kind.span, &key, message, hint);
        }
        faults.push(Planned {
            fault,
            timing: Timing::Drawn,
            duration: None,
            span: kind.span,
        });
    }
    faults
}

/// One node, drawn at injection, with parameters that every strategy should survive.
fn default_fault(kind: &str) -> Fault {
    let links = || LinkSelection {
        direction: Direction::Both,
        peers: Vec::new(),
        ports: Ports::all(),
    };
    let ratio = |share| Ratio::new(share).expect("a constant between 0 and 1");
    let fault = match kind {
        "kill" => FaultKind::Kill {
            crash: Crash::Process,
        },
        "terminate" => FaultKind::Terminate {},
        "pause" => FaultKind::Pause {},
        "restart" => FaultKind::Restart {},
        "partition" => FaultKind::Partition {
            shape: PartitionShape::Isolate,
            behavior: CutBehavior::Drop,
            ports: Ports::all(),
        },
        "delay" => FaultKind::Delay {
            delay: Delay {
                latency: Duration::from_millis(100),
                jitter: Duration::from_millis(20),
                correlation: ratio(0.0),
                distribution: Distribution::Normal,
            },
            links: links(),
        },
        "loss" => FaultKind::Loss {
            loss: Loss {
                loss: ratio(0.2),
                correlation: ratio(0.0),
                bursts: None,
            },
            links: links(),
        },
        "reset" => FaultKind::Reset { links: links() },
        "duplicate" | "reorder" | "corrupt" | "bandwidth" => FaultKind::Packets {
            fault: default_packet_fault(kind),
            links: links(),
        },
        _ => FaultKind::Host(default_host_fault(kind)),
    };
    Fault {
        name: format!("nemesis-{kind}"),
        kind: fault,
        nodes: Selector::One,
    }
}

fn default_packet_fault(kind: &str) -> PacketFault {
    let ratio = |share| Ratio::new(share).expect("a constant between 0 and 1");
    match kind {
        "duplicate" => PacketFault::Duplicate {
            duplicate: ratio(0.1),
            correlation: ratio(0.0),
        },
        "reorder" => PacketFault::Reorder {
            latency: Duration::from_millis(10),
            reorder: ratio(0.25),
            correlation: ratio(0.0),
            gap: 1,
        },
        "corrupt" => PacketFault::Corrupt {
            corrupt: ratio(0.05),
            correlation: ratio(0.0),
        },
        _ => PacketFault::Bandwidth {
            rate: Rate::from_bits(1_000_000).expect("above zero"),
            buffer: Bytes(16 << 10),
            limit: Bytes(50_000),
        },
    }
}

fn default_host_fault(kind: &str) -> HostFault {
    match kind {
        "disk-latency" => HostFault::DiskLatency {
            latency: Duration::from_millis(50),
            jitter: Duration::from_millis(20),
            path: None,
        },
        "disk-fault" => HostFault::DiskFault {
            errno: Errno::Io,
            methods: vec![DiskMethod::Sync],
            times: Some(1),
            path: None,
            percent: None,
        },
        "disk-full" => HostFault::DiskFull {},
        "cpu" => HostFault::Cpu {
            hogs: 4,
            quota: None,
        },
        "memory" => HostFault::Memory {
            limit: None,
            pressure: Some(Bytes(256 << 20)),
        },
        "clock-strobe" => HostFault::ClockStrobe {
            delta: Duration::from_millis(100),
            period: Duration::from_millis(10),
        },
        "dns" => HostFault::Dns(DnsFault {
            trouble: DnsTrouble::Error {},
            names: Vec::new(),
        }),
        "file-descriptors" => HostFault::FileDescriptors { left: 0 },
        "disk-corrupt" => HostFault::DiskCorrupt {
            damage: Damage::BitFlip,
            path: None,
        },
        "disk-lose-unsynced" => HostFault::DiskLoseUnsynced { torn: true },
        "clock-rate" => HostFault::ClockRate { rate: 0.995 },
        "clock-bump" => HostFault::ClockBump {
            delta: Duration::from_millis(100),
            direction: BumpDirection::Forward,
        },
        _ => HostFault::DiskHang {},
    }
}

impl Nemesis {
    /// What happens in the trial of this seed.
    pub fn draw(&self, trial_seed: u64) -> Vec<Injection> {
        let half = Duration::from_nanos(self.interval.as_nanos() / 2);
        let mut occurrences: BTreeMap<&str, u32> = BTreeMap::new();
        let mut injections = Vec::new();
        for slot in 0..self.slots {
            let mut random = Random::keyed(trial_seed, "nemesis", &slot.to_string());
            let Some(planned) = random.pick(&self.faults) else {
                break;
            };
            let begin = Duration::from_nanos(self.interval.as_nanos().saturating_mul(slot));
            let occurrence = occurrences.entry(&planned.fault.name).or_default();
            let instant = planned.fault.kind.is_instant();
            injections.push(Injection {
                fault: planned.fault.name.clone(),
                occurrence: *occurrence,
                start: Start::At(begin.saturating_add(crate::schedule::jitter(&mut random, half))),
                duration: (!instant).then_some(half),
            });
            *occurrence += 1;
        }
        injections
    }

    /// The faults that were drawn at least once: one that never happens cannot be verified.
    pub fn faults_in(&self, trials: &[Trial]) -> Vec<Planned> {
        let drawn = |planned: &&Planned| {
            let mut injections = trials.iter().flat_map(|trial| &trial.schedule);
            injections.any(|injection| injection.fault == planned.fault.name)
        };
        self.faults.iter().filter(drawn).cloned().collect()
    }
}
