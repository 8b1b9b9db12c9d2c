//! The platform under the cluster, as far as a supervisor needs one: it can have processes started.
//!
//! A supervisor is a process of the target, which starts no other. It says what it wants, and the
//! stage obeys as a cloud's interface or an init system would: a node that runs already is left
//! alone, and on a host that is down nothing can be started, whoever asks.

use shakedown_contracts::control::NodeOrder;
use shakedown_contracts::event::Event;

use super::{Abort, Running};

impl Running<'_> {
    /// Does what a supervisor asks for in an event of its own.
    pub(super) async fn obey_supervisor(&mut self, event: &Event) -> Result<(), Abort> {
        let Event::SupervisorRestart { node, .. } = event else {
            return Ok(());
        };
        let known = self.assignment.plan.target.nodes.contains(node);
        if self.ending || !known || self.player.host_is_down(node) {
            return Ok(());
        }
        Ok(self.cluster.order_node(node, &NodeOrder::Start).await?)
    }
}
