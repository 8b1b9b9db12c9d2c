//! Which packets are held, until when, and what becomes of them when faults change: pure, `now` is
//! an argument.
//!
//! A packet keeps what each fault added to its way. When a fault is healed, its part is taken off;
//! when nothing is left, packets go on in the order in which they came. So healing loses no packet
//! and does not undo other faults. What is held on a link that is cut is lost with the link.
//!
//! An effect with ports meets packets that have one of them, and only those. A packet whose headers
//! were not copied yet came before such an effect.
//!
//! A packet that arrives twice is held twice: once in the kernel, once as a copy that is sent anew.

use std::collections::BTreeMap;

use shakedown_contracts::fate::{Fate, Part, Passing};
use shakedown_contracts::fault::{FaultId, LinkEffect};
use shakedown_contracts::packet_fault::PacketFault;
use shakedown_contracts::ports::PacketPorts;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::union::Laid;
use super::wire_bytes::{flip, length, ports};
use crate::netlink::nftables::Pair;
use crate::netlink::queue::{Arrival, Copied, Packet, PacketId};

/// What shall hold for a link that has delays or losses, or such ports, cut or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruling {
    /// Names the link's random streams.
    pub link: String,
    /// Its effects. What a cut meets does not pass.
    pub effects: BTreeMap<FaultId, Laid>,
}

impl Ruling {
    /// How much of its packets must be seen.
    pub fn copied(&self) -> Copied {
        let needed = self.effects.values().map(|laid| match laid.effect {
            LinkEffect::Packets(PacketFault::Duplicate { .. } | PacketFault::Corrupt { .. }) => {
                Copied::Everything
            }
            LinkEffect::Packets(PacketFault::Bandwidth { .. }) => Copied::Headers,
            LinkEffect::Packets(PacketFault::Reorder { .. })
            | LinkEffect::Cut(_)
            | LinkEffect::Reset
            | LinkEffect::Delay(_)
            | LinkEffect::Loss(_) => Copied::Nothing,
        });
        let headers = match self.names_ports() {
            true => Copied::Headers,
            false => Copied::Nothing,
        };
        needed.max().unwrap_or_default().max(headers)
    }

    /// Whether packets must be told apart by their ports.
    pub fn names_ports(&self) -> bool {
        self.effects.values().any(|laid| !laid.ports.is_all())
    }
}

/// What to do about a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The kernel lets it go on.
    Pass(PacketId),
    /// The kernel drops it.
    Drop(PacketId),
    /// The kernel lets it go on with these bytes.
    Alter(PacketId, Vec<u8>),
    /// These bytes are sent as a packet of their own.
    Send(Vec<u8>),
}

/// The held packets and the fates of links.
#[derive(Debug)]
pub struct Holding {
    seed: u64,
    links: BTreeMap<Pair, Ruled>,
    /// By deadline, then by arrival. Bounded by the length of the kernel's queue.
    held: BTreeMap<(Moment, u64), Held>,
    arrivals: u64,
}

#[derive(Debug, Default)]
struct Ruled {
    effects: BTreeMap<FaultId, Laid>,
    fate: Fate,
}

impl Ruled {
    fn cuts(&self, ports: Option<PacketPorts>) -> bool {
        self.effects
            .values()
            .any(|laid| matches!(laid.effect, LinkEffect::Cut(_)) && laid.ports.meet(ports))
    }
}

#[derive(Debug)]
struct Held {
    what: What,
    pair: Pair,
    ports: Option<PacketPorts>,
    since: Moment,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum What {
    /// Waits in the kernel; goes on with these bytes if there are any.
    Original(PacketId, Option<Vec<u8>>),
    /// Is here alone.
    Copy(Vec<u8>),
}

impl Held {
    fn due(&self) -> Moment {
        let added = self.parts.iter().map(|part| part.added);
        self.since
            .after(added.fold(Duration::ZERO, Duration::saturating_add))
    }

    fn pass(self) -> Decision {
        match self.what {
            What::Original(id, None) => Decision::Pass(id),
            What::Original(id, Some(bytes)) => Decision::Alter(id, bytes),
            What::Copy(bytes) => Decision::Send(bytes),
        }
    }

