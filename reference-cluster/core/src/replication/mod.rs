//! Who holds the data, who serves it, and who takes over.
//!
//! A [`participant::Participant`] is one node's part of the group. One machine,
//! [`replica::Replica`], keeps a log that a primary writes and backups follow; what makes a
//! strategy out of it are its [`Rules`]. `none` is a group of one. [`raft`] is a machine of its own.
//!
//! | file | question |
//! |---|---|
//! | `entry_log` | the group's log in memory |
//! | `replica` | what a node holds, and what its disk has proved |
//! | `leader` | how a primary brings its backups up to date |
//! | `follower` | what a backup takes, and from whom |
//! | `acknowledge` | when is a write committed |
//! | `reads` | when may a read be answered |
//! | `takeover` | who becomes primary, and what stops the old one |
//! | `first_start` | how a new group begins, and a forgetful node does not |
//! | `requests`, `answers` | what clients are told |
//! | `raft/` | the same questions, answered by consensus |

mod acknowledge;
mod answers;
mod entry_log;
mod first_start;
mod follower;
mod leader;
mod none;
pub mod participant;
mod primary_backup;
pub mod raft;
mod reads;
pub mod replica;
mod requests;
mod takeover;

use shakedown_contracts::strategy::{Acknowledge, Fencing, Reads, Replication as Options};

use crate::interface::Peer;

/// What a replication strategy decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The members that hold the data, in rank order; empty for a node that holds nothing.
    pub voters: Vec<Peer>,
    /// The one primary there can ever be, where there is only one.
    pub fixed_primary: Option<Peer>,
    /// Who must hold a write before it is acknowledged.
    pub acknowledge: Acknowledge,
    /// What stops a deposed primary.
    pub fencing: Fencing,
    /// How a read knows that its primary still is one.
    pub reads: Reads,
}

impl Rules {
    /// The smallest number of voters above half.
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// True when older epochs are refused.
    pub fn fenced(&self) -> bool {
        self.fencing == Fencing::Epoch
    }
}

/// The rules of the options, for member `me` of `members`.
pub fn rules(options: &Options, members: u32, me: Peer) -> Rules {
    match options {
        Options::None {} => none::rules(me),
        Options::PrimaryBackup {
            acknowledge,
            fencing,
            reads,
        } => primary_backup::rules(members, *acknowledge, *fencing, *reads),
        Options::Raft(_) => unreachable!("raft decides by its terms and has no rules"),
    }
}
