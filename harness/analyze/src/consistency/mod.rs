//! Consistency levels, decided from the history alone.
//!
//! [`linearizable`] decides one register, [`register`] splits a history into registers and collects
//! the answers, [`stale`] finds the usual violation without a search, [`witness`] reduces a violation to the few operations that show it.

pub mod linearizable;
pub mod register;
pub mod stale;
pub mod witness;

pub use register::{Consistency, check};
