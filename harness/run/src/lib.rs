//! Follows plans on real processes and records what happens.
//!
//! The only room of the harness with effects. `stage` is where nodes live, `target` what they are,
//! `workload` what clients do, `faults` plays the schedule, `recorder` writes it all down, `trial`
//! joins them and [`run`] goes through the plans. Real processes are started on the thread that
//! calls [`run`] and on no other: children carry a parent-death signal, which the kernel sends when
//! the *thread* that spawned them ends, so that must be the main thread. Simulated trials start none
//! and run on threads of their own.

pub mod canary;
pub mod clock;
pub mod error;
pub mod faults;
pub mod interrupt;
pub mod isolation;
pub mod orchestrator;
pub mod pacing;
pub mod progress;
pub mod recorder;
pub mod stage;
pub mod target;
pub mod trial;
pub mod workload;

pub use error::RunError;
pub use interrupt::Interrupt;
pub use isolation::{Isolation, enter_namespaces};
pub use orchestrator::{RunOptions, RunOutcome, run};
pub use progress::{Progress, ProgressEvent};
#[cfg(feature = "flaws")]
pub use shakedown_simulator::Flaw;
pub use trial::TrialEnd;
