//! One process's timers. A timer that is set again is moved.
//!
//! Most timers only ever move away (suspicion moves with each heartbeat), so a move plans nothing
//! new when something is already planned before it: when that is due, it is planned again for what
//! the timer has moved to. So a thousand moves cost one event.

use shakedown_contracts::time::Moment;
use shakedown_core::interface::Timer;

/// All there are, in the order in which a node serves those that are due together.
pub(crate) const TIMERS: [Timer; 5] = [
    Timer::Heartbeat,
    Timer::Replication,
    Timer::Sync,
    Timer::Checkpoint,
    Timer::Suspicion,
];

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// As the node said it, by its clock.
    shown: Moment,
    set: Option<Moment>,
    planned: Option<Moment>,
}

/// The timers.
#[derive(Debug, Default)]
pub(crate) struct Timers([Slot; 5]);

/// What to do when something planned for a timer is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// The timer is due.
    Fires,
    /// It has moved: plan this.
    Again(Moment),
    /// Nothing any more.
    Stale,
}

impl Timers {
    fn slot(&mut self, timer: Timer) -> &mut Slot {
        &mut self.0[timer as usize]
    }

    /// Sets a timer for when the node's clock shows `shown`, which will be `at`; the moment to plan, if
    /// something has to be planned.
    pub fn set(&mut self, timer: Timer, shown: Moment, at: Moment) -> Option<Moment> {
        let slot = self.slot(timer);
        slot.shown = shown;
        slot.set = Some(at);
        if slot.planned.is_some_and(|planned| planned <= at) {
            return None;
        }
        slot.planned = Some(at);
        Some(at)
    }

    /// The node's clock was altered: `when` says when it shows something. What is to be planned.
    pub fn move_all(&mut self, when: impl Fn(Moment) -> Moment) -> Vec<(Timer, Moment)> {
        let mut moved = Vec::new();
        for (timer, slot) in TIMERS.into_iter().map(|timer| (timer, timer as usize)) {
            let slot = &mut self.0[slot];
            if slot.set.is_none() {
                continue;
            }
            let at = when(slot.shown);
            slot.set = Some(at);
            if slot.planned.is_none_or(|planned| planned > at) {
                slot.planned = Some(at);
                moved.push((timer, at));
            }
        }
        moved
    }

    /// What was planned for `now` is due. A timer that fires is no longer set.
    pub fn expire(&mut self, timer: Timer, now: Moment) -> Expiry {
        let slot = self.slot(timer);
        if slot.planned != Some(now) {
            return Expiry::Stale;
        }
        slot.planned = None;
        match slot.set {
            None => Expiry::Stale,
            Some(set) if set > now => {
                slot.planned = Some(set);
                Expiry::Again(set)
            }
            Some(_) => {
                slot.set = None;
                Expiry::Fires
            }
        }
    }

    /// The same for a process that cannot take it now: the timer stays set, for [`Timers::take_due`].
    pub fn expire_unheard(&mut self, timer: Timer, now: Moment) {
        let slot = self.slot(timer);
        if slot.planned == Some(now) {
            slot.planned = None;
        }
    }

    /// Takes a timer that is due.
    pub fn take_due(&mut self, timer: Timer, now: Moment) -> bool {
        let slot = self.slot(timer);
        let due = slot.set.is_some_and(|set| set <= now);
        if due {
            slot.set = None;
        }
        due
    }

    /// After a pause: what is set, not due and no longer planned.
    pub fn unplanned(&mut self, timer: Timer) -> Option<Moment> {
        let slot = self.slot(timer);
        if slot.planned.is_none() {
            slot.planned = slot.set;
            return slot.set;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timer = Timer::Suspicion;

    #[test]
    fn a_timer_that_moves_away_is_planned_once_and_fires_at_the_last_moment_set() {
        let mut timers = Timers::default();
        assert_eq!(timers.set(T, Moment(10), Moment(10)), Some(Moment(10)));
        assert_eq!(timers.set(T, Moment(20), Moment(20)), None);
        assert_eq!(timers.set(T, Moment(30), Moment(30)), None);
        assert_eq!(timers.expire(T, Moment(10)), Expiry::Again(Moment(30)));
        assert_eq!(timers.expire(T, Moment(30)), Expiry::Fires);
        assert_eq!(timers.expire(T, Moment(30)), Expiry::Stale);
    }

    #[test]
    fn a_timer_that_moves_nearer_fires_once_and_the_older_plan_is_stale() {
        let mut timers = Timers::default();
        assert_eq!(timers.set(T, Moment(30), Moment(30)), Some(Moment(30)));
        assert_eq!(timers.set(T, Moment(10), Moment(10)), Some(Moment(10)));
        assert_eq!(timers.expire(T, Moment(10)), Expiry::Fires);
        assert_eq!(timers.expire(T, Moment(30)), Expiry::Stale);
    }

    #[test]
    fn what_came_due_unheard_is_taken_later_and_what_did_not_is_planned_again() {
        let mut timers = Timers::default();
        timers.set(T, Moment(10), Moment(10));
        timers.expire_unheard(T, Moment(10));
        assert!(timers.take_due(T, Moment(50)));
        assert!(!timers.take_due(T, Moment(50)));
        timers.set(T, Moment(60), Moment(60));
        timers.set(T, Moment(70), Moment(70));
        timers.expire_unheard(T, Moment(60));
        assert!(!timers.take_due(T, Moment(65)));
        assert_eq!(timers.unplanned(T), Some(Moment(70)));
        assert_eq!(timers.unplanned(T), None);
    }

    #[test]
    fn an_altered_clock_moves_what_is_set_to_earlier_and_to_later() {
        let mut timers = Timers::default();
        timers.set(T, Moment(30), Moment(30));
        let sooner = timers.move_all(|shown| Moment(shown.0 - 20));
        assert_eq!(sooner, [(T, Moment(10))]);
        assert_eq!(timers.move_all(|shown| Moment(shown.0 + 10)), []);
        assert_eq!(timers.expire(T, Moment(10)), Expiry::Again(Moment(40)));
        assert_eq!(timers.expire(T, Moment(40)), Expiry::Fires);
        assert_eq!(timers.move_all(|shown| shown), []);
    }
}
