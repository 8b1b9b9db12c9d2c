//! Answers of the kernel.

use shakedown_agents::netlink::queue::{Lane, arrival};
use shakedown_agents::netlink::{attributes, messages, nftables, sockets};

/// Walks end within the bytes, and hand out nothing that is not there.
pub(crate) fn hold(bytes: &[u8]) {
    let bodies = messages(bytes).map(|message| message.body.len());
    assert!(bodies.sum::<usize>() <= bytes.len());
    for message in messages(bytes) {
        body(message.body);
    }
    body(bytes);
}

fn body(bytes: &[u8]) {
    let payloads = attributes(bytes).map(|(_, payload)| payload.len());
    assert!(payloads.sum::<usize>() <= bytes.len());
    for lane in [Lane::Each, Lane::Whole] {
        if let Some(arrival) = arrival(lane, bytes) {
            assert!(arrival.bytes.len() <= bytes.len());
        }
    }
    sockets::connection(bytes);
    for kind in 0..4 {
        nftables::counted(bytes, kind);
    }
}
