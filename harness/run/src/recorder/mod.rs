//! The one recorder of a trial: history and events go through here and nowhere else.
//!
//! Record first, judge later: a harness that dies leaves files that `analyze` still reads.

mod writer;

pub use writer::Recorder;
