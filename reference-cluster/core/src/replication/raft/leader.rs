//! How followers are brought up to date, and what is committed.
//!
//! Entries are sent as they come, several messages ahead of the answers; a follower that turns out
//! to lack what was assumed says so and is probed message by message until the logs meet. One that
//! is too far behind gets the whole state.
//!
//! Invariant: an entry is committed once a majority has it on disk and it is of the leader's own
//! term; older ones are committed with it. That a majority has an old entry proves nothing by
//! itself: a candidate without it can still be elected (paper, figure 8). So a new leader begins
//! with an entry that does nothing.
//! Source: paper, §5.3, §5.4.2, §7, §8.

use std::collections::{BTreeMap, VecDeque};

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::message::RaftMessage;
use super::reads::PendingRead;
use super::role::Position;
use super::server::Raft;
use crate::flaw::Flaw;
use crate::interface::{Output, Peer, RequestId};
use crate::message::{Entry, Message, Point};
use crate::replication::entry_log::EntryLog;
use crate::replication::redundancy::Marks;
use crate::store::Command;

/// Most entries under way to one follower.
const WINDOW_ENTRIES: u64 = 4096;
/// After this time a whole state that was not answered is sent again.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(2);

/// What a leader knows of one follower.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// Next position to send.
    next: u64,
    /// Up to here it has the leader's log on disk.
    pub matched: u64,
    /// Newest commit position it was told.
    told: u64,
    /// Whether the logs are still to meet; until then one message at a time.
    probing: bool,
    /// A probe is under way.
    probed: bool,
    snapshot_sent: Option<Moment>,
    /// When it last answered anything.
    pub heard: Moment,
    /// Newest round that it answered.
    pub confirmed: u64,
}

impl Progress {
    fn new(next: u64, heard: Moment) -> Self {
        Progress {
            next,
            matched: 0,
            told: 0,
            probing: true,
            probed: false,
            snapshot_sent: None,
            heard,
            confirmed: 0,
        }
    }
}

/// What a follower is to be sent next.
enum Part {
    Nothing,
    /// The entry before these, and these.
    Entries(Point, Vec<Entry>),
    /// What it lacks is not in memory any more.
    State,
}

impl Progress {
    /// `empty`: also without entries.
    fn part(&mut self, log: &EntryLog, empty: bool) -> Part {
        let waits = self.probing && self.probed;
        let under_way = self.next.saturating_sub(self.matched);
        let new = self.next <= log.last().position && under_way <= WINDOW_ENTRIES && !waits;
        if !new && !empty {
            return Part::Nothing;
        }
        let Some(previous) = log.point(self.next.saturating_sub(1)) else {
            return Part::State;
        };
        let entries = if new {
            log.batch(self.next)
        } else {
            Vec::new()
        };
        self.next += entries.len() as u64;
        self.probed = true;
        Part::Entries(previous, entries)
    }
}

/// What only a leader has.
#[derive(Debug)]
pub(super) struct Leadership {
    /// Its first entry: when that is committed, so is everything before it.
    pub first: u64,
    pub followers: BTreeMap<Peer, Progress>,
    /// Clients that wait for a position to be committed.
    pub waiting: BTreeMap<u64, RequestId>,
    pub reads: VecDeque<PendingRead>,
    /// Newest round asked.
    pub round: u64,
    pub heartbeat_due: Moment,
    pub marks: Marks,
}

impl Raft {
    /// Elected: leads the present term.
    pub(super) fn lead(&mut self) {
        let last = self.log.last().position;
        let others = self.setting.others().into_iter();
        let followers = others.map(|peer| (peer, Progress::new(last + 1, self.now)));
        self.position = Position::Leader(Leadership {
            first: last + 1,
            followers: followers.collect(),
            waiting: BTreeMap::new(),
            reads: VecDeque::new(),
            round: 0,
            heartbeat_due: self.now,
            marks: Marks::new(self.now, last + 1),
        });
        self.leader = Some(self.setting.me);
        self.note(Event::RoleChanged {
            role: Role::Primary,
            epoch: self.log.term(),
        });
        if !self.has(Flaw::CommitsOldTerms) {
            self.propose(Command::Nothing);
        }
        self.beat();
    }

