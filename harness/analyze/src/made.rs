//! Hand-made trials for tests. Times are milliseconds from the trial's start.
//!
//! Three nodes; warm-up from 1 s, fault phase from 2 s, settling from 6 s to 7 s, end at 8 s.

use std::collections::BTreeMap;

use shakedown_contracts::event::{Event, EventRecord, Evidence, Phase};
use shakedown_contracts::fault::{
    Crash, Delay, Distribution, FaultId, FaultKind, LinkSelection, Selector,
};
use shakedown_contracts::history::{
    Account, CompareAndSet, Operation, OperationRecord, RecordKind, Register, Transfer,
};
use shakedown_contracts::metric::{Comparison, Condition};
use shakedown_contracts::plan::{
    ClientGroup, Fault, Gate, Injection, PLAN_FORMAT, Phases, Plan, Preparations, Requirement,
    Stage, Start, Statistic, Target, Trial as PlannedTrial, Workload, WorkloadKind,
};
use shakedown_contracts::strategy::Strategy;
use shakedown_contracts::time::{Bracket, Moment};
use shakedown_contracts::units::{Duration, Ratio};

use crate::history::History;
use crate::trial::Trial;

/// A moment of the trial.
pub fn at(milliseconds: u64) -> Moment {
    Moment(milliseconds * 1_000_000)
}

/// A gate on the worst trial.
pub fn gate(metric: &str, comparison: Comparison, bound: f64) -> Gate {
    Gate {
        metric: metric.to_owned(),
        fault: None,
        statistic: Statistic::Max,
        require: Requirement::Condition(Condition { comparison, bound }),
    }
}

/// The plan of a register workload without faults and gates.
pub fn plan() -> Plan {
    Plan {
        format: PLAN_FORMAT,
        name: "made".into(),
        experiment: "made".into(),
        variant: None,
        row: None,
        title: "A made experiment".into(),
        source: "made.toml".into(),
        seed: 7,
        stage: Stage::Local,
        target: Target {
            system: "reference".into(),
            nodes: ["n1", "n2", "n3"].map(String::from).to_vec(),
            companions: Vec::new(),
            strategy: Strategy::default(),
            ready_timeout: Duration::from_secs(10),
        },
        workload: Workload {
            kind: WorkloadKind::Register {
                keys: 5,
                operations_per_key: Some(500),
            },
            clients: 8,
            groups: vec![ClientGroup {
                name: "c1".into(),
                beside: None,
                clients: 8,
            }],
            rate: 100.0,
            mix: BTreeMap::new(),
            timeout: Duration::from_secs(1),
            final_reads: true,
        },
        phases: Phases {
            warm_up: Duration::from_secs(1),
            fault: Duration::from_secs(4),
            settle: Duration::from_secs(1),
            bin: Duration::from_millis(100),
        },
        faults: Vec::new(),
        gates: Vec::new(),
        expect: None,
        trials: vec![PlannedTrial {
            index: 1,
            seed: 1,
            schedule: Vec::new(),
        }],
        preparations: Preparations::default(),
        environment: BTreeMap::new(),
    }
}

/// A trial under construction.
#[derive(Debug, Clone)]
pub struct MadeTrial {
    pub plan: Plan,
    pub history: MadeHistory,
    pub events: Vec<EventRecord>,
}

impl MadeTrial {
    /// A finished trial in which nothing happened.
    pub fn new() -> Self {
        let history = MadeHistory::default();
        let mut made = MadeTrial {
            plan: plan(),
            history,
            events: Vec::new(),
        };
        made.event("harness", 0, Event::TrialStarted { seed: 1 });
        let phases = [
            (1_000, Phase::WarmUp),
            (2_000, Phase::Fault),
            (6_000, Phase::Settle),
            (7_000, Phase::FinalReads),
            (7_900, Phase::End),
        ];
        for (time, phase) in phases {
            made.event("harness", time, Event::PhaseStarted { phase });
        }
        let lateness_max = Duration::from_micros(500);
        made.event(
            "harness",
            7_950,
            Event::Canary {
                lateness_max,
                stalls: 0,
            },
        );
        made.event("harness", 8_000, Event::TrialEnded {});
        made
    }

