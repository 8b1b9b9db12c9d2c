//! Sets, chains and rules of the table, as messages.
//!
//! ```text
//! links:   pair in `ported`           → ported
//!          pair in `cut`              → drop
//!          pair in `refuse`           → refused
//!          pair in `slow`, `late`     → queue
//! ported:  TCP, UDP                   → by-port
//! by-port: pair and port in `cut-ports`, `refuse-ports`, `slow-ports`, `late-ports` → as above
//! refused: TCP → reset; all else → ICMP port unreachable
//! ```
//!
//! What is done to a port is at least what is done to its whole link, and the strongest comes first;
//! so a packet with two ports meets the stronger. A later fragment has no ports: it falls back to
//! `links`.

use super::{
    Counting, KEY_BYTES, Kind, META_IIF, META_L4PROTO, META_OIF, NEW_CHAIN, NEW_RULE, NEW_SET,
    NEW_TABLE, PORT_KEY_BYTES, QueueMechanism, REGISTER_IN, REGISTER_OUT, REGISTER_PORT, Set,
    TABLE, attribute, message,
};
use crate::netlink::Message;
use crate::netlink::queue::Lane;

/// `NFT_TABLE_F_OWNER`
const TABLE_OWNED: u32 = 2;
/// Hook and priority of the chain: where packets are forwarded, at the usual priority.
const HOOK_FORWARD: u32 = 2;
/// Offsets of source and destination port in the headers of TCP and UDP alike.
const PORT_OFFSETS: [u32; 2] = [0, 2];
const CHAIN: &str = "links";
/// Where packets go whose links have faults of some ports.
const CHAIN_PORTED: &str = "ported";
const CHAIN_BY_PORT: &str = "by-port";
/// Where refused packets go, so that each is looked up, and counted, once.
const CHAIN_REFUSED: &str = "refused";

/// Table, sets, chains and rules.
pub(super) fn table(links: u32, counting: Counting, mechanism: QueueMechanism) -> Vec<Message> {
    let mut messages = vec![
        message(NEW_TABLE, libc::NLM_F_CREATE | libc::NLM_F_EXCL)
            .text(attribute::TABLE_NAME, TABLE)
            .attribute(attribute::TABLE_FLAGS, &TABLE_OWNED.to_be_bytes()),
    ];
    let sets = Kind::all().zip(1..);
    messages.extend(sets.map(|(kind, id)| new_set(kind, id, links, counting)));
    for chain in [CHAIN_REFUSED, CHAIN_BY_PORT, CHAIN_PORTED] {
        messages.push(new_chain(chain));
    }
    messages.push(
        new_chain(CHAIN)
            .nest(attribute::CHAIN_HOOK, |hook| {
                hook.attribute(attribute::HOOK_NUMBER, &HOOK_FORWARD.to_be_bytes())
                    .attribute(attribute::HOOK_PRIORITY, &0_u32.to_be_bytes())
            })
            .text(attribute::CHAIN_TYPE, "filter"),
    );
    messages.push(rule(CHAIN_REFUSED, |list| {
        reset(if_protocol(list, libc::IPPROTO_TCP))
    }));
    messages.push(rule(CHAIN_REFUSED, unreachable));
    for set in Set::ALL {
        for offset in PORT_OFFSETS {
            messages.push(rule(CHAIN_BY_PORT, |list| {
                act(if_port_in(list, set, offset), set, mechanism)
            }));
        }
    }
    for protocol in [libc::IPPROTO_TCP, libc::IPPROTO_UDP] {
        messages.push(rule(CHAIN_PORTED, |list| {
            jump(if_protocol(list, protocol), CHAIN_BY_PORT)
        }));
    }
    messages.push(rule(CHAIN, |list| {
        jump(if_in(list, Kind::Ported), CHAIN_PORTED)
    }));
    for set in Set::ALL {
        messages.push(rule(CHAIN, |list| {
            act(if_in(list, Kind::OfLinks(set)), set, mechanism)
        }));
    }
    messages
}

