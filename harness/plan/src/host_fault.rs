//! `[[fault]]` of kinds `disk-…`, `clock-…` and of resources: their options, and what of them cannot be
//! survived by anybody.

use shakedown_contracts::fault::{FaultKind, Selector};
use shakedown_contracts::host_fault::{BumpDirection, Damage, DiskMethod, Errno, HostFault};
use shakedown_contracts::plan::Target;
use shakedown_contracts::strategy::{Detector, RecoveryLog};
use shakedown_contracts::units::{Bytes, Duration, Ratio};

use crate::dns_fault;
use crate::fault::Planned;
use crate::reader::{TableReader, quoted};

/// A clock that runs faster than this is no clock.
const RATE_MAX: f64 = 100.0;
/// Jepsen's default, and what an agent can look at.
const PERIOD: Duration = Duration::from_millis(10);
const PERIOD_MIN: Duration = Duration::from_millis(1);
const PERIOD_MAX: Duration = Duration::from_secs(1);
/// More than any machine can be kept busy by.
const HOGS_MAX: u32 = 4096;
/// A kernel's shortest quota is a millisecond of its period of 100.
const QUOTA_MIN: f64 = 0.01;
/// More processors than a machine has.
const QUOTA_MAX: f64 = 1024.0;
/// Less than a process needs to do anything.
const MEMORY_MIN: Bytes = Bytes(1 << 20);
/// More descriptors than any process may have.
const LEFT_MAX: u32 = 1 << 20;
/// A probe meets a fault of this share within 20,000 tries but once in a billion runs.
const SHARE_MIN: f64 = 0.001;
/// More failures than any run has operations.
const TIMES_MAX: u32 = 1_000_000;

/// The fault of that kind; `None` for a kind that is none of a host.
pub(crate) fn read(table: &TableReader<'_>, kind: &str) -> Option<HostFault> {
    Some(match kind {
        "disk-hang" => HostFault::DiskHang {},
        "disk-latency" => HostFault::DiskLatency {
            latency: required_duration(table, "latency", "`latency = \"20ms\"`"),
            jitter: table
                .duration("jitter")
                .map(|placed| placed.value)
                .unwrap_or_default(),
            path: path(table),
        },
        "disk-fault" => disk_fault(table),
        "disk-full" => HostFault::DiskFull {},
        "disk-corrupt" => {
            let damages = [
                ("bit-flip", Damage::BitFlip),
                ("scramble", Damage::Scramble),
            ];
            HostFault::DiskCorrupt {
                damage: table.choice("damage", &damages).unwrap_or(Damage::BitFlip),
                path: path(table),
            }
        }
        "disk-lose-unsynced" => HostFault::DiskLoseUnsynced {
            torn: table.boolean("torn").unwrap_or(false),
        },
        "clock-rate" => HostFault::ClockRate { rate: rate(table) },
        "clock-bump" => {
            let ways = [
                ("forward", BumpDirection::Forward),
                ("back", BumpDirection::Back),
            ];
            HostFault::ClockBump {
                delta: required_duration(table, "delta", "`delta = \"500ms\"`"),
                direction: table.choice("direction", &ways).unwrap_or_default(),
            }
        }
        "clock-strobe" => strobe(table),
        "cpu" => {
            if !table.has("hogs") && !table.has("quota") {
                let hint = "say how many busy processes, `hogs = 4`, or what the node may have \
                            of one processor, `quota = 0.2`";
                table.missing("hogs", hint);
            }
            HostFault::Cpu {
                hogs: table.integer("hogs", 1, HOGS_MAX).unwrap_or(0),
                quota: quota(table),
            }
        }
        "memory" => {
            if !table.has("limit") && !table.has("pressure") {
                let hint = "say what more the node may take, `limit = \"64MiB\"`, or what something \
                            else holds, `pressure = \"1GiB\"`";
                table.missing("limit", hint);
            }
            HostFault::Memory {
                limit: bytes(table, "limit"),
                pressure: bytes(table, "pressure"),
            }
        }
        "dns" => HostFault::Dns(dns_fault::read(table)?),
        "file-descriptors" => HostFault::FileDescriptors {
            left: table.integer("left", 0, LEFT_MAX).unwrap_or(0),
        },
        _ => return None,
    })
}