    /// The same with a bank of two accounts, `a0` and `a1`, of 100 each.
    pub fn bank() -> Self {
        let mut made = MadeTrial::new();
        made.plan.workload.kind = WorkloadKind::Bank {
            keys: 2,
            initial_balance: 100,
            transfer_max: 10,
        };
        made
    }

    pub fn trial(&self) -> Trial<'_> {
        // Leaked, so that a trial can be taken as often as a test goes on making it.
        let history: &'static History = Box::leak(Box::new(self.history.history()));
        Trial::new(&self.plan, 1, history, &self.events).expect("a made trial has its phases")
    }

    pub fn event(&mut self, source: &str, time: u64, event: Event) {
        let (time, source) = (at(time), source.to_owned());
        self.events.push(EventRecord {
            time,
            received: time,
            source,
            event,
        });
    }

    pub fn suspicion(&mut self, observer: &str, subject: &str, time: u64) {
        self.event(
            observer,
            time,
            Event::Suspicion {
                subject: subject.into(),
            },
        );
    }

    pub fn trust(&mut self, observer: &str, subject: &str, time: u64) {
        self.event(
            observer,
            time,
            Event::Trust {
                subject: subject.into(),
            },
        );
    }

    pub fn node_started(&mut self, node: &str, time: u64) {
        let source = format!("node-agent {node}");
        self.event(
            &source,
            time,
            Event::NodeStarted {
                pid: 9,
                generation: 2,
            },
        );
    }

    pub fn kill(&mut self, node: &str, from: u64, to: u64) {
        self.fault(
            FaultKind::Kill {
                crash: Crash::Process,
            },
            &[node],
            from,
            to,
        );
    }

    pub fn delay(&mut self, node: &str, from: u64, to: u64) {
        let delay = Delay {
            latency: Duration::from_millis(60),
            jitter: Duration::ZERO,
            correlation: Ratio::default(),
            distribution: Distribution::Uniform,
        };
        let links = LinkSelection {
            direction: Default::default(),
            peers: Vec::new(),
            ports: Default::default(),
        };
        self.fault(FaultKind::Delay { delay, links }, &[node], from, to);
    }

    /// A fault named `f` (the next ones `f2`, `f3`), planned, verified in effect and healed, each within no time.
    pub fn fault(&mut self, kind: FaultKind, nodes: &[&str], from: u64, to: u64) {
        let nodes: Vec<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
        let fault = match self.plan.faults.len() {
            0 => "f".to_owned(),
            others => format!("f{}", others + 1),
        };
        let id = FaultId {
            fault: fault.clone(),
            occurrence: 0,
        };
        let name = kind.name().to_owned();
        self.plan.faults.push(Fault {
            name: fault.clone(),
            kind,
            nodes: Selector::Names(nodes.clone()),
        });
        self.plan.trials[0].schedule.push(Injection {
            fault,
            occurrence: 0,
            start: Start::At(Duration::from_millis(from - 2_000)),
            duration: Some(Duration::from_millis(to - from)),
        });
        let instant = |time| Bracket {
            before: at(time),
            after: at(time),
        };
        let evidence = || Evidence {
            mechanism: "made".into(),
            observed: "by hand".into(),
            achieved: Vec::new(),
        };
        let requested = Event::FaultRequested {
            id: id.clone(),
            kind: name,
            nodes: nodes.clone(),
        };
        self.event("harness", from, requested);
        let effective = Event::FaultEffective {
            id: id.clone(),
            at: instant(from),
            nodes,
            evidence: evidence(),
        };
        self.event("harness", from, effective);
        self.event(
            "harness",
            to,
            Event::FaultHealed {
                id,
                at: instant(to),
                evidence: evidence(),
            },
        );
    }

    /// Takes all events of that name out.
    pub fn remove(&mut self, name: &str) {
        self.events.retain(|record| record.event.name() != name);
    }
}

/// Operations under construction, each of a process of its own.
#[derive(Debug, Clone, Default)]
pub struct MadeHistory {
    operations: Vec<MadeOperation>,
}

