//! How a primary brings its backups up to date.
//!
//! Entries are sent as they come, several messages ahead of the answers; a backup that turns out to
//! lack what was assumed says so and is probed message by message until the logs meet. One that
//! is too far behind, or that applied what the group does not have, gets the whole state.
//! A message without entries goes out at every tick: it carries the commit position, and finds out
//! what was lost with a connection.

use std::collections::{BTreeMap, VecDeque};

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::acknowledge::{Holder, committed, held_by_a_backup};
use super::reads::PendingRead;
use super::redundancy::Marks;
use super::replica::{Position, Replica};
use super::semi_sync::{Extent, SemiSync};
use super::swap::Learner;
use crate::flaw::Flaw;
use crate::interface::{Peer, RequestId};
use crate::message::Message;
use crate::store::Command;

/// Most entries under way to one backup.
const WINDOW_ENTRIES: u64 = 4096;
/// After this time a whole state that was not answered is sent again.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(2);

/// What a primary knows of one backup.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// Next position to send.
    next: u64,
    /// Up to here it has the primary's log on disk.
    pub matched: u64,
    /// Whether the logs are known to meet; until then one message at a time.
    probing: bool,
    /// A probe is under way.
    probed: bool,
    last_sent: Moment,
    snapshot_sent: Option<Moment>,
    /// Newest round of a read that it confirmed.
    pub confirmed: u64,
    /// When the newest message was sent whose answer has come: the beginning of a lease.
    pub granted: Option<Moment>,
    /// Was suspected and has not caught up since.
    evicted: bool,
}

impl Progress {
    /// Of a backup of which nothing is known; it is asked about what stands before `next`.
    pub(super) fn new(next: u64) -> Self {
        Progress {
            next,
            matched: 0,
            probing: true,
            probed: false,
            last_sent: Moment(0),
            snapshot_sent: None,
            confirmed: 0,
            granted: None,
            evicted: false,
        }
    }
}

/// What only a primary has.
#[derive(Debug)]
pub(super) struct Leadership {
    /// Its first entry: when that is committed, so is everything before it.
    pub first: u64,
    /// The other voters, and a spare that is to become one.
    pub backups: BTreeMap<Peer, Progress>,
    /// That spare.
    pub learner: Option<Learner>,
    pub marks: Marks,
    /// Clients that wait for a position to be committed.
    pub waiting: BTreeMap<u64, RequestId>,
    pub round: u64,
    pub reads: VecDeque<PendingRead>,
    pub semi_sync: SemiSync,
}

impl Replica {
    /// Takes on the role in the present epoch.
    pub(super) fn become_primary(&mut self) {
        let last = self.entries.last().position;
        let backups = self
            .others()
            .into_iter()
            .map(|peer| (peer, Progress::new(last + 1)))
            .collect();
        self.position = Position::Primary(Leadership {
            first: last + 1,
            backups,
            learner: None,
            marks: Marks::new(self.now, last + 1),
            waiting: BTreeMap::new(),
            round: 0,
            reads: VecDeque::new(),
            semi_sync: SemiSync::new(self.setting.rules.fallback),
        });
        self.leader = Some(self.setting.me);
        self.takeover_due = None;
        self.newcomer = None;
        self.note(Event::RoleChanged {
            role: Role::Primary,
            epoch: self.epoch,
        });
        self.evict_suspected();
        self.propose(Command::Nothing);
        self.replicate();
    }

    /// Sends every backup what it lacks, as far as the windows allow.
    pub(super) fn replicate(&mut self) {
        for peer in self.followers() {
            self.replicate_to(peer, false);
        }
    }

    /// Whom a primary brings up to date.
    fn followers(&self) -> Vec<Peer> {
        match &self.position {
            Position::Primary(leadership) => leadership.backups.keys().copied().collect(),
            Position::Backup | Position::Candidate(_) => Vec::new(),
        }
    }

    /// At every tick: a sign of life to those who heard nothing since the last.
    pub(super) fn lead(&mut self) {
        self.forget_stale_learner();
        for peer in self.followers() {
            self.replicate_to(peer, true);
        }
        self.ask_for_confirmation();
    }

    fn replicate_to(&mut self, peer: Peer, tick: bool) {
        let last = self.entries.last().position;
        let Position::Primary(leadership) = &mut self.position else {
            return;
        };
        let Some(progress) = leadership.backups.get_mut(&peer) else {
            return;
        };
        if let Some(sent) = progress.snapshot_sent {
            if self.now.since(sent) < SNAPSHOT_RETRY {
                return;
            }
            progress.snapshot_sent = None;
        }
        let mut heartbeat = tick && self.now.since(progress.last_sent) >= self.setting.beat;
        // Bounded: every turn sends entries of a finite window or ends.
        loop {
            // Without fencing another primary may have cut off what this backup had matched.
            let ahead = progress.next.saturating_sub(progress.matched);
            let new = progress.next <= last && ahead <= WINDOW_ENTRIES;
            let may_send = new && !(progress.probing && progress.probed);
            if !may_send && !heartbeat {
                return;
            }
            let Some(previous) = self.entries.point(progress.next - 1) else {
                progress.snapshot_sent = Some(self.now);
                return self.send_snapshot(peer);
            };
            let entries = if may_send {
                self.entries.batch(progress.next)
            } else {
                Vec::new()
            };
            heartbeat = false;
            progress.next += entries.len() as u64;
            progress.probed = true;
            progress.last_sent = self.now;
            let (epoch, committed) = (self.epoch, self.committed);
            let message = Message::Append {
                epoch,
                previous,
                entries,
                committed,
                sent: self.now,
            };
            self.out
                .push(crate::interface::Output::Send { to: peer, message });
        }
    }

