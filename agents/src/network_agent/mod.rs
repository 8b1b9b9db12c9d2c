//! The network agent: stands in the router namespace and rules all links.
//!
//! `agent` is the loop over orders and ends; `topology` wires one namespace per endpoint to the
//! router; `links` holds who has done what to which link and renders the union (`union`); `delayer`
//! reads the packet queue, in which `holding` says what is held until when (what happens to one
//! packet is defined in `contracts::fate`, what its bytes say in `wire_bytes`); `probes` proves
//! effects by packets of the agent's own, and `traffic` is what packets of one port meet.
//!
//! The invariant: everything it makes is held by its descriptors (namespaces, the table of rules,
//! the queue), so its end, however it comes, is the end of them all.

mod agent;
mod delayer;
pub mod holding;
pub mod links;
pub mod priority;
pub mod probes;
pub(crate) mod raw_socket;
pub mod topology;
pub mod traffic;
pub mod union;
pub(crate) mod wire_bytes;

pub use agent::main;
