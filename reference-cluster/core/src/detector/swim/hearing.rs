//! Hearing: claims change what is known, errands are done, and who is accused objects.
//!
//! Invariant: this member's own incarnation is greater than that of every accusation it has heard.

use shakedown_contracts::time::Moment;

use super::members::News;
use super::packet::{Claim, Errand, Probe, Standing};
use super::protocol::Swim;
use crate::detector::watch::{SelfPortrait, opinion};
use crate::flaw::Flaw;
use crate::interface::{Output, Peer};

impl Swim {
    /// Takes a datagram, also one of a companion, which watches and is no member: its claims first,
    /// then its errand.
    pub(super) fn receive(
        &mut self,
        now: Moment,
        (from, probe): (Peer, &Probe),
        portrait: SelfPortrait,
        out: &mut Vec<Output>,
    ) {
        let size = self.setting.size();
        if from == self.setting.me {
            return;
        }
        let mut accused = false;
        for claim in probe.claims.iter().filter(|claim| claim.member.0 < size) {
            accused |= self.take_in(now, *claim, out);
        }
        let mut first = Vec::new();
        if accused {
            first.push(self.own_claim());
        }
        if probe.errand != (Errand::Gossip {}) {
            // It speaks, and may not know what is said of it. Gossip may be its objection, which is
            // not to be answered for ever.
            first.extend(self.said_to(from));
        }
        match probe.errand {
            Errand::Ping {} => {
                let answer = (from, Errand::Ack {}, probe.sequence);
                return self.send(answer, &first, portrait, out);
            }
            Errand::Ack {} => self.acknowledged(probe.sequence, portrait, out),
            Errand::PingFor { target } if target == self.setting.me || target.0 >= size => {}
            Errand::PingFor { target } => {
                self.ping_for(now, (from, probe.sequence, target), portrait, out);
            }
            Errand::Nack {} => self.not_heard(probe.sequence),
            Errand::Gossip {} => {}
        }
        if !first.is_empty() {
            self.send((from, Errand::Gossip {}, 0), &first, portrait, out);
        }
    }

    /// Takes in a claim; true when it accuses this member itself.
    pub(super) fn take_in(&mut self, now: Moment, claim: Claim, out: &mut Vec<Output>) -> bool {
        if claim.member == self.setting.me {
            return self.take_in_own(claim);
        }
        let news = self.members.learn(now, claim, &self.setting);
        let own = claim.standing
            == (Standing::Suspect {
                by: self.setting.me,
            });
        let silent = self.setting.planted.has(Flaw::HearsayNotTold) && !own;
        if news != News::Nothing && !silent {
            self.gossip.spread(claim);
        }
        if matches!(news, News::Died | News::Revived) {
            self.changed = true;
            let name = &self.setting.names[claim.member.0 as usize];
            out.push(opinion(name, news == News::Died));
        }
        false
    }

    /// What is said of this member itself. An accusation, even of an incarnation before this
    /// process, is answered with a greater one.
    fn take_in_own(&mut self, claim: Claim) -> bool {
        if claim.standing == (Standing::Alive {}) {
            self.incarnation = self.incarnation.max(claim.incarnation);
            return false;
        }
        if claim.incarnation >= self.incarnation {
            let more = u64::from(!self.setting.planted.has(Flaw::ObjectsInVain));
            self.incarnation = claim.incarnation.saturating_add(more);
            self.awareness.worsen(1);
            let claim = self.own_claim();
            self.gossip.spread(claim);
        }
        true
    }

    fn own_claim(&self) -> Claim {
        Claim {
            member: self.setting.me,
            incarnation: self.incarnation,
            standing: Standing::Alive {},
        }
    }

    /// Suspects that did not object in time are dead.
    pub(super) fn look_at_suspects(&mut self, now: Moment, out: &mut Vec<Output>) {
        for member in self.members.expired(now) {
            let claim = self.members.claim(member, Standing::Dead {});
            self.take_in(now, claim, out);
        }
    }
}
