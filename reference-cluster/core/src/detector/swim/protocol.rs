//! One member: what is due when, and its opinion of the others.
//!
//! `probing` asks, `hearing` takes in what comes. Here is the clock: everything that waits for a
//! moment is looked at in [`Watch::act`], and one timer is set for the earliest of it. It is the
//! suspicion timer, which a node serves after the datagrams that wait: an answer that has arrived
//! counts before a probe has failed.
//!
//! Invariant: own time alone counts. When this member finds itself later than a probe may take, it
//! was stopped; everything it waits for moves by as much.

use std::collections::{BTreeMap, BTreeSet};

use shakedown_contracts::random::Random;
use shakedown_contracts::strategy::Swim as Options;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::awareness::Awareness;
use super::gossip::Gossip;
use super::members::Members;
use super::packet::{Claim, Errand, Probe};
use super::probing::{ForAnother, UnderWay};
use super::rotation::Rotation;
use super::setting::Setting;
use crate::detector::Group;
use crate::detector::watch::{SelfPortrait, Sign, Watch};
use crate::flaw::Flaw;
use crate::interface::{Output, Peer, Timer};
use crate::node::ConfigError;

/// Members that hear of something in one round of gossip (memberlist's `GossipNodes`).
const GOSSIP_MEMBERS: u32 = 3;

/// One member.
#[derive(Debug)]
pub struct Swim {
    pub(super) setting: Setting,
    seed: u64,
    /// This member's own.
    pub(super) incarnation: u64,
    pub(super) members: Members,
    pub(super) gossip: Gossip,
    pub(super) awareness: Awareness,
    pub(super) rotation: Rotation,
    random: Random,
    /// The newest number of a probe.
    pub(super) sequence: u64,
    pub(super) probe: Option<UnderWay>,
    /// Probes made for others, by this member's number of them.
    pub(super) for_others: BTreeMap<u64, ForAnother>,
    /// The next probe; the one under way ends then.
    pub(super) probe_due: Moment,
    /// A moment at which a round of gossip would be due.
    gossip_origin: Moment,
    gossip_due: Option<Moment>,
    timer_set: Option<Moment>,
    /// An opinion has changed since the last look.
    pub(super) changed: bool,
}

impl Swim {
    /// The member `group.me`.
    ///
    /// # Errors
    /// Times and factors that cannot work.
    pub fn new(options: &Options, group: &Group) -> Result<Self, ConfigError> {
        let setting = Setting::new(options, group)?;
        let aware = options.self_awareness && !group.planted.has(Flaw::AwarenessIgnored);
        let multiplier_max = match aware {
            true => options.awareness_max_multiplier,
            false => 1,
        };
        let random = Random::keyed(group.seed, "swim", "");
        Ok(Swim {
            seed: group.seed,
            incarnation: 0,
            members: Members::default(),
            gossip: Gossip::new(setting.transmissions_max()),
            awareness: Awareness::new(multiplier_max),
            rotation: Rotation::new(setting.size(), random.clone()),
            random,
            sequence: 0,
            probe: None,
            for_others: BTreeMap::new(),
            probe_due: Moment(u64::MAX),
            gossip_origin: Moment(0),
            gossip_due: None,
            timer_set: None,
            changed: false,
            setting,
        })
    }

    /// Sends a datagram with what there is to tell; to a member that is held for dead only `first`.
    pub(super) fn send(
        &mut self,
        (to, errand, sequence): (Peer, Errand, u64),
        first: &[Claim],
        sender: SelfPortrait,
        out: &mut Vec<Output>,
    ) {
        let claims = match self.members.is_dead(to) {
            true => first.to_vec(),
            false => self.gossip.tell(first),
        };
        let probe = Probe {
            sender,
            sequence,
            errand,
            claims,
        };
        out.push(Output::SendProbe { to, probe });
    }

    /// Draws so many live members, of which none is `except`; fewer where there are not as many, or
    /// where they are few among the dead.
    pub(super) fn draw(&mut self, count: u32, except: Option<Peer>) -> Vec<Peer> {
        let size = self.setting.size();
        let mut drawn = Vec::new();
        for _ in 0..size.saturating_mul(3) {
            if drawn.len() as u32 == count {
                break;
            }
            let peer = Peer(self.random.below(u64::from(size)) as u32);
            let taken = peer == self.setting.me || Some(peer) == except || drawn.contains(&peer);
            if !taken && !self.members.is_dead(peer) {
                drawn.push(peer);
            }
        }
        drawn
    }

