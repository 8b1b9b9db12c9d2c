//! One operation from invocation to completion: finding the primary, trying again, giving up.
//!
//! Only what certainly was not done is tried again; after the first attempt that may have been
//! done the outcome is open (`Info`), with one exception: requests that may be repeated (reads
//! at the end, preparation). An operation that waits at a node while another node becomes primary
//! in a newer epoch is given up at once, so that recovery is timed by the system's takeover and
//! not by the clients' timeout. Pure: time and answers go in, commands come out.

use std::rc::Rc;

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::primary::{Primary, Tracker};
use super::{Answerer, Attempt, AttemptId, Command, Reply, Request, Standing};

/// Pause before trying again: short against any takeover, long enough to spare a node that is
/// starting. With the deadline it bounds the attempts of an operation.
const BACKOFF: Duration = Duration::from_millis(20);
/// So many hints in a row are followed without a pause; more would be two nodes naming each other.
const HINTS_MAX: u32 = 4;

/// How long and how stubbornly an operation is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Persistence {
    /// Given up then.
    pub deadline: Moment,
    /// One attempt may take so long.
    pub attempt: Duration,
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

#[derive(Debug, Clone, Copy)]
enum State {
    /// Nobody is known who could be asked.
    Seeking,
    /// Somebody was asked and has not answered.
    Attempting {
        id: AttemptId,
        target: Primary,
        limit: Moment,
    },
    /// Waits a moment, or for another primary.
    BackingOff { until: Moment, changes: u64 },
}

/// Numbers attempts and gathers what is to be done.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    attempts: u64,
    waiting: Vec<Command>,
}

impl Commands {
    /// Everything that is to be done, in order.
    pub fn take(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.waiting)
    }

    /// One more.
    pub fn push(&mut self, command: Command) {
        self.waiting.push(command);
    }

    fn attempt(&mut self, node: usize, request: &Rc<Request>) -> AttemptId {
        self.attempts += 1;
        let id = AttemptId(self.attempts);
        let request = Rc::clone(request);
        self.push(Command::Attempt { id, node, request });
        id
    }
}

/// Carries out one operation.
#[derive(Debug)]
pub(crate) struct Drive {
    /// Since when it is open.
    pub began: Moment,
    request: Rc<Request>,
    persistence: Persistence,
    hints_left: u32,
    /// Why the last attempt did not succeed.
    reason: String,
    /// An attempt may have been done (repeatable operations alone go on after one).
    open: bool,
    state: State,
}

impl Drive {
    /// Ready for its first [`Drive::poll`].
    pub fn new(request: Request, persistence: Persistence, now: Moment) -> Self {
        Drive {
            began: now,
            request: Rc::new(request),
            persistence,
            hints_left: HINTS_MAX,
            reason: "no node claims to be primary".to_owned(),
            open: false,
            state: State::Seeking,
        }
    }

    /// The attempt under way.
    pub fn attempt(&self) -> Option<AttemptId> {
        match self.state {
            State::Attempting { id, .. } => Some(id),
            State::Seeking | State::BackingOff { .. } => None,
        }
    }

    /// When it is to be polled, if nothing else happens.
    pub fn next_deadline(&self) -> Moment {
        let deadline = self.persistence.deadline;
        match self.state {
            State::Seeking => deadline,
            State::Attempting { limit, .. } => limit.min(deadline),
            State::BackingOff { until, .. } => until,
        }
    }

    /// Goes on as far as it can without an answer; the outcome, once there is one.
    pub fn poll(
        &mut self,
        now: Moment,
        tracker: &mut Tracker,
        commands: &mut Commands,
    ) -> Option<Outcome> {
        match self.state {
            State::BackingOff { until, changes } if now < until && tracker.changes() == changes => {
                None
            }
            State::Seeking | State::BackingOff { .. } => {
                self.state = State::Seeking;
                self.ask(now, tracker.target(), commands)
            }
            State::Attempting { id, target, limit } => {
                let reason = cut_short(target, limit.min(self.persistence.deadline), now, tracker)?;
                commands.push(Command::Cancel { id });
                let attempt = Attempt::Unknown { reason, by: None };
                self.judge(target, attempt, now, tracker, commands)
            }
        }
    }

