//! One nftables table that rules the links, owned by the socket that made it: it vanishes with its
//! owner (linux/netfilter/nf_tables.h).
//!
//! The table holds four sets keyed by (incoming interface, outgoing interface), and a chain at
//! the forward hook that looks a packet's pair up in each: `cut` drops it, `refuse` rejects it,
//! `slow` and `late` hand it to user space. Four more are keyed by a port besides; only links in the
//! set `ported` are looked up there. With empty sets the healthy path costs nothing measurable. Each
//! element counts its bytes; a fault's evidence is that count.

mod attribute;
mod rules;

use std::collections::BTreeMap;

use super::{Message, NetlinkError, Socket, attributes};

/// Netlink subsystem of nftables.
const SUBSYSTEM: u16 = 10;
/// Family `inet`: IPv4 and IPv6.
const FAMILY_INET: u8 = 1;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = 0;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const GET_ELEMENT: u16 = 13;
const DELETE_ELEMENT: u16 = 14;
/// 32-bit registers 0 to 2; side by side they hold a key of two interfaces, and a port.
const REGISTER_IN: u32 = 8;
const REGISTER_OUT: u32 = 9;
const REGISTER_PORT: u32 = 10;
const KEY_BYTES: usize = 8;
const PORT_KEY_BYTES: usize = 12;
/// `enum nft_meta_keys`
const META_IIF: u32 = 4;
const META_OIF: u32 = 5;
const META_L4PROTO: u32 = 16;
/// Elements sent in one message; keeps its nested attribute under 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 500;

const TABLE: &str = "shakedown";

/// What happens to packets, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// They vanish.
    Cut,
    /// They are refused: TCP reset, ICMP port unreachable.
    Refuse,
    /// They go through the queue of packets with fates of their own.
    Slow,
    /// They go through the queue of packets that all have the same fate.
    Late,
}

impl Set {
    const ALL: [Set; 4] = [Set::Cut, Set::Refuse, Set::Slow, Set::Late];
}

/// The sets of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Of links to all of whose packets this happens.
    OfLinks(Set),
    /// Of ports of links to whose packets this happens.
    OfPorts(Set),
    /// Of links that have such ports.
    Ported,
}

impl Kind {
    fn all() -> impl Iterator<Item = Kind> {
        let of_links = Set::ALL.into_iter().map(Kind::OfLinks);
        let of_ports = Set::ALL.into_iter().map(Kind::OfPorts);
        of_links.chain(of_ports).chain([Kind::Ported])
    }

    fn name(self) -> &'static str {
        match self {
            Kind::OfLinks(Set::Cut) => "cut",
            Kind::OfLinks(Set::Refuse) => "refuse",
            Kind::OfLinks(Set::Slow) => "slow",
            Kind::OfLinks(Set::Late) => "late",
            Kind::OfPorts(Set::Cut) => "cut-ports",
            Kind::OfPorts(Set::Refuse) => "refuse-ports",
            Kind::OfPorts(Set::Slow) => "slow-ports",
            Kind::OfPorts(Set::Late) => "late-ports",
            Kind::Ported => "ported",
        }
    }
}

/// A directed link as the router sees it: indices of its interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// Where packets come in.
    pub incoming: u32,
    /// Where they go out.
    pub outgoing: u32,
}

/// All packets of a link, or those that come from a port or go to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which link.
    pub pair: Pair,
    /// Which port of TCP or UDP; `None` for all packets.
    pub port: Option<u16>,
}

impl Place {
    fn key(self) -> Vec<u8> {
        let mut key = Vec::with_capacity(PORT_KEY_BYTES);
        key.extend(self.pair.incoming.to_ne_bytes());
        key.extend(self.pair.outgoing.to_ne_bytes());
        if let Some(port) = self.port {
            key.extend(port.to_be_bytes());
            key.extend([0, 0]);
        }
        key
    }

    fn of_key(key: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(*key.get(at..)?.first_chunk()?));
        let pair = Pair {
            incoming: word(0)?,
            outgoing: word(4)?,
        };
        let port = key.get(KEY_BYTES..).and_then(<[u8]>::first_chunk);
        Some(Place {
            pair,
            port: port.map(|bytes| u16::from_be_bytes(*bytes)),
        })
    }
}

