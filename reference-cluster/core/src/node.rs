//! A node: the strategies of its configuration, composed into one state machine.
//!
//! [`Node::step`] takes one input and returns what to do. The detector watches the peers; the
//! replica holds log, state and role; the recovery log sits below it.
//! Invariant: the same configuration and the same inputs at the same moments give the same outputs,
//! on every machine.

use shakedown_contracts::event::Event;
use shakedown_contracts::node::{NodeConfig, Status};
use shakedown_contracts::strategy::{
    Checksum, RecoveryLog as RecoveryLogOptions, Replication, Strategy,
};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use thiserror::Error;

use crate::detector::watch::{Sign, Watch};
use crate::detector::{Group, watch};
use crate::flaw::{Flaw, Planted};
use crate::interface::{Input, Output, Peer, Timer};
use crate::message::Point;
use crate::recovery_log::record::{Recovered, recover};
use crate::recovery_log::{Found, checksum, empty_means_new, recovery_log};
use crate::replication::participant::Participant;
use crate::replication::raft::server::Raft;
use crate::replication::raft::setting::Setting as RaftSetting;
use crate::replication::replica::{Replica, Setting};
use crate::replication::rules;

/// Why a node cannot be built from its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The node's own name is missing.
    #[error("node {name:?} is not one of the members {members}; add it or correct `name`")]
    NotAMember {
        /// The name.
        name: String,
        /// The members.
        members: String,
    },
    /// A number that cannot work.
    #[error("{key} = {value} cannot work; {hint}")]
    Value {
        /// Which.
        key: &'static str,
        /// As given.
        value: String,
        /// What to do.
        hint: &'static str,
    },
}

/// The node.
#[derive(Debug)]
pub struct Node {
    watch: Box<dyn Watch>,
    replica: Box<dyn Participant>,
    forgetful: bool,
    checksum: Checksum,
    planted: Planted,
}

impl Node {
    /// A node that has not started; its first input is [`Input::Start`].
    pub fn new(config: &NodeConfig) -> Result<Node, ConfigError> {
        Node::planted(config, Planted::default())
    }

    /// For tests that show that a mistake is noticed: a node that makes it.
    #[doc(hidden)]
    pub fn planted(config: &NodeConfig, planted: Planted) -> Result<Node, ConfigError> {
        let names: Vec<String> = config
            .members
            .iter()
            .map(|member| member.name.clone())
            .collect();
        let me = own_index(&config.name, &names)?;
        let Strategy {
            detector,
            recovery_log: log,
            replication,
        } = &config.strategy;
        let group = Group {
            names: names.clone().into(),
            me,
            seed: config.seed,
            planted,
        };
        let watch = watch(detector, &group)?;
        let forgetful = matches!(log, RecoveryLogOptions::None {});
        let replica: Box<dyn Participant> = if let Replication::Raft(options) = replication {
            let setting = RaftSetting::new(options, names, me, planted)?;
            Box::new(Raft::new(setting, recovery_log(log, planted)?, config.seed))
        } else {
            let setting = Setting {
                rules: rules(replication, names.len() as u32, me),
                names,
                me,
                beat: detector.beat(),
                patience: watch.nominal_silence(),
                empty_means_new: empty_means_new(log),
                planted,
            };
            check_lease(&setting)?;
            Box::new(Replica::new(
                setting,
                recovery_log(log, planted)?,
                config.seed,
            ))
        };
        Ok(Node {
            watch,
            replica,
            forgetful,
            checksum: checksum(log),
            planted,
        })
    }

    /// Takes one input and says what to do about it.
    pub fn step(&mut self, now: Moment, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.step_into(now, input, &mut out);
        out
    }

    /// The same, for a driver that takes millions of steps: what to do is added to `out`.
    pub fn step_into(&mut self, now: Moment, input: Input, out: &mut Vec<Output>) {
        self.replica.at(now);
        if let Input::Start { checkpoints, log } = input {
            self.watch.start(now);
            self.start(&checkpoints, &log, out);
        } else {
            self.watch.notice_own_pause(now);
            self.take(now, input, out);
        }
        if self.watch.act(now, self.replica.portrait(), out) {
            self.replica.suspicion_changed(self.watch.suspected());
        }
        self.replica.settle();
        out.extend(self.replica.take_outputs());
    }

