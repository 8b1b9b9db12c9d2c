//! One node and its files, one disk operation at a time, so that it can die between any two of them
//! and in the middle of each.

use std::collections::{BTreeMap, VecDeque};

use shakedown_contracts::node::{Member, NODE_CONFIG_FORMAT, NodeConfig};
use shakedown_contracts::strategy::{RecoveryLog, Replication, Strategy};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use shakedown_core::flaw::{Flaw, Planted};
use shakedown_core::interface::{
    ClientReply, ClientRequest, DiskOperation, DiskToken, Input, Output, RequestId, Timer,
};
use shakedown_core::node::Node;

/// What is in the folder; of the log, the first `synced` bytes are on the device.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Files {
    pub checkpoints: Vec<Vec<u8>>,
    pub log: Vec<u8>,
    pub synced: usize,
}

impl Files {
    /// After a death that left these.
    fn left(checkpoints: Vec<Vec<u8>>, log: Vec<u8>) -> Files {
        let synced = log.len();
        Files {
            checkpoints,
            log,
            synced,
        }
    }

    fn with_log(&self, log: Vec<u8>) -> Files {
        Files::left(self.checkpoints.clone(), log)
    }

    pub fn carry_out(&mut self, operation: &DiskOperation) {
        match operation {
            DiskOperation::Append { bytes } => self.log.extend(bytes),
            DiskOperation::Sync => self.synced = self.log.len(),
            DiskOperation::Probe { .. } => {}
            DiskOperation::TruncateLog { length } => {
                self.log.truncate(*length as usize);
                self.synced = self.log.len();
            }
            DiskOperation::Checkpoint { bytes, log } => {
                self.checkpoints.insert(0, bytes.clone());
                self.checkpoints.truncate(2);
                *self = self.with_log(log.clone());
            }
        }
    }

    /// Everything that a death before or in the middle of `next` can leave. `coarse`: of the bytes
    /// not synced none, half or all, instead of every number.
    pub fn after_death(&self, next: Option<&DiskOperation>, coarse: bool) -> Vec<Files> {
        let unsynced = self.log.len() - self.synced;
        let step = if coarse { (unsynced / 2).max(1) } else { 1 };
        let mut left = Vec::new();
        for kept in (0..=unsynced).step_by(step) {
            let prefix = &self.log[..self.synced + kept];
            left.push(self.with_log(prefix.to_vec()));
            // The length was written before the bytes; so does a sync that failed leave it.
            let mut zeros = prefix.to_vec();
            zeros.resize(self.log.len(), 0);
            left.push(self.with_log(zeros));
        }
        match next {
            // The process dies, or the disk is full: a part is written, the page cache lives.
            Some(DiskOperation::Append { bytes }) => {
                let step = if coarse { bytes.len().max(1) } else { 1 };
                for written in (0..=bytes.len()).step_by(step) {
                    let log = [&self.log[..], &bytes[..written]].concat();
                    left.push(self.with_log(log));
                }
            }
            Some(DiskOperation::Checkpoint { bytes, .. }) => {
                let previous = self.checkpoints.iter().take(1).cloned();
                let new = [bytes.clone()].into_iter().chain(previous.clone());
                let older = self.checkpoints.iter().skip(1).cloned();
                let alone = [bytes.clone()].into_iter().chain(older);
                let states: [Vec<Vec<u8>>; 3] =
                    [previous.collect(), new.collect(), alone.collect()];
                for checkpoints in states {
                    let synced = self.log[..self.synced].to_vec();
                    left.push(Files::left(checkpoints.clone(), synced));
                    left.push(Files::left(checkpoints, self.log.clone()));
                }
            }
            _ => {}
        }
        left
    }
}

/// A running node.
pub struct Session {
    node: Node,
    now: Moment,
    pub files: Files,
    pub queue: VecDeque<(DiskToken, DiskOperation)>,
    timers: BTreeMap<Timer, Moment>,
    pub replies: BTreeMap<u64, ClientReply>,
    requests: u64,
    pub last_words: Option<String>,
}

impl Session {
    pub fn start(log: &RecoveryLog, files: Files, flaw: Option<Flaw>) -> Session {
        let member = Member {
            name: "n1".to_owned(),
            address: [127, 0, 0, 1].into(),
            peer_port: 7001,
            heartbeat_port: 7002,
            kind: Default::default(),
        };
        let config = NodeConfig {
            format: NODE_CONFIG_FORMAT,
            name: "n1".to_owned(),
            members: vec![member],
            data_directory: "data".into(),
            strategy: Strategy {
                recovery_log: log.clone(),
                replication: Replication::None {},
                ..Strategy::default()
            },
            seed: 1,
            hold_unsynced: false,
            client_port: 7000,
        };
        let node = Node::planted(&config, Planted::from(flaw)).expect("a strategy that works");
        let (checkpoints, content) = (files.checkpoints.clone(), files.log.clone());
        let mut session = Session {
            node,
            now: Moment(1_000_000_000),
            files,
            queue: VecDeque::new(),
            timers: BTreeMap::new(),
            replies: BTreeMap::new(),
            requests: 0,
            last_words: None,
        };
        session.step(Input::Start {
            checkpoints,
            log: content,
        });
        session
    }

    pub fn step(&mut self, input: Input) {
        self.now = self.now.after(Duration::from_millis(1));
        for output in self.node.step(self.now, input) {
            match output {
                Output::Disk { token, operation } => self.queue.push_back((token, operation)),
                Output::SetTimer { timer, at } => {
                    self.timers.insert(timer, at);
                }
                Output::Reply { id, reply } => {
                    self.replies.insert(id.0, reply);
                }
                Output::Fatal { message } => self.last_words = Some(message),
                Output::SendHeartbeat { .. }
                | Output::SendProbe { .. }
                | Output::Send { .. }
                | Output::Note { .. } => {}
            }
        }
    }

    pub fn ask(&mut self, request: ClientRequest) -> u64 {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.step(Input::Request { id, request });
        self.requests
    }

    /// The next disk operation.
    pub fn carry_out_next(&mut self) -> bool {
        let Some((token, operation)) = self.queue.pop_front() else {
            return false;
        };
        self.files.carry_out(&operation);
        self.step(Input::DiskDone { token });
        true
    }

    /// Fires the timers that lead to a node that serves.
    pub fn serve(&mut self) {
        for _ in 0..3 {
            let at = self.timers.remove(&Timer::Replication);
            self.now = self.now.max(at.unwrap_or(self.now));
            self.step(Input::Timer {
                timer: Timer::Replication,
            });
        }
    }
}
