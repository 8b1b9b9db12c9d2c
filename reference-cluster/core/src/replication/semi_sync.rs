//! `acknowledge = "semi-sync"`: one backup besides the primary must hold a write, and what happens
//! when none does (as in MySQL's semi-synchronous replication).
//!
//! With a fallback, a primary that waits this long without any backup's progress goes on alone: what
//! it then acknowledges dies with it (wrong on purpose for whoever wants nothing lost; the price of
//! the strict variant, `fallback = "never"`, is that it blocks). It asks for a backup again as soon
//! as one is back in step: holds everything that was in the log a beat ago. In a group of more than
//! three even the strict variant may lose what it acknowledged, because a majority can do without
//! the one backup that holds it.
//!
//! Invariant: while in step, nothing is committed that no backup holds.

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

/// How far the logs are, in positions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// Durable at the primary.
    pub own: u64,
    /// Held by the backup that is furthest.
    pub held: u64,
    /// Last in the primary's log.
    pub last: u64,
}

#[derive(Debug)]
enum Backing {
    /// Writes wait for a backup. With the position that was held, and since when a write waits for
    /// more than that.
    InStep(Option<(u64, Moment)>),
    /// Writes wait for nobody until a backup holds everything up to `goal`.
    Alone { goal: u64, set: Moment },
}

/// Whether a primary waits for a backup.
#[derive(Debug)]
pub(super) struct SemiSync {
    /// Longest wait; `None`: for ever.
    fallback: Option<Duration>,
    backing: Backing,
}

impl SemiSync {
    /// A primary that waits, at most as long as `fallback`.
    pub(super) fn new(fallback: Option<Duration>) -> Self {
        SemiSync {
            fallback,
            backing: Backing::InStep(None),
        }
    }

    /// True when the primary goes on without a backup.
    pub(super) fn alone(&self) -> bool {
        matches!(self.backing, Backing::Alone { .. })
    }

    /// When the primary will go on without a backup unless one makes progress.
    pub(super) fn due(&self) -> Option<Moment> {
        match (&self.backing, self.fallback) {
            (Backing::InStep(Some((_, since))), Some(fallback)) => Some(since.after(fallback)),
            _ => None,
        }
    }

    /// To be called at every step, before anything is committed.
    pub(super) fn judge(&mut self, now: Moment, extent: Extent, beat: Duration) {
        match &mut self.backing {
            Backing::InStep(waiting) => {
                if extent.held >= extent.own {
                    *waiting = None;
                } else if waiting.is_none_or(|(held, _)| extent.held > held) {
                    *waiting = Some((extent.held, now));
                }
                if self.due().is_some_and(|due| now >= due) {
                    self.backing = Backing::Alone {
                        goal: extent.last,
                        set: now,
                    };
                }
            }
            Backing::Alone { goal, .. } if extent.held >= *goal => {
                self.backing = Backing::InStep(None);
            }
            Backing::Alone { goal, set } => {
                // A goal that moves with the log: who merely catches up is not in step yet.
                if now.since(*set) >= beat {
                    *goal = extent.last;
                    *set = now;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_millis(50);

    fn judge(semi_sync: &mut SemiSync, millis: u64, own: u64, held: u64) -> bool {
        let extent = Extent {
            own,
            held,
            last: own,
        };
        semi_sync.judge(Moment(millis * 1_000_000), extent, BEAT);
        semi_sync.alone()
    }

    #[test]
    fn a_primary_goes_on_alone_only_after_the_whole_wait_without_progress() {
        let mut semi_sync = SemiSync::new(Some(Duration::from_millis(500)));
        for (millis, own, held, alone) in [
            (0, 5, 5, false),
            (1_000, 6, 5, false),
            // Progress, though not yet all of it: the wait begins anew.
            (1_400, 8, 6, false),
            (1_899, 9, 6, false),
            (1_900, 9, 6, true),
        ] {
            let now = judge(&mut semi_sync, millis, own, held);
            assert_eq!(now, alone, "at {millis} ms");
        }
    }

    #[test]
    fn a_strict_primary_waits_for_ever() {
        let mut semi_sync = SemiSync::new(None);
        judge(&mut semi_sync, 0, 6, 5);
        assert!(!judge(&mut semi_sync, 1_000_000_000, 6, 5));
        assert_eq!(semi_sync.due(), None);
    }

    #[test]
    fn a_backup_that_is_back_counts_again_once_it_is_in_step() {
        let mut semi_sync = SemiSync::new(Some(Duration::from_millis(500)));
        judge(&mut semi_sync, 0, 10, 0);
        for (millis, own, held, alone) in [
            (500, 10, 0, true),
            (600, 100, 0, true),
            // It holds what was there when the primary went on alone, but not what came since.
            (610, 110, 20, true),
            (700, 120, 90, true),
            (710, 120, 119, true),
            (720, 125, 120, false),
        ] {
            let now = judge(&mut semi_sync, millis, own, held);
            assert_eq!(now, alone, "at {millis} ms");
        }
    }

    #[test]
    fn a_connection_made_anew_is_no_progress() {
        let mut semi_sync = SemiSync::new(Some(Duration::from_millis(500)));
        judge(&mut semi_sync, 0, 6, 5);
        // What a backup holds is unknown after a reconnection, then known to be as before.
        judge(&mut semi_sync, 200, 6, 0);
        judge(&mut semi_sync, 300, 6, 5);
        assert!(judge(&mut semi_sync, 500, 6, 5));
    }
}
