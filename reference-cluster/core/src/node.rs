//! A node: the strategies of its configuration, composed into one state machine.
//!
//! [`Node::step`] takes one input and returns what to do. The detector watches the peers; the
//! service holds data and role and answers clients; the recovery log sits below it.
//! Invariant: the same configuration and the same inputs at the same moments give the same outputs,
//! on every machine.

use shakedown_contracts::event::Event;
use shakedown_contracts::node::{MemberKind, NodeConfig, Status};
use shakedown_contracts::strategy::{
    Automation, Checksum, RecoveryLog as RecoveryLogOptions, Replication,
};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use thiserror::Error;

use crate::automation::supervisor::{Setting as SupervisorSetting, Supervisor};
use crate::balancing;
use crate::detector::watch::{Sign, Watch};
use crate::detector::{Group, watch};
use crate::flaw::{Flaw, Planted};
use crate::interface::{Input, Output, Peer, Timer};
use crate::message::Point;
use crate::recovery_log::record::{Recovered, recover_planted};
use crate::recovery_log::{Found, checksum, empty_means_new, recovery_log};
use crate::redundancy::keeper::Keeper;
use crate::redundancy::setting::Setting as KeeperSetting;
use crate::replication::chain::server::Chain;
use crate::replication::chain::setting::Setting as ChainSetting;
use crate::replication::raft::server::Raft;
use crate::replication::raft::setting::Setting as RaftSetting;
use crate::replication::replica::{Replica, Setting};
use crate::replication::rules;
use crate::service::Service;
use crate::snapshot::server::SpreadBank;
use crate::snapshot::setting::Setting as SpreadSetting;
use crate::transactions::setting::Setting as TransactionSetting;
use crate::transactions::transactor::Transactor;

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
    service: Box<dyn Service>,
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
        let log = &config.strategy.recovery_log;
        // Companions watch nodes, and nobody watches companions.
        let group = Group {
            names: node_names(config).into(),
            me,
            seed: config.seed,
            planted,
        };
        let watch = watch(&config.strategy.detector, &group)?;
        let patience = watch.nominal_silence();
        let service = service(config, me, patience, planted)?;
        let forgetful = matches!(log, RecoveryLogOptions::None {});
        Ok(Node {
            watch,
            service,
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
        self.service.at(now);
        if let Input::Start { checkpoints, log } = input {
            self.watch.start(now);
            self.start(&checkpoints, &log, out);
        } else {
            self.watch.notice_own_pause(now);
            self.take(now, input, out);
        }
        if self.watch.act(now, self.service.portrait(), out) {
            self.service.suspicion_changed(self.watch.suspected());
        }
        self.service.settle();
        out.extend(self.service.take_outputs());
    }

    fn start(&mut self, checkpoints: &[Vec<u8>], log: &[u8], out: &mut Vec<Output>) {
        let empty = self.forgetful || (checkpoints.is_empty() && log.is_empty());
        if empty {
            return self.service.start(Recovered::default(), None);
        }
        match recover_planted(self.checksum, checkpoints, log, self.planted) {
            Ok(mut recovered) => {
                if self.planted.has(Flaw::ReplayStopsEarly) {
                    recovered.entries.pop();
                }
                // `took` is the driver's to fill in: a step has no clock.
                let event = Event::RecoveryCompleted {
                    records: recovered.records,
                    bytes: recovered.log_bytes,
                    undone: recovered.undone,
                    took: Duration::ZERO,
                };
                out.push(Output::Note { event });
                let log_bytes = recovered.log_bytes;
                let torn = log_bytes < log.len() as u64 && !self.planted.has(Flaw::TornTailKept);
                let nothing = recovered.checkpoint.is_none() && recovered.records == 0;
                let compensations = std::mem::take(&mut recovered.compensations);
                let found = (!nothing || torn).then_some(Found {
                    log_bytes,
                    torn,
                    compensations,
                });
                self.service.start(recovered, found);
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
                self.service.heard(from, &heartbeat);
                self.hear(now, (from, Sign::Heartbeat(&heartbeat)), out);
            }
            Input::Probe { from, probe } => {
                self.service.heard(from, &probe.heartbeat());
                self.hear(now, (from, Sign::Probe(&probe)), out);
            }
            Input::Message { from, message } => {
                self.hear(now, (from, Sign::Message), out);
                self.service.message(from, message);
            }
            Input::Reconnected { peer } => {
                self.hear(now, (peer, Sign::Connected), out);
                self.service.reconnected(peer);
            }
            Input::Disconnected { peer, ending } => {
                self.hear(now, (peer, Sign::Disconnected(ending)), out);
                self.service.reconnected(peer);
            }
            Input::Timer {
                timer: Timer::Replication,
            } => self.service.tick(),
            Input::Timer { timer: Timer::Sync } => self.service.sync_due(),
            Input::Timer {
                timer: Timer::Checkpoint,
            } => self.service.checkpoint_if_due(true),
            // Due heartbeats and opinions are looked at in every step.
            Input::Timer {
                timer: Timer::Heartbeat | Timer::Suspicion,
            } => {}
            Input::DiskDone { token } => {
                if !self.watch.disk_done(token) {
                    self.service.disk_done(token);
                }
            }
            Input::DiskFailed { token } => {
                if !self.watch.disk_failed(token) {
                    self.service.disk_failed(token);
                }
            }
            Input::Request { id, request } => self.service.request(id, request),
        }
    }

    fn hear(&mut self, now: Moment, heard: (Peer, Sign<'_>), out: &mut Vec<Output>) {
        self.watch.hear(now, heard, self.service.portrait(), out);
    }

    /// What `GET /v1/status` answers.
    pub fn status(&self) -> Status {
        self.service.status()
    }

    /// What the group's log holds at a position, as far as it is in memory; for checks from
    /// outside.
    pub fn point(&self, position: u64) -> Option<Point> {
        self.service.point(position)
    }
}

/// The machine that serves clients: which one is decided by the strategies that are there.
fn service(
    config: &NodeConfig,
    me: Peer,
    patience: Duration,
    planted: Planted,
) -> Result<Box<dyn Service>, ConfigError> {
    let strategy = &config.strategy;
    if config.members[me.0 as usize].kind == MemberKind::Supervisor {
        return Ok(Box::new(Supervisor::new(supervisor(config, planted))));
    }
    if let Some(options) = &strategy.balancing {
        let backends = node_names(config);
        return Ok(balancing::service(options, config, backends, planted));
    }
    let log = recovery_log(&strategy.recovery_log, planted)?;
    if let Some(options) = &strategy.snapshot {
        let setting = SpreadSetting {
            names: node_names(config),
            me,
            beat: strategy.detector.beat(),
            options: *options,
            planted,
        };
        return Ok(Box::new(SpreadBank::new(setting, log)));
    }
    if let Some(options) = &strategy.redundancy {
        let setting = KeeperSetting::new(options, node_names(config), me, planted)?;
        return Ok(Box::new(Keeper::new(setting, log)));
    }
    if let Some(options) = &strategy.transactions {
        let setting = TransactionSetting::new(options, node_names(config), me, planted)?;
        return Ok(Box::new(Transactor::new(setting, log, config.seed)));
    }
    match &strategy.replication {
        Replication::Raft(options) => {
            let setting = RaftSetting::new(options, node_names(config), me, planted)?;
            Ok(Box::new(Raft::new(setting, log, config.seed)))
        }
        Replication::Chain(options) => {
            let setting = ChainSetting {
                names: node_names(config),
                me,
                beat: strategy.detector.beat(),
                patience,
                reads: options.reads,
                planted,
            };
            Ok(Box::new(Chain::new(setting, log, config.seed)))
        }
        replication => {
            let names = node_names(config);
            let voters = (names.len() as u32).saturating_sub(strategy.spares());
            let setting = Setting {
                rules: rules(replication, voters, me),
                names,
                me,
                beat: strategy.detector.beat(),
                patience,
                empty_means_new: empty_means_new(&strategy.recovery_log),
                planted,
            };
            check_lease(&setting)?;
            Ok(Box::new(Replica::new(setting, log, config.seed)))
        }
    }
}

/// A supervisor without options of its own has the defaults.
fn supervisor(config: &NodeConfig, planted: Planted) -> SupervisorSetting {
    let strategy = &config.strategy;
    let options = match &strategy.automation {
        Some(Automation::Supervisor(options)) => options.clone(),
        Some(Automation::None {}) | None => Default::default(),
    };
    SupervisorSetting {
        name: config.name.clone(),
        nodes: node_names(config),
        options,
        beat: strategy.detector.beat(),
        interval: strategy.detector.heartbeat_interval().unwrap_or_default(),
        planted,
    }
}

/// Names of the members that are nodes, in rank order: they stand before all companions.
fn node_names(config: &NodeConfig) -> Vec<String> {
    let nodes = config.members.iter();
    let nodes = nodes.filter(|member| member.kind == MemberKind::Node);
    nodes.map(|member| member.name.clone()).collect()
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
