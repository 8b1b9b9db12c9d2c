//! Are all copies there?
//!
//! A copy counts while it is in step: it holds everything that was in the primary's log a few beats
//! ago. Who merely catches up, who is slower than that, and who is suspected does not count. The
//! primary says when there are too few, and when all are back; nothing is decided by it.

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

    fn keep_up(&mut self, now: Moment, last: u64, beat: Duration) {
        if now.since(self.set).as_nanos() >= beat.as_nanos() * MARK_BEATS {
            self.older = self.newer;
            self.newer = last;
            self.set = now;
        }
    }
}

impl Leadership {
    /// True when the node holds what was in the log a while ago.
    pub(super) fn in_step(&self, peer: Peer) -> bool {
        let progress = self.backups.get(&peer);
        progress.is_some_and(|progress| progress.matched >= self.marks.older)
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
        let wanted = self.membership.wanted();
        let whole = copies >= wanted;
        let before = leadership.marks.whole.replace(whole);
        if before == Some(whole) {
            return;
        }
        let (copies, wanted) = (copies as u32, wanted as u32);
        self.note(match whole {
            true => Event::RedundancyRestored { copies, wanted },
            false => Event::RedundancyDegraded { copies, wanted },
        });
        if before.is_none() {
            // Its first look: from now on it knows what its group has committed.
            self.tell_outsiders();
        }
    }
}
