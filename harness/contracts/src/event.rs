//! Events: what happened besides client operations, one record a line of `events.jsonl`.
//!
//! The harness, its agents and the nodes all report events; the recorder writes them in order of
//! receipt. A name such as `role.changed` may stand in a fault's `after`.

use serde::{Deserialize, Serialize};

use crate::fault::FaultId;
use crate::time::{Bracket, Moment};
use crate::units::Duration;

/// One line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// When it happened, stamped where it happened.
    pub time: Moment,
    /// When the harness heard of it.
    pub received: Moment,
    /// Who reports: a node's name, `network-agent`, `node-agent n1`, `clients c1` or `harness`.
    pub source: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What a node or agent writes about itself: the event with its own time stamp.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StampedEvent {
    /// When it happened, by the reporter's CLOCK_MONOTONIC.
    pub time: Moment,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum Event {
    /// The trial begins.
    #[serde(rename = "trial.started")]
    TrialStarted {
        /// Its seed.
        seed: u64,
    },
    /// A phase begins.
    #[serde(rename = "phase.started")]
    PhaseStarted {
        /// Which.
        phase: Phase,
    },
    /// The trial is over; nothing is missing from its files.
    #[serde(rename = "trial.ended")]
    TrialEnded {},
    /// The trial cannot be judged.
    #[serde(rename = "trial.void")]
    TrialVoid {
        /// Why.
        reason: String,
    },
    /// The trial broke off or was stopped: what was recorded until then stays, and is not judged.
    #[serde(rename = "trial.broken")]
    TrialBroken {
        /// Why.
        reason: String,
    },
    /// The scheduling canary's report.
    #[serde(rename = "canary")]
    Canary {
        /// Largest lateness in the trial.
        lateness_max: Duration,
        /// How often the lateness was over the limit that makes a trial void.
        stalls: u64,
    },

    /// The harness asked for a fault.
    #[serde(rename = "fault.requested")]
    FaultRequested {
        /// Which.
        id: FaultId,
        /// The fault's kind.
        kind: String,
        /// Nodes it was resolved to.
        nodes: Vec<String>,
    },
    /// The fault is in effect, and that was verified.
    #[serde(rename = "fault.effective")]
    FaultEffective {
        /// Which.
        id: FaultId,
        /// t0, as a bracket over all nodes and links of the fault.
        at: Bracket,
        /// Nodes it acts on.
        nodes: Vec<String>,
        /// How it was done and seen.
        evidence: Evidence,
    },
    /// The fault is gone, and that was verified.
    #[serde(rename = "fault.healed")]
    FaultHealed {
        /// Which.
        id: FaultId,
        /// When.
        at: Bracket,
        /// How it was seen.
        evidence: Evidence,
    },
    /// The fault or its heal could not be done or not be verified: the trial is unknown.
    #[serde(rename = "fault.unverified")]
    FaultUnverified {
        /// Which.
        id: FaultId,
        /// Why.
        reason: String,
    },

    /// A node serves.
    #[serde(rename = "node.ready")]
    NodeReady {},
    /// A node's process was started.
    #[serde(rename = "node.started")]
    NodeStarted {
        /// The process, in the harness's pid namespace.
        pid: i32,
        /// 1 for the first start in a trial.
        generation: u32,
    },
    /// A node's process ended.
    #[serde(rename = "node.exited")]
    NodeExited {
        /// Such as `exit code 1` or `signal 9`.
        status: String,
        /// True when a fault or the end of the trial did it.
        expected: bool,
    },
    /// An observer holds the subject for failed from now on.
    #[serde(rename = "suspicion")]
    Suspicion {
        /// Who is suspected.
        subject: String,
    },
    /// An observer holds the subject for live again.
    #[serde(rename = "trust")]
    Trust {
        /// Who is trusted.
        subject: String,
    },
    /// A node took on a role.
    #[serde(rename = "role.changed")]
    RoleChanged {
        /// The new role.
        role: Role,
        /// In which epoch.
        epoch: u64,
    },
    /// A backup asks for the promises it needs to become primary.
    #[serde(rename = "takeover.started")]
    TakeoverStarted {
        /// The epoch it wants.
        epoch: u64,
    },
    /// A node refused a message of an older epoch.
    #[serde(rename = "fenced")]
    Fenced {
        /// Whose message.
        sender: String,
        /// The refused epoch.
        epoch: u64,
    },
    /// A checkpoint is durable.
    #[serde(rename = "checkpoint.completed")]
    CheckpointCompleted {
        /// Last log position it holds.
        position: u64,
        /// Its size.
        bytes: u64,
    },
    /// A restarted node has its state back from disk.
    #[serde(rename = "recovery.completed")]
    RecoveryCompleted {
        /// Records replayed from the log.
        records: u64,
        /// Bytes of log read.
        bytes: u64,
        /// Operations in flight whose effects were rolled back.
        #[serde(default)]
        undone: u64,
        /// How long it took.
        took: Duration,
    },
    /// A participant of a transaction has promised to commit it when told to.
    #[serde(rename = "transaction.prepared")]
    TransactionPrepared {
        /// Which; the same on every node.
        transaction: String,
    },
    /// A participant that promised still does not know the decision, and begins to ask for it.
    #[serde(rename = "transaction.in-doubt")]
    TransactionInDoubt {
        /// Which.
        transaction: String,
        /// When it promised, or came back with the promise from its disk.
        since: Moment,
    },
    /// A participant that was in doubt is so no longer.
    #[serde(rename = "transaction.resolved")]
    TransactionResolved {
        /// Which.
        transaction: String,
        /// True: it was committed here. False: aborted.
        committed: bool,
    },
    /// A balancer gives a backend nothing more to do.
    #[serde(rename = "balancer.ejected")]
    BalancerEjected {
        /// Which.
        backend: String,
        /// Why.
        reason: Ejection,
    },
    /// A balancer gives a backend work again.
    #[serde(rename = "balancer.restored")]
    BalancerRestored {
        /// Which.
        backend: String,
        /// Why it had none.
        reason: Ejection,
    },
    /// Fewer nodes than wanted are in step with the data, as seen by who leads them; where nobody
    /// leads, by each node for itself.
    #[serde(rename = "redundancy.degraded")]
    RedundancyDegraded {
        /// Nodes that hold it and are in step.
        copies: u32,
        /// As many should.
        wanted: u32,
    },
    /// As many nodes as wanted are in step with the data again.
    #[serde(rename = "redundancy.restored")]
    RedundancyRestored {
        /// Nodes that hold it and are in step.
        copies: u32,
        /// As many should.
        wanted: u32,
    },
    /// The supervisor has a node started; whoever can start processes (the stage) obeys.
    #[serde(rename = "supervisor.restart")]
    SupervisorRestart {
        /// Which.
        node: String,
        /// Attempts in a row, with this one.
        attempt: u32,
    },
    /// The supervisor starts a node no more.
    #[serde(rename = "supervisor.gave_up")]
    SupervisorGaveUp {
        /// Which.
        node: String,
        /// Attempts in a row that did not last.
        attempts: u32,
    },
    /// The supervisor asks for a node to be replaced.
    #[serde(rename = "supervisor.replace")]
    SupervisorReplace {
        /// Whose place is to be taken.
        node: String,
        /// By whom.
        spare: String,
        /// Why.
        reason: ReplaceReason,
    },
    /// A copy's checksum was wrong: it is not answered with until others have given it back.
    #[serde(rename = "copy.damaged")]
    CopyDamaged {
        /// Of which key.
        key: String,
    },
    /// A damaged copy was given back by others.
    #[serde(rename = "copy.repaired")]
    CopyRepaired {
        /// Of which key.
        key: String,
    },
    /// A spare has taken a node's place in its group. Told by whoever leads when that is committed, perhaps
    /// again by who leads next.
    #[serde(rename = "member.replaced")]
    MemberReplaced {
        /// Whose place it was.
        node: String,
        /// Whose it is.
        spare: String,
    },
}

/// Why a node is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplaceReason {
    /// It is out of reach for too long.
    Lost,
    /// It dies again each time it is started.
    CrashLoop,
    /// It is slow for too long.
    Slow,
}

