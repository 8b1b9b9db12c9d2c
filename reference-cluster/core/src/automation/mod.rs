//! Who restarts and replaces nodes, so that no human has to.
//!
//! The supervisor is a process of its own that watches all nodes by their heartbeats. It holds
//! nothing that others rely on: it says what it wants, again and again, and whoever can carries it
//! out if it makes sense: the platform starts a process where there is none, the primary swaps
//! voters by its log. So it may be wrong, late, killed or there twice, and costs at most work.
//!
//! | file | question |
//! |---|---|
//! | `supervisor` | what is seen of the nodes, and what follows |
//! | `wishes` | which swap is wanted, and who is asked for it |
//! | `restarts` | when is a dead node started again, and when no more |
//! | `slowness` | who is slow, compared with the others |
//! | `message` | what supervisor and primary say to each other |
//!
//! How a primary carries a swap out is in [`crate::replication`].
//! Invariant: nothing here decides who holds or serves data.

pub mod message;
mod restarts;
mod slowness;
pub mod supervisor;
mod wishes;
