//! A bank whose accounts are spread over all nodes, and checkpoints of all of them together.
//!
//! Each account belongs to one node. A transfer is taken out of the payer's account at one node and
//! sent to the other as a message, so at any moment money is on the way and in no account. What a
//! node has done since its checkpoint dies with it; then *all* nodes must go back, and the question
//! is whether the checkpoints they go back to belong together.
//!
//! `chandy-lamport`: whoever begins a snapshot records its accounts and sends a marker on every
//! channel; whoever sees a marker for the first time does so too. What arrives on a channel between
//! one's own record and the channel's marker was sent before the sender's record: it is what the
//! channel held. Accounts and channels together are a state that the bank could have been in, and
//! its total is right. `uncoordinated` (wrong on purpose): every node writes its checkpoint when its
//! own time has come. A transfer that one side remembers and the other does not makes money, or
//! loses it. `none`: nothing is written; the restarted node's accounts are empty.
//!
//! | file | question |
//! |---|---|
//! | `setting` | what does not change while a node runs |
//! | `message` | what nodes say to each other |
//! | `channel` | how messages come in order and none is missing, though connections break |
//! | `marker` | what a snapshot records |
//! | `checkpoint` | when snapshots are begun and where they are kept |
//! | `recovery` | how all nodes go back together |
//! | `bank` | what clients are told |
//! | `server` | what a node holds, and what follows from a step |
//!
//! A read of accounts is a snapshot of its own that is not written to disk, under every kind.
//! Invariants (`chandy-lamport`): of two snapshots on any disks the older is complete, so the newest
//! that all have is one to which all can go back; after that no message from before is taken.
//! The bank serves only while all nodes are there: the way back of one that is away would be everyone's.
//!
//! Source: Chandy & Lamport 1985, "Distributed Snapshots: Determining Global States of Distributed
//! Systems"; on going back and the domino effect of uncoordinated checkpoints, Elnozahy, Alvisi,
//! Wang & Johnson 2002, sections 2 and 3.

mod bank;
mod channel;
mod checkpoint;
mod marker;
pub mod message;
mod recovery;
pub mod server;
pub mod setting;
