//! Who becomes primary, and what stops the old one.
//!
//! `fencing = "epoch"`: the best-ranked backup that suspects the primary first asks, without
//! disturbing anyone, whether a majority would promise it the next epoch (Raft's PreVote); then it
//! asks in earnest. A node promises an epoch to one candidate, durably, and only if the candidate's
//! log is at least as up to date as its own (so that what was committed is never lost; see
//! `election`) and it holds no live primary itself. A primary that hears of a newer epoch steps down.
//!
//! `fencing = "none"` (wrong on purpose): the best-ranked backup that suspects the primary
//! declares itself primary, nobody is asked, and nobody steps down.
//!
//! `fencing = "lease"`, and reads by lease: as `epoch`, and nobody promises or takes over before
//! what it granted has run out (see `lease`).
//!
//! A primary that restarts before anyone suspects it comes back as a backup of itself; the others
//! then promise to it, because the primary they believe in is the one that asks.
//! Invariant (epoch): at most one primary in an epoch.

use std::collections::BTreeSet;

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::strategy::Election;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::election::may_lead;
use super::replica::{AfterSync, Position, Replica};
use crate::flaw::Flaw;
use crate::interface::{Peer, Timer};
use crate::message::{Heartbeat, Message, Point};

/// Retries wait at most this many beats, and as many again by chance.
const BACKOFF_BEATS_MAX: u64 = 4;

/// A node's attempt to become primary.
#[derive(Debug)]
pub(super) struct Candidacy {
    pub epoch: u64,
    /// Only asking whether asking would help.
    pub trial: bool,
    promises: BTreeSet<Peer>,
    attempt: u64,
    retry_at: Moment,
}

impl Replica {
    /// The node knows this primary from now on, or none.
    pub(super) fn set_leader(&mut self, leader: Option<Peer>) {
        if self.leader == leader {
            return;
        }
        self.leader = leader;
        self.plan_takeover();
    }

    /// Decides when this node would take over, as things stand.
    pub(super) fn plan_takeover(&mut self) {
        self.takeover_due = None;
        let rules = &self.setting.rules;
        let able = rules.voters.contains(&self.setting.me) && self.newcomer.is_none();
        if !able || !matches!(self.position, Position::Backup) {
            return;
        }
        let wait = match self.leader {
            Some(leader) if self.suspected.contains(&leader) => Duration::ZERO,
            Some(_) => return,
            None if rules.voters.len() == 1 => Duration::ZERO,
            None => self.setting.patience,
        };
        let rank = self.rank();
        let beat = self.setting.beat;
        let mut due = self.now.after(wait).after(beats(beat, 2 * rank));
        if rank > 0 {
            due = due.after(self.random.duration_up_to(beat));
        }
        self.takeover_due = Some(due.max(self.granted_until()));
    }

    /// How many unsuspected backups go before this one.
    fn rank(&self) -> u64 {
        let me = self.setting.me;
        let before = self
            .setting
            .rules
            .voters
            .iter()
            .take_while(|peer| **peer != me);
        let live =
            before.filter(|peer| !self.suspected.contains(peer) && self.leader != Some(**peer));
        live.count() as u64
    }

    /// The detector's opinion has changed.
    pub fn suspicion_changed(&mut self, suspected: BTreeSet<Peer>) {
        let was = self.leader_is_live();
        self.suspected = suspected;
        self.evict_suspected();
        let is = self.leader_is_live();
        if is && matches!(&self.position, Position::Candidate(candidacy) if candidacy.trial) {
            self.position = Position::Backup;
        }
        if was != is || self.takeover_due.is_some() {
            self.plan_takeover();
        }
        self.takeover_if_due();
        if self.takeover_due.is_some() {
            self.set_tick();
        }
    }

    /// True when a primary is known and not suspected; that the node itself is one counts.
    fn leader_is_live(&self) -> bool {
        self.leader
            .is_some_and(|leader| !self.suspected.contains(&leader))
    }

