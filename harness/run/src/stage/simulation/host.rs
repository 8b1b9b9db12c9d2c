//! Faults of disks and clocks, as the agent of a node would report them.
//!
//! The world is told what is wrong and asked what it came to: a fault is in effect from when an
//! operation met it or the clock was read, and its evidence is what was measured then.

use shakedown_contracts::control::{FaultReport, NodeReport};
use shakedown_contracts::event::Evidence;
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::host_fault::HostFault;
use shakedown_simulator::HostEffect;

use super::{Cluster, MECHANISM, healed, instant};

impl Cluster {
    pub(super) fn disturb(&mut self, node: &str, id: &FaultId, fault: &HostFault) {
        self.disturbing.insert((node.to_owned(), id.clone()));
        if let Err(reason) = self.world.disturb(node, id, fault) {
            self.disturbing.remove(&(node.to_owned(), id.clone()));
            let id = id.clone();
            let report = FaultReport::Unverified { id, reason };
            self.say_of(node, NodeReport::Fault(report));
        }
    }

    /// A fault was seen to do something.
    pub(super) fn disturbed(&mut self, node: &str, id: FaultId) {
        let Some(effect) = self.world.effect(node, &id) else {
            return;
        };
        let report = FaultReport::Effective {
            id,
            at: instant(effect.since),
            evidence: evidence_of(node, effect),
        };
        self.say_of(node, NodeReport::Fault(report));
    }

    /// Takes such a fault away; false when there is none of this name on this node.
    pub(super) fn mend(&mut self, node: &str, id: &FaultId) -> bool {
        if !self.disturbing.remove(&(node.to_owned(), id.clone())) {
            return false;
        }
        let effect = self.world.mend(node, id);
        let mut report = healed(id, self.world.now(), "the fault is gone");
        if let (FaultReport::Healed { evidence, .. }, Some(effect)) = (&mut report, effect) {
            *evidence = evidence_of(node, effect);
        }
        self.say_of(node, NodeReport::Fault(report));
        true
    }
}

fn evidence_of(node: &str, effect: HostEffect) -> Evidence {
    Evidence {
        mechanism: MECHANISM.to_owned(),
        observed: format!("{node}: {}", effect.observed),
        achieved: effect.achieved,
    }
}
