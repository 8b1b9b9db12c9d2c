//! One operation from invocation to completion: finding the primary, trying again, giving up.
//!
//! Only what certainly was not done is tried again; after the first attempt that may have been
//! done the outcome is open (`Info`), with one exception: requests that may be repeated (reads
//! at the end, preparation). An operation that waits at a node while another node becomes primary
//! in a newer epoch is given up at once, so that recovery is timed by the system's takeover and
//! not by the clients' timeout.

use std::time::Duration as StdDuration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::primary::{Primary, Tracker};
use super::{Adapter, Answerer, Attempt, Reply, Request, Standing};

/// Pause before trying again: short against any takeover, long enough to spare a node that is
/// starting. With the deadline it bounds the attempts of an operation.
const BACKOFF: StdDuration = StdDuration::from_millis(20);
/// So many hints in a row are followed without a pause; more would be two nodes naming each other.
const HINTS_MAX: u32 = 4;

/// How long and how stubbornly an operation is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Persistence {
    /// Given up then.
    pub deadline: Instant,
    /// One attempt may take so long.
    pub attempt: StdDuration,
    /// Doing it twice does no harm: tried again even when it may have been done.
    pub repeatable: bool,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// Done.
    Ok {
        /// What came back.
        reply: Reply,
        /// Who served it.
        by: Answerer,
    },
    /// Certainly not done.
    Fail {
        /// Why.
        reason: String,
        /// Who said so.
        by: Option<Answerer>,
    },
    /// It may have been done, or may be done later.
    Info {
        /// Why.
        reason: String,
        /// Who said so, if anybody did.
        by: Option<Answerer>,
    },
}

/// What to do after an attempt.
enum Next {
    End(Outcome),
    Follow(Primary),
    Again,
}

/// Carries out one operation.
#[derive(Debug)]
pub(crate) struct Drive<'a, A> {
    adapter: &'a A,
    tracker: &'a Tracker,
    primary: watch::Receiver<Option<Primary>>,
    persistence: Persistence,
    hints_left: u32,
    /// Why the last attempt did not succeed.
    reason: String,
    /// An attempt may have been done (repeatable operations alone go on after one).
    open: bool,
}

impl<'a, A: Adapter> Drive<'a, A> {
    /// Ready to run.
    pub fn new(adapter: &'a A, tracker: &'a Tracker, persistence: Persistence) -> Self {
        Drive {
            adapter,
            tracker,
            primary: tracker.watch(),
            persistence,
            hints_left: HINTS_MAX,
            reason: "no node claims to be primary".to_owned(),
            open: false,
        }
    }

    /// Tries until done, refused, open, or the deadline has passed.
    pub async fn run(mut self, request: &Request) -> Outcome {
        let _pending = self.tracker.pending();
        let mut hinted = None;
        while Instant::now() < self.persistence.deadline {
            let target = match hinted.take() {
                Some(target) => target,
                None => match self.known_primary().await {
                    Some(target) => target,
                    None => break,
                },
            };
            let attempt = self.attempt(target, request).await;
            match self.judge(target, attempt) {
                Next::End(outcome) => return outcome,
                Next::Follow(target) => hinted = Some(target),
                Next::Again => self.back_off().await,
            }
        }
        let reason = format!("timeout: {}", self.reason);
        match self.open {
            true => Outcome::Info { reason, by: None },
            false => Outcome::Fail { reason, by: None },
        }
    }

    /// The primary, once one is known; `None` when the deadline comes first.
    async fn known_primary(&mut self) -> Option<Primary> {
        let known = self.primary.wait_for(Option::is_some);
        let known = timeout_at(self.persistence.deadline, known)
            .await
            .ok()?
            .ok()?;
        *known
    }

    /// One attempt, ended early by a newer primary or by time.
    async fn attempt(&mut self, target: Primary, request: &Request) -> Attempt {
        let limit = Instant::now() + self.persistence.attempt;
        let replaced = self.primary.wait_for(|known| {
            known.is_some_and(|known| known.epoch > target.epoch && known.node != target.node)
        });
        let unknown = |reason: String| Attempt::Unknown { reason, by: None };
        tokio::select! {
            biased;
            attempt = self.adapter.attempt(target.node, request) => attempt,
            newer = replaced => {
                let epoch = newer.ok().and_then(|newer| *newer).map(|newer| newer.epoch);
                let (old, new) = (target.epoch, epoch.unwrap_or_default());
                unknown(format!("primary changed while pending: epoch {old} to {new}"))
            }
            () = sleep_until(limit.min(self.persistence.deadline)) => {
                unknown("timeout: no answer".to_owned())
            }
        }
    }

    fn judge(&mut self, target: Primary, attempt: Attempt) -> Next {
        if !matches!(attempt, Attempt::Done { .. } | Attempt::Refused { .. }) {
            self.tracker.trouble();
        }
        match attempt {
            Attempt::Done { reply, by } => {
                self.tracker
                    .observe(target.node, Some(Standing::Primary(by.epoch)));
                Next::End(Outcome::Ok { reply, by })
            }
            Attempt::Refused { reason, by } => Next::End(Outcome::Fail { reason, by }),
            Attempt::Unknown { reason, by } if !self.persistence.repeatable => {
                Next::End(Outcome::Info { reason, by })
            }
            Attempt::Unknown { reason, .. } => {
                self.open = true;
                self.again(reason)
            }
            Attempt::NotDone { reason } => self.again(reason),
            Attempt::NotPrimary { reason, hint } => {
                self.tracker.observe(target.node, Some(Standing::Other));
                let hint = hint.filter(|hint| hint.node != target.node && self.hints_left > 0);
                self.reason = reason;
                self.hints_left = self.hints_left.saturating_sub(1);
                hint.map_or(Next::Again, Next::Follow)
            }
        }
    }

    fn again(&mut self, reason: String) -> Next {
        self.reason = reason;
        Next::Again
    }

    /// Waits a moment, or for another primary.
    async fn back_off(&mut self) {
        self.hints_left = HINTS_MAX;
        self.primary.mark_unchanged();
        tokio::select! {
            _ = self.primary.changed() => {}
            () = sleep(BACKOFF) => {}
        }
    }
}
