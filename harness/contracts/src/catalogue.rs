//! What this version can do, as data: plan refuses by it, `schema` prints it, `doctor` explains it.
//!
//! Names that the experiment format has and this version cannot carry out yet are listed too, so
//! that they are refused as "not available yet" and not as a misspelling.

/// Whether this version can carry a thing out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// It works.
    Now,
    /// It works on real processes; the `simulation` stage refuses it.
    OnProcesses,
    /// The format has it; this version refuses it.
    NotYet,
}

/// A named choice of the experiment format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// As written in an experiment file.
    pub name: &'static str,
    /// Whether it works.
    pub availability: Availability,
    /// One line for people.
    pub meaning: &'static str,
}

const fn now(name: &'static str, meaning: &'static str) -> Choice {
    Choice {
        name,
        availability: Availability::Now,
        meaning,
    }
}

const fn on_processes(name: &'static str, meaning: &'static str) -> Choice {
    Choice {
        name,
        availability: Availability::OnProcesses,
        meaning,
    }
}

const fn not_yet(name: &'static str, meaning: &'static str) -> Choice {
    Choice {
        name,
        availability: Availability::NotYet,
        meaning,
    }
}

/// Stages.
pub const STAGES: &[Choice] = &[
    now(
        "local",
        "real processes on this machine, a network namespace each",
    ),
    now("simulation", "the reference cluster in virtual time"),
    not_yet("ssh", "processes on hosts of yours"),
    not_yet("kubernetes", "pods"),
];

/// Fault kinds.
pub const FAULTS: &[Choice] = &[
    now("kill", "SIGKILL; crash = \"process\" or \"host\""),
    now("terminate", "SIGTERM: the node ends in its own way"),
    now("pause", "SIGSTOP, healed by SIGCONT"),
    now("restart", "SIGKILL and start at once"),
    now("partition", "directed links go dead, by shape or grudge"),
    now(
        "delay",
        "packets arrive later: latency, jitter, correlation, distribution",
    ),
    now("loss", "packets are lost at random, or in bursts"),
    on_processes("duplicate", "packets arrive twice"),
    now("reorder", "packets overtake each other"),
    now("corrupt", "packets arrive altered"),
    on_processes("bandwidth", "links become narrow"),
    on_processes("reset", "live connections are cut"),
    on_processes("dns", "names do not resolve, wrongly, or late"),
    now("disk-hang", "no disk operation completes"),
    now("disk-latency", "the disk is slow"),
    now("disk-fault", "the disk returns errors"),
    now("disk-full", "the disk is full"),
    on_processes("disk-lose-unsynced", "the disk forgets what was not synced"),
    now("disk-corrupt", "the disk returns altered bytes"),
    now("clock-bump", "the clock jumps"),
    on_processes("clock-strobe", "the clock jumps to and fro"),
    now("clock-rate", "the clock runs fast or slow"),
    on_processes("cpu", "the node gets less of the processors"),
    on_processes("memory", "memory is short"),
    on_processes("file-descriptors", "descriptors run out"),
    not_yet("syscall", "a system call fails or is slow"),
];

/// Workloads.
pub const WORKLOADS: &[Choice] = &[
    now(
        "register",
        "reads, unique writes and compare-and-set on single keys",
    ),
    now(
        "bank",
        "transfers between accounts and reads of all of them",
    ),
    now("requests", "calls to stateless backends of a balancer"),
    not_yet("append", "transactions of list appends and reads"),
    not_yet("set", "adds and reads of a set"),
    not_yet("queue", "enqueue and dequeue"),
    not_yet("lock", "acquire and release"),
    not_yet("http", "requests of yours over HTTP"),
    not_yet("command", "a program of yours"),
];

/// Tables of `[target.strategy]` with the kinds of each.
pub const STRATEGIES: &[(&str, &[Choice])] = &[
    (
        "detector",
        &[
            now("none", "nobody notices a failure"),
            now("fixed-timeout", "suspect after a fixed silence"),
            now("phi-accrual", "suspect when the silence is improbable"),
            now("chen", "expected arrival and a safety margin"),
            now("progress-probe", "a probe passes through a disk write"),
            now("connection-close", "suspect when the connection ends"),
            now("swim", "probes through others, gossip"),
        ],
    ),
    (
        "recovery_log",
        &[
            now("none", "a restarted node is empty"),
            now("redo", "write-ahead log and checkpoints"),
            now("undo-redo", "rollback log of transactions in flight"),
        ],
    ),
    (
        "replication",
        &[
            now("none", "only the first node serves"),
            now("primary-backup", "backups follow a primary and take over"),
            now("chain", "writes travel along a chain to its tail"),
            now("raft", "consensus on a log with elected leaders"),
        ],
    ),
    (
        "transactions",
        &[
            now("none", "each side of a transfer is written on its own"),
            now("two-phase-commit", "a coordinator asks, then decides"),
            now("three-phase-commit", "with a phase before the decision"),
            now("paxos-commit", "the votes are kept by a majority"),
            now("saga", "steps with compensations"),
        ],
    ),
    (
        "snapshot",
        &[
            now("none", "the accounts of a node that restarts are empty"),
            now(
                "uncoordinated",
                "each node goes back to a checkpoint of its own",
            ),
            now(
                "chandy-lamport",
                "all go back to a snapshot of nodes and channels",
            ),
        ],
    ),
    (
        "redundancy",
        &[
            now("none", "each key on one node, without a primary"),
            now("quorum", "read and write quorums"),
            now("erasure", "Reed–Solomon shards"),
        ],
    ),
    (
        "balancing",
        &[
            now("none", "each key has one backend, live or not"),
            now("round-robin", "each backend in turn"),
            now(
                "least-requests",
                "the backend with the fewest open requests",
            ),
            now("power-of-two-choices", "the better of two drawn"),
            now("consistent-hash", "by key, with bounded load"),
        ],
    ),
    (
        "automation",
        &[
            now("none", "nobody restarts a node"),
            now("supervisor", "dead nodes are restarted and replaced"),
        ],
    ),
];

/// The choice of that name.
pub fn find(choices: &'static [Choice], name: &str) -> Option<&'static Choice> {
    choices.iter().find(|choice| choice.name == name)
}
