//! One trial: a fresh cluster, the phases of its plan, and everything that happened in its folder.
//!
//! All processes of the trial report into one channel. The trial is one loop over it (`pump`) that
//! records what arrives, plays due faults, and returns when a condition holds or a moment has come;
//! setting up, the phases and taking down are sequences of such waits, each with a limit.

mod phases;
mod platform;
mod reports;
mod setup;
mod teardown;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use shakedown_contracts::event::{Event, EventRecord};
use shakedown_contracts::plan::{self, Plan};
use shakedown_contracts::run_directory::TrialDirectory;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use crate::canary::{Canary, CanaryReport};
use crate::error::RunError;
use crate::faults::parts::Order;
use crate::faults::player::{Action, Player};
use crate::faults::view::View;
use crate::interrupt::Interrupt;
use crate::progress::{Progress, ProgressEvent};
use crate::recorder::Recorder;
use crate::stage::connection::StageError;
use crate::stage::{Cluster, Process, log_of};

/// What a trial needs to know.
#[derive(Debug)]
pub struct Assignment<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The entry of it to carry out.
    pub trial: &'a plan::Trial,
    /// Where it is recorded; absolute, new.
    pub directory: TrialDirectory,
    /// This program.
    pub executable: &'a Path,
    /// A folder for the ledgers of this trial alone.
    pub ledgers: PathBuf,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrialEnd {
    /// It went through; what it shows is for `analyze` to say.
    Complete,
    /// It went through and cannot be judged.
    Void(String),
    /// It broke off; its record has no `trial.ended`.
    Aborted(String),
    /// The user stopped it.
    Interrupted,
}

/// Why a trial breaks off.
#[derive(Debug)]
enum Abort {
    Interrupted,
    /// This trial is unknown; the next one may go better.
    Broken(String),
    /// The run cannot go on.
    Fatal(RunError),
}

impl From<RunError> for Abort {
    fn from(error: RunError) -> Self {
        Abort::Fatal(error)
    }
}

impl From<StageError> for Abort {
    fn from(error: StageError) -> Self {
        Abort::Broken(error.to_string())
    }
}

/// What the processes have said so far.
#[derive(Debug, Default)]
struct Heard {
    namespaces: BTreeMap<String, PathBuf>,
    node_agents_ready: BTreeSet<String>,
    clients_ready: BTreeSet<String>,
    prepared: bool,
    stopped: BTreeSet<String>,
    pacing_lateness_max: Duration,
    closed: BTreeSet<Process>,
    /// Node and status of the first process that ended by itself.
    died: Option<(String, String)>,
}

/// A trial under way.
struct Running<'a> {
    assignment: &'a Assignment<'a>,
    progress: &'a mut dyn Progress,
    interrupt: Interrupt,
    /// Requests to stop after which waiting ends: one, and two once we are taking down.
    interrupts_heeded: u32,
    /// Processes may end from now on.
    ending: bool,
    cluster: Cluster,
    recorder: Recorder,
    player: Player,
    view: View,
    heard: Heard,
    canary: Option<Canary>,
}

/// Carries a trial out and takes everything down again, whatever happens.
///
/// # Errors
/// [`RunError`] when the run cannot go on; what was recorded stays.
pub async fn run(
    assignment: &Assignment<'_>,
    progress: &mut dyn Progress,
    interrupt: &Interrupt,
) -> Result<TrialEnd, RunError> {
    setup::make_folders(&assignment.directory)?;
    let mut running = Running {
        assignment,
        progress,
        interrupt: interrupt.clone(),
        interrupts_heeded: 1,
        ending: false,
        cluster: Cluster::new(assignment)?,
        recorder: Recorder::start(&assignment.directory)?,
        player: Player::new(assignment.plan, assignment.trial),
        view: View::new(&assignment.plan.target.member_names()),
        heard: Heard::default(),
        canary: None,
    };
    let played = running.play().await;
    let end = running.finish(played).await;
    teardown::remove_data(&assignment.directory, progress);
    end
}