/// What happens to packets of a set.
fn act(list: Message, set: Set, mechanism: QueueMechanism) -> Message {
    match set {
        Set::Cut => drop_packet(list),
        Set::Refuse => jump(list, CHAIN_REFUSED),
        Set::Slow => to_queue(list, Lane::Each.number(), mechanism),
        Set::Late => to_queue(list, Lane::Whole.number(), mechanism),
    }
}

fn new_chain(name: &str) -> Message {
    message(NEW_CHAIN, libc::NLM_F_CREATE)
        .text(attribute::CHAIN_TABLE, TABLE)
        .text(attribute::CHAIN_NAME, name)
}

/// The kernel makes room for all links at once: a set that has to grow is slow while it does. Nobody
/// knows how many ports will be named; those sets grow.
fn new_set(kind: Kind, id: u32, links: u32, counting: Counting) -> Message {
    let key_bytes = match kind {
        Kind::OfPorts(_) => PORT_KEY_BYTES,
        Kind::OfLinks(_) | Kind::Ported => KEY_BYTES,
    };
    let set = message(NEW_SET, libc::NLM_F_CREATE)
        .text(attribute::SET_TABLE, TABLE)
        .text(attribute::SET_NAME, kind.name())
        .attribute(attribute::SET_KEY_TYPE, &0_u32.to_be_bytes())
        .attribute(attribute::SET_KEY_LENGTH, &(key_bytes as u32).to_be_bytes())
        .attribute(attribute::SET_ID, &id.to_be_bytes());
    let set = match kind {
        Kind::OfPorts(_) => set,
        Kind::OfLinks(_) | Kind::Ported => set.nest(attribute::SET_DESCRIPTION, |description| {
            description.attribute(attribute::DESCRIPTION_SIZE, &links.to_be_bytes())
        }),
    };
    set.nest(attribute::SET_EXPRESSION, |expression| {
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
fn if_in(list: Message, kind: Kind) -> Message {
    let list = load(list, META_IIF, REGISTER_IN);
    let list = load(list, META_OIF, REGISTER_OUT);
    look_up(list, kind)
}

/// What follows is for packets whose pair and port, at this offset of their headers, are in the set.
fn if_port_in(list: Message, set: Set, offset: u32) -> Message {
    const TRANSPORT_HEADER: u32 = 2;
    const PORT_BYTES: u32 = 2;
    let list = load(list, META_IIF, REGISTER_IN);
    let list = load(list, META_OIF, REGISTER_OUT);
    let list = expression(list, "payload", |data| {
        data.attribute(attribute::PAYLOAD_REGISTER, &REGISTER_PORT.to_be_bytes())
            .attribute(attribute::PAYLOAD_BASE, &TRANSPORT_HEADER.to_be_bytes())
            .attribute(attribute::PAYLOAD_OFFSET, &offset.to_be_bytes())
            .attribute(attribute::PAYLOAD_LENGTH, &PORT_BYTES.to_be_bytes())
    });
    look_up(list, Kind::OfPorts(set))
}

fn look_up(list: Message, kind: Kind) -> Message {
    expression(list, "lookup", |data| {
        data.text(attribute::LOOKUP_SET, kind.name())
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

fn jump(list: Message, chain: &str) -> Message {
    const VERDICT_JUMP: i32 = -3;
    verdict(list, |verdict| {
        verdict
            .attribute(attribute::VERDICT_CODE, &VERDICT_JUMP.to_be_bytes())
            .text(attribute::VERDICT_CHAIN, chain)
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

fn if_protocol(list: Message, protocol: libc::c_int) -> Message {
    const EQUAL: u32 = 0;
    let list = load(list, META_L4PROTO, REGISTER_IN);
    expression(list, "cmp", |data| {
        data.attribute(attribute::COMPARE_REGISTER, &REGISTER_IN.to_be_bytes())
            .attribute(attribute::COMPARE_OPERATION, &EQUAL.to_be_bytes())
            .nest(attribute::COMPARE_DATA, |value| {
                value.attribute(attribute::DATA_VALUE, &[protocol as u8])
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