    /// Sends every follower what it lacks, as far as the windows allow.
    pub(super) fn replicate(&mut self) {
        for peer in self.setting.others() {
            self.replicate_to(peer, false);
        }
    }

    /// `beat`: also without new entries, where there is something to find out or to tell.
    pub(super) fn replicate_to(&mut self, peer: Peer, beat: bool) {
        let (term, committed) = (self.log.term(), self.committed);
        let Position::Leader(leadership) = &mut self.position else {
            return;
        };
        let Some(progress) = leadership.followers.get_mut(&peer) else {
            return;
        };
        if let Some(sent) = progress.snapshot_sent {
            if self.now.since(sent) < SNAPSHOT_RETRY {
                return;
            }
            progress.snapshot_sent = None;
        }
        let mut empty = beat && (progress.probing || progress.told < committed);
        // Bounded: every turn sends entries of a finite window or ends.
        loop {
            let (previous, entries) = match progress.part(&self.log.entries, empty) {
                Part::Nothing => return,
                Part::Entries(previous, entries) => (previous, entries),
                Part::State => {
                    progress.snapshot_sent = Some(self.now);
                    return self.send_snapshot(peer);
                }
            };
            empty = false;
            progress.told = committed;
            let append = RaftMessage::Append {
                term,
                previous,
                entries,
                committed,
            };
            let message = Message::Raft(append);
            self.out.push(Output::Send { to: peer, message });
        }
    }

    fn send_snapshot(&mut self, peer: Peer) {
        let Some(mut point) = self.log.entries.point(self.committed) else {
            return;
        };
        if self.has(Flaw::SnapshotWithoutEpoch) {
            point.epoch = 0;
        }
        let message = RaftMessage::Snapshot {
            term: self.log.term(),
            point,
            store: self.store.clone(),
        };
        self.send(peer, message);
    }

    /// What is known of a follower that answered in the present term.
    pub(super) fn progress(&mut self, peer: Peer, term: u64) -> Option<&mut Progress> {
        let (present, now) = (self.log.term(), self.now);
        let Position::Leader(leadership) = &mut self.position else {
            return None;
        };
        let progress = leadership.followers.get_mut(&peer);
        let progress = progress.filter(|_| term == present)?;
        progress.heard = now;
        Some(progress)
    }

    /// A follower has everything up to `position` on disk.
    pub(super) fn on_appended(&mut self, from: Peer, term: u64, position: u64) {
        let last = self.log.last().position;
        let Some(progress) = self.progress(from, term) else {
            return;
        };
        progress.matched = progress.matched.max(position.min(last));
        progress.next = progress.next.max(progress.matched + 1);
        progress.probing = false;
        progress.snapshot_sent = None;
        self.replicate_to(from, false);
    }

    /// A follower lacks what was assumed.
    pub(super) fn on_mismatch(&mut self, from: Peer, term: u64, hint: u64, snapshot: bool) {
        let (last, now) = (self.log.last().position, self.now);
        let Some(progress) = self.progress(from, term) else {
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

    /// What was sent to a follower may be lost, and it may have lost it too.
    pub(super) fn begin_anew_with(&mut self, peer: Peer) {
        let last = self.log.last().position;
        let Position::Leader(leadership) = &mut self.position else {
            return;
        };
        if let Some(progress) = leadership.followers.get_mut(&peer) {
            *progress = Progress::new(last + 1, progress.heard);
            self.replicate_to(peer, true);
            self.show_leadership_to(peer);
        }
    }

    /// Commits what a majority holds.
    pub(super) fn commit_what_is_held(&mut self) {
        let Position::Leader(leadership) = &self.position else {
            return;
        };
        let followers = leadership.followers.values();
        let mut held: Vec<u64> = followers.map(|progress| progress.matched).collect();
        held.push(self.log.durable());
        held.sort_unstable_by(|left, right| right.cmp(left));
        let by_majority = held[self.setting.majority() - 1];
        let held = match self.has(Flaw::CommitsBeforeMajority) {
            true => self.log.durable(),
            false => by_majority,
        };
        if held >= leadership.first || self.has(Flaw::CommitsOldTerms) {
            self.commit_to(held);
        }
    }
}
