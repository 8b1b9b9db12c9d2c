//! The node agent: owns one node's process, tells its events on, and injects process faults.
//!
//! `agent` is the loop over orders, events and ends; `node` the process and its life; `launch`,
//! `child` and `meeting` how a process comes to stand in a pid namespace of its own; `events` its event pipe.
//!
//! The invariant: nothing the node started outlives the agent. The node's init dies with the agent
//! by the kernel's hand, and with an init dies its whole pid namespace.

mod agent;
mod child;
mod error;
pub mod events;
mod groups;
mod launch;
mod meeting;
pub mod node;

pub use agent::main;
pub use error::{LaunchError, NodeError};