    /// Takes the answer to the attempt under way.
    pub fn answer(
        &mut self,
        attempt: Attempt,
        now: Moment,
        tracker: &mut Tracker,
        commands: &mut Commands,
    ) -> Option<Outcome> {
        let State::Attempting { target, .. } = self.state else {
            return None;
        };
        self.judge(target, attempt, now, tracker, commands)
    }

    fn ask(
        &mut self,
        now: Moment,
        target: Option<Primary>,
        commands: &mut Commands,
    ) -> Option<Outcome> {
        if now >= self.persistence.deadline {
            let reason = format!("timeout: {}", self.reason);
            return Some(match self.open {
                true => Outcome::Info { reason, by: None },
                false => Outcome::Fail { reason, by: None },
            });
        }
        if let Some(target) = target {
            self.state = State::Attempting {
                id: commands.attempt(target.node, &self.request),
                target,
                limit: now.after(self.persistence.attempt),
            };
        }
        None
    }

    fn judge(
        &mut self,
        target: Primary,
        attempt: Attempt,
        now: Moment,
        tracker: &mut Tracker,
        commands: &mut Commands,
    ) -> Option<Outcome> {
        if !matches!(
            attempt,
            Attempt::Done { .. } | Attempt::Refused { .. } | Attempt::Failed { .. }
        ) {
            tracker.trouble(target.node, now);
        }
        match attempt {
            Attempt::Done { reply, by } => {
                tracker.served(target.node, by.epoch);
                return Some(Outcome::Ok { reply, by });
            }
            Attempt::Refused { reason, by } => return Some(Outcome::Fail { reason, by }),
            Attempt::Unknown { reason, by } if !self.persistence.repeatable => {
                return Some(Outcome::Info { reason, by });
            }
            Attempt::Failed { reason, by } if !self.persistence.repeatable => {
                return Some(Outcome::Fail { reason, by });
            }
            Attempt::Failed { reason, .. } => self.reason = reason,
            Attempt::Unknown { reason, .. } => {
                self.open = true;
                self.reason = reason;
            }
            Attempt::NotDone { reason } => self.reason = reason,
            Attempt::NotPrimary { reason, hint } => {
                tracker.observe(target.node, Some(Standing::Other));
                let hint = hint.filter(|hint| hint.node != target.node && self.hints_left > 0);
                self.reason = reason;
                self.hints_left = self.hints_left.saturating_sub(1);
                if hint.is_some() {
                    self.state = State::Seeking;
                    return self.ask(now, hint, commands);
                }
            }
        }
        self.hints_left = HINTS_MAX;
        self.state = State::BackingOff {
            until: now.after(BACKOFF),
            changes: tracker.changes(),
        };
        None
    }
}

/// Why an attempt is not waited for any longer, if so.
fn cut_short(target: Primary, limit: Moment, now: Moment, tracker: &Tracker) -> Option<String> {
    let newer = tracker
        .primary()
        .filter(|known| known.epoch > target.epoch && known.node != target.node);
    match newer {
        Some(newer) => Some(format!(
            "primary changed while pending: epoch {} to {}",
            target.epoch, newer.epoch
        )),
        None => (now >= limit).then(|| "timeout: no answer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::history::Operation;

    use super::*;

    /// What a call comes to that a balancer has given up, and whether it may be asked again at once.
    fn given_up(repeatable: bool) -> (Option<Outcome>, bool) {
        let (now, mut tracker, mut commands) = (Moment(1), Tracker::new(1), Commands::default());
        tracker.observe(0, Some(Standing::Serves));
        let persistence = Persistence {
            deadline: now.after(Duration::from_secs(1)),
            attempt: Duration::from_secs(1),
            repeatable,
        };
        let request = Request::Operation(Operation::Call("k".to_owned()));
        let mut drive = Drive::new(request, persistence, now);
        assert_eq!(drive.poll(now, &mut tracker, &mut commands), None);
        let failed = Attempt::Failed {
            reason: "502".to_owned(),
            by: None,
        };
        let outcome = drive.answer(failed, now, &mut tracker, &mut commands);
        (outcome, tracker.target().is_some())
    }

    #[test]
    fn a_call_that_was_given_up_has_failed_and_is_no_reason_to_avoid_who_said_so() {
        let (outcome, askable) = given_up(false);
        assert!(matches!(outcome, Some(Outcome::Fail { .. })));
        assert!(askable);
        assert_eq!(given_up(true), (None, true), "what may be repeated is");
    }
}
