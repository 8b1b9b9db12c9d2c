//! All data that crosses a file or a process, and nothing that does anything.
//!
//! Every stage of Shakedown reads only the artefact before it; these types *are* those artefacts:
//! the plan, the messages between harness and agents, the history and the events of a trial, the
//! verdict. Formats carry a version; there is no I/O here. What several stages must understand alike
//! is defined here as a pure function: quantities, seeded draws ([`random`]), and what a delay or a
//! loss does to a packet ([`fate`]).

pub mod catalogue;
pub mod control;
pub mod dns_fault;
pub mod event;
pub mod fate;
pub mod fault;
pub mod frame;
pub mod history;
pub mod host_fault;
pub mod metric;
pub mod node;
pub mod packet_fault;
pub mod pattern;
pub mod plan;
pub mod ports;
pub mod random;
pub mod range;
pub mod run_directory;
pub mod strategy;
pub mod time;
pub mod units;
pub mod verdict;
