//! Goes through the plans of a run, trial by trial.
//!
//! Plans of one experiment (variants, matrix rows) are interleaved: the first trial of each, then
//! the second of each, so that a machine that slows down over an hour does so for all of them
//! alike. Experiments follow one another in the given order.

mod side_by_side;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use shakedown_contracts::plan::{Plan, Stage};
use shakedown_contracts::run_directory::{ExperimentDirectory, RunDirectory};
use shakedown_contracts::units::Duration;

use crate::error::RunError;
use crate::interrupt::Interrupt;
use crate::isolation::Isolation;
use crate::progress::{Progress, ProgressEvent};
use crate::trial::{self, Assignment, TrialEnd};

/// A void trial is repeated this often; a machine that stalls in each of four attempts will not
/// give a measurement.
const REPETITIONS_MAX: u32 = 3;

/// What a trial takes besides its phases: network, processes, final reads.
const OVERHEAD: Duration = Duration::from_millis(700);

/// A simulated trial of some ten virtual seconds, with its files.
const SIMULATED_TRIAL: Duration = Duration::from_millis(60);

/// Where and with what to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Where everything is recorded.
    pub directory: RunDirectory,
    /// This program: it is started again for each agent, client worker and node.
    pub executable: PathBuf,
    /// Where the ledgers of this user's runs lie.
    pub ledger_root: PathBuf,
    /// What [`crate::enter_namespaces`] found.
    pub isolation: Isolation,
    /// How many simulated trials may run at once.
    pub jobs: NonZeroUsize,
}

/// What became of a run. The verdict is `analyze`'s.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOutcome {
    /// The user stopped it.
    pub interrupted: bool,
    /// Trials that went through.
    pub complete: u32,
    /// Attempts that were put aside as void.
    pub void_attempts: u32,
}

impl RunOutcome {
    fn add(&mut self, part: RunOutcome) {
        self.interrupted |= part.interrupted;
        self.complete += part.complete;
        self.void_attempts += part.void_attempts;
    }
}

/// Runs the plans. Call it on the main thread, in a current-thread runtime.
///
/// # Errors
/// [`RunError`] when the run cannot go on; what was recorded until then stays readable.
pub async fn run(
    mut plans: Vec<Plan>,
    options: RunOptions,
    mut progress: impl Progress,
    interrupt: Interrupt,
) -> Result<RunOutcome, RunError> {
    let directory = RunDirectory::new(absolute(options.directory.path())?);
    let ledgers = options.ledger_root.join(own_ledger_name()?);
    fs::create_dir_all(&ledgers).map_err(RunError::write(&ledgers))?;
    for (order, plan) in plans.iter_mut().enumerate() {
        plan.environment
            .extend(environment(order, options.isolation));
        write_plan(plan, &directory.experiment(&plan.name))?;
    }
    let run = Arc::new(Run {
        plans,
        directory,
        ledgers,
        options,
        interrupt,
    });
    let result = run.all(&mut progress).await;
    // Agents remove their own ledgers; what is left holds an open fault, for `recover`.
    let _ = fs::remove_dir(&run.ledgers);
    result
}

/// What does not change while a run goes on.
struct Run {
    plans: Vec<Plan>,
    directory: RunDirectory,
    ledgers: PathBuf,
    options: RunOptions,
    interrupt: Interrupt,
}

/// A plan and a trial of it, by their positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    plan: usize,
    trial: usize,
}

impl Run {
    async fn all(self: &Arc<Self>, progress: &mut dyn Progress) -> Result<RunOutcome, RunError> {
        let turns = interleaved(&self.plans);
        progress.event(ProgressEvent::RunStarted {
            trials: turns.len() as u32,
            estimate: estimate(&self.plans),
        });
        let mut outcome = RunOutcome::default();
        let stage = |turn: &Turn| self.plans[turn.plan].stage;
        for turns in turns.chunk_by(|one, next| stage(one) == stage(next)) {
            outcome.add(match stage(&turns[0]) {
                Stage::Local => self.one_by_one(turns, progress).await?,
                Stage::Simulation => {
                    side_by_side::all(Arc::clone(self), turns.to_vec(), progress).await?
                }
            });
        }
        Ok(outcome)
    }

    /// On real processes, which would disturb one another's measurements.
    async fn one_by_one(
        &self,
        turns: &[Turn],
        progress: &mut dyn Progress,
    ) -> Result<RunOutcome, RunError> {
        let mut outcome = RunOutcome::default();
        for turn in turns {
            outcome.add(self.trial(*turn, progress).await?);
            if outcome.interrupted {
                break;
            }
        }
        Ok(outcome)
    }

