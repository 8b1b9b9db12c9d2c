//! The reference cluster's fault-tolerance strategies, as pure state machines.
//!
//! A node is `step(now, input) → outputs` (see [`interface`]): no sockets, clock, entropy or threads
//! are here. `node` drives it with real ones; the same machine can be driven in virtual time.

pub mod automation;
pub mod balancing;
pub mod detector;
pub mod flaw;
pub mod interface;
pub mod message;
pub mod node;
pub mod recovery_log;
pub mod redundancy;
pub mod replication;
pub mod service;
pub mod snapshot;
pub mod store;
pub mod transactions;
