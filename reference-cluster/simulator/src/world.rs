//! The world: what a stage plays experiments on.

use shakedown_contracts::fault::{FaultId, Link, LinkEffect};
use shakedown_contracts::node::Status;
use shakedown_contracts::time::Moment;
use shakedown_core::interface::ClientRequest;
use shakedown_core::node::{ConfigError, Node};

use crate::happening::{CallId, Happening};
use crate::setup::Setup;

/// Nodes, links, disks and calls at one moment of virtual time.
#[derive(Debug)]
pub struct World {
    now: Moment,
    happenings: Vec<Happening>,
    calls: u64,
}

impl World {
    /// Everything is in place and nothing runs yet; it is [`World::BEGINNING`].
    ///
    /// # Errors
    /// When a node refuses its configuration.
    pub fn new(setup: Setup) -> Result<World, ConfigError> {
        for config in &setup.nodes {
            Node::new(config)?;
        }
        Ok(World {
            now: Self::BEGINNING,
            happenings: Vec::new(),
            calls: 0,
        })
    }

    /// The first moment of every world. Not zero, so that times before it can be written.
    pub const BEGINNING: Moment = Moment(1_000_000_000);

    /// The present moment.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// No event is due before this moment; `None` when nothing will ever happen by itself.
    pub fn next_event(&self) -> Option<Moment> {
        None
    }

    /// Handles every event that is due at or before `moment`, in order, and makes it the present.
    /// Stops early, at the event's own moment, as soon as something has happened.
    pub fn run_until(&mut self, moment: Moment) {
        self.now = self.now.max(moment);
    }

    /// What has happened since the last call, in order.
    pub fn take_happenings(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.happenings)
    }

    /// Starts the node's process; nothing when it runs already.
    pub fn start(&mut self, _node: &str) {}

    /// SIGKILL: what was appended survives, unless the node holds it back until it is synced.
    pub fn kill(&mut self, _node: &str) {}

    /// The host dies: synced bytes survive, of the others what the disk's model leaves.
    pub fn crash(&mut self, _node: &str) {}

    /// SIGSTOP.
    pub fn pause(&mut self, _node: &str) {}

    /// SIGCONT.
    pub fn resume(&mut self, _node: &str) {}

    /// Lays an effect on links, on top of those of other faults.
    pub fn apply(&mut self, _id: &FaultId, _links: &[Link], _effect: LinkEffect) {}

    /// Takes a fault's effects away.
    pub fn withdraw(&mut self, _id: &FaultId) {}

    /// A client of `group` asks `node`.
    pub fn call(&mut self, _group: &str, _node: &str, _request: ClientRequest) -> CallId {
        self.calls += 1;
        CallId(self.calls)
    }

    /// The client hangs up. The node may still do what was asked.
    pub fn cancel(&mut self, _call: CallId) {}

    /// What the node would say of itself; `None` when it does not run.
    pub fn status(&self, _node: &str) -> Option<Status> {
        None
    }

    /// Why the node's last process ended by itself, in the core's words.
    pub fn last_words(&self, _node: &str) -> Option<&str> {
        None
    }

    /// Over every input and output of every node with its moment, in order.
    pub fn trace_hash(&self) -> u64 {
        0
    }
}
