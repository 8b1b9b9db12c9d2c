//! One nftables table that rules the links, owned by the socket that made it: it vanishes with its
//! owner (linux/netfilter/nf_tables.h).
//!
//! The table holds four sets keyed by (incoming interface, outgoing interface), and a chain at
//! the forward hook that looks a packet's pair up in each: `cut` drops it, `refuse` rejects it,
//! `slow` and `late` hand it to user space. With empty sets the healthy path costs nothing measurable. Each
//! element counts its bytes; a fault's evidence is that count.

use std::collections::BTreeMap;

use super::queue::Lane;
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
/// `NFT_TABLE_F_OWNER`
const TABLE_OWNED: u32 = 2;
/// Hook and priority of the chain: where packets are forwarded, at the usual priority.
const HOOK_FORWARD: u32 = 2;
/// 32-bit registers 0 and 1; side by side they hold a key of two interfaces.
const REGISTER_IN: u32 = 8;
const REGISTER_OUT: u32 = 9;
const KEY_BYTES: u32 = 8;
/// `enum nft_meta_keys`
const META_IIF: u32 = 4;
const META_OIF: u32 = 5;
const META_L4PROTO: u32 = 16;
/// Elements sent in one message; keeps its nested attribute under 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 500;

const TABLE: &str = "shakedown";
const CHAIN: &str = "links";
/// Where refused packets go, so that each is looked up, and counted, once.
const CHAIN_REFUSED: &str = "refused";

