//! Who says what the chain is: a majority of all members, by promising an epoch to one head.
//!
//! A member that suspects the head, or has known none for a while, and a head that wants its chain
//! changed, first ask without disturbing anyone whether a majority would promise them the next
//! epoch; then they ask in earnest. A member promises an epoch to one node, durably,
//! only if that node's log is at least as up to date as its own, and only if it knows of no other
//! head that lives. With the promise it leaves every older chain: what those send is refused.
//! Invariant: an epoch is promised by a majority to at most one node, and that one has everything
//! that was acknowledged before.
//! Source: the master of van Renesse & Schneider 2004, section 3; its replacement by promises is
//! that of Lamport, Malkhi & Zhou 2009 ("Vertical Paxos"), with one set of acceptors.

use std::collections::BTreeSet;

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::time::Moment;

use super::message::ChainMessage;
use super::server::{AfterSync, Chain, Position};
use crate::flaw::Flaw;
use crate::interface::Peer;
use crate::message::Point;
use crate::recovery_log::Ticket;

/// Retries wait at most this many beats, and as many again by chance.
const BACKOFF_BEATS_MAX: u64 = 4;

/// An attempt to have an epoch promised.
#[derive(Debug)]
pub(super) struct Candidacy {
    pub epoch: u64,
    /// Only asking whether asking would help.
    pub trial: bool,
    pub promises: BTreeSet<Peer>,
    attempt: u64,
    retry_at: Moment,
}

impl Chain {
    fn candidacy(&mut self) -> Option<&mut Candidacy> {
        match &mut self.position {
            Position::Candidate(candidacy) => Some(candidacy),
            Position::Head(headship) => headship.change.as_mut(),
            Position::Follower => None,
        }
    }

    fn attempt(&mut self, epoch: u64, trial: bool, attempt: u64) -> Candidacy {
        let wait = self.setting.beats(attempt.min(BACKOFF_BEATS_MAX));
        let retry_at = self.now.after(wait).after(self.random.duration_up_to(wait));
        Candidacy {
            epoch,
            trial,
            promises: BTreeSet::new(),
            attempt,
            retry_at,
        }
    }

    /// Takes on a newer epoch with the promise given in it, if any.
    pub(super) fn enter_epoch(&mut self, epoch: u64, promised: Option<Peer>) -> Ticket {
        self.when_synced.clear();
        self.forget_chain();
        self.log.write_term(epoch, promised, &mut self.out)
    }

    fn trial(&mut self, attempt: u64) -> Candidacy {
        let mut candidacy = self.attempt(self.log.term() + 1, true, attempt);
        candidacy.promises.insert(self.setting.me);
        candidacy
    }

    /// Would like to be head: asks whether a majority would have it.
    pub(super) fn stand(&mut self, attempt: u64) {
        let candidacy = self.trial(attempt);
        self.follow(self.head);
        self.stand_due = None;
        self.position = Position::Candidate(candidacy);
        self.ask_all();
        self.count_promises();
    }

    /// As head: would like another chain, and asks whether a majority would have it. Until it has
    /// said so in earnest the present one stands.
    pub(super) fn begin_change(&mut self) {
        let candidacy = self.trial(1);
        if let Position::Head(headship) = &mut self.position {
            headship.change = Some(candidacy);
            self.ask_all();
            self.count_promises();
        }
    }

    fn go_on_in_earnest(&mut self, attempt: u64) {
        let epoch = self.log.term() + 1;
        let candidacy = self.attempt(epoch, false, attempt);
        if let Position::Head(headship) = &mut self.position {
            headship.change = Some(candidacy);
            return self.promise_to_itself(epoch);
        }
        self.head = None;
        self.position = Position::Candidate(candidacy);
        self.note(Event::TakeoverStarted { epoch });
        self.note(Event::RoleChanged {
            role: Role::Candidate,
            epoch,
        });
        self.promise_to_itself(epoch);
    }

    fn promise_to_itself(&mut self, epoch: u64) {
        let me = self.setting.me;
        let ticket = self.enter_epoch(epoch, Some(me));
        self.when_synced
            .push_back((ticket, AfterSync::OwnPromise(epoch)));
    }

