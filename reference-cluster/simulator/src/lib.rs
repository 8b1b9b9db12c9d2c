//! The reference cluster in virtual time: nodes of `shakedown-core` between links, disks and clients
//! that exist only as numbers.
//!
//! A [`World`] is a heap of events. It hands each to the node it belongs to, carries out what the
//! node wants, and so knows of the next events; the time between two events costs nothing. Faults
//! are calls on the world that take effect at its present moment. How the driver of real nodes
//! behaves (`shakedown-node`) is modelled where it shows outside the node: the order after a pause,
//! redialling, what a kill loses.
//!
//! Invariant: a run is a function of its [`Setup`] and of the calls made. All randomness is keyed by
//! (seed, purpose, entity), so that one fault more changes no draw of anything it does not touch.

mod agenda;
mod calls;
mod clock;
mod connection;
mod dialling;
mod disk;
mod draws;
mod happening;
mod host_faults;
mod inputs;
mod links;
mod machine;
mod packet;
mod packets;
mod processes;
mod setup;
mod streams;
mod timers;
mod trace;
mod troubles;
mod world;

pub use shakedown_core::flaw::{Flaw, Planted};
pub use shakedown_core::interface::{ClientReply, ClientRequest};
pub use shakedown_core::node::ConfigError;

pub use happening::{CallAnswer, CallId, Happening};
pub use setup::{DiskModel, NetworkModel, Setup, Unsynced};
pub use troubles::HostEffect;
pub use world::World;
