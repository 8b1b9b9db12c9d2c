//! Who holds the data, who serves it, and who takes over.
//!
//! A [`crate::service::Service`] is one node's part of the group. One machine,
//! [`replica::Replica`], keeps a log that a primary writes and backups follow; what makes a
//! strategy out of it are its [`Rules`]. `none` is a group of one. [`raft`] and [`chain`] are machines
//! of their own.
//!
//! | file | question |
//! |---|---|
//! | `entry_log` | the group's log in memory |
//! | `replica` | what a node holds, and what its disk has proved |
//! | `leader` | how a primary brings its backups up to date |
//! | `follower` | what a backup takes, and from whom |
//! | `acknowledge` | when is a write committed |
//! | `semi_sync` | what a primary does when no backup holds its writes |
//! | `reads` | when may a read be answered |
//! | `lease` | how long a primary serves without asking |
//! | `election` | whose log is good enough to take over |
//! | `membership` | who votes, as the log says |
//! | `swap` | how a spare takes a lost node's place |
//! | `redundancy` | are all copies there |
//! | `takeover` | who becomes primary, and what stops the old one |
//! | `first_start` | how a new group begins, and a forgetful node does not |
//! | `requests`, `answers` | what clients are told |
//! | `server_log`, `merge` | what a server of `raft/` or `chain/` has on its disk, and how two logs meet |
//! | `raft/` | the same questions, answered by consensus |
//! | `chain/` | the same questions, answered by a chain of nodes |

mod acknowledge;
pub(crate) mod answers;
pub mod chain;
mod election;
mod entry_log;
mod first_start;
mod follower;
mod leader;
pub mod lease;
mod membership;
mod merge;
mod none;
mod primary_backup;
pub mod raft;
mod reads;
mod redundancy;
pub mod replica;
mod requests;
mod semi_sync;
mod server_log;
mod swap;
mod takeover;

use shakedown_contracts::strategy::{
    Acknowledge, Election, Fencing, Reads, Replication as Options,
};

use shakedown_contracts::units::Duration;

use crate::interface::Peer;

/// What a replication strategy decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The members that hold the data, in rank order; empty for a node that holds nothing. Of a
    /// group whose log changes them: those in force.
    pub voters: Vec<Peer>,
    /// The one primary there can ever be, where there is only one.
    pub fixed_primary: Option<Peer>,
    /// Who must hold a write before it is acknowledged.
    pub acknowledge: Acknowledge,
    /// How long a semi-synchronous primary waits for a backup; `None`: for ever.
    pub fallback: Option<Duration>,
    /// What stops a deposed primary.
    pub fencing: Fencing,
    /// Whose log is good enough to take over.
    pub election: Election,
    /// How a read knows that its primary still is one.
    pub reads: Reads,
    /// What a lease is worth, where something rests on one.
    pub lease: Option<lease::Terms>,
}

impl Rules {
    /// The smallest number of voters above half.
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// True when older epochs are refused.
    pub fn fenced(&self) -> bool {
        self.fencing != Fencing::None
    }
}

/// The rules of the options, for member `me` of a group of `members`.
pub fn rules(options: &Options, members: u32, me: Peer) -> Rules {
    match options {
        Options::None {} => none::rules(me),
        Options::PrimaryBackup { .. } => primary_backup::rules(members, options),
        Options::Raft(_) | Options::Chain(_) => {
            unreachable!("raft and chain are machines of their own and have no rules")
        }
    }
}
