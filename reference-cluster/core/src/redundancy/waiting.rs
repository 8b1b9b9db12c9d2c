//! What befalls an operation while it waits: its time is over, a connection was made anew, others are
//! suspected than before.
//!
//! Invariant: an operation ends at its deadline at the latest, and what it may have left half done is
//! noted (`repairing`) and told as such.

use shakedown_contracts::node::ApiErrorKind;

use super::keeper::Keeper;
use super::operation::{Operation, Purpose, Stage};
use crate::interface::Peer;

impl Keeper {
    /// Gives up what has waited for too long.
    pub(super) fn expire(&mut self) {
        while let Some(entry) = self.operations.first_entry()
            && entry.get().deadline <= self.now
        {
            let operation = entry.remove();
            self.give_up(&operation);
        }
    }

    fn give_up(&mut self, operation: &Operation) {
        if operation.stage != Stage::Asking {
            self.note_absent(operation);
        }
        if let Purpose::Repair { .. } = operation.purpose {
            self.repairing.remove(&operation.key);
        }
        let (Purpose::Get(id) | Purpose::Put(id, _)) = operation.purpose else {
            return;
        };
        match (operation.stage, operation.purpose) {
            (Stage::Answered, _) => {}
            (Stage::Writing, Purpose::Put(..)) => {
                let message = "too few nodes said in time that they hold the write";
                self.refuse(id, ApiErrorKind::Indeterminate, message);
            }
            _ => {
                let message = "too few nodes answered in time";
                self.refuse(id, ApiErrorKind::Unavailable, message);
            }
        }
    }

    /// A connection was made anew: what it carried may be lost.
    pub(super) fn say_again(&mut self, peer: Peer) {
        let numbers: Vec<u64> = self.operations.keys().copied().collect();
        for number in numbers {
            let Some(operation) = self.operations.remove(&number) else {
                continue;
            };
            if let Some(target) = operation.target(peer) {
                let unheard = !operation.answers.contains_key(&peer);
                if operation.stage == Stage::Asking && unheard {
                    self.ask(number, &operation.key, peer);
                } else if operation.stage != Stage::Asking && !operation.stored.contains(&peer) {
                    self.tell(number, &operation, target);
                }
            }
            self.operations.insert(number, operation);
        }
    }

    /// Others are suspected than before: stand-ins join, and who was waited for may not be any more.
    pub(super) fn targets_changed(&mut self) {
        let numbers: Vec<u64> = self.operations.keys().copied().collect();
        for number in numbers {
            if self.setting.terms.sloppy {
                self.take_in_substitutes(number);
            }
            self.advance(number);
        }
    }

    fn take_in_substitutes(&mut self, number: u64) {
        let Some(mut operation) = self.operations.remove(&number) else {
            return;
        };
        let client = !matches!(operation.purpose, Purpose::Repair { .. });
        for target in self.targets(&operation.key) {
            if !client || operation.target(target.node).is_some() {
                continue;
            }
            operation.targets.push(target);
            match operation.stage {
                Stage::Asking => self.ask(number, &operation.key, target.node),
                Stage::Writing => self.tell(number, &operation, &target),
                Stage::Answered => {}
            }
        }
        self.operations.insert(number, operation);
    }
}
