//! The harness's side of an agent: started, spoken to, ended.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::poll::{PollFd, PollFlags, poll};
use shakedown_agents::clock;
use shakedown_agents::process::pidfd::{PidFd, poll_timeout};
use shakedown_agents::session::{Incoming, Outgoing};
use shakedown_contracts::control::{
    CONTROL_VERSION, FaultReport, Names, NodeOrder, NodeReport, ProcessFault, Program,
};
use shakedown_contracts::event::{Event, StampedEvent};
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::units::Duration;

use crate::node::EVENTS;

/// Far above what anything here takes; only a hang reaches it.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A running agent.
pub struct Agent {
    pub process: Child,
    orders: Option<Outgoing>,
    reports: Incoming,
    /// Reports that were passed over while waiting for another.
    pub seen: Vec<NodeReport>,
    pub folder: tempfile::TempDir,
}

impl Agent {
    /// An agent that has said ready, for a node of this behaviour.
    pub fn new(behaviour: &str) -> Self {
        Agent::with(behaviour, |_| {})
    }

    /// Like [`Agent::new`], with a change to the program.
    pub fn with(behaviour: &str, change: impl FnOnce(&mut Program)) -> Self {
        Agent::on_disk(behaviour, None, change)
    }

    /// Like [`Agent::with`], with the program's directory served as a disk under that seed.
    pub fn on_disk(behaviour: &str, disk: Option<u64>, change: impl FnOnce(&mut Program)) -> Self {
        let namespace = PathBuf::from("/proc/self/ns/net");
        Agent::placed(behaviour, (namespace, None), disk, change)
    }

    /// Like [`Agent::on_disk`], in a network namespace, perhaps with a resolver of its own.
    pub fn placed(
        behaviour: &str,
        (namespace, names): (PathBuf, Option<Names>),
        disk: Option<u64>,
        change: impl FnOnce(&mut Program),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let mut program = Program {
            executable: std::env::current_exe().unwrap(),
            arguments: vec!["node".into(), behaviour.into(), mark.display().to_string()],
            directory: folder.path().to_owned(),
            log: folder.path().join("node.log"),
            events_descriptor: Some(EVENTS),
            ready_timeout: LIMIT,
        };
        change(&mut program);
        let mut agent = Agent::start(folder);
        agent.order(&NodeOrder::Hello {
            version: CONTROL_VERSION,
            node: "n1".into(),
            namespace,
            ledger: agent.ledger(),
            program,
            disk,
            names,
        });
        agent.until("ready", |report| {
            matches!(report, NodeReport::Ready { .. }).then_some(())
        });
        agent
    }

    /// An agent that has been told nothing.
    pub fn start(folder: tempfile::TempDir) -> Self {
        let log = std::fs::File::create(folder.path().join("agent.log")).unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg("agent")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let orders = Outgoing::new(OwnedFd::from(process.stdin.take().unwrap()));
        let reports = Incoming::new(OwnedFd::from(process.stdout.take().unwrap()));
        Agent {
            process,
            orders: Some(orders),
            reports,
            seen: Vec::new(),
            folder,
        }
    }

    pub fn ledger(&self) -> PathBuf {
        self.folder.path().join("run").join("n1.jsonl")
    }

    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    pub fn order(&self, order: &NodeOrder) {
        self.orders.as_ref().unwrap().send(order).unwrap();
    }

    /// Closes the harness's end of the stream.
    pub fn hang_up(&mut self) {
        self.orders = None;
    }

    /// Takes reports until one is wanted; the others are kept in `seen`.
    pub fn until<T>(&mut self, what: &str, wanted: impl Fn(&NodeReport) -> Option<T>) -> T {
        let deadline = clock::now().after(LIMIT);
        loop {
            let Some(report) = self.next(deadline.since(clock::now())) else {
                panic!(
                    "no {what}; seen {:#?}\nlog: {}",
                    self.seen,
                    self.log("agent.log")
                );
            };
            let found = wanted(&report);
            self.seen.push(report);
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// The next report; `None` at the end or the limit.
    fn next(&mut self, limit: Duration) -> Option<NodeReport> {
        loop {
            if let Some(report) = self.reports.buffered().unwrap() {
                return Some(report);
            }
            let mut fds = [PollFd::new(self.reports.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, poll_timeout(limit)).unwrap() == 0
                || !self.reports.read_once().unwrap()
            {
                return None;
            }
        }
    }

    /// Starts the node; its pid once it serves.
    pub fn start_node(&mut self) -> i32 {
        self.order(&NodeOrder::Start);
        let pid = self.started(1);
        self.until("node.ready", |report| {
            matches!(
                report,
                NodeReport::Node(StampedEvent {
                    event: Event::NodeReady {},
                    ..
                })
            )
            .then_some(())
        });
        pid
    }

    /// Waits for the report of this start, unless it has been seen.
    pub fn started(&mut self, wanted: u32) -> i32 {
        let find = move |report: &NodeReport| match report {
            NodeReport::Agent(StampedEvent {
                event: Event::NodeStarted { pid, generation },
                ..
            }) => (*generation == wanted).then_some(*pid),
            _ => None,
        };
        match self.seen.iter().find_map(find) {
            Some(pid) => pid,
            None => self.until("node.started", find),
        }
    }

    pub fn inject(&mut self, name: &str, action: ProcessFault) -> FaultReport {
        self.order(&NodeOrder::Inject {
            id: id(name),
            action,
        });
        self.fault_report()
    }

    pub fn heal(&mut self, name: &str) -> FaultReport {
        self.order(&NodeOrder::Heal { id: id(name) });
        self.fault_report()
    }

    pub fn fault_report(&mut self) -> FaultReport {
        self.until("fault report", |report| match report {
            NodeReport::Fault(report) => Some(report.clone()),
            _ => None,
        })
    }

    /// All ends of the node reported so far.
    pub fn exits(&self) -> Vec<(String, bool)> {
        let exits = self.seen.iter().filter_map(|report| match report {
            NodeReport::Agent(StampedEvent {
                event: Event::NodeExited { status, expected },
                ..
            }) => Some((status.clone(), *expected)),
            _ => None,
        });
        exits.collect()
    }

    /// Waits for the agent's end.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = clock::now().after(LIMIT);
        while let Some(report) = self.next(deadline.since(clock::now())) {
            self.seen.push(report);
        }
        let handle = PidFd::open(self.process.id() as i32).unwrap();
        assert!(
            handle.wait(LIMIT).unwrap(),
            "the agent ends; log: {}",
            self.log("agent.log")
        );
        self.process.wait().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Only a failed test leaves it running; the node dies with it.
        let _killed = self.process.kill();
        let _status = self.process.wait();
    }
}

pub fn id(name: &str) -> FaultId {
    FaultId {
        fault: name.to_owned(),
        occurrence: 0,
    }
}