    /// Takes over when the moment has come.
    pub(super) fn takeover_if_due(&mut self) {
        if self.takeover_due.is_none_or(|due| self.now < due) {
            return;
        }
        self.takeover_due = None;
        if self.now < self.granted_until() {
            self.takeover_due = Some(self.granted_until());
        } else if self.setting.rules.fenced() {
            self.become_candidate(1);
        } else if self.rank() == 0 {
            self.epoch += 1;
            self.note(Event::TakeoverStarted { epoch: self.epoch });
            self.become_primary();
        } else {
            self.plan_takeover();
        }
    }

    fn become_candidate(&mut self, attempt: u64) {
        let wait = beats(self.setting.beat, attempt.min(BACKOFF_BEATS_MAX));
        let retry_at = self.now.after(wait).after(self.random.duration_up_to(wait));
        let promises = BTreeSet::from([self.setting.me]);
        let epoch = self.epoch + 1;
        let candidacy = Candidacy {
            epoch,
            trial: true,
            promises,
            attempt,
            retry_at,
        };
        self.position = Position::Candidate(candidacy);
        self.ask(epoch, true);
        self.count_promises();
    }

    fn ask(&mut self, epoch: u64, trial: bool) {
        let last = self.entries.last();
        for peer in self.others() {
            self.send(peer, Message::Ask { epoch, last, trial });
        }
    }

    /// At a tick: tries again when the answers did not suffice in time.
    pub(super) fn retry_candidacy(&mut self) {
        let Position::Candidate(candidacy) = &self.position else {
            return;
        };
        if self.now >= candidacy.retry_at {
            let attempt = candidacy.attempt + 1;
            self.become_candidate(attempt);
        }
    }

    /// Someone (or this node's own disk) promises.
    pub(super) fn promised_by(&mut self, peer: Peer, epoch: u64, trial: bool) {
        let Position::Candidate(candidacy) = &mut self.position else {
            return;
        };
        if candidacy.epoch == epoch && candidacy.trial == trial {
            candidacy.promises.insert(peer);
            self.count_promises();
        }
    }

    fn count_promises(&mut self) {
        let majority = match self.has(Flaw::TakesOverAlone) {
            true => 1,
            false => self.setting.rules.majority(),
        };
        let Position::Candidate(candidacy) = &mut self.position else {
            return;
        };
        let voters = &self.setting.rules.voters;
        let promises = candidacy.promises.iter();
        if promises.filter(|peer| voters.contains(peer)).count() < majority {
            return;
        }
        if !candidacy.trial {
            return self.become_primary();
        }
        candidacy.trial = false;
        candidacy.promises.clear();
        let epoch = candidacy.epoch;
        self.ask_in_earnest(epoch);
    }

    fn ask_in_earnest(&mut self, epoch: u64) {
        self.set_epoch(epoch);
        self.leader = None;
        self.note(Event::TakeoverStarted { epoch });
        self.note(Event::RoleChanged {
            role: Role::Candidate,
            epoch,
        });
        let ticket = self.write_promise(epoch, self.setting.me);
        self.when_synced
            .push_back((ticket, AfterSync::OwnPromise(epoch)));
        self.ask(epoch, false);
    }

    /// Begins the first epoch of a group in which `fresh` have never promised anything.
    pub(super) fn claim_first_epoch(&mut self, fresh: BTreeSet<Peer>) {
        let retry_at = self.now.after(beats(self.setting.beat, BACKOFF_BEATS_MAX));
        let epoch = self.epoch + 1;
        let candidacy = Candidacy {
            epoch,
            trial: false,
            promises: fresh,
            attempt: 1,
            retry_at,
        };
        self.position = Position::Candidate(candidacy);
        self.newcomer = None;
        self.ask_in_earnest(epoch);
    }