fn quota(table: &TableReader<'_>) -> Option<f64> {
    let quota = table.positive("quota", QUOTA_MAX)?;
    if quota < QUOTA_MIN {
        let message = format!("a quota of {quota} is less than a kernel can give");
        table.invalid("quota", message, format!("give at least {QUOTA_MIN}"));
    }
    Some(quota)
}

fn bytes(table: &TableReader<'_>, key: &'static str) -> Option<Bytes> {
    let written = table.quantity::<Bytes>(key)?.value;
    if written < MEMORY_MIN {
        let message = format!("{written} is too little to run a process in");
        table.invalid(key, message, format!("give at least {MEMORY_MIN}"));
    }
    Some(written)
}

fn strobe(table: &TableReader<'_>) -> HostFault {
    let delta = required_duration(table, "delta", "`delta = \"200ms\"`");
    let written = table.duration_above_zero("period");
    let period = written.map_or(PERIOD, |placed| placed.value);
    if !(PERIOD_MIN..=PERIOD_MAX).contains(&period) {
        let message = format!("a clock that jumps every {period} cannot be verified");
        let hint = format!("give a period from {PERIOD_MIN} to {PERIOD_MAX}");
        table.invalid("period", message, hint);
    }
    HostFault::ClockStrobe { delta, period }
}

fn required_duration(table: &TableReader<'_>, key: &'static str, example: &str) -> Duration {
    if !table.has(key) {
        table.missing(key, &format!("say how much: {example}"));
    }
    let written = table.duration_above_zero(key);
    written.map(|placed| placed.value).unwrap_or_default()
}

fn disk_fault(table: &TableReader<'_>) -> HostFault {
    let errnos = [
        Errno::Io,
        Errno::NoSpace,
        Errno::Quota,
        Errno::ReadOnly,
        Errno::Denied,
    ];
    let errno = table.choice("errno", &errnos.map(|errno| (errno.name(), errno)));
    let errno = errno.unwrap_or(Errno::Io);
    HostFault::DiskFault {
        errno,
        methods: methods(table, errno),
        times: table.integer("times", 1, TIMES_MAX),
        path: path(table),
        percent: percent(table),
    }
}

/// Which files; all without a word.
fn path(table: &TableReader<'_>) -> Option<String> {
    let written = table.text("path")?;
    if written.value.is_empty() || written.value.starts_with('/') {
        let message = format!("{} fits no file of a node", quoted(written.value));
        let hint = "a pattern of paths from the node's own folder: `path = \"wal/*\"`";
        table.invalid("path", message, hint);
    }
    Some(written.value.to_owned())
}

fn percent(table: &TableReader<'_>) -> Option<Ratio> {
    let share = table.ratio("percent")?;
    if share.as_f64() < SHARE_MIN {
        let message = format!("a share of {share} is too small to be seen");
        let hint = format!("give at least {}", SHARE_MIN);
        table.invalid("percent", message, hint);
    }
    Some(share)
}

/// What only real processes can meet of a fault that both stages have.
pub(crate) fn check_simulated(table: &TableReader<'_>, fault: &HostFault) {
    let known = [DiskMethod::Write, DiskMethod::Sync];
    let refused = match fault {
        HostFault::DiskLatency { path: Some(_), .. }
        | HostFault::DiskCorrupt { path: Some(_), .. } => Some("path"),
        HostFault::DiskFault { path: Some(_), .. } => Some("path"),
        HostFault::DiskFault {
            percent: Some(_), ..
        } => Some("percent"),
        HostFault::DiskFault { methods, .. }
            if methods.iter().any(|method| !known.contains(method)) =>
        {
            Some("methods")
        }
        HostFault::DiskFault { errno, .. } if !matches!(errno, Errno::Io | Errno::NoSpace) => {
            Some("errno")
        }
        _ => None,
    };
    if let Some(key) = refused {
        let hint = "a simulated disk has one file, methods write and sync, errors EIO and ENOSPC; \
                    use --stage local for the rest";
        let message = format!("this `{key}` is not available in stage `simulation`");
        table.invalid(key, message, hint);
    }
}

