//! Asking: the ping, the pings through others, and what follows when nobody answers (SWIM 2002,
//! section 3.1).
//!
//! A probe begins with a ping. After the timeout a few others are asked to ping the same member; the
//! probe ends when the next one is due. A helper that hears nothing says so in good time
//! (Lifeguard's `nack`): it shows that the asker itself can hear, so only the missing ones speak
//! against its own health.
//!
//! Invariant: one probe is under way at a time, and every member has its turn within 2n − 1 probes.

use std::collections::BTreeSet;

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::packet::{Claim, Errand, Standing};
use super::protocol::Swim;
use crate::detector::watch::SelfPortrait;
use crate::flaw::Flaw;
use crate::interface::{Output, Peer};

/// Dead members that are greeted in one interval at most, on the way to a live one.
const GREETED_MAX: usize = 8;

/// The probe under way.
#[derive(Debug)]
pub struct UnderWay {
    target: Peer,
    sequence: u64,
    /// When others are asked; `None` when they were.
    ask_at: Option<Moment>,
    /// Helpers that have said neither that it lives nor that they heard nothing.
    silent_helpers: u32,
    helpers: u32,
}

impl UnderWay {
    /// When something is to be done about it.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.ask_at
    }

    /// This member itself was stopped for so long.
    pub fn shift(&mut self, slept: Duration) {
        self.ask_at = self.ask_at.map(|at| at.after(slept));
    }
}

/// A probe made for another member.
#[derive(Debug)]
pub struct ForAnother {
    asker: Peer,
    /// Its number of the probe.
    sequence: u64,
    /// Then it is told that nothing was heard.
    pub until: Moment,
}

impl Swim {
    /// Goes on with the probe under way, and begins the next when it is due.
    pub(super) fn look_at_probe(
        &mut self,
        now: Moment,
        portrait: SelfPortrait,
        out: &mut Vec<Output>,
    ) {
        if now >= self.probe_due {
            self.conclude(now, out);
            self.begin_probe(now, portrait, out);
            return;
        }
        let asking = self.probe.as_ref().and_then(|probe| probe.ask_at);
        if asking.is_some_and(|at| now >= at) {
            self.ask_others(portrait, out);
        }
    }

    /// The probe under way was not answered.
    fn conclude(&mut self, now: Moment, out: &mut Vec<Output>) {
        let Some(probe) = self.probe.take() else {
            return;
        };
        self.awareness.worsen(match probe.helpers {
            0 => 1,
            _ => probe.silent_helpers,
        });
        let by = self.setting.me;
        let claim = self.members.claim(probe.target, Standing::Suspect { by });
        self.take_in(now, claim, out);
    }

    fn begin_probe(&mut self, now: Moment, portrait: SelfPortrait, out: &mut Vec<Output>) {
        let interval = self.setting.options.probe_interval;
        self.probe_due = now.after(self.awareness.scaled(interval));
        let mut greeted = BTreeSet::new();
        loop {
            let target = self.rotation.next();
            if target == self.setting.me {
                continue;
            }
            let dead = self.members.is_dead(target);
            // All that are left are dead.
            if dead && (greeted.len() == GREETED_MAX || !greeted.insert(target)) {
                return;
            }
            let sequence = self.next_sequence();
            let first = self.said_to(target);
            let ping = (target, Errand::Ping {}, sequence);
            self.send(ping, first.as_slice(), portrait, out);
            if !dead {
                let timeout = self.awareness.scaled(self.setting.options.probe_timeout);
                self.probe = Some(UnderWay {
                    target,
                    sequence,
                    ask_at: Some(now.after(timeout)),
                    silent_helpers: 0,
                    helpers: 0,
                });
                return;
            }
        }
    }

    /// What a member is told of itself when it is pinged, or pings: that it is dead, always, so that
    /// it can object; that it is a suspect, where members are buddies.
    pub(super) fn said_to(&self, target: Peer) -> Option<Claim> {
        let accusation = self.members.accusation(target)?;
        let buddy = self.setting.options.buddy && !self.setting.planted.has(Flaw::BuddySilent);
        let told = buddy || self.members.is_dead(target);
        told.then_some(accusation)
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn ask_others(&mut self, portrait: SelfPortrait, out: &mut Vec<Output>) {
        let Some(probe) = &mut self.probe else {
            return;
        };
        probe.ask_at = None;
        let (target, sequence) = (probe.target, probe.sequence);
        if self.setting.planted.has(Flaw::NobodyElseAsked) {
            return;
        }
        let helpers = self.draw(self.setting.options.indirect_checks, Some(target));
        if let Some(probe) = &mut self.probe {
            probe.helpers = helpers.len() as u32;
            probe.silent_helpers = probe.helpers;
        }
        for to in helpers {
            self.send(
                (to, Errand::PingFor { target }, sequence),
                &[],
                portrait,
                out,
            );
        }
    }

    /// A ping was answered: one of this member's own, by whatever way, or one made for another.
    pub(super) fn acknowledged(
        &mut self,
        sequence: u64,
        portrait: SelfPortrait,
        out: &mut Vec<Output>,
    ) {
        let own = self.probe.as_ref().map(|probe| probe.sequence);
        if own == Some(sequence) {
            self.probe = None;
            self.awareness.improve();
        } else if let Some(other) = self.for_others.remove(&sequence) {
            let answer = (other.asker, Errand::Ack {}, other.sequence);
            self.send(answer, &[], portrait, out);
        }
    }

    /// A helper heard nothing.
    pub(super) fn not_heard(&mut self, sequence: u64) {
        if let Some(probe) = self
            .probe
            .as_mut()
            .filter(|probe| probe.sequence == sequence)
        {
            probe.silent_helpers = probe.silent_helpers.saturating_sub(1);
        }
    }

    /// Somebody wants a member pinged.
    pub(super) fn ping_for(
        &mut self,
        now: Moment,
        (asker, theirs, target): (Peer, u64, Peer),
        portrait: SelfPortrait,
        out: &mut Vec<Output>,
    ) {
        let sequence = self.next_sequence();
        let until = now.after(self.setting.patience_for_others());
        let other = ForAnother {
            asker,
            sequence: theirs,
            until,
        };
        self.for_others.insert(sequence, other);
        let first = self.said_to(target);
        let ping = (target, Errand::Ping {}, sequence);
        self.send(ping, first.as_slice(), portrait, out);
    }

    /// Tells those for whom a probe was made in vain.
    pub(super) fn look_at_probes_for_others(
        &mut self,
        now: Moment,
        portrait: SelfPortrait,
        out: &mut Vec<Output>,
    ) {
        let due = self.for_others.iter();
        let due: Vec<u64> = due
            .filter(|(_, other)| other.until <= now)
            .map(|(sequence, _)| *sequence)
            .collect();
        for sequence in due {
            let Some(other) = self.for_others.remove(&sequence) else {
                continue;
            };
            if self.setting.options.self_awareness {
                let nack = (other.asker, Errand::Nack {}, other.sequence);
                self.send(nack, &[], portrait, out);
            }
        }
    }
}
