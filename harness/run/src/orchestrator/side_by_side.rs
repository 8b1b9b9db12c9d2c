//! Trials in virtual time, as many at once as the run may.
//!
//! They share nothing, and none reads a clock of the machine's, so that neither their order nor
//! their company shows in what they record. Whoever watches is told of a trial as a whole, once it
//! is over: the events of two never mix.

use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinSet;

use super::{Run, RunOutcome, Turn};
use crate::error::RunError;
use crate::progress::{Progress, ProgressEvent};

/// The trials that nobody has taken yet.
struct Queue {
    run: Arc<Run>,
    turns: Vec<Turn>,
    next: AtomicUsize,
}

/// A trial that is over.
struct Told {
    events: Vec<ProgressEvent>,
    outcome: Result<RunOutcome, RunError>,
}

/// Carries all of `turns` out.
///
/// # Errors
/// The first that a trial ends in; no further trial is begun after it.
pub(super) async fn all(
    run: Arc<Run>,
    turns: Vec<Turn>,
    progress: &mut dyn Progress,
) -> Result<RunOutcome, RunError> {
    let jobs = run.options.jobs.get().min(turns.len());
    let next = AtomicUsize::new(0);
    let queue = Arc::new(Queue { run, turns, next });
    let (tell, mut hear) = mpsc::unbounded_channel();
    let mut workers = JoinSet::new();
    for _ in 0..jobs {
        let (queue, tell) = (Arc::clone(&queue), tell.clone());
        workers.spawn_blocking(move || queue.work(&tell));
    }
    drop(tell);
    let mut outcome = RunOutcome::default();
    let mut failed = Ok(());
    while let Some(told) = hear.recv().await {
        told.events
            .into_iter()
            .for_each(|event| progress.event(event));
        match told.outcome {
            Ok(part) => outcome.add(part),
            Err(error) => failed = failed.and(Err(error)),
        }
    }
    while let Some(ended) = workers.join_next().await {
        if let Err(error) = ended
            && let Ok(panicked) = error.try_into_panic()
        {
            panic::resume_unwind(panicked);
        }
    }
    failed.map(|()| outcome)
}

impl Queue {
    /// Takes trials until none is left.
    fn work(&self, tell: &UnboundedSender<Told>) {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                let cannot = RunError::system::<std::io::Error>("start a thread for trials");
                return self.fail(tell, Vec::new(), cannot(error));
            }
        };
        while let Some(turn) = self.turns.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let mut events = Vec::new();
            match runtime.block_on(self.run.trial(*turn, &mut events)) {
                Ok(outcome) => {
                    let outcome = Ok(outcome);
                    // Nobody hears it only when the run itself has been given up.
                    let _ = tell.send(Told { events, outcome });
                }
                Err(error) => return self.fail(tell, events, error),
            }
        }
    }

    /// Tells of `error` and takes what is left off the queue.
    fn fail(&self, tell: &UnboundedSender<Told>, events: Vec<ProgressEvent>, error: RunError) {
        self.next.store(self.turns.len(), Ordering::Relaxed);
        let outcome = Err(error);
        let _ = tell.send(Told { events, outcome });
    }
}
