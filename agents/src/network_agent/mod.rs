//! The network agent: stands in the router namespace and rules all links.
//!
//! `agent` is the loop over orders and ends; `topology` wires one namespace per endpoint to the
//! router; `links` holds who has done what to which link and renders the union; `fate` decides what
//! happens to one packet; `delayer` holds packets until they are due; `probes` proves effects by
//! packets of the agent's own.
//!
//! The invariant: everything it makes is held by its descriptors (namespaces, the table of rules,
//! the queue), so its end, however it comes, is the end of them all.

mod agent;
mod delayer;
pub mod fate;
pub mod links;
pub mod probes;
pub mod topology;

pub use agent::main;
