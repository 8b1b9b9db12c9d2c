//! Raft: consensus on a log, by leaders that are elected for a term.
//!
//! Time is cut into terms, and a term has at most one leader, because a server votes once a term and
//! a leader needs a majority. A vote goes only to a log at least as up to date as the voter's own,
//! so a leader has everything that was ever committed, and followers take its log as it is. What
//! makes a node stand for election is silence of the leader; the detector watches and reports, but
//! does not steer.
//!
//! | file | question |
//! |---|---|
//! | `setting` | what does not change while a server runs |
//! | `message` | what servers say to each other |
//! | `server` | what a server holds, and what follows from a step |
//! | `dispatch` | where every input goes |
//! | `role` | what it is at present, and how that changes |
//! | `election` | who stands, who votes, who wins |
//! | `leader` | how followers are brought up to date, and what is committed |
//! | `follower` | what a follower takes, and from whom |
//! | `heartbeat` | how a leader shows itself, and learns that it still is one |
//! | `reads` | when may a read be answered |
//! | `redundancy` | are all copies there |
//! | `requests` | what clients are told |
//!
//! Invariants (figure 3 of the paper): one leader a term; a leader never overwrites its log; logs
//! that agree at a point agree before it; what is committed is in the log of every later leader; no
//! two servers apply different commands at a position. All of it rests on the disk: with
//! `recovery_log = "none"` a restarted server forgets its vote and its log, and nothing of it holds.
//!
//! Source: Ongaro & Ousterhout 2014, "In Search of an Understandable Consensus Algorithm" (the
//! paper); Ongaro 2014, "Consensus: Bridging Theory and Practice" (the dissertation).

mod dispatch;
mod election;
mod follower;
mod heartbeat;
mod leader;
pub mod message;
mod reads;
mod redundancy;
mod requests;
mod role;
pub mod server;
pub mod setting;
