//! Chain replication: writes travel from the head of a chain to its tail, and count once the tail
//! has them.
//!
//! Every node passes on what it has on disk, so that whoever follows holds a prefix of what whoever
//! precedes holds. What the tail has, all have: it answers reads from its own state, and tells back
//! along the chain how far it is. A chain of any length costs the head one message a write, and the
//! client the sum of all hops.
//!
//! The paper leaves it to a master that never fails to say who is in the chain. Here the members say
//! it themselves: a chain is named by an epoch, which a majority of all members has promised to its
//! head, durably; the head must have a log at least as up to date as each that promised, and a chain
//! has at least a majority of the members. So any majority that promises a later epoch shares a
//! member with every earlier chain: it holds what that chain acknowledged, and takes nothing from it
//! any more. The price is that a chain of three lives with one death, not with two.
//!
//! Clients speak to the head alone: it is what the status calls primary. It sends reads on to the
//! tail, and answers when the tail has.
//!
//! | file | question |
//! |---|---|
//! | `setting` | what does not change while a member runs |
//! | `message` | what members say to each other, and what a chain is |
//! | `server` | what a member holds, and what follows from a step |
//! | `dispatch` | where every input goes |
//! | `head` | what the head of a chain does, and how it stops being one |
//! | `link` | how a node passes on what it has |
//! | `follower` | what a node takes, and from whom |
//! | `authority` | who says what the chain is |
//! | `membership` | who is in the next chain, and when there must be one |
//! | `reads` | who answers a read |
//! | `requests` | what clients are told |
//!
//! Invariants: an epoch has one chain; along a chain what is on disk never grows (the paper's Update
//! Propagation Invariant); what was acknowledged is in the log of every later head. All of it rests
//! on the disk: with `recovery_log = "none"` a restarted member forgets what it promised.
//!
//! Source: van Renesse & Schneider 2004, "Chain Replication for Supporting High Throughput and
//! Availability". That a majority stands in for the master is this cluster's choice; the rule which
//! head may be promised is Raft's (Ongaro & Ousterhout 2014, section 5.4).

mod authority;
mod dispatch;
mod follower;
mod head;
mod link;
mod membership;
pub mod message;
mod reads;
mod requests;
pub mod server;
pub mod setting;
