//! The `simulation` stage: the reference cluster's cores in virtual time.
//!
//! It obeys the orders that agents and workers obey in `local` and reports as they do, so that a
//! trial goes the same way through; only time is the world's, and passes while the trial waits.
//! What a fault does is done by the simulator itself: it is in effect at the moment of the order.

mod clients;
#[cfg(feature = "flaws")]
mod flaw;
mod host;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use shakedown_contracts::control::{
    CONTROL_VERSION, ClientOrder, ClientReport, FaultReport, Namespace, NetworkOrder,
    NetworkReport, NodeOrder, NodeReport, ProcessFault,
};
use shakedown_contracts::event::{Event, Evidence, StampedEvent};
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::plan::Plan;
use shakedown_contracts::run_directory::TrialDirectory;
use shakedown_contracts::time::{Bracket, Moment};
use shakedown_simulator::{Happening, Setup, World};

use super::{Arrival, Process, Report};
use crate::error::RunError;
use crate::target::reference;
use clients::Worker;

/// So many waits in a row without giving way; then Ctrl-C is heard.
const TURNS_IN_A_ROW: u32 = 256;

/// What an agent is in virtual time.
const MECHANISM: &str = "the simulator";

/// A process of a node.
#[derive(Debug, Clone, Copy)]
struct Life {
    started: Moment,
    ready: Option<Moment>,
}

/// The cluster of one trial.
#[derive(Debug)]
pub struct Cluster {
    world: World,
    nodes: Vec<String>,
    /// What was done to a node by a fault, so that healing undoes it.
    done: BTreeMap<FaultId, ProcessFault>,
    /// Faults of disks and clocks, by node.
    disturbing: BTreeSet<(String, FaultId)>,
    /// Faults that are healed once the node serves.
    until_ready: BTreeMap<String, FaultId>,
    /// When each node's process was started, and when it served.
    lives: BTreeMap<String, Life>,
    workers: BTreeMap<String, Worker>,
    processes: BTreeSet<Process>,
    arrivals: VecDeque<Arrival>,
    turns: u32,
}