impl Event {
    /// The name in the `event` field; may stand in a fault's `after` where [`AFTER_EVENTS`] has it.
    pub fn name(&self) -> &'static str {
        match self {
            Event::TrialStarted { .. } => "trial.started",
            Event::PhaseStarted { .. } => "phase.started",
            Event::TrialEnded {} => "trial.ended",
            Event::TrialVoid { .. } => "trial.void",
            Event::TrialBroken { .. } => "trial.broken",
            Event::Canary { .. } => "canary",
            Event::FaultRequested { .. } => "fault.requested",
            Event::FaultEffective { .. } => "fault.effective",
            Event::FaultHealed { .. } => "fault.healed",
            Event::FaultUnverified { .. } => "fault.unverified",
            Event::NodeReady {} => "node.ready",
            Event::NodeStarted { .. } => "node.started",
            Event::NodeExited { .. } => "node.exited",
            Event::Suspicion { .. } => "suspicion",
            Event::Trust { .. } => "trust",
            Event::RoleChanged { .. } => "role.changed",
            Event::TakeoverStarted { .. } => "takeover.started",
            Event::Fenced { .. } => "fenced",
            Event::CheckpointCompleted { .. } => "checkpoint.completed",
            Event::RecoveryCompleted { .. } => "recovery.completed",
            Event::BalancerEjected { .. } => "balancer.ejected",
            Event::BalancerRestored { .. } => "balancer.restored",
            Event::RedundancyDegraded { .. } => "redundancy.degraded",
            Event::RedundancyRestored { .. } => "redundancy.restored",
            Event::SupervisorRestart { .. } => "supervisor.restart",
            Event::SupervisorGaveUp { .. } => "supervisor.gave_up",
            Event::SupervisorReplace { .. } => "supervisor.replace",
            Event::MemberReplaced { .. } => "member.replaced",
            Event::CopyDamaged { .. } => "copy.damaged",
            Event::CopyRepaired { .. } => "copy.repaired",
            Event::TransactionPrepared { .. } => "transaction.prepared",
            Event::TransactionInDoubt { .. } => "transaction.in-doubt",
            Event::TransactionResolved { .. } => "transaction.resolved",
        }
    }
}