/// Without a word, those that usually meet the error: the device fails under a sync, room is
/// missing for a write.
fn methods(table: &TableReader<'_>, errno: Errno) -> Vec<DiskMethod> {
    let usual = match errno {
        Errno::Io => DiskMethod::Sync,
        Errno::NoSpace | Errno::Quota | Errno::ReadOnly => DiskMethod::Write,
        Errno::Denied => DiskMethod::Open,
    };
    let Some(written) = table.texts("methods") else {
        return vec![usual];
    };
    let mut methods = Vec::new();
    for word in &written {
        let found = DiskMethod::ALL.iter().find(|(name, _)| *name == word.value);
        match found {
            Some((_, method)) => methods.push(*method),
            None => {
                let message = format!("{} is no method of a disk", quoted(word.value));
                let names = DiskMethod::ALL.map(|(name, _)| name).join(", ");
                table.invalid("methods", message, format!("known are {names}"));
            }
        }
    }
    if written.is_empty() {
        table.invalid(
            "methods",
            "no method can fail",
            "list \"write\", \"sync\" or both",
        );
    }
    methods
}

fn rate(table: &TableReader<'_>) -> f64 {
    let hint = "seconds of the clock in a second of time: `rate = 0.5`";
    if !table.has("rate") {
        table.missing("rate", hint);
    }
    let rate = table.positive("rate", RATE_MAX);
    if rate.is_some_and(|rate| (rate - 1.0).abs() < 1e-6) {
        table.invalid("rate", "a clock of rate 1 runs true", hint);
    }
    rate.unwrap_or(1.0)
}

/// With several copies, damage to half of them or more could be damage to all that hold a record.
pub(crate) fn check_damage(root: &TableReader<'_>, planned: &[Planned], nodes: usize) {
    let damages = |planned: &&Planned| {
        matches!(
            planned.fault.kind,
            FaultKind::Host(HostFault::DiskCorrupt { .. })
        )
    };
    let mut copies = 0;
    for planned in planned.iter().filter(damages) {
        copies += match &planned.fault.nodes {
            Selector::Names(names) => names.len(),
            Selector::One | Selector::Primary => 1,
            Selector::Minority => nodes.saturating_sub(1) / 2,
            Selector::MinorityThird => (nodes.saturating_sub(1) / 3).max(1),
            Selector::Majority => nodes / 2 + 1,
            Selector::All => nodes,
            Selector::Backups => nodes - 1,
        };
        if nodes > 1 && copies * 2 >= nodes {
            let message = format!(
                "`{}` may damage every copy of a record: {copies} of {nodes} logs",
                planned.fault.name
            );
            let hint = "damage fewer than half of the logs, by all faults of kind \"disk-corrupt\" together";
            root.log
                .invalid(&planned.span, "fault.nodes", message, Some(hint.to_owned()));
        }
    }
}

/// A disk that nobody uses cannot fail anybody.
pub(crate) fn check_use(root: &TableReader<'_>, planned: &[Planned], target: &Target) {
    let strategy = &target.strategy;
    let probes = matches!(strategy.detector, Detector::ProgressProbe { .. });
    if strategy.recovery_log != (RecoveryLog::None {}) {
        return;
    }
    for planned in planned {
        let unused = match &planned.fault.kind {
            FaultKind::Host(HostFault::DiskCorrupt { .. }) => true,
            FaultKind::Host(fault) => fault.name().starts_with("disk-") && !probes,
            _ => false,
        };
        if unused {
            let name = &planned.fault.name;
            let message =
                format!("`{name}` acts on disks, and without a recovery log nobody uses one");
            let hint = "set `target.strategy.recovery_log.kind = \"redo\"`".to_owned();
            root.log
                .invalid(&planned.span, "fault", message, Some(hint));
        }
    }
}
