//! Nodes in virtual time: a group under faults drawn from a seed, one file a question.

mod automation;
mod chain;
mod failed_sync;
mod gossip;
mod group;
mod hung_disk;
mod lease;
mod ledger;
mod raft;
mod redundancy;
mod replication;
mod single_node;
mod snapshot;
mod transactions;
mod world;