    fn send_snapshot(&mut self, peer: Peer) {
        let Some(mut point) = self.entries.point(self.committed) else {
            return;
        };
        if self.has(Flaw::SnapshotWithoutEpoch) {
            point.epoch = 0;
        }
        let message = Message::Snapshot {
            epoch: self.epoch,
            point,
            store: self.store.clone(),
        };
        self.send(peer, message);
    }

    fn progress(&mut self, peer: Peer, epoch: u64) -> Option<&mut Progress> {
        let fenced = self.setting.rules.fenced();
        let Position::Primary(leadership) = &mut self.position else {
            return None;
        };
        // Without fencing an answer to anybody's message counts, like everything else.
        if fenced && epoch != self.epoch {
            return None;
        }
        leadership.backups.get_mut(&peer)
    }

    /// A backup has everything up to `position` on disk.
    pub(super) fn on_appended(
        &mut self,
        from: Peer,
        epoch: u64,
        position: u64,
        sent: Option<Moment>,
    ) {
        let last = self.entries.last().position;
        let sent = match self.has(Flaw::LeaseFromReceipt) {
            true => sent.map(|_| self.now),
            false => sent,
        };
        let Some(progress) = self.progress(from, epoch) else {
            return;
        };
        progress.matched = progress.matched.max(position.min(last));
        progress.next = progress.next.max(progress.matched + 1);
        progress.probing = false;
        progress.snapshot_sent = None;
        progress.granted = progress.granted.max(sent);
        self.replicate_to(from, false);
    }

    /// A backup lacks what was assumed.
    pub(super) fn on_mismatch(&mut self, from: Peer, epoch: u64, hint: u64, snapshot: bool) {
        let (last, now) = (self.entries.last().position, self.now);
        let Some(progress) = self.progress(from, epoch) else {
            return;
        };
        if progress.snapshot_sent.is_some() {
            return;
        }
        progress.probing = true;
        progress.probed = false;
        if snapshot || hint > last {
            progress.snapshot_sent = Some(now);
            return self.send_snapshot(from);
        }
        progress.next = hint + 1;
        self.replicate_to(from, true);
    }

    /// What was sent and not answered may be lost, and the backup may have lost it too.
    pub fn reconnected(&mut self, peer: Peer) {
        let last = self.entries.last().position;
        let epoch = self.epoch;
        self.tell_outsider(peer);
        let Some(progress) = self.progress(peer, epoch) else {
            return;
        };
        // A backup that restarted waits as if it had just granted a lease.
        let (evicted, granted) = (progress.evicted, progress.granted);
        *progress = Progress {
            granted,
            evicted,
            ..Progress::new(last + 1)
        };
        self.replicate_to(peer, true);
        self.ask_for_confirmation();
    }

    /// Suspected backups stop counting.
    pub(super) fn evict_suspected(&mut self) {
        let Position::Primary(leadership) = &mut self.position else {
            return;
        };
        for (peer, progress) in &mut leadership.backups {
            progress.evicted |= self.suspected.contains(peer);
        }
    }

    /// Commits what enough nodes hold.
    pub(super) fn commit_what_is_held(&mut self) {
        let Position::Primary(leadership) = &mut self.position else {
            return;
        };
        let voters = &self.setting.rules.voters;
        let mut holders = Vec::with_capacity(leadership.backups.len());
        let backups = leadership.backups.iter_mut();
        for (peer, progress) in backups.filter(|(peer, _)| voters.contains(peer)) {
            if progress.matched >= self.committed && !self.suspected.contains(peer) {
                progress.evicted = false;
            }
            holders.push(Holder {
                position: progress.matched,
                counted: !progress.evicted,
            });
        }
        let own = Holder {
            position: self.durable,
            counted: voters.contains(&self.setting.me),
        };
        let extent = Extent {
            own: own.position,
            held: held_by_a_backup(own, &holders),
            last: self.entries.last().position,
        };
        leadership
            .semi_sync
            .judge(self.now, extent, self.setting.beat);
        let planted = self.setting.planted;
        let alone = leadership.semi_sync.alone() || planted.has(Flaw::SemiSyncNeverWaits);
        let position = match planted.has(Flaw::CommitsBeforeMajority) {
            true => own.position,
            false => committed(&self.setting.rules, own, &holders, alone),
        };
        // Entries of older epochs are committed through one of this epoch.
        let any_epoch = !self.setting.rules.fenced() || planted.has(Flaw::CommitsOldTerms);
        let of_this_epoch = position >= leadership.first || any_epoch;
        if of_this_epoch && self.may_serve() {
            self.commit_to(position);
        }
    }
}
