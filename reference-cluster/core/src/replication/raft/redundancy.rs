//! Are all copies there? As in [`crate::replication`]'s primary-backup, by a leader's own knowledge:
//! who has not answered for the longest election timeout does not count.

use super::role::Position;
use super::server::Raft;

impl Raft {
    /// At every step: counts the copies, and tells when that changes anything.
    pub(super) fn judge_redundancy(&mut self) {
        let last = self.log.entries.last().position;
        let (now, beat) = (self.now, self.setting.heartbeat_interval);
        let Position::Leader(leadership) = &mut self.position else {
            return;
        };
        if self.committed < leadership.first {
            return;
        }
        leadership.marks.keep_up(now, last, beat);
        let patience = self.setting.election_timeout.high();
        let in_step = leadership.followers.values().filter(|progress| {
            now.since(progress.heard) <= patience && leadership.marks.passed_by(progress.matched)
        });
        let (copies, wanted) = (in_step.count() + 1, leadership.followers.len() + 1);
        if let Some(event) = leadership.marks.news(copies, wanted) {
            self.note(event);
        }
    }
}