/// The sets of the table, by what happens to packets of their pairs.
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

    fn name(self) -> &'static str {
        match self {
            Set::Cut => "cut",
            Set::Refuse => "refuse",
            Set::Slow => "slow",
            Set::Late => "late",
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

impl Pair {
    fn key(self) -> [u8; KEY_BYTES as usize] {
        let mut key = [0; KEY_BYTES as usize];
        key[..4].copy_from_slice(&self.incoming.to_ne_bytes());
        key[4..].copy_from_slice(&self.outgoing.to_ne_bytes());
        key
    }
}

/// A pair moves from one set to another; `None` is the healthy path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Which link.
    pub pair: Pair,
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
            let wanted = batch(table(links, counting, queue_mechanism));
            match socket.transaction("make the table of links", wanted) {
                Ok(()) => {
                    return Ok(Table {
                        socket,
                        counting,
                        queue_mechanism,
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
            let pairs: Vec<Pair> = leaving.map(|change| change.pair).collect();
            messages.extend(elements(DELETE_ELEMENT, 0, set, &pairs));
            let pairs: Vec<Pair> = joining.map(|change| change.pair).collect();
            messages.extend(elements(NEW_ELEMENT, libc::NLM_F_CREATE, set, &pairs));
        }
        if messages.is_empty() {
            return Ok(());
        }
        self.socket
            .transaction("move links between sets", batch(messages))
    }

    /// Bytes from the IP header on that each element of a set counted since it joined.
    ///
    /// # Errors
    /// [`NetlinkError`]
    pub fn counts(&mut self, set: Set) -> Result<BTreeMap<Pair, u64>, NetlinkError> {
        let message = message(GET_ELEMENT, libc::NLM_F_DUMP)
            .text(attribute::LIST_TABLE, TABLE)
            .text(attribute::LIST_SET, set.name());
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

/// Pair and bytes of one element of a dump; the attribute holds them.
pub fn counted(element: &[u8], bytes: u16) -> Option<(Pair, u64)> {
    let find = |bytes, wanted| {
        attributes(bytes).find_map(|(kind, payload)| (kind == wanted).then_some(payload))
    };
    let key = find(
        find(element, attribute::ELEMENT_KEY)?,
        attribute::DATA_VALUE,
    )?;
    let word = |at: usize| Some(u32::from_ne_bytes(*key.get(at..)?.first_chunk()?));
    let pair = Pair {
        incoming: word(0)?,
        outgoing: word(4)?,
    };
    let expression = find(element, attribute::ELEMENT_EXPRESSION)?;
    let data = find(expression, attribute::EXPRESSION_DATA)?;
    let bytes = find(data, bytes)?.first_chunk()?;
    Some((pair, u64::from_be_bytes(*bytes)))
}

/// Attribute numbers of linux/netfilter/nf_tables.h that are used here.
mod attribute {
    pub const TABLE_NAME: u16 = 1;
    pub const TABLE_FLAGS: u16 = 2;
    pub const CHAIN_TABLE: u16 = 1;
    pub const CHAIN_NAME: u16 = 3;
    pub const CHAIN_HOOK: u16 = 4;
    pub const CHAIN_TYPE: u16 = 7;
    pub const HOOK_NUMBER: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
    pub const RULE_TABLE: u16 = 1;
    pub const RULE_CHAIN: u16 = 2;
    pub const RULE_EXPRESSIONS: u16 = 4;
    pub const LIST_ELEMENT: u16 = 1;
    pub const EXPRESSION_NAME: u16 = 1;
    pub const EXPRESSION_DATA: u16 = 2;
    pub const SET_TABLE: u16 = 1;
    pub const SET_NAME: u16 = 2;
    pub const SET_KEY_TYPE: u16 = 4;
    pub const SET_KEY_LENGTH: u16 = 5;
    pub const SET_DESCRIPTION: u16 = 9;
    pub const SET_ID: u16 = 10;
    pub const SET_EXPRESSION: u16 = 17;
    pub const DESCRIPTION_SIZE: u16 = 1;
    pub const LIST_TABLE: u16 = 1;
    pub const LIST_SET: u16 = 2;
    pub const LIST_ELEMENTS: u16 = 3;
    pub const ELEMENT_KEY: u16 = 1;
    pub const ELEMENT_EXPRESSION: u16 = 7;
    pub const DATA_VALUE: u16 = 1;
    pub const DATA_VERDICT: u16 = 2;
    pub const VERDICT_CODE: u16 = 1;
    pub const VERDICT_CHAIN: u16 = 2;
    pub const COUNTER_BYTES: u16 = 1;
    pub const QUOTA_BYTES: u16 = 1;
    pub const QUOTA_CONSUMED: u16 = 4;
    pub const META_REGISTER: u16 = 1;
    pub const META_KEY: u16 = 2;
    pub const LOOKUP_SET: u16 = 1;
    pub const LOOKUP_REGISTER: u16 = 2;
    pub const IMMEDIATE_REGISTER: u16 = 1;
    pub const IMMEDIATE_DATA: u16 = 2;
    pub const COMPARE_REGISTER: u16 = 1;
    pub const COMPARE_OPERATION: u16 = 2;
    pub const COMPARE_DATA: u16 = 3;
    pub const REJECT_TYPE: u16 = 1;
    pub const REJECT_CODE: u16 = 2;
    pub const QUEUE_NUMBER: u16 = 1;
    pub const QUEUE_TOTAL: u16 = 2;
    pub const QUEUE_FLAGS: u16 = 3;
    pub const TARGET_NAME: u16 = 1;
    pub const TARGET_REVISION: u16 = 2;
    pub const TARGET_INFO: u16 = 3;
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

/// Table, sets, chain and rules.
fn table(links: u32, counting: Counting, mechanism: QueueMechanism) -> Vec<Message> {
    let mut messages = vec![
        message(NEW_TABLE, libc::NLM_F_CREATE | libc::NLM_F_EXCL)
            .text(attribute::TABLE_NAME, TABLE)
            .attribute(attribute::TABLE_FLAGS, &TABLE_OWNED.to_be_bytes()),
    ];
    let sets = Set::ALL.iter().zip(1..);
    messages.extend(sets.map(|(set, id)| new_set(*set, id, links, counting)));
    messages.push(new_chain(CHAIN_REFUSED));
    messages.push(
        new_chain(CHAIN)
            .nest(attribute::CHAIN_HOOK, |hook| {
                hook.attribute(attribute::HOOK_NUMBER, &HOOK_FORWARD.to_be_bytes())
                    .attribute(attribute::HOOK_PRIORITY, &0_u32.to_be_bytes())
            })
            .text(attribute::CHAIN_TYPE, "filter"),
    );
    messages.push(rule(CHAIN_REFUSED, |list| reset(if_tcp(list))));
    messages.push(rule(CHAIN_REFUSED, unreachable));
    messages.push(rule(CHAIN, |list| drop_packet(if_in(list, Set::Cut))));
    messages.push(rule(CHAIN, |list| refuse(if_in(list, Set::Refuse))));
    for (set, lane) in [(Set::Slow, Lane::Each), (Set::Late, Lane::Whole)] {
        messages.push(rule(CHAIN, |list| {
            to_queue(if_in(list, set), lane.number(), mechanism)
        }));
    }
    messages
}

fn new_chain(name: &str) -> Message {
    message(NEW_CHAIN, libc::NLM_F_CREATE)
        .text(attribute::CHAIN_TABLE, TABLE)
        .text(attribute::CHAIN_NAME, name)
}

/// The kernel makes room for all links at once: a set that has to grow is slow while it does.
fn new_set(set: Set, id: u32, links: u32, counting: Counting) -> Message {
    message(NEW_SET, libc::NLM_F_CREATE)
        .text(attribute::SET_TABLE, TABLE)
        .text(attribute::SET_NAME, set.name())
        .attribute(attribute::SET_KEY_TYPE, &0_u32.to_be_bytes())
        .attribute(attribute::SET_KEY_LENGTH, &KEY_BYTES.to_be_bytes())
        .attribute(attribute::SET_ID, &id.to_be_bytes())
        .nest(attribute::SET_DESCRIPTION, |description| {
            description.attribute(attribute::DESCRIPTION_SIZE, &links.to_be_bytes())
        })
        .nest(attribute::SET_EXPRESSION, |expression| {
            let expression = expression.text(attribute::EXPRESSION_NAME, counting.name());
            match counting {
                Counting::Counter => expression,
                Counting::Quota => expression.nest(attribute::EXPRESSION_DATA, |quota| {
                    quota.attribute(attribute::QUOTA_BYTES, &i64::MAX.to_be_bytes())
                }),
            }
        })
}

/// A rule at the end of a chain: the expressions that `then` adds.
fn rule(chain: &str, then: impl FnOnce(Message) -> Message) -> Message {
    message(NEW_RULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND)
        .text(attribute::RULE_TABLE, TABLE)
        .text(attribute::RULE_CHAIN, chain)
        .nest(attribute::RULE_EXPRESSIONS, then)
}

/// What follows is for packets whose pair is in the set.
fn if_in(list: Message, set: Set) -> Message {
    let list = load(list, META_IIF, REGISTER_IN);
    let list = load(list, META_OIF, REGISTER_OUT);
    expression(list, "lookup", |data| {
        data.text(attribute::LOOKUP_SET, set.name())
            .attribute(attribute::LOOKUP_REGISTER, &REGISTER_IN.to_be_bytes())
    })
}

fn expression(list: Message, name: &str, data: impl FnOnce(Message) -> Message) -> Message {
    list.nest(attribute::LIST_ELEMENT, |expression| {
        expression
            .text(attribute::EXPRESSION_NAME, name)
            .nest(attribute::EXPRESSION_DATA, data)
    })
}

fn load(list: Message, key: u32, register: u32) -> Message {
    expression(list, "meta", |data| {
        data.attribute(attribute::META_KEY, &key.to_be_bytes())
            .attribute(attribute::META_REGISTER, &register.to_be_bytes())
    })
}

fn drop_packet(list: Message) -> Message {
    const VERDICT_DROP: i32 = 0;
    verdict(list, |verdict| {
        verdict.attribute(attribute::VERDICT_CODE, &VERDICT_DROP.to_be_bytes())
    })
}

fn refuse(list: Message) -> Message {
    const VERDICT_JUMP: i32 = -3;
    verdict(list, |verdict| {
        verdict
            .attribute(attribute::VERDICT_CODE, &VERDICT_JUMP.to_be_bytes())
            .text(attribute::VERDICT_CHAIN, CHAIN_REFUSED)
    })
}

fn verdict(list: Message, fill: impl FnOnce(Message) -> Message) -> Message {
    const REGISTER_VERDICT: u32 = 0;
    expression(list, "immediate", |data| {
        data.attribute(
            attribute::IMMEDIATE_REGISTER,
            &REGISTER_VERDICT.to_be_bytes(),
        )
        .nest(attribute::IMMEDIATE_DATA, |data| {
            data.nest(attribute::DATA_VERDICT, fill)
        })
    })
}

fn if_tcp(list: Message) -> Message {
    const EQUAL: u32 = 0;
    let list = load(list, META_L4PROTO, REGISTER_IN);
    expression(list, "cmp", |data| {
        data.attribute(attribute::COMPARE_REGISTER, &REGISTER_IN.to_be_bytes())
            .attribute(attribute::COMPARE_OPERATION, &EQUAL.to_be_bytes())
            .nest(attribute::COMPARE_DATA, |value| {
                value.attribute(attribute::DATA_VALUE, &[libc::IPPROTO_TCP as u8])
            })
    })
}

fn reset(list: Message) -> Message {
    const TCP_RESET: u32 = 1;
    expression(list, "reject", |data| {
        data.attribute(attribute::REJECT_TYPE, &TCP_RESET.to_be_bytes())
    })
}

fn unreachable(list: Message) -> Message {
    const ICMP_OF_EITHER_FAMILY: u32 = 2;
    const PORT_UNREACHABLE: u8 = 1;
    expression(list, "reject", |data| {
        data.attribute(attribute::REJECT_TYPE, &ICMP_OF_EITHER_FAMILY.to_be_bytes())
            .attribute(attribute::REJECT_CODE, &[PORT_UNREACHABLE])
    })
}

/// With bypass: a queue that nobody reads lets packets pass.
fn to_queue(list: Message, queue: u16, mechanism: QueueMechanism) -> Message {
    const BYPASS: u16 = 1;
    match mechanism {
        QueueMechanism::Expression => expression(list, "queue", |data| {
            data.attribute(attribute::QUEUE_NUMBER, &queue.to_be_bytes())
                .attribute(attribute::QUEUE_TOTAL, &1_u16.to_be_bytes())
                .attribute(attribute::QUEUE_FLAGS, &BYPASS.to_be_bytes())
        }),
        QueueMechanism::Target => {
            // `struct xt_NFQ_info_v3`: first queue, number of queues, flags; padded to 8 bytes.
            let info = [queue, 1, BYPASS, 0].map(u16::to_ne_bytes).concat();
            expression(list, "target", |data| {
                data.text(attribute::TARGET_NAME, "NFQUEUE")
                    .attribute(attribute::TARGET_REVISION, &3_u32.to_be_bytes())
                    .attribute(attribute::TARGET_INFO, &info)
            })
        }
    }
}

fn elements(kind: u16, flags: i32, set: Set, pairs: &[Pair]) -> Vec<Message> {
    let of = |pairs: &[Pair]| {
        message(kind, flags)
            .text(attribute::LIST_TABLE, TABLE)
            .text(attribute::LIST_SET, set.name())
            .nest(attribute::LIST_ELEMENTS, |list| {
                pairs.iter().fold(list, |list, pair| {
                    list.nest(attribute::LIST_ELEMENT, |element| {
                        element.nest(attribute::ELEMENT_KEY, |key| {
                            key.attribute(attribute::DATA_VALUE, &pair.key())
                        })
                    })
                })
            })
    };
    pairs.chunks(ELEMENTS_PER_MESSAGE).map(of).collect()
}