    fn lose(self) -> Option<Decision> {
        match self.what {
            What::Original(id, _) => Some(Decision::Drop(id)),
            What::Copy(_) => None,
        }
    }
}

impl Holding {
    /// Nothing is held and no link is slow.
    pub fn new(seed: u64) -> Self {
        Holding {
            seed,
            links: BTreeMap::new(),
            held: BTreeMap::new(),
            arrivals: 0,
        }
    }

    /// Makes these the slow links; what must be decided at once about held packets.
    pub fn rule(&mut self, rulings: &BTreeMap<Pair, Ruling>) -> Vec<Decision> {
        self.links.retain(|pair, _| rulings.contains_key(pair));
        for (pair, ruling) in rulings {
            let ruled = self.links.entry(*pair).or_default();
            let effects = ruling.effects.iter();
            let effects = effects.map(|(id, laid)| (id.clone(), laid.effect));
            ruled.fate.set(self.seed, &ruling.link, &effects.collect());
            ruled.effects.clone_from(&ruling.effects);
        }
        let mut by_arrival: Vec<(u64, Held)> = std::mem::take(&mut self.held)
            .into_iter()
            .map(|((_, arrival), held)| (arrival, held))
            .collect();
        by_arrival.sort_unstable_by_key(|(arrival, _)| *arrival);
        let mut decisions = Vec::new();
        for (arrival, mut held) in by_arrival {
            match self.links.get(&held.pair) {
                Some(ruled) if ruled.cuts(held.ports) => decisions.extend(held.lose()),
                Some(ruled) => {
                    held.parts.retain(|part| ruled.fate.has(part));
                    self.held.insert((held.due(), arrival), held);
                }
                None => decisions.push(held.pass()),
            }
        }
        decisions
    }

    /// A packet has come; decisions about what is not held.
    pub fn arrive(&mut self, now: Moment, arrival: Arrival) -> Vec<Decision> {
        let Arrival {
            packet: Packet { id, pair },
            mut bytes,
        } = arrival;
        let Some(ruled) = self.links.get_mut(&pair) else {
            return vec![Decision::Pass(id)];
        };
        let ports = ports(&bytes);
        let cut = ruled.cuts(ports);
        let Ruled { effects, fate } = ruled;
        let met = |id: &FaultId| effects.get(id).is_some_and(|laid| laid.ports.meet(ports));
        let passing = fate.next_packet_met_by(now, length(&bytes), met);
        let passing = passing.filter(|_| !cut);
        let Some(Passing {
            parts,
            twice,
            flipped,
        }) = passing
        else {
            return vec![Decision::Drop(id)];
        };
        // A packet whose bytes were not copied yet came before the fault was in effect.
        let flipped = flipped.is_some_and(|bit| flip(&mut bytes, bit));
        let copy = (twice && !bytes.is_empty()).then(|| What::Copy(bytes.clone()));
        let original = What::Original(id, flipped.then_some(bytes));
        let mut decisions = Vec::new();
        for what in [Some(original), copy].into_iter().flatten() {
            let held = Held {
                what,
                pair,
                ports,
                since: now,
                parts: parts.clone(),
            };
            if held.due() <= now {
                decisions.push(held.pass());
            } else {
                self.arrivals += 1;
                self.held.insert((held.due(), self.arrivals), held);
            }
        }
        decisions
    }

    /// The earliest deadline.
    pub fn next_due(&self) -> Option<Moment> {
        self.held.first_key_value().map(|((due, _), _)| *due)
    }

