//! The node's disk: `files` knows the files, `queue` is the thread that works on them in order.

mod files;
mod queue;

pub use queue::{Completed, Completion, Disk, Recovered, Treatment, open};
