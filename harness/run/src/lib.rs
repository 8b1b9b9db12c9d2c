//! Follows plans on real processes and records what happens.
//!
//! The only room of the harness with effects. `stage` is where nodes live, `target` what they are,
//! `workload` what clients do, `faults` plays the schedule, `recorder` writes it all down.

pub mod clock;
pub mod faults;
pub mod recorder;
pub mod stage;
pub mod target;
pub mod trial;
pub mod workload;