    /// One trial, repeated while it is void and attempts are left; none once the user stopped.
    async fn trial(&self, turn: Turn, progress: &mut dyn Progress) -> Result<RunOutcome, RunError> {
        let mut outcome = RunOutcome::default();
        let plan = &self.plans[turn.plan];
        let index = plan.trials[turn.trial].index;
        let experiment = self.directory.experiment(&plan.name);
        for attempt in 1..=REPETITIONS_MAX + 1 {
            if self.interrupt.has_reached(1) {
                outcome.interrupted = true;
                break;
            }
            let end = self.attempt(turn, attempt, &experiment, progress).await?;
            progress.event(ProgressEvent::TrialEnded { end: end.clone() });
            match end {
                TrialEnd::Complete => outcome.complete += 1,
                TrialEnd::Interrupted => outcome.interrupted = true,
                // Its record and the progress say why; `analyze` calls the experiment unknown.
                TrialEnd::Aborted(_) => {}
                TrialEnd::Void(_) => {
                    outcome.void_attempts += 1;
                    if attempt <= REPETITIONS_MAX {
                        put_aside(&experiment, index, attempt)?;
                        continue;
                    }
                }
            }
            break;
        }
        Ok(outcome)
    }

    async fn attempt(
        &self,
        turn: Turn,
        attempt: u32,
        experiment: &ExperimentDirectory,
        progress: &mut dyn Progress,
    ) -> Result<TrialEnd, RunError> {
        let plan = &self.plans[turn.plan];
        let trial = &plan.trials[turn.trial];
        progress.event(ProgressEvent::TrialStarted {
            experiment: plan.name.clone(),
            trial: trial.index,
            of: plan.trials.len() as u32,
        });
        // A name for each attempt: a ledger is never written into again.
        let ledgers = format!("plan-{}-trial-{}-{attempt}", turn.plan, trial.index);
        let ledgers = self.ledgers.join(ledgers);
        let assignment = Assignment {
            plan,
            trial,
            directory: experiment.trial(trial.index),
            executable: &self.options.executable,
            ledgers: ledgers.clone(),
        };
        let end = trial::run(&assignment, progress, &self.interrupt).await;
        let _ = fs::remove_dir(&ledgers);
        end
    }
}

/// Each trial of each plan, in the order of running.
fn interleaved(plans: &[Plan]) -> Vec<Turn> {
    let mut turns = Vec::new();
    let mut first = 0;
    for variants in plans.chunk_by(|one, next| one.experiment == next.experiment) {
        let longest = variants
            .iter()
            .map(|plan| plan.trials.len())
            .max()
            .unwrap_or(0);
        for trial in 0..longest {
            let having = (0..variants.len()).filter(|at| trial < variants[*at].trials.len());
            turns.extend(having.map(|at| Turn {
                plan: first + at,
                trial,
            }));
        }
        first += variants.len();
    }
    turns
}

fn estimate(plans: &[Plan]) -> Duration {
    let one = |plan: &Plan| {
        let phases = plan.phases;
        let measured = phases
            .warm_up
            .saturating_add(phases.fault)
            .saturating_add(phases.settle);
        let trial = match plan.stage {
            Stage::Local => measured.saturating_add(OVERHEAD),
            Stage::Simulation => SIMULATED_TRIAL,
        };
        trial.as_nanos().saturating_mul(plan.trials.len() as u64)
    };
    Duration::from_nanos(plans.iter().map(one).fold(0, u64::saturating_add))
}

/// What made this plan run and where, for whoever reads it years later.
fn environment(order: usize, isolation: Isolation) -> BTreeMap<String, String> {
    let kernel = nix::sys::utsname::uname()
        .map(|name| format!("{} {}", name.sysname().display(), name.release().display()))
        .unwrap_or_else(|_| "unknown".to_owned());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    BTreeMap::from([
        ("order".to_owned(), order.to_string()),
        ("started_unix_seconds".to_owned(), started.to_string()),
        ("kernel".to_owned(), kernel),
        ("isolation".to_owned(), isolation.to_string()),
        ("processors".to_owned(), processors.to_string()),
        ("shakedown".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ])
}

fn write_plan(plan: &Plan, directory: &ExperimentDirectory) -> Result<(), RunError> {
    fs::create_dir_all(directory.path()).map_err(RunError::write(directory.path()))?;
    let json = serde_json::to_vec_pretty(plan).expect("a plan is plain data with text keys");
    fs::write(directory.plan(), json).map_err(RunError::write(&directory.plan()))
}

fn put_aside(experiment: &ExperimentDirectory, index: u32, attempt: u32) -> Result<(), RunError> {
    let aside = experiment.void_trial(index, attempt);
    fs::rename(experiment.trial(index).path(), aside.path()).map_err(RunError::write(aside.path()))
}

/// Nodes have working directories of their own, so every path they get must be absolute.
fn absolute(path: &Path) -> Result<PathBuf, RunError> {
    fs::create_dir_all(path).map_err(RunError::write(path))?;
    fs::canonicalize(path).map_err(RunError::write(path))
}

/// `<pid>-<start time>`: a pid alone may come again.
fn own_ledger_name() -> Result<String, RunError> {
    let stat = fs::read_to_string("/proc/self/stat").map_err(
        RunError::system::<std::io::Error>("read /proc/self/stat; is /proc mounted?"),
    )?;
    // The second field is a name in parentheses that may hold anything; field 22 is the start.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let start_ticks = after_name.split_whitespace().nth(19).unwrap_or("0");
    Ok(format!("{}-{start_ticks}", std::process::id()))
}

#[cfg(test)]
#[path = "orchestrator_tests.rs"]
mod tests;
