//! Links: what becomes of one packet on its way.
//!
//! Only links with a fault on them are stored. Every other link takes the model's base latency,
//! drawn from the seed, the link and the moment alone: no state, and nothing that happens elsewhere
//! changes it. A fault's effects are the union of those on the link, as the network agent renders
//! them: a cut beats the rest, silence beats a refusal, losses are independent, delays add up. A
//! delayed packet is held by the link like by the agent: when a fault goes, so does its part of the
//! wait; when the link is cut, what it holds is lost.

use std::collections::BTreeMap;

use shakedown_contracts::fate::{Fate, Part};
use shakedown_contracts::fault::{CutBehavior, FaultId, LinkEffect};
use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use crate::draws::exponential;
use crate::packet::{Packet, Way};
use crate::setup::NetworkModel;

/// All links.
#[derive(Debug)]
pub(crate) struct Links {
    seed: u64,
    model: NetworkModel,
    latency: Random,
    troubled: BTreeMap<Way, Trouble>,
}

/// A link with faults on it.
#[derive(Debug, Default)]
struct Trouble {
    effects: BTreeMap<FaultId, LinkEffect>,
    cut: Option<CutBehavior>,
    fate: Fate,
    /// By the moment at which they may go on, then by arrival.
    held: BTreeMap<(Moment, u64), Held>,
    arrivals: u64,
}

#[derive(Debug)]
struct Held {
    packet: Packet,
    since: Moment,
    parts: Vec<Part>,
}

impl Held {
    fn due(&self) -> Moment {
        let added = self.parts.iter().map(|part| part.added);
        self.since
            .after(added.fold(Duration::ZERO, Duration::saturating_add))
    }
}

/// What a link does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It goes on at once.
    Passes,
    /// The link holds it until then.
    Held(Moment),
    /// It vanishes.
    Lost,
    /// It vanishes, and its sender is told.
    Refused,
}

impl Links {
    pub fn new(seed: u64, model: NetworkModel) -> Self {
        Links {
            seed,
            model,
            latency: Random::keyed(seed, "latency", ""),
            troubled: BTreeMap::new(),
        }
    }

    /// Time over the link itself for a packet that sets out at `now`.
    pub fn latency(&self, way: Way, now: Moment) -> Duration {
        let link = u64::from(way.from) << 32 | u64::from(way.to);
        let mut random = self.latency.numbered(link).numbered(now.0);
        let added = exponential(&mut random, self.model.jitter);
        self.model.latency.saturating_add(added)
    }

    pub fn is_troubled(&self, way: Way) -> bool {
        !self.troubled.is_empty() && self.troubled.contains_key(&way)
    }

    pub fn is_cut(&self, way: Way) -> bool {
        let trouble = self.troubled.get(&way);
        trouble.is_some_and(|trouble| trouble.cut.is_some())
    }

    /// Takes a packet.
    pub fn pass(&mut self, way: Way, now: Moment, packet: &Packet) -> Passage {
        if self.troubled.is_empty() {
            return Passage::Passes;
        }
        let Some(trouble) = self.troubled.get_mut(&way) else {
            return Passage::Passes;
        };
        match trouble.cut {
            Some(CutBehavior::Drop) => return Passage::Lost,
            Some(CutBehavior::Reject) => return Passage::Refused,
            None => {}
        }
        let passing = trouble.fate.next_packet(now, 0);
        // Whoever receives an altered packet sees that its checksum is wrong, and drops it.
        let Some(passing) = passing.filter(|passing| passing.flipped.is_none()) else {
            return Passage::Lost;
        };
        let held = Held {
            packet: packet.clone(),
            since: now,
            parts: passing.parts,
        };
        let due = held.due();
        if due <= now {
            return Passage::Passes;
        }
        trouble.arrivals += 1;
        trouble.held.insert((due, trouble.arrivals), held);
        Passage::Held(due)
    }

    /// The next held packet that may go on.
    pub fn release(&mut self, way: Way, now: Moment) -> Option<Packet> {
        let first = self.troubled.get_mut(&way)?.held.first_entry()?;
        (first.key().0 <= now).then(|| first.remove().packet)
    }

    /// Lays an effect on a link. The names are those of the link, for its draws. What to plan:
    /// moments at which held packets may go on now.
    pub fn apply(
        &mut self,
        way: Way,
        link: &str,
        (id, effect): (&FaultId, LinkEffect),
    ) -> Vec<Moment> {
        let trouble = self.troubled.entry(way).or_default();
        trouble.effects.insert(id.clone(), effect);
        trouble.render(self.seed, link);
        trouble.dues()
    }

    /// Links on which a fault has an effect.
    pub fn under(&self, id: &FaultId) -> Vec<Way> {
        let troubled = self.troubled.iter();
        let under = troubled.filter(|(_, trouble)| trouble.effects.contains_key(id));
        under.map(|(way, _)| *way).collect()
    }

    /// Takes a fault's effect off a link: packets that go on at once, in the order in which they
    /// came, and moments to plan for others.
    pub fn withdraw(&mut self, way: Way, link: &str, id: &FaultId) -> (Vec<Packet>, Vec<Moment>) {
        let Some(trouble) = self.troubled.get_mut(&way) else {
            return (Vec::new(), Vec::new());
        };
        trouble.effects.remove(id);
        trouble.render(self.seed, link);
        if !trouble.effects.is_empty() {
            return (Vec::new(), trouble.dues());
        }
        let held = std::mem::take(&mut trouble.held);
        self.troubled.remove(&way);
        let mut by_arrival: Vec<(u64, Packet)> = held
            .into_iter()
            .map(|((_, arrival), held)| (arrival, held.packet))
            .collect();
        by_arrival.sort_unstable_by_key(|(arrival, _)| *arrival);
        let packets = by_arrival.into_iter().map(|(_, packet)| packet);
        (packets.collect(), Vec::new())
    }
}

impl Trouble {
    /// Draws the consequences of changed effects.
    fn render(&mut self, seed: u64, link: &str) {
        self.fate.set(seed, link, &self.effects);
        let cuts = self.effects.values().filter_map(|effect| match effect {
            LinkEffect::Cut(behavior) => Some(*behavior),
            LinkEffect::Delay(_)
            | LinkEffect::Loss(_)
            | LinkEffect::Packets(_)
            | LinkEffect::Reset => None,
        });
        self.cut = cuts.reduce(|one, other| match (one, other) {
            (CutBehavior::Reject, CutBehavior::Reject) => CutBehavior::Reject,
            _ => CutBehavior::Drop,
        });
        let held = std::mem::take(&mut self.held);
        if self.cut.is_some() {
            return;
        }
        for ((_, arrival), mut held) in held {
            held.parts.retain(|part| self.fate.has(part));
            self.held.insert((held.due(), arrival), held);
        }
    }

    fn dues(&self) -> Vec<Moment> {
        self.held.keys().map(|(due, _)| *due).collect()
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
