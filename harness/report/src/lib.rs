//! From a verdict to bytes: one pure function and one file for each format.
//!
//! Nothing is judged or measured here; a report shows what the verdict says, and an old run prints
//! the same today as on the day it ran.

pub mod json;
pub mod junit;
pub mod table;