impl Cluster {
    /// Nothing runs yet. `seed` is the trial's.
    ///
    /// # Errors
    /// When a node refuses its configuration.
    pub fn new(plan: &Plan, seed: u64, directory: &TrialDirectory) -> Result<Self, RunError> {
        let configs = plan.target.members().map(|(node, _)| {
            let mut config = reference::config(plan, seed, node, directory);
            // The simulated disk itself forgets what was not synced.
            config.hold_unsynced = false;
            config
        });
        let groups = plan.workload.groups.iter().map(|group| group.name.clone());
        #[cfg_attr(
            not(feature = "flaws"),
            expect(unused_mut, reason = "only a flaw alters it")
        )]
        let mut setup = Setup::new(configs.collect(), groups.collect(), seed);
        #[cfg(feature = "flaws")]
        {
            setup.planted = flaw::from_environment()?;
        }
        let world = World::new(setup).map_err(|error| {
            let refused = std::io::Error::other(error.to_string());
            RunError::system::<std::io::Error>("set up the simulated cluster")(refused)
        })?;
        Ok(Cluster {
            world,
            nodes: plan.target.member_names(),
            done: BTreeMap::new(),
            disturbing: BTreeSet::new(),
            until_ready: BTreeMap::new(),
            lives: BTreeMap::new(),
            workers: BTreeMap::new(),
            processes: BTreeSet::new(),
            arrivals: VecDeque::new(),
            turns: 0,
        })
    }

    /// The world's present.
    pub fn now(&self) -> Moment {
        self.world.now()
    }

    /// The next report, or `None` at `deadline`; virtual time passes meanwhile.
    pub async fn next_until(&mut self, deadline: Moment) -> Option<Arrival> {
        self.turns += 1;
        if self.turns.is_multiple_of(TURNS_IN_A_ROW) {
            tokio::task::yield_now().await;
        }
        // Ends at the deadline: the world's events and the workers' deadlines lie ahead of now.
        while self.arrivals.is_empty() && self.world.now() < deadline {
            let now = self.world.now();
            let workers = self.workers.values();
            let next = workers
                .filter_map(|worker| worker.next_deadline(now))
                .chain(self.world.next_event())
                .fold(deadline, Moment::min);
            self.world.run_until(next.max(now));
            self.take_happenings();
            self.tick();
        }
        self.arrivals.pop_front()
    }

    /// As the network agent.
    pub fn order_network(&mut self, order: &NetworkOrder) {
        let now = self.world.now();
        let report = match order {
            NetworkOrder::Hello { endpoints, .. } => {
                self.processes.insert(Process::NetworkAgent);
                let namespaces = endpoints.iter().map(|endpoint| Namespace {
                    endpoint: endpoint.name.clone(),
                    path: PathBuf::from("simulated"),
                });
                NetworkReport::Ready {
                    version: CONTROL_VERSION,
                    namespaces: namespaces.collect(),
                    took: Default::default(),
                }
            }
            NetworkOrder::Inject { id, ports, .. } if !ports.is_all() => {
                let reason = format!("simulated messages have no ports, so not {ports} of them");
                let id = id.clone();
                NetworkReport::Fault(FaultReport::Unverified { id, reason })
            }
            NetworkOrder::Inject {
                id, links, effect, ..
            } => {
                self.world.apply(id, links, *effect);
                let observed = format!("{} links have the effect", links.len());
                NetworkReport::Fault(effective(id, now, observed))
            }
            NetworkOrder::Heal { id } => {
                self.world.withdraw(id);
                NetworkReport::Fault(healed(id, now, "the effect is gone"))
            }
            NetworkOrder::Shutdown => return self.close(Process::NetworkAgent),
        };
        self.say(Report::Network(report));
    }

    /// As the agent of a node.
    pub fn order_node(&mut self, node: &str, order: &NodeOrder) {
        let now = self.world.now();
        match order {
            NodeOrder::Hello { .. } => {
                self.processes.insert(Process::NodeAgent(node.to_owned()));
                let version = CONTROL_VERSION;
                self.say_of(node, NodeReport::Ready { version });
            }
            NodeOrder::Start => self.world.start(node),
            NodeOrder::Inject { id, action } => {
                self.inject(node, id, *action);
                // What the node and its agent tell of it comes first, as in `local`.
                self.take_happenings();
                let observed = format!("{node} is {}", state_after(*action));
                self.say_of(node, NodeReport::Fault(effective(id, now, observed)));
            }
            NodeOrder::Disturb { id, fault } => self.disturb(node, id, fault),
            NodeOrder::Heal { id } => self.heal(node, id),
            NodeOrder::Shutdown => self.close(Process::NodeAgent(node.to_owned())),
        }
        self.take_happenings();
    }

    /// As the worker of a group.
    pub fn order_clients(&mut self, group: &str, order: &ClientOrder) {
        match order {
            ClientOrder::Hello { workload, seed, .. } => {
                self.processes.insert(Process::Clients(group.to_owned()));
                match Worker::new(group, workload, self.nodes.clone(), *seed) {
                    Ok(worker) => {
                        self.workers.insert(group.to_owned(), worker);
                    }
                    Err(error) => self.say(Report::Client {
                        group: group.to_owned(),
                        report: ClientReport::Failed {
                            message: error.to_string(),
                        },
                    }),
                }
            }
            ClientOrder::Shutdown => {
                self.workers.remove(group);
                self.close(Process::Clients(group.to_owned()));
            }
            order => {
                if let Some(worker) = self.workers.get_mut(group) {
                    worker.obey(order, &mut self.world);
                }
            }
        }
        self.take_reports();
    }

    /// Those that have not been ended yet.
    pub fn processes(&self) -> Vec<Process> {
        self.processes.iter().cloned().collect()
    }

    /// Ends one.
    pub fn end(&mut self, process: &Process) -> String {
        self.processes.remove(process);
        "ended".to_owned()
    }

    /// Ends all.
    pub fn end_all(&mut self) {
        #[cfg(feature = "flaws")]
        flaw::note_asked();
        self.processes.clear();
    }

    fn inject(&mut self, node: &str, id: &FaultId, action: ProcessFault) {
        let world = &mut self.world;
        match action {
            ProcessFault::CrashHost => world.crash(node),
            // A simulated node has nothing to do before its end.
            ProcessFault::Kill | ProcessFault::Terminate => world.kill(node),
            ProcessFault::Pause => world.pause(node),
            ProcessFault::Restart => {
                world.kill(node);
                world.start(node);
            }
        }
        self.done.insert(id.clone(), action);
    }

    fn heal(&mut self, node: &str, id: &FaultId) {
        if self.mend(node, id) {
            return;
        }
        match self.done.get(id) {
            Some(ProcessFault::Pause) => {
                self.world.resume(node);
                let report = healed(id, self.world.now(), &format!("{node} goes on"));
                return self.say_of(node, NodeReport::Fault(report));
            }
            Some(ProcessFault::Kill | ProcessFault::CrashHost | ProcessFault::Terminate) => {
                if let Some(report) = self.serves_again(node, id) {
                    return self.say_of(node, NodeReport::Fault(report));
                }
                self.world.start(node);
            }
            // It was started again at once.
            Some(ProcessFault::Restart) | None => {}
        }
        self.until_ready.insert(node.to_owned(), id.clone());
    }

    /// Of a killed node that somebody else has started meanwhile.
    fn serves_again(&self, node: &str, id: &FaultId) -> Option<FaultReport> {
        let Life { started, ready } = self.lives.get(node)?;
        let at = Bracket {
            before: *started,
            after: (*ready)?,
        };
        Some(FaultReport::Healed {
            id: id.clone(),
            at,
            evidence: evidence(format!("{node} serves again since before the heal")),
        })
    }

    /// Keeps a node's life up to date.
    fn notice(&mut self, node: &str, time: Moment, event: &Event) {
        match event {
            Event::NodeStarted { .. } => {
                let life = Life {
                    started: time,
                    ready: None,
                };
                self.lives.insert(node.to_owned(), life);
            }
            Event::NodeReady {} => {
                if let Some(life) = self.lives.get_mut(node) {
                    life.ready = Some(time);
                }
            }
            Event::NodeExited { .. } => {
                self.lives.remove(node);
            }
            _ => {}
        }
    }

    fn take_happenings(&mut self) {
        for happening in self.world.take_happenings() {
            match happening {
                Happening::Event { node, time, event } => self.event(&node, time, event),
                Happening::Disturbed { node, id } => self.disturbed(&node, id),
                Happening::Answer { call, answer, .. } => {
                    let world = &mut self.world;
                    let mut workers = self.workers.values_mut();
                    workers.any(|worker| worker.answer(call, &answer, world));
                }
            }
        }
        self.take_reports();
    }

    fn event(&mut self, node: &str, time: Moment, event: Event) {
        self.notice(node, time, &event);
        // One that was started and ends by itself is not dead by the fault any more: what it died of
        // is its own, and judged as that.
        let started = match event {
            Event::NodeReady {} => Some("serves again"),
            Event::NodeExited {
                expected: false, ..
            } => Some("was started and ended by itself"),
            _ => None,
        };
        let by_agent = matches!(event, Event::NodeStarted { .. } | Event::NodeExited { .. });
        let stamped = StampedEvent { time, event };
        self.say_of(
            node,
            match by_agent {
                true => NodeReport::Agent(stamped),
                false => NodeReport::Node(stamped),
            },
        );
        if let Some(how) = started
            && let Some(id) = self.until_ready.remove(node)
        {
            let report = healed(&id, time, &format!("{node} {how}"));
            self.say_of(node, NodeReport::Fault(report));
        }
    }

    fn tick(&mut self) {
        let now = self.world.now();
        for worker in self.workers.values_mut() {
            if worker.next_deadline(now).is_some_and(|due| due <= now) {
                worker.tick(&mut self.world);
            }
        }
        self.take_reports();
    }

    fn take_reports(&mut self) {
        let received = self.world.now();
        for (group, worker) in &mut self.workers {
            for report in worker.take_reports() {
                let report = Report::Client {
                    group: group.clone(),
                    report,
                };
                self.arrivals.push_back(Arrival { received, report });
            }
        }
    }

    fn close(&mut self, process: Process) {
        let reason = "it was asked to end".to_owned();
        self.say(Report::Closed { process, reason });
    }

    fn say_of(&mut self, node: &str, report: NodeReport) {
        let node = node.to_owned();
        self.say(Report::Node { node, report });
    }

    fn say(&mut self, report: Report) {
        let received = self.world.now();
        self.arrivals.push_back(Arrival { received, report });
    }
}

fn state_after(action: ProcessFault) -> &'static str {
    match action {
        ProcessFault::Kill | ProcessFault::CrashHost | ProcessFault::Terminate => "dead",
        ProcessFault::Pause => "stopped",
        ProcessFault::Restart => "dead and started again",
    }
}

fn effective(id: &FaultId, now: Moment, observed: String) -> FaultReport {
    FaultReport::Effective {
        id: id.clone(),
        at: instant(now),
        evidence: evidence(observed),
    }
}

fn healed(id: &FaultId, now: Moment, observed: &str) -> FaultReport {
    FaultReport::Healed {
        id: id.clone(),
        at: instant(now),
        evidence: evidence(observed.to_owned()),
    }
}

fn instant(now: Moment) -> Bracket {
    Bracket {
        before: now,
        after: now,
    }
}

fn evidence(observed: String) -> Evidence {
    Evidence {
        mechanism: MECHANISM.to_owned(),
        observed,
        achieved: Vec::new(),
    }
}