/// One operation; without a completion it stays open.
#[derive(Debug, Clone)]
pub struct MadeOperation {
    operation: Operation,
    invoked: u64,
    due: Option<u64>,
    by: Option<(String, u64)>,
    completion: Option<(RecordKind, u64)>,
    final_read: bool,
}

impl MadeOperation {
    pub fn due(&mut self, time: u64) -> &mut Self {
        self.due = Some(time);
        self
    }

    pub fn by(&mut self, node: &str, epoch: u64) -> &mut Self {
        self.by = Some((node.to_owned(), epoch));
        self
    }

    pub fn ok(&mut self, time: u64) {
        self.completion = Some((RecordKind::Ok, time));
    }

    pub fn fail(&mut self, time: u64) {
        self.completion = Some((RecordKind::Fail, time));
    }

    pub fn info(&mut self, time: u64) {
        self.completion = Some((RecordKind::Info, time));
    }
}

impl MadeHistory {
    pub fn write(&mut self, key: &str, value: u64, invoked: u64) -> &mut MadeOperation {
        self.push(
            Operation::Write(Register {
                key: key.into(),
                value,
            }),
            invoked,
            false,
        )
    }

    pub fn cas(
        &mut self,
        key: &str,
        expected: Option<u64>,
        new: u64,
        invoked: u64,
    ) -> &mut MadeOperation {
        let value = CompareAndSet { expected, new };
        self.push(
            Operation::Cas(Register {
                key: key.into(),
                value,
            }),
            invoked,
            false,
        )
    }

    pub fn read(&mut self, key: &str, value: Option<u64>, invoked: u64) -> &mut MadeOperation {
        self.push(
            Operation::Read(Register {
                key: key.into(),
                value,
            }),
            invoked,
            false,
        )
    }

    pub fn final_read(
        &mut self,
        key: &str,
        value: Option<u64>,
        invoked: u64,
    ) -> &mut MadeOperation {
        self.push(
            Operation::Read(Register {
                key: key.into(),
                value,
            }),
            invoked,
            true,
        )
    }

    pub fn transfer(&mut self, id: u64, amount: i64, invoked: u64) -> &mut MadeOperation {
        let transfer = Transfer {
            id,
            from: "a0".into(),
            to: "a1".into(),
            amount,
        };
        self.push(Operation::Transfer(transfer), invoked, false)
    }

    pub fn snapshot(
        &mut self,
        accounts: Vec<Account>,
        invoked: u64,
        final_read: bool,
    ) -> &mut MadeOperation {
        self.push(Operation::ReadAll(Some(accounts)), invoked, final_read)
    }

    pub fn history(&self) -> History {
        History::from_records(self.records())
    }

    /// The records as a recorder writes them, in order of time.
    pub fn records(&self) -> Vec<OperationRecord> {
        let mut records = Vec::new();
        for (process, made) in self.operations.iter().enumerate() {
            let invocation = OperationRecord {
                index: 0,
                process: process as u64,
                kind: RecordKind::Invoke,
                operation: made.operation.clone(),
                time: at(made.invoked),
                due: made.due.map(at),
                node: None,
                epoch: None,
                error: None,
                final_read: made.final_read,
            };
            if let Some((kind, time)) = made.completion {
                records.push(OperationRecord {
                    kind,
                    time: at(time),
                    due: None,
                    node: made.by.clone().map(|by| by.0),
                    epoch: made.by.clone().map(|by| by.1),
                    ..invocation.clone()
                });
            }
            records.push(invocation);
        }
        records.sort_by_key(|record| (record.time, record.kind != RecordKind::Invoke));
        for (index, record) in records.iter_mut().enumerate() {
            record.index = index as u64;
        }
        records
    }

    fn push(&mut self, operation: Operation, invoked: u64, final_read: bool) -> &mut MadeOperation {
        self.operations.push(MadeOperation {
            operation,
            invoked,
            due: None,
            by: None,
            completion: None,
            final_read,
        });
        self.operations.last_mut().expect("one was just pushed")
    }
}
