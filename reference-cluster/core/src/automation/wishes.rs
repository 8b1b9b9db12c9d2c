//! Which swap is wanted, and who is asked for it.
//!
//! A wish stands as long as it makes sense: while the node that is to go votes and something is
//! wrong with it, and the spare is there and does not vote. What no longer makes sense is asked for
//! no more, and is forgotten by the primary unless it has begun to change the voters.
//!
//! Invariant: one swap is wanted at a time.

use shakedown_contracts::event::{Event, ReplaceReason};
use shakedown_contracts::units::Duration;

use super::message::{AutomationMessage, Swap};
use super::supervisor::Supervisor;
use crate::interface::{Output, Peer};
use crate::message::Message;

/// Beats between two questions to the primary while nothing new is wanted.
const ASK_BEATS: u64 = 4;

impl Supervisor {
    /// Why a node should be replaced, if it should.
    fn reason(&self, peer: Peer) -> Option<ReplaceReason> {
        let charge = self.charges.get(&peer)?;
        let patience = self.setting.options.replace_after;
        let down = charge.down_since;
        if down.is_some() && charge.restarts.given_up() {
            return Some(ReplaceReason::CrashLoop);
        }
        if down.is_some_and(|since| self.now.since(since) >= patience) {
            return Some(ReplaceReason::Lost);
        }
        let slow = self.slowness.as_ref()?.is_slow(self.now, peer);
        slow.then_some(ReplaceReason::Slow)
    }

    /// A node that could take a place: it is there, and nothing speaks against it.
    fn may_stand_in(&self, peer: Peer) -> bool {
        let Some(charge) = self.charges.get(&peer) else {
            return false;
        };
        let there = charge.heard && charge.down_since.is_none();
        !self.voters.contains(&peer) && there && self.reason(peer).is_none()
    }

    /// The swap that is wanted now: the one under way as long as it makes sense, or else that of the
    /// first node that should be replaced, those that are gone before those that are slow.
    fn wanted(&self) -> Option<(Swap, ReplaceReason)> {
        let reason = |swap: &Swap| {
            let votes = self.voters.contains(&swap.lost);
            self.reason(swap.lost)
                .filter(|_| votes && self.may_stand_in(swap.spare))
        };
        if let Some(swap) = self.swap
            && let Some(reason) = reason(&swap)
        {
            return Some((swap, reason));
        }
        let spare = self.charges.keys().find(|peer| self.may_stand_in(**peer))?;
        let voters = self.voters.iter();
        let due = voters.filter_map(|peer| Some((*peer, self.reason(*peer)?)));
        let (lost, reason) = due.min_by_key(|(_, reason)| *reason == ReplaceReason::Slow)?;
        let spare = *spare;
        Some((Swap { lost, spare }, reason))
    }

    pub(super) fn ask_for_what_is_wanted(&mut self) {
        if self.setting.options.spares == 0 {
            return;
        }
        let wanted = self.wanted();
        let swap = wanted.map(|(swap, _)| swap);
        if self.swap != swap {
            self.swap = swap;
            self.ask_due = self.now;
            if let Some((swap, reason)) = wanted {
                let (node, spare) = (self.name(swap.lost), self.name(swap.spare));
                self.note(Event::SupervisorReplace {
                    node,
                    spare,
                    reason,
                });
            }
        }
        let Some((_, primary)) = self.lead else {
            return;
        };
        if self.now >= self.ask_due {
            let wait = self.setting.beat.as_nanos().saturating_mul(ASK_BEATS);
            self.ask_due = self.now.after(Duration::from_nanos(wait));
            let message = Message::Automation(AutomationMessage::Ask { swap });
            self.out.push(Output::Send {
                to: primary,
                message,
            });
        }
    }
}
