//! One file a verb of the command line; each returns the outcome that the exit code tells.

pub mod analyze;
pub mod completions;
pub mod doctor;
pub mod node;
pub mod plan;
pub mod proxy;
pub mod recover;
pub mod report;
pub mod run;