    /// The promise to itself is on disk: others may be asked.
    pub(super) fn own_promise_is_written(&mut self, epoch: u64) {
        let me = self.setting.me;
        let candidacy = self.candidacy();
        if let Some(candidacy) = candidacy.filter(|one| !one.trial && one.epoch == epoch) {
            candidacy.promises.insert(me);
            self.ask_all();
            self.count_promises();
        }
    }

    fn ask_all(&mut self) {
        for peer in self.setting.others() {
            self.ask_again(peer);
        }
    }

    /// Asks one member, also again after a connection was made anew.
    pub(super) fn ask_again(&mut self, peer: Peer) {
        let (me, last) = (self.setting.me, self.log.last());
        let Some(candidacy) = self.candidacy() else {
            return;
        };
        // Its own promise is the first, and is there only once it is on disk.
        if candidacy.promises.contains(&me) && !candidacy.promises.contains(&peer) {
            let (epoch, trial) = (candidacy.epoch, candidacy.trial);
            self.send(peer, ChainMessage::Ask { epoch, last, trial });
        }
    }

    /// Somebody promises, or would.
    pub(super) fn promised_by(&mut self, peer: Peer, epoch: u64, trial: bool) {
        if let Some(candidacy) = self.candidacy()
            && candidacy.epoch == epoch
            && candidacy.trial == trial
        {
            candidacy.promises.insert(peer);
            self.count_promises();
        }
    }

    fn count_promises(&mut self) {
        let majority = match self.has(Flaw::TakesOverAlone) {
            true => 1,
            false => self.setting.majority(),
        };
        let Some(candidacy) = self.candidacy() else {
            return;
        };
        if candidacy.promises.len() < majority {
            return;
        }
        if candidacy.trial {
            let attempt = candidacy.attempt;
            return self.go_on_in_earnest(attempt);
        }
        let promises = std::mem::take(&mut candidacy.promises);
        let order = self.next_order(&promises);
        self.lead(order);
    }

    /// At a tick: tries again when the answers did not suffice in time.
    pub(super) fn retry_candidacy(&mut self) {
        let now = self.now;
        let due = self
            .candidacy()
            .filter(|candidacy| now >= candidacy.retry_at);
        let Some((attempt, trial)) = due.map(|one| (one.attempt + 1, one.trial)) else {
            return;
        };
        let stands = self.standing().is_some();
        match &mut self.position {
            // Begun anew where there still is a reason.
            Position::Head(headship) if trial && stands => headship.change = None,
            Position::Head(_) => self.begin_change(),
            Position::Candidate(_) | Position::Follower => self.stand(attempt),
        }
    }

    /// Somebody asks.
    pub(super) fn on_ask(&mut self, from: Peer, epoch: u64, last: Point, trial: bool) {
        let present = self.log.term();
        let again = epoch == present && self.log.vote() == Some(from);
        let twice = epoch == present && self.has(Flaw::PromisesTwice);
        let new = epoch > present || (again && !trial) || twice;
        let free = self.head == Some(from) || !self.head_is_live();
        let good = last >= self.log.last() || self.has(Flaw::IgnoresLogs);
        if !(new && free && good) {
            return self.send(from, ChainMessage::Refuse { epoch: present });
        }
        let promise = ChainMessage::Promise { epoch, trial };
        if trial {
            return self.send(from, promise);
        }
        if !again {
            // A head that only wants its chain changed stays the head.
            let head = self.head.filter(|head| *head == from);
            self.enter_epoch(epoch, Some(from));
            // Whoever was promised has its time.
            self.stand_due = None;
            self.follow(head);
        }
        if self.has(Flaw::PromisesBeforeSync) {
            return self.send(from, promise);
        }
        let ticket = self.log.last_ticket();
        self.when_synced
            .push_back((ticket, AfterSync::Send(from, promise)));
    }

    /// Somebody knows a newer epoch.
    pub(super) fn on_newer(&mut self, epoch: u64) {
        if epoch > self.log.term() {
            self.enter_epoch(epoch, None);
            self.stand_due = None;
            self.follow(None);
            // Whoever is head there shows itself, or the others say so when asked.
            let wait = self.setting.beats(BACKOFF_BEATS_MAX);
            let soon = self.now.after(self.random.duration_up_to(wait));
            self.stand_due = self.stand_due.map(|due| due.min(soon));
        }
    }
}