/// A place moves from one set to another; `None` is the healthy path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Which packets.
    pub place: Place,
    /// Where it is now.
    pub from: Option<Set>,
    /// Where it shall be.
    pub to: Option<Set>,
}

/// How packets get into the queue; depends on what the kernel was built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueMechanism {
    /// The `queue` expression of nftables.
    Expression,
    /// The NFQUEUE target of x_tables, through nft_compat.
    Target,
}

/// What counts bytes; depends on what the kernel was built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counting {
    /// A quota that is never used up: one number an element.
    Quota,
    /// A counter: one number an element and processor, which takes three times as long to make.
    Counter,
}

impl Counting {
    fn name(self) -> &'static str {
        match self {
            Counting::Quota => "quota",
            Counting::Counter => "counter",
        }
    }

    /// Attribute that holds the bytes.
    fn bytes(self) -> u16 {
        match self {
            Counting::Quota => attribute::QUOTA_CONSUMED,
            Counting::Counter => attribute::COUNTER_BYTES,
        }
    }
}

/// The table.
#[derive(Debug)]
pub struct Table {
    socket: Socket,
    counting: Counting,
    /// How packets get into the queue.
    pub queue_mechanism: QueueMechanism,
    /// How many ports of each link are in a set.
    ported: BTreeMap<Pair, usize>,
}