    /// Tells a few members, when there is something to tell and a round is due.
    fn tell(&mut self, now: Moment, portrait: SelfPortrait, out: &mut Vec<Output>) {
        if self.gossip_due.is_some_and(|due| due <= now) {
            let listeners = self.draw(GOSSIP_MEMBERS, None);
            if listeners.is_empty() {
                // Said to nobody; what nobody is there to hear must not be told to whoever comes
                // back much later.
                self.gossip.tell(&[]);
            }
            for to in listeners {
                if !self.gossip.is_empty() {
                    self.send((to, Errand::Gossip {}, 0), &[], portrait, out);
                }
            }
            self.gossip_due = None;
        }
        if self.gossip.is_empty() {
            self.gossip_due = None;
        } else if self.gossip_due.is_none() {
            self.gossip_due = Some(self.next_round(now));
        }
    }

    /// The first round of gossip after `now`.
    fn next_round(&self, now: Moment) -> Moment {
        if now < self.gossip_origin {
            return self.gossip_origin;
        }
        let interval = self.setting.options.gossip_interval.as_nanos();
        let passed = now.since(self.gossip_origin).as_nanos() / interval;
        let since = Duration::from_nanos(interval.saturating_mul(passed + 1));
        self.gossip_origin.after(since)
    }

    fn next_deadline(&self) -> Moment {
        let asking = self.probe.as_ref().and_then(UnderWay::next_deadline);
        let others = self.for_others.values().map(|other| other.until).min();
        let due = [asking, others, self.members.next_expiry(), self.gossip_due];
        due.into_iter().flatten().fold(self.probe_due, Moment::min)
    }

    fn set_timer(&mut self, out: &mut Vec<Output>) {
        let at = self.next_deadline();
        if self.timer_set != Some(at) {
            let timer = Timer::Suspicion;
            out.push(Output::SetTimer { timer, at });
            self.timer_set = Some(at);
        }
    }
}

impl Watch for Swim {
    fn start(&mut self, now: Moment) {
        let me = self.setting.me.0.to_string();
        // Another run draws anew, and its numbers are greater, so that nothing that comes for an
        // older one is taken for its own.
        self.random = Random::keyed(self.seed, "swim", &me).numbered(now.0);
        let order = Random::keyed(self.seed, "swim order", &me).numbered(now.0);
        self.rotation = Rotation::new(self.setting.size(), order);
        self.sequence = now.0;
        let phase = self
            .random
            .duration_up_to(self.setting.options.probe_interval);
        self.probe_due = now.after(phase);
        self.gossip_origin = self.probe_due;
    }

    fn notice_own_pause(&mut self, now: Moment) -> Option<Duration> {
        let late = now.since(self.next_deadline());
        let patience = self.setting.options.probe_timeout;
        if late <= patience || self.setting.planted.has(Flaw::OwnPauseUnnoticed) {
            return None;
        }
        self.members.shift(late);
        self.probe_due = self.probe_due.after(late);
        if let Some(probe) = &mut self.probe {
            probe.shift(late);
        }
        // Those who asked have long drawn their own conclusions.
        self.for_others.clear();
        Some(late)
    }

    fn hear(
        &mut self,
        now: Moment,
        (from, sign): (Peer, Sign<'_>),
        portrait: SelfPortrait,
        out: &mut Vec<Output>,
    ) {
        if let Sign::Probe(probe) = sign {
            self.receive(now, (from, probe), portrait, out);
        }
    }

    fn act(&mut self, now: Moment, portrait: SelfPortrait, out: &mut Vec<Output>) -> bool {
        if self.setting.is_alone() {
            return false;
        }
        self.look_at_probe(now, portrait, out);
        self.look_at_probes_for_others(now, portrait, out);
        self.look_at_suspects(now, out);
        self.tell(now, portrait, out);
        self.set_timer(out);
        std::mem::take(&mut self.changed)
    }

    fn suspected(&self) -> BTreeSet<Peer> {
        self.members.dead().collect()
    }

    fn nominal_silence(&self) -> Duration {
        let interval = self.setting.options.probe_interval;
        interval.saturating_add(self.setting.suspicion_least())
    }
}
