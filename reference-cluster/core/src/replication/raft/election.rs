//! Who stands for election, who votes, who wins.
//!
//! A server that hears no leader for its election timeout stands. The timeout is drawn anew each
//! time, so that one server mostly stands before the others do; with equal ends of the range all
//! stand at once, each votes for itself, and nobody wins for long.
//!
//! `pre_vote`: it first asks whether it would be elected. Nobody who hears a leader says yes, so a
//! server that was cut off comes back with the term it left with, and disturbs nobody.
//! `check_quorum`: a server that hears a leader does not vote either, nor take on the newer term.
//!
//! Invariant: a server votes once a term, durably before it says so, and only for a log at least as
//! up to date as its own. A candidate asks for votes only once its own vote is on disk.
//! Source: paper, §5.2, §5.4.1, §9.3; dissertation, §4.2.3 and §9.6.

use std::collections::BTreeSet;

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::units::Duration;

use super::message::RaftMessage;
use super::role::{Candidacy, Position};
use super::server::{AfterSync, Raft};
use crate::flaw::Flaw;
use crate::interface::Peer;
use crate::message::Point;

impl Raft {
    /// The election timeout begins anew.
    pub(super) fn postpone_election(&mut self) {
        let range = self.setting.election_timeout;
        let mut drawn = self.random.duration_up_to(range.width());
        if self.has(Flaw::TimeoutsNotDrawn) {
            drawn = Duration::ZERO;
        }
        self.election_due = Some(self.now.after(range.low()).after(drawn));
    }

    /// The election timeout is over, or there is nobody else.
    pub(super) fn stand(&mut self) {
        self.postpone_election();
        self.follow(None);
        let term = self.log.term() + 1;
        if !self.setting.pre_vote {
            return self.stand_in_earnest(term);
        }
        self.position = Position::Candidate(Candidacy {
            term,
            trial: true,
            votes: BTreeSet::from([self.setting.me]),
        });
        self.ask_for_votes();
        self.count_votes();
    }

    fn stand_in_earnest(&mut self, term: u64) {
        let me = self.setting.me;
        // Asking first took time of its own.
        self.postpone_election();
        self.forget_debts();
        let ticket = self.log.write_term(term, Some(me), &mut self.out);
        self.when_synced
            .push_back((ticket, AfterSync::OwnVote(term)));
        self.leader = None;
        self.position = Position::Candidate(Candidacy {
            term,
            trial: false,
            votes: BTreeSet::new(),
        });
        self.note(Event::TakeoverStarted { epoch: term });
        self.note(Event::RoleChanged {
            role: Role::Candidate,
            epoch: term,
        });
    }

    /// The vote for itself is on disk: others may be asked.
    pub(super) fn own_vote_is_written(&mut self, term: u64) {
        let me = self.setting.me;
        if let Position::Candidate(candidacy) = &mut self.position
            && !candidacy.trial
            && candidacy.term == term
        {
            candidacy.votes.insert(me);
            self.ask_for_votes();
            self.count_votes();
        }
    }

    fn ask_for_votes(&mut self) {
        for peer in self.setting.others() {
            self.ask_for_vote(peer);
        }
    }

    /// Asks one server, also again after a connection was made anew.
    pub(super) fn ask_for_vote(&mut self, peer: Peer) {
        let me = self.setting.me;
        let Position::Candidate(candidacy) = &self.position else {
            return;
        };
        // Its own vote is the first, and is there only once it is on disk.
        if !candidacy.votes.contains(&me) || candidacy.votes.contains(&peer) {
            return;
        }
        let message = RaftMessage::Vote {
            term: candidacy.term,
            last: self.log.last(),
            trial: candidacy.trial,
        };
        self.send(peer, message);
    }

    /// Another server would vote, or votes.
    pub(super) fn on_granted(&mut self, from: Peer, term: u64, trial: bool) {
        if let Position::Candidate(candidacy) = &mut self.position
            && candidacy.term == term
            && candidacy.trial == trial
        {
            candidacy.votes.insert(from);
            self.count_votes();
        }
    }

    fn count_votes(&mut self) {
        let majority = match self.has(Flaw::TakesOverAlone) {
            true => 1,
            false => self.setting.majority(),
        };
        let Position::Candidate(candidacy) = &self.position else {
            return;
        };
        if candidacy.votes.len() < majority {
            return;
        }
        if candidacy.trial {
            self.stand_in_earnest(candidacy.term);
        } else {
            self.lead();
        }
    }

    /// True while this server leads, or heard its leader less than the shortest election timeout
    /// ago.
    fn hears_a_leader(&self) -> bool {
        let recent = |heard| self.now.since(heard) < self.setting.election_timeout.low();
        matches!(self.position, Position::Leader(_))
            || (self.leader.is_some() && self.leader_heard.is_some_and(recent))
    }

    /// A candidate asks.
    pub(super) fn on_vote(&mut self, from: Peer, term: u64, last: Point, trial: bool) {
        let loyal = (trial || self.setting.check_quorum) && self.hears_a_leader();
        let loyal = loyal && !self.has(Flaw::NoLoyalty);
        let up_to_date = last >= self.log.last() || self.has(Flaw::IgnoresLogs);
        let newer = term > self.log.term();
        if trial {
            return if newer && up_to_date && !loyal {
                self.send(from, RaftMessage::Granted { term, trial });
            } else {
                self.deny(from);
            };
        }
        if term < self.log.term() || (newer && loyal) {
            return self.deny(from);
        }
        let free = newer || self.log.vote().is_none_or(|voted| voted == from);
        if !(free && up_to_date) {
            if newer {
                self.enter_term(term, None);
            }
            return self.deny(from);
        }
        if newer {
            self.enter_term(term, Some(from));
        } else if self.log.vote().is_none() {
            self.log.write_term(term, Some(from), &mut self.out);
        }
        self.postpone_election();
        let granted = RaftMessage::Granted { term, trial };
        let after = AfterSync::Send(from, granted);
        self.when_synced.push_back((self.log.last_ticket(), after));
    }

    fn deny(&mut self, from: Peer) {
        let term = self.log.term();
        self.send(from, RaftMessage::Denied { term });
    }
}