    /// The next packet that is due, if any.
    pub fn release(&mut self, now: Moment) -> Option<Decision> {
        let first = self.held.first_entry()?;
        (first.key().0 <= now).then(|| first.remove().pass())
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::fault::{CutBehavior, Delay, Distribution};
    use shakedown_contracts::ports::Ports;
    use shakedown_contracts::units::Ratio;

    use std::net::{Ipv4Addr, SocketAddrV4};

    use super::super::wire_bytes::datagram;
    use super::*;
    use crate::netlink::queue::Lane;

    const PAIR: Pair = Pair {
        incoming: 10,
        outgoing: 11,
    };

    fn on_all(effect: LinkEffect) -> Laid {
        Laid {
            effect,
            ports: Ports::all(),
        }
    }

    fn ruling(cut: bool, delays_ms: &[(&str, u64)]) -> BTreeMap<Pair, Ruling> {
        let effect = |latency: &u64| {
            LinkEffect::Delay(Delay {
                latency: Duration::from_millis(*latency),
                jitter: Duration::ZERO,
                correlation: Ratio::default(),
                distribution: Distribution::Uniform,
            })
        };
        let fault = |name: &&str| FaultId {
            fault: (*name).to_owned(),
            occurrence: 0,
        };
        let delays = delays_ms.iter().map(|(name, ms)| (fault(name), effect(ms)));
        let silence = (fault(&"silence"), LinkEffect::Cut(CutBehavior::Drop));
        let effects = delays.chain(cut.then_some(silence));
        let ruling = Ruling {
            link: "n1>n2".to_owned(),
            effects: effects.map(|(id, effect)| (id, on_all(effect))).collect(),
        };
        BTreeMap::from([(PAIR, ruling)])
    }

    fn at(ms: u64) -> Moment {
        Moment(ms * 1_000_000)
    }

    fn id(number: u32) -> PacketId {
        PacketId {
            lane: Lane::Each,
            number,
        }
    }

    fn packet(number: u32) -> Arrival {
        Arrival {
            packet: Packet {
                id: id(number),
                pair: PAIR,
            },
            bytes: Vec::new(),
        }
    }

    fn pass(packet: u32) -> Decision {
        Decision::Pass(id(packet))
    }

    fn released(holding: &mut Holding, now: Moment) -> Vec<Decision> {
        std::iter::from_fn(|| holding.release(now)).collect()
    }

    #[test]
    fn packets_go_on_when_they_are_due_and_in_order() {
        let mut holding = Holding::new(1);
        assert_eq!(holding.rule(&ruling(false, &[("slow", 20)])), []);
        assert_eq!(holding.arrive(at(0), packet(1)), []);
        assert_eq!(holding.arrive(at(0), packet(2)), []);
        assert_eq!(holding.arrive(at(5), packet(3)), []);
        assert_eq!(holding.next_due(), Some(at(20)));
        assert_eq!(released(&mut holding, at(19)), []);
        assert_eq!(released(&mut holding, at(20)), [pass(1), pass(2)]);
        assert_eq!(released(&mut holding, at(25)), [pass(3)]);
        assert_eq!(holding.next_due(), None);
    }

    #[test]
    fn healing_lets_all_held_packets_go_in_the_order_they_came() {
        let mut holding = Holding::new(1);
        let mut jittered = ruling(false, &[("slow", 100)]);
        for ruling in jittered.values_mut() {
            for laid in ruling.effects.values_mut() {
                if let LinkEffect::Delay(delay) = &mut laid.effect {
                    delay.jitter = Duration::from_millis(90);
                }
            }
        }
        holding.rule(&jittered);
        for id in 0..20 {
            assert_eq!(holding.arrive(at(0), packet(id)), []);
        }
        let by_deadline = holding.held.values().map(|held| match held.what {
            What::Original(id, _) => id.number,
            What::Copy(_) => unreachable!("nothing is doubled"),
        });
        let by_deadline: Vec<u32> = by_deadline.collect();
        assert!(
            !by_deadline.is_sorted(),
            "jitter has put nobody before another"
        );
        let in_order: Vec<Decision> = (0..20).map(pass).collect();
        assert_eq!(holding.rule(&BTreeMap::new()), in_order);
        assert_eq!(holding.arrive(at(2), packet(3)), [pass(3)]);
    }

    #[test]
    fn healing_one_of_two_delays_leaves_the_other_on_held_packets_too() {
        let mut holding = Holding::new(1);
        holding.rule(&ruling(false, &[("long", 1_000), ("short", 30)]));
        holding.arrive(at(0), packet(1));
        assert_eq!(holding.next_due(), Some(at(1_030)));
        assert_eq!(holding.rule(&ruling(false, &[("short", 30)])), []);
        assert_eq!(holding.next_due(), Some(at(30)));
    }

    #[test]
    fn a_cut_loses_what_is_held_and_what_comes_and_its_heal_leaves_the_delay() {
        let mut holding = Holding::new(1);
        holding.rule(&ruling(false, &[("slow", 20)]));
        holding.arrive(at(0), packet(1));
        let lost = |packet| Decision::Drop(id(packet));
        assert_eq!(holding.rule(&ruling(true, &[("slow", 20)])), [lost(1)]);
        assert_eq!(holding.arrive(at(1), packet(2)), [lost(2)]);
        assert_eq!(holding.rule(&ruling(false, &[("slow", 20)])), []);
        assert_eq!(holding.arrive(at(2), packet(3)), []);
        assert_eq!(holding.next_due(), Some(at(22)));
    }

    #[test]
    fn a_doubled_packet_goes_on_twice_and_an_altered_one_altered_both_held_by_a_delay() {
        let ratio = |share| Ratio::new(share).expect("a share");
        let mut rulings = ruling(false, &[("slow", 20)]);
        let twice = PacketFault::Duplicate {
            duplicate: ratio(1.0),
            correlation: ratio(0.0),
        };
        let altered = PacketFault::Corrupt {
            corrupt: ratio(1.0),
            correlation: ratio(0.0),
        };
        let effects = &mut rulings.get_mut(&PAIR).expect("is there").effects;
        for (name, fault) in [("twice", twice), ("altered", altered)] {
            let id = FaultId {
                fault: name.to_owned(),
                occurrence: 0,
            };
            effects.insert(id, on_all(LinkEffect::Packets(fault)));
        }
        assert_eq!(rulings[&PAIR].copied(), Copied::Everything);
        let mut holding = Holding::new(1);
        holding.rule(&rulings);
        let mut bytes = vec![0x45; 28];
        bytes[2..4].copy_from_slice(&28_u16.to_be_bytes());
        let arrival = Arrival {
            packet: Packet {
                id: id(1),
                pair: PAIR,
            },
            bytes: bytes.clone(),
        };
        assert_eq!(holding.arrive(at(0), arrival), []);
        let gone = released(&mut holding, at(20));
        let [Decision::Alter(_, first), Decision::Send(second)] = &gone[..] else {
            panic!("{gone:?}");
        };
        assert_eq!(first, second);
        assert_ne!(*first, bytes);
    }
    fn with_ports(number: u32, from: u16, to: u16) -> Arrival {
        let end = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        Arrival {
            bytes: datagram(end(from), end(to), b"?"),
            ..packet(number)
        }
    }

    #[test]
    fn a_delay_with_ports_holds_their_packets_in_either_direction_and_no_other() {
        let mut rulings = ruling(false, &[("slow", 20), ("slower", 300)]);
        let ruling = rulings.get_mut(&PAIR).expect("is there");
        for (laid, port) in ruling.effects.values_mut().zip([6379, 7001]) {
            laid.ports = [port].into_iter().collect();
        }
        assert_eq!(ruling.copied(), Copied::Headers);
        let mut holding = Holding::new(1);
        holding.rule(&rulings);
        assert_eq!(holding.arrive(at(0), with_ports(1, 4000, 80)), [pass(1)]);
        assert_eq!(holding.arrive(at(0), packet(2)), [pass(2)], "without ports");
        assert_eq!(holding.arrive(at(0), with_ports(3, 4000, 6379)), []);
        assert_eq!(holding.arrive(at(0), with_ports(4, 6379, 4000)), []);
        assert_eq!(holding.arrive(at(0), with_ports(5, 6379, 7001)), []);
        assert_eq!(released(&mut holding, at(20)), [pass(3), pass(4)]);
        assert_eq!(released(&mut holding, at(320)), [pass(5)]);
    }

    #[test]
    fn a_cut_of_one_port_loses_what_is_held_of_it_and_leaves_what_is_held_of_others() {
        let mut rulings = ruling(false, &[("slow", 20)]);
        let mut holding = Holding::new(1);
        holding.rule(&rulings);
        assert_eq!(holding.arrive(at(0), with_ports(1, 4000, 6379)), []);
        assert_eq!(holding.arrive(at(0), with_ports(2, 4000, 80)), []);
        let cut = Laid {
            effect: LinkEffect::Cut(CutBehavior::Drop),
            ports: [6379].into_iter().collect(),
        };
        let fault = FaultId {
            fault: "cut".to_owned(),
            occurrence: 0,
        };
        let effects = &mut rulings.get_mut(&PAIR).expect("is there").effects;
        effects.insert(fault, cut);
        let lost = |packet| Decision::Drop(id(packet));
        assert_eq!(holding.rule(&rulings), [lost(1)]);
        assert_eq!(holding.arrive(at(1), with_ports(3, 6379, 4000)), [lost(3)]);
        assert_eq!(released(&mut holding, at(20)), [pass(2)]);
    }
}