/// Events that a fault's `after` may name in this version.
pub const AFTER_EVENTS: &[&str] = &[
    "fault.effective",
    "fault.healed",
    "suspicion",
    "role.changed",
    "takeover.started",
    "checkpoint.completed",
    "recovery.completed",
    "node.ready",
    "balancer.ejected",
    "balancer.restored",
    "redundancy.degraded",
    "redundancy.restored",
    "supervisor.restart",
    "supervisor.replace",
    "member.replaced",
    "transaction.prepared",
    "transaction.in-doubt",
];

/// Why a balancer gives a backend nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ejection {
    /// Its failure detector suspects it.
    Health,
    /// It failed too often in a row.
    Outlier,
    /// Its circuit breaker is open.
    Breaker,
}

/// Phases of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// No fault: the baseline.
    WarmUp,
    /// Faults happen.
    Fault,
    /// Faults are healed.
    Settle,
    /// Everything is read back.
    FinalReads,
    /// Clients are done.
    End,
}

/// Role of a node in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Serves clients.
    Primary,
    /// Follows the primary.
    Backup,
    /// Asks for promises.
    Candidate,
    /// Serves clients, as every other node does.
    Peer,
    /// Stands in front of backends and serves clients through them.
    Balancer,
    /// Works for a balancer.
    Backend,
    /// Watches nodes and has them restarted or replaced.
    Supervisor,
}

/// How a fault was done, and how its effect was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The mechanism, such as `SIGKILL by pidfd` or `nftables set in the router`.
    pub mechanism: String,
    /// What was observed, in words with numbers.
    pub observed: String,
    /// Asked-for and achieved values, where the fault has such: name, requested, achieved, unit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub achieved: Vec<Achieved>,
}

/// A value as asked for and as measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Achieved {
    /// Which value, such as `latency`.
    pub name: String,
    /// As asked for.
    pub requested: f64,
    /// As measured.
    pub achieved: f64,
    /// Unit of both.
    pub unit: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_event_is_its_tag() {
        let events = [
            Event::NodeReady {},
            Event::RoleChanged {
                role: Role::Primary,
                epoch: 2,
            },
            Event::Suspicion {
                subject: "n1".into(),
            },
            Event::PhaseStarted {
                phase: Phase::WarmUp,
            },
        ];
        for event in events {
            let json = serde_json::to_value(&event).unwrap();
            assert_eq!(json["event"], event.name());
            assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
        }
    }
}