impl Table {
    /// Makes the table for at most so many links in the calling thread's namespace.
    ///
    /// # Errors
    /// [`NetlinkError`] when the kernel lacks nftables, or both ways to queue or to count.
    pub fn create(links: u32) -> Result<Self, NetlinkError> {
        let mut socket = Socket::open(libc::NETLINK_NETFILTER)?;
        let queues = [QueueMechanism::Expression, QueueMechanism::Target];
        let ways = [Counting::Quota, Counting::Counter]
            .into_iter()
            .flat_map(|counting| queues.map(|queue| (counting, queue)));
        let mut last = None;
        for (counting, queue_mechanism) in ways {
            let wanted = batch(rules::table(links, counting, queue_mechanism));
            match socket.transaction("make the table of links", wanted) {
                Ok(()) => {
                    return Ok(Table {
                        socket,
                        counting,
                        queue_mechanism,
                        ported: BTreeMap::new(),
                    });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("some ways were tried"))
    }

    /// Carries out all changes at once.
    ///
    /// # Errors
    /// [`NetlinkError`]; nothing was changed then.
    pub fn change(&mut self, changes: &[Change]) -> Result<(), NetlinkError> {
        let mut messages = Vec::new();
        for set in Set::ALL {
            let leaving = changes
                .iter()
                .filter(|c| c.from == Some(set) && c.to != Some(set));
            let joining = changes
                .iter()
                .filter(|c| c.to == Some(set) && c.from != Some(set));
            messages.extend(of_both_kinds(DELETE_ELEMENT, 0, set, leaving));
            messages.extend(of_both_kinds(NEW_ELEMENT, libc::NLM_F_CREATE, set, joining));
        }
        let ported = self.ported_after(changes);
        let only_in = |one: &BTreeMap<Pair, usize>, other: &BTreeMap<Pair, usize>| {
            let pairs = one.keys().filter(|pair| !other.contains_key(pair));
            let places = pairs.map(|pair| Place {
                pair: *pair,
                port: None,
            });
            places.collect::<Vec<Place>>()
        };
        let (left, joined) = (
            only_in(&self.ported, &ported),
            only_in(&ported, &self.ported),
        );
        messages.extend(elements(DELETE_ELEMENT, 0, Kind::Ported, &left));
        messages.extend(elements(
            NEW_ELEMENT,
            libc::NLM_F_CREATE,
            Kind::Ported,
            &joined,
        ));
        if messages.is_empty() {
            return Ok(());
        }
        self.socket
            .transaction("move links between sets", batch(messages))?;
        self.ported = ported;
        Ok(())
    }

    fn ported_after(&self, changes: &[Change]) -> BTreeMap<Pair, usize> {
        let mut ported = self.ported.clone();
        for change in changes.iter().filter(|change| change.place.port.is_some()) {
            let count = ported.entry(change.place.pair).or_default();
            *count += usize::from(change.to.is_some());
            *count = count.saturating_sub(usize::from(change.from.is_some()));
        }
        ported.retain(|_, count| *count > 0);
        ported
    }

    /// Bytes from the IP header on that each element of a set counted since it joined.
    ///
    /// # Errors
    /// [`NetlinkError`]
    pub fn counts(&mut self, set: Set) -> Result<BTreeMap<Place, u64>, NetlinkError> {
        let mut counts = self.counts_of(Kind::OfLinks(set))?;
        if !self.ported.is_empty() {
            counts.extend(self.counts_of(Kind::OfPorts(set))?);
        }
        Ok(counts)
    }

    fn counts_of(&mut self, kind: Kind) -> Result<BTreeMap<Place, u64>, NetlinkError> {
        let message = message(GET_ELEMENT, libc::NLM_F_DUMP)
            .text(attribute::LIST_TABLE, TABLE)
            .text(attribute::LIST_SET, kind.name());
        let mut counts = BTreeMap::new();
        let bytes = self.counting.bytes();
        self.socket.dump("count packets", message, |body| {
            // `struct nfgenmsg` comes first.
            let lists = attributes(body.get(4..).unwrap_or_default());
            let lists = lists.filter(|(kind, _)| *kind == attribute::LIST_ELEMENTS);
            for (_, element) in lists.flat_map(|(_, list)| attributes(list)) {
                counts.extend(counted(element, bytes));
            }
        })?;
        Ok(counts)
    }
}

/// Place and bytes of one element of a dump; the attribute holds them.
pub fn counted(element: &[u8], bytes: u16) -> Option<(Place, u64)> {
    let find = |bytes, wanted| {
        attributes(bytes).find_map(|(kind, payload)| (kind == wanted).then_some(payload))
    };
    let key = find(
        find(element, attribute::ELEMENT_KEY)?,
        attribute::DATA_VALUE,
    )?;
    let expression = find(element, attribute::ELEMENT_EXPRESSION)?;
    let data = find(expression, attribute::EXPRESSION_DATA)?;
    let bytes = find(data, bytes)?.first_chunk()?;
    Some((Place::of_key(key)?, u64::from_be_bytes(*bytes)))
}

/// A message of the subsystem with `struct nfgenmsg`.
fn message(kind: u16, flags: i32) -> Message {
    Message::new((SUBSYSTEM << 8) | kind, flags, &[FAMILY_INET, 0, 0, 0])
}

/// Messages as one transaction; only the last is acknowledged, since a batch is all or nothing.
fn batch(messages: Vec<Message>) -> Vec<Message> {
    let subsystem = SUBSYSTEM.to_be_bytes();
    let edge = |kind| Message::new(kind, 0, &[0, 0, subsystem[0], subsystem[1]]);
    let mut batch = vec![edge(BATCH_BEGIN)];
    batch.extend(messages);
    let last = batch.last_mut().expect("the beginning is there");
    let flags = u16::from_ne_bytes([last.bytes[6], last.bytes[7]]) | libc::NLM_F_ACK as u16;
    last.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    batch.push(edge(BATCH_END));
    batch
}

/// The same for places with a port and without, each in its set.
fn of_both_kinds<'a>(
    kind: u16,
    flags: i32,
    set: Set,
    changes: impl Iterator<Item = &'a Change>,
) -> Vec<Message> {
    let places = changes.map(|change| change.place);
    let (of_ports, of_links): (Vec<Place>, Vec<Place>) =
        places.partition(|place| place.port.is_some());
    let mut messages = elements(kind, flags, Kind::OfLinks(set), &of_links);
    messages.extend(elements(kind, flags, Kind::OfPorts(set), &of_ports));
    messages
}

fn elements(kind: u16, flags: i32, set: Kind, places: &[Place]) -> Vec<Message> {
    let of = |places: &[Place]| {
        message(kind, flags)
            .text(attribute::LIST_TABLE, TABLE)
            .text(attribute::LIST_SET, set.name())
            .nest(attribute::LIST_ELEMENTS, |list| {
                places.iter().fold(list, |list, place| {
                    list.nest(attribute::LIST_ELEMENT, |element| {
                        element.nest(attribute::ELEMENT_KEY, |key| {
                            key.attribute(attribute::DATA_VALUE, &place.key())
                        })
                    })
                })
            })
    };
    places.chunks(ELEMENTS_PER_MESSAGE).map(of).collect()
}
