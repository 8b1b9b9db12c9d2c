//! A node: the strategies of its configuration, composed into one state machine.

use shakedown_contracts::event::Role;
use shakedown_contracts::node::{NodeConfig, Status};
use shakedown_contracts::time::Moment;
use thiserror::Error;

use crate::interface::{Input, Output};

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
    status: Status,
}

impl Node {
    /// A node that has not started; its first input is [`Input::Start`].
    pub fn new(config: &NodeConfig) -> Result<Node, ConfigError> {
        let status = Status {
            node: config.name.clone(),
            role: Role::Backup,
            epoch: 0,
            primary: None,
            position: 0,
            committed: 0,
        };
        Ok(Node { status })
    }

    /// Takes one input and says what to do about it.
    pub fn step(&mut self, _now: Moment, _input: Input) -> Vec<Output> {
        Vec::new()
    }

    /// What `GET /v1/status` answers.
    pub fn status(&self) -> Status {
        self.status.clone()
    }
}
