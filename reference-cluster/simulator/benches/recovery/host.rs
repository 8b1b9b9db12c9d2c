//! One node of `core` on files in memory, without a world: what a restart costs the processor.

use std::collections::VecDeque;

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::node::NodeConfig;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use shakedown_core::interface::{ClientRequest, DiskOperation, Input, Output, RequestId, Timer};
use shakedown_core::node::Node;

/// What a node's folder holds.
#[derive(Clone, Default)]
pub struct Files {
    /// Newest first.
    checkpoints: Vec<Vec<u8>>,
    log: Vec<u8>,
}

/// The node and its files.
pub struct Host {
    node: Node,
    pub files: Files,
    /// Records that it replayed when it started.
    pub replayed: u64,
    now: Moment,
    requests: u64,
}

impl Host {
    /// A process that starts on such files, and goes on to write to them.
    pub fn start(config: &NodeConfig, files: Files) -> Host {
        Host::run(config, files.clone(), files)
    }

    /// A process that replays such files, copied in place of being read from a disk.
    pub fn replay(config: &NodeConfig, files: &Files) -> Host {
        Host::run(config, Files::default(), files.clone())
    }

    fn run(config: &NodeConfig, files: Files, found: Files) -> Host {
        let mut host = Host {
            node: Node::new(config).unwrap(),
            files,
            replayed: 0,
            now: Moment(1_000_000_000),
            requests: 0,
        };
        let Files { checkpoints, log } = found;
        host.step(Input::Start { checkpoints, log });
        let status = host.node.status();
        let all = (Role::Primary, status.position);
        assert_eq!((status.role, status.committed), all);
        host
    }

    /// A client's write.
    pub fn put(&mut self, key: String, value: u64) {
        self.requests += 1;
        let id = RequestId(self.requests);
        let request = ClientRequest::Put { key, value };
        self.step(Input::Request { id, request });
    }

    /// Gives the input, and then what the disk and the timers answer at once.
    fn step(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.now = self.now.after(Duration::from_micros(10));
            for output in self.node.step(self.now, input) {
                match output {
                    Output::Disk { token, operation } => {
                        self.files.carry_out(operation);
                        inputs.push_back(Input::DiskDone { token });
                    }
                    Output::SetTimer { timer, at } if at <= self.now => {
                        assert_eq!(timer, Timer::Replication);
                        inputs.push_back(Input::Timer { timer });
                    }
                    Output::Note {
                        event: Event::RecoveryCompleted { records, .. },
                    } => self.replayed = records,
                    Output::Fatal { message } => panic!("{message}"),
                    _ => {}
                }
            }
        }
    }
}

impl Files {
    fn carry_out(&mut self, operation: DiskOperation) {
        match operation {
            DiskOperation::Append { bytes } => self.log.extend(bytes),
            DiskOperation::TruncateLog { length } => self.log.truncate(length as usize),
            DiskOperation::Checkpoint { bytes, log } => {
                self.checkpoints.insert(0, bytes);
                self.checkpoints.truncate(2);
                self.log = log;
            }
            DiskOperation::Sync | DiskOperation::Probe { .. } => {}
        }
    }
}