    /// A candidate asks.
    pub(super) fn on_ask(&mut self, from: Peer, epoch: u64, last: Point, trial: bool) {
        let rules = &self.setting.rules;
        let again = epoch == self.epoch && self.promised == Some(from);
        let twice = epoch == self.epoch && self.has(Flaw::PromisesTwice);
        let new = epoch > self.epoch || (again && !trial) || twice;
        // A node that may have forgotten its promises makes none.
        let able = rules.fenced() && self.newcomer.is_none();
        let free = self.leader == Some(from) || !self.leader_is_live();
        let free = free && self.grant_allows(from);
        let election = match self.has(Flaw::ComparesLengthAlone) {
            true => Election::LongestLog,
            false => rules.election,
        };
        let good = may_lead(election, last, self.entries.last()) || self.has(Flaw::IgnoresLogs);
        if !(new && able && free && good) {
            return self.send(
                from,
                Message::Refuse {
                    epoch: self.epoch,
                    trial,
                },
            );
        }
        if trial {
            return self.send(from, Message::Promise { epoch, trial });
        }
        if !again {
            self.become_backup(epoch, None);
        }
        let ticket = self.write_promise(epoch, from);
        let promise = Message::Promise { epoch, trial };
        if self.has(Flaw::PromisesBeforeSync) {
            return self.send(from, promise);
        }
        self.when_synced
            .push_back((ticket, AfterSync::Send(from, promise)));
    }

    /// Someone refuses, perhaps because it knows a newer epoch.
    pub(super) fn on_refuse(&mut self, epoch: u64) {
        if self.setting.rules.fenced() && epoch > self.epoch {
            self.become_backup(epoch, None);
            let wait = beats(self.setting.beat, BACKOFF_BEATS_MAX);
            let soon = self.now.after(self.random.duration_up_to(wait));
            let soon = soon.max(self.granted_until());
            self.takeover_due = self.takeover_due.map(|due| due.min(soon));
        }
    }

    /// What a heartbeat says about its sender's role.
    pub fn heard(&mut self, from: Peer, heartbeat: &Heartbeat) {
        let rules = &self.setting.rules;
        if rules.fixed_primary.is_some() || heartbeat.epoch < self.epoch {
            return;
        }
        let primary = matches!(self.position, Position::Primary(_));
        if !heartbeat.primary {
            if self.leader == Some(from) && !primary {
                self.set_leader(None);
            }
        } else if heartbeat.epoch > self.epoch && rules.fenced() {
            self.become_backup(heartbeat.epoch, Some(from));
        } else if !primary && !self.leader_is_live() {
            self.epoch = self.epoch.max(heartbeat.epoch);
            self.set_leader(Some(from));
        }
    }

    fn set_epoch(&mut self, epoch: u64) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.promised = None;
            // Acknowledgements and promises of older epochs are void.
            self.when_acknowledgeable.clear();
            self.when_synced.clear();
        }
    }

    /// Becomes (or stays) a backup in an epoch; open requests of a primary are answered.
    pub(super) fn become_backup(&mut self, epoch: u64, leader: Option<Peer>) {
        self.set_epoch(epoch);
        let before = std::mem::replace(&mut self.position, Position::Backup);
        self.leader = leader;
        let changed = match before {
            Position::Primary(leadership) => {
                self.give_up(leadership);
                true
            }
            Position::Candidate(candidacy) => !candidacy.trial,
            Position::Backup => false,
        };
        if changed {
            self.note(Event::RoleChanged {
                role: Role::Backup,
                epoch: self.epoch,
            });
        }
        self.plan_takeover();
    }

    /// Begins with or without anything on disk.
    pub(super) fn begin(&mut self, empty: bool) {
        let several = self.setting.rules.voters.len() > 1;
        if empty && several {
            self.newcomer = Some(super::first_start::Newcomer::default());
            return self.ask_to_join();
        }
        if self.setting.rules.voters.len() == 1 {
            self.leader = None;
        }
        self.plan_takeover();
        self.takeover_if_due();
        let at = self.takeover_due.unwrap_or(self.now).max(self.now);
        let timer = Timer::Replication;
        self.out
            .push(crate::interface::Output::SetTimer { timer, at });
    }
}

fn beats(beat: Duration, count: u64) -> Duration {
    Duration::from_nanos(beat.as_nanos().saturating_mul(count))
}
