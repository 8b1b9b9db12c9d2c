//! Are all copies there?
//!
//! A copy counts while it is in step: it holds everything that was in the primary's log a few beats
//! ago. Who merely catches up, who is slower than that, and who is suspected does not count. Who
//! leads (a primary here, a leader in [`super::raft`]) says when there are too few, and when all are
//! back; nothing is decided by it.

use shakedown_contracts::event::Event;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::leader::Leadership;
use super::replica::{Position, Replica};
use crate::interface::Peer;

/// Beats between two marks of the log's end; who holds the mark before the last is in step.
const MARK_BEATS: u64 = 4;

/// Where the log ended a while ago, and what was said of the copies.
#[derive(Debug)]
pub(super) struct Marks {
    older: u64,
    newer: u64,
    set: Moment,
    /// All copies are there, as last said.
    whole: Option<bool>,
}

impl Marks {
    /// Of a log that ends here now.
    pub(super) fn new(now: Moment, last: u64) -> Self {
        Marks {
            older: last,
            newer: last,
            set: now,
            whole: None,
        }
    }

    /// To be called at every step: the log ends here now.
    pub(super) fn keep_up(&mut self, now: Moment, last: u64, beat: Duration) {
        if now.since(self.set).as_nanos() >= beat.as_nanos() * MARK_BEATS {
            self.older = self.newer;
            self.newer = last;
            self.set = now;
        }
    }

    /// True for a log that goes as far as the leader's did a while ago.
    pub(super) fn passed_by(&self, position: u64) -> bool {
        position >= self.older
    }

    /// So many copies are there: what is to be said about it, if that is news.
    pub(super) fn news(&mut self, copies: usize, wanted: usize) -> Option<Event> {
        let whole = copies >= wanted;
        if self.whole.replace(whole) == Some(whole) {
            return None;
        }
        let (copies, wanted) = (copies as u32, wanted as u32);
        Some(match whole {
            true => Event::RedundancyRestored { copies, wanted },
            false => Event::RedundancyDegraded { copies, wanted },
        })
    }

    /// True before anything was said.
    pub(super) fn are_fresh(&self) -> bool {
        self.whole.is_none()
    }
}

impl Leadership {
    /// True when the node holds what was in the log a while ago.
    pub(super) fn in_step(&self, peer: Peer) -> bool {
        let progress = self.backups.get(&peer);
        progress.is_some_and(|progress| self.marks.passed_by(progress.matched))
    }
}

impl Replica {
    /// At every step: counts the copies, and tells when that changes anything.
    pub(super) fn judge_redundancy(&mut self) {
        let (now, last, beat) = (self.now, self.entries.last().position, self.setting.beat);
        let Position::Primary(leadership) = &mut self.position else {
            return;
        };
        if self.committed < leadership.first || self.setting.rules.fixed_primary.is_some() {
            return;
        }
        leadership.marks.keep_up(now, last, beat);
        let voters = self.setting.rules.voters.iter();
        let me = self.setting.me;
        let there = voters.filter(|peer| {
            **peer == me || !self.suspected.contains(peer) && leadership.in_step(**peer)
        });
        let copies = there.count();
        let first_look = leadership.marks.are_fresh();
        if let Some(event) = leadership.marks.news(copies, self.membership.wanted()) {
            self.note(event);
        }
        if first_look {
            // From now on it knows what its group has committed.
            self.tell_outsiders();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_millis(50);

    fn at(millis: u64) -> Moment {
        Moment(1_000_000_000).after(Duration::from_millis(millis))
    }

    #[test]
    fn in_step_is_who_holds_what_was_there_one_or_two_marks_ago() {
        let mut marks = Marks::new(at(0), 10);
        for millis in (0..1_000).step_by(50) {
            // An entry every millisecond.
            marks.keep_up(at(millis), 10 + millis, BEAT);
            let behind = |lag: u64| marks.passed_by((10 + millis).saturating_sub(lag));
            assert!(millis < 150 || behind(150), "at {millis} ms");
            if millis >= 400 {
                assert!(!behind(401), "at {millis} ms");
            }
        }
    }

    #[test]
    fn only_a_change_is_news() {
        let mut marks = Marks::new(at(0), 0);
        assert!(marks.are_fresh());
        let said: Vec<&str> = [3, 3, 2, 1, 3, 4]
            .iter()
            .filter_map(|copies| Some(marks.news(*copies, 3)?.name()))
            .collect();
        let expected = [
            "redundancy.restored",
            "redundancy.degraded",
            "redundancy.restored",
        ];
        assert_eq!(said, expected);
    }
}
