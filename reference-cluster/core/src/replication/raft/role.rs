//! What a server is at present, and how that changes.
//!
//! Every server begins as a follower, and whoever hears of a newer term is one again, whatever it
//! was. Only an election makes a leader.
//! Invariant: what a server owed in an older term (acknowledgements, votes) is dropped with it.
//! Source: paper, §5.1 and figure 4.

use std::collections::{BTreeSet, VecDeque};

use shakedown_contracts::event::{Event, Role};

use super::leader::Leadership;
use super::server::Raft;
use crate::interface::Peer;

/// A server's attempt to be elected.
#[derive(Debug)]
pub(super) struct Candidacy {
    /// The term it wants.
    pub term: u64,
    /// Only asking whether standing would help.
    pub trial: bool,
    pub votes: BTreeSet<Peer>,
}

/// What a server is.
#[derive(Debug)]
pub(super) enum Position {
    Follower,
    Candidate(Candidacy),
    Leader(Leadership),
}

impl Position {
    /// As others are told; a trial is nobody's business.
    pub fn role(&self) -> Role {
        match self {
            Position::Leader(_) => Role::Primary,
            Position::Candidate(candidacy) if !candidacy.trial => Role::Candidate,
            Position::Candidate(_) | Position::Follower => Role::Backup,
        }
    }
}

impl Raft {
    /// Takes on a newer term with the vote given in it, if any; and follows.
    pub(super) fn enter_term(&mut self, term: u64, vote: Option<Peer>) {
        self.forget_debts();
        self.log.write_term(term, vote, &mut self.out);
        self.follow(None);
    }

    /// Acknowledgements and votes of older terms are void.
    pub(super) fn forget_debts(&mut self) {
        self.when_acknowledgeable = VecDeque::new();
        self.when_synced = VecDeque::new();
    }

    /// Is a follower in the present term from now on; open requests of a leader are answered.
    pub(super) fn follow(&mut self, leader: Option<Peer>) {
        self.leader = leader;
        self.leader_heard = leader.map(|_| self.now);
        let before = self.position.role();
        if let Position::Leader(leadership) =
            std::mem::replace(&mut self.position, Position::Follower)
        {
            self.give_up(leadership);
            self.postpone_election();
        }
        if before != Role::Backup {
            self.note(Event::RoleChanged {
                role: Role::Backup,
                epoch: self.log.term(),
            });
        }
    }
}