    fn start(&mut self, checkpoints: &[Vec<u8>], log: &[u8], out: &mut Vec<Output>) {
        let empty = self.forgetful || (checkpoints.is_empty() && log.is_empty());
        if empty {
            return self.replica.start(Recovered::default(), None);
        }
        match recover(self.checksum, checkpoints, log) {
            Ok(mut recovered) => {
                if self.planted.has(Flaw::ReplayStopsEarly) {
                    recovered.entries.pop();
                }
                // `took` is the driver's to fill in: a step has no clock.
                let event = Event::RecoveryCompleted {
                    records: recovered.records,
                    bytes: recovered.log_bytes,
                    took: Duration::ZERO,
                };
                out.push(Output::Note { event });
                let log_bytes = recovered.log_bytes;
                let torn = log_bytes < log.len() as u64 && !self.planted.has(Flaw::TornTailKept);
                let nothing = recovered.checkpoint.is_none() && recovered.records == 0;
                let found = (!nothing || torn).then_some(Found { log_bytes, torn });
                self.replica.start(recovered, found);
            }
            Err(error) => out.push(Output::Fatal {
                message: error.to_string(),
            }),
        }
    }

    fn take(&mut self, now: Moment, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Start { .. } => {}
            Input::Heartbeat { from, heartbeat } => {
                self.replica.heard(from, heartbeat.sender());
                self.hear(now, (from, Sign::Heartbeat(&heartbeat)), out);
            }
            Input::Probe { from, probe } => {
                self.replica.heard(from, probe.sender);
                self.hear(now, (from, Sign::Probe(&probe)), out);
            }
            Input::Message { from, message } => {
                self.hear(now, (from, Sign::Message), out);
                self.replica.message(from, message);
            }
            Input::Reconnected { peer } => {
                self.hear(now, (peer, Sign::Connected), out);
                self.replica.reconnected(peer);
            }
            Input::Disconnected { peer, ending } => {
                self.hear(now, (peer, Sign::Disconnected(ending)), out);
                self.replica.reconnected(peer);
            }
            Input::Timer {
                timer: Timer::Replication,
            } => self.replica.tick(),
            Input::Timer { timer: Timer::Sync } => self.replica.sync_due(),
            Input::Timer {
                timer: Timer::Checkpoint,
            } => self.replica.checkpoint_if_due(true),
            // Due heartbeats and opinions are looked at in every step.
            Input::Timer {
                timer: Timer::Heartbeat | Timer::Suspicion,
            } => {}
            Input::DiskDone { token } => {
                if !self.watch.disk_done(token) {
                    self.replica.disk_done(token);
                }
            }
            Input::Request { id, request } => self.replica.request(id, request),
        }
    }

    fn hear(&mut self, now: Moment, heard: (Peer, Sign<'_>), out: &mut Vec<Output>) {
        self.watch.hear(now, heard, self.replica.portrait(), out);
    }

    /// What `GET /v1/status` answers.
    pub fn status(&self) -> Status {
        self.replica.status()
    }

    /// What the group's log holds at a position, as far as it is in memory; for checks from
    /// outside.
    pub fn point(&self, position: u64) -> Option<Point> {
        self.replica.point(position)
    }
}

fn own_index(name: &str, names: &[String]) -> Result<Peer, ConfigError> {
    let index = names.iter().position(|member| member == name);
    let index = index.ok_or_else(|| ConfigError::NotAMember {
        name: name.to_owned(),
        members: names.join(", "),
    })?;
    Ok(Peer(index as u32))
}

/// A lease that the beats cannot renew in time would be an outage.
fn check_lease(setting: &Setting) -> Result<(), ConfigError> {
    let Some(terms) = setting.rules.lease else {
        return Ok(());
    };
    if terms.length < setting.beat.saturating_add(setting.beat) {
        return Err(ConfigError::Value {
            key: "replication.lease",
            value: terms.length.to_string(),
            hint: "give at least two heartbeat intervals, better four or more",
        });
    }
    Ok(())
}
