//! Everything that keeps a node from starting or from going on.
//!
//! A node has no way to repair itself: each of these ends the process, so each says what to do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

/// Why a node did not start, or stopped.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The command line.
    #[error(
        "argument not understood: {0}; write `node --config FILE [--events-descriptor NUMBER] [--record FILE]`"
    )]
    Argument(String),
    /// The config file cannot be read.
    #[error("cannot read the node's config {path}: {source}; give an existing file with --config")]
    ConfigUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The config file is no `NodeConfig`.
    #[error("{path}: not a node config: {source}; write it with the harness of the same version")]
    ConfigMalformed {
        /// The file.
        path: PathBuf,
        /// Line, column and key.
        source: serde_json::Error,
    },
    /// A value of the config cannot work.
    #[error("{path}: {key} = {value}: {problem}")]
    ConfigInvalid {
        /// The file.
        path: PathBuf,
        /// The key, such as `members[1].name`.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it and what to write instead.
        problem: String,
    },
    /// The core refuses the config.
    #[error("{path}: {message}")]
    ConfigRefused {
        /// The file.
        path: PathBuf,
        /// Its reason.
        message: String,
    },
    /// A socket cannot be had.
    #[error(
        "cannot listen for {purpose} on {address}: {source}; is another node running there? \
         end it, or give another `{key}`"
    )]
    Bind {
        /// `clients`, `peers` or `heartbeats`.
        purpose: &'static str,
        /// Address and port.
        address: SocketAddr,
        /// The config key of the port.
        key: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Another process works in the data folder.
    #[error(
        "data_directory {path} is in use by another node; end that node or give another folder"
    )]
    DataDirectoryInUse {
        /// The folder.
        path: PathBuf,
    },
    /// What a node wrote before cannot be read.
    #[error("cannot read {path}: {source}; check `data_directory` and its permissions")]
    DiskUnreadable {
        /// File or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A write, sync or rename failed. What is on disk is unknown from here on, and a repeated
    /// fsync would report success for pages that the kernel has already given up (Rebello 2020).
    #[error(
        "cannot write {path}: {source}; the node stops, because a failed write cannot be retried \
         safely: free or repair the disk and start the node again"
    )]
    DiskUnwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The disk does not keep up at all.
    #[error(
        "{waiting} disk operations wait in {path}; the node stops: the disk does not answer, \
         check it and start the node again"
    )]
    DiskStalled {
        /// The data folder.
        path: PathBuf,
        /// Operations in the queue.
        waiting: usize,
    },
    /// A recording cannot be replayed.
    #[error(
        "cannot replay {path}: {source}; give a file written by `node --record` of this version"
    )]
    RecordingUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody can be told what happens.
    #[error("cannot report events to descriptor {descriptor}: {source}; pass an open pipe or file")]
    Events {
        /// Its number.
        descriptor: i32,
        /// Why.
        source: io::Error,
    },
    /// Nobody reads the events.
    #[error(
        "{waiting} events wait to be read; the node stops rather than lose evidence: read the \
         events descriptor"
    )]
    EventsStalled {
        /// Events in the queue.
        waiting: usize,
    },
    /// The kernel refuses what every node needs.
    #[error("cannot start the node's runtime: {0}; check the limits on open files and threads")]
    Runtime(io::Error),
    /// The core cannot go on.
    #[error("{0}")]
    Fatal(String),
}

impl NodeError {
    /// True for what ends a node that was running or recovering: exit code 1, no way back.
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            NodeError::DiskUnwritable { .. }
                | NodeError::DiskStalled { .. }
                | NodeError::EventsStalled { .. }
                | NodeError::Fatal(_)
        )
    }
}