impl Running<'_> {
    async fn play(&mut self) -> Result<(), Abort> {
        let seed = self.assignment.trial.seed;
        self.record_own(Event::TrialStarted { seed }).await?;
        self.set_up().await?;
        self.phases().await
    }

    /// Takes everything down, closes the record and says how it ended.
    async fn finish(mut self, played: Result<(), Abort>) -> Result<TrialEnd, RunError> {
        if let Err(abort) = &played {
            let reason = match abort {
                Abort::Interrupted => "the run was stopped".to_owned(),
                Abort::Broken(reason) => reason.clone(),
                Abort::Fatal(error) => error.to_string(),
            };
            let open = self.player.abandon(&reason);
            // When nothing can be recorded any more, that is the error which is returned below.
            let _ = self.perform(open).await;
            let _ = self.record_own(Event::TrialBroken { reason }).await;
        }
        self.take_down().await;
        let canary = self.canary.take().map(Canary::finish);
        let end = match played {
            Err(Abort::Fatal(error)) => Err(error),
            Err(Abort::Interrupted) => Ok(TrialEnd::Interrupted),
            Err(Abort::Broken(reason)) => Ok(TrialEnd::Aborted(reason)),
            Ok(()) => self.conclude(canary.unwrap_or_default()).await,
        };
        let recorded = self.recorder.finish();
        let end = end?;
        recorded?;
        Ok(end)
    }

    async fn conclude(&mut self, canary: CanaryReport) -> Result<TrialEnd, RunError> {
        let CanaryReport {
            lateness_max,
            stalls,
        } = canary;
        self.record_own(Event::Canary {
            lateness_max,
            stalls,
        })
        .await?;
        let mut end = TrialEnd::Complete;
        if stalls > 0 {
            let reason = format!(
                "the machine stalled {stalls} times, for {:.0} ms at worst, and no measurement \
                 can be trusted",
                lateness_max.as_millis_f64()
            );
            self.record_own(Event::TrialVoid {
                reason: reason.clone(),
            })
            .await?;
            end = TrialEnd::Void(reason);
        }
        self.record_own(Event::TrialEnded {}).await?;
        Ok(end)
    }

    /// Handles whatever happens until `done` holds (true) or the moment has come (then what
    /// `done` says).
    async fn pump(&mut self, until: Moment, done: impl Fn(&Self) -> bool) -> Result<bool, Abort> {
        // Ends at `until`: each turn waits for something, at most for that moment.
        loop {
            if done(self) {
                return Ok(true);
            }
            let due = self.player.next_deadline().filter(|_| !self.ending);
            let deadline = due.map_or(until, |due| due.min(until));
            let arrival = tokio::select! {
                biased;
                () = self.interrupt.reached(self.interrupts_heeded) => {
                    return Err(Abort::Interrupted);
                }
                arrival = self.cluster.next_until(deadline) => arrival?,
            };
            if let Some(arrival) = arrival {
                self.handle(arrival).await?;
                continue;
            }
            let now = self.cluster.now();
            if due.is_some_and(|due| due <= now) {
                let actions = self.player.tick(now, &self.view);
                self.perform(actions).await?;
            }
            if now >= until {
                return Ok(done(self));
            }
        }
    }

    /// Carries actions out in order, and those that follow from what they record.
    async fn perform(&mut self, actions: Vec<Action>) -> Result<(), Abort> {
        let mut waiting = VecDeque::from(actions);
        // Bounded by the schedule: each injection begins once and has finitely many groups.
        while let Some(action) = waiting.pop_front() {
            match action {
                Action::Order(Order::Network(order)) => self.cluster.order_network(&order).await?,
                Action::Order(Order::Node { node, order }) => {
                    self.cluster.order_node(&node, &order).await?;
                }
                Action::Record(event) => {
                    let now = self.cluster.now();
                    waiting.extend(self.player.observe(&event, now, &self.view));
                    self.record_own(event).await?;
                }
            }
        }
        Ok(())
    }

    /// Records an event of the harness itself, now.
    async fn record_own(&mut self, event: Event) -> Result<(), RunError> {
        let now = self.cluster.now();
        self.record_own_at(event, now).await
    }

    async fn record_own_at(&mut self, event: Event, time: Moment) -> Result<(), RunError> {
        if let Some(told) = progress_of(&event) {
            self.progress.event(told);
        }
        let received = self.cluster.now();
        let source = "harness".to_owned();
        self.recorder
            .event(EventRecord {
                time,
                received,
                source,
                event,
            })
            .await
    }

    /// Where a process writes its own troubles.
    fn log(&self, process: &Process) -> PathBuf {
        log_of(&self.assignment.directory, process)
    }

    /// A set-up that failed in a way that the next trial would meet again.
    fn set_up_failed(&self, reason: impl Into<String>) -> Abort {
        Abort::Fatal(RunError::SetUp {
            experiment: self.assignment.plan.name.clone(),
            trial: self.assignment.trial.index,
            reason: reason.into(),
        })
    }
}

/// What those who watch are told of an event of the harness.
fn progress_of(event: &Event) -> Option<ProgressEvent> {
    match event {
        Event::FaultEffective { id, nodes, .. } => Some(ProgressEvent::FaultEffective {
            fault: id.clone(),
            nodes: nodes.clone(),
        }),
        Event::FaultHealed { id, .. } => Some(ProgressEvent::FaultHealed { fault: id.clone() }),
        Event::FaultUnverified { id, reason } => Some(ProgressEvent::FaultUnverified {
            fault: id.clone(),
            reason: reason.clone(),
        }),
        _ => None,
    }
}
