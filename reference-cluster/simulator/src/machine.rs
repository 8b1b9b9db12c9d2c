//! One host with its process: what a world knows of a node.
//!
//! A dead process leaves the disk; a dead host is silent until its process is started again. A
//! paused process hears nothing: what comes for it waits here, where in reality the kernel's sockets
//! hold it, and its disk thread stands still after the operation under way.

use std::collections::{BTreeMap, VecDeque};

use shakedown_contracts::node::NodeConfig;
use shakedown_contracts::random::Random;
use shakedown_contracts::strategy::OnFsyncError;
use shakedown_core::detector::swim::packet::Probe;
use shakedown_core::interface::{DiskToken, Ending, Peer, Timer};
use shakedown_core::message::{Heartbeat, Message};
use shakedown_core::node::Node;

use crate::clock::Clock;
use crate::connection::Connection;
use crate::disk::Disk;
use crate::happening::CallId;
use crate::host_faults::Damages;
use crate::packet::Way;
use crate::timers::Timers;

/// Datagrams that wait at a paused process; newer ones are lost. Linux counts 768 bytes for a small
/// datagram and lets 208 KiB wait in a socket.
const DATAGRAMS_WAITING_MAX: usize = 277;

/// Something that comes for a process.
#[derive(Debug)]
pub(crate) enum Notice {
    Heartbeat(Peer, Heartbeat),
    Probe(Peer, Box<Probe>),
    Message(Peer, Message),
    /// The own connection to this endpoint stands.
    Connected(u32),
    /// The own connection to this endpoint broke.
    Broken(u32, Ending),
    DiskDone(DiskToken),
    /// A sync failed, and the process goes on.
    DiskFailed(DiskToken),
    /// The disk failed, and the process ends: its last words.
    DiskBroken(String),
    Request(CallId),
    Timer(Timer),
    /// Time for the next attempt to connect.
    Dial {
        way: Way,
        dial: u32,
        attempt: u32,
    },
    /// The disk has been read.
    Boot,
}

/// What a host's process is.
#[derive(Debug)]
pub(crate) enum Process {
    /// There is none.
    None,
    /// It reads its disk and does not listen yet.
    Booting,
    /// It serves.
    Running(Box<Node>),
}

/// A host.
#[derive(Debug)]
pub(crate) struct Machine {
    pub config: NodeConfig,
    /// Endpoints of the group's members, by peer number; `None`: no endpoint of this world.
    members: Vec<Option<u32>>,
    pub host_is_up: bool,
    pub process: Process,
    /// Which start of the process this is; 0 before the first.
    pub generation: u32,
    pub paused: bool,
    /// Datagrams that wait.
    pub datagrams: VecDeque<Notice>,
    /// In order; as long as the core lets its peers and clients send without an answer.
    pub waiting: Vec<Notice>,
    pub timers: Timers,
    pub disk: Disk,
    pub clock: Clock,
    pub damages: Damages,
    /// The connections that this node dials, by endpoint.
    pub connections: BTreeMap<u32, Connection>,
    pub last_words: Option<String>,
}

impl Machine {
    pub fn new(config: NodeConfig, numbers: &BTreeMap<String, u32>, seed: u64) -> Self {
        let random = Random::keyed(seed, "disk", &config.name);
        let members = config.members.iter();
        let members = members.map(|member| numbers.get(&member.name).copied());
        Machine {
            members: members.collect(),
            host_is_up: false,
            process: Process::None,
            generation: 0,
            paused: false,
            datagrams: VecDeque::new(),
            waiting: Vec::new(),
            timers: Timers::default(),
            disk: Disk::new(config.hold_unsynced, random),
            clock: Clock::default(),
            damages: Damages::new(),
            connections: BTreeMap::new(),
            last_words: None,
            config,
        }
    }

    /// Whether connections to it are accepted: by the kernel, so also while it is paused.
    pub fn listens(&self) -> bool {
        matches!(self.process, Process::Running(_))
    }

    /// Whether a connection that this process accepted still has an end here.
    pub fn is_process(&self, generation: Option<u32>) -> bool {
        self.listens() && generation == Some(self.generation)
    }

    /// Where a peer is.
    pub fn endpoint(&self, peer: Peer) -> Option<u32> {
        self.members.get(peer.0 as usize).copied().flatten()
    }

    /// Which peer an endpoint is.
    pub fn peer(&self, endpoint: u32) -> Option<Peer> {
        // Nearly always the members are all nodes in their order.
        if self.members.get(endpoint as usize) == Some(&Some(endpoint)) {
            return Some(Peer(endpoint));
        }
        let position = self
            .members
            .iter()
            .position(|member| *member == Some(endpoint))?;
        Some(Peer(position as u32))
    }

    /// True when a node goes on after a failed sync (`on_fsync_error`).
    pub fn retries_syncs(&self) -> bool {
        let log = self.config.strategy.recovery_log.options();
        log.is_some_and(|log| log.on_fsync_error == OnFsyncError::Retry)
    }

    /// Endpoints of all members.
    pub fn member_endpoints(&self) -> Vec<u32> {
        self.members.iter().copied().flatten().collect()
    }

    /// Keeps a notice for the end of the pause.
    pub fn keep(&mut self, notice: Notice) {
        match notice {
            Notice::Heartbeat(..) | Notice::Probe(..) => {
                if self.datagrams.len() < DATAGRAMS_WAITING_MAX {
                    self.datagrams.push_back(notice);
                }
            }
            other => self.waiting.push(other),
        }
    }

    /// The process is gone, with all that was its own.
    pub fn bury(&mut self) {
        self.process = Process::None;
        self.paused = false;
        self.datagrams.clear();
        self.waiting.clear();
        self.timers = Timers::default();
    }
}
