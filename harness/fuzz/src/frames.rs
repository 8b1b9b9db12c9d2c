//! Frames between harness and agents.

use serde::Serialize;
use serde::de::DeserializeOwned;
use shakedown_contracts::control::{
    ClientOrder, ClientReport, NetworkOrder, NetworkReport, NodeOrder, NodeReport,
};
use shakedown_contracts::frame::{Decoder, encode};

/// A stream in two pieces gives what it gives whole, and each message comes back as it was.
pub(crate) fn hold(bytes: &[u8]) {
    of::<NetworkOrder>(bytes);
    of::<NetworkReport>(bytes);
    of::<NodeOrder>(bytes);
    of::<NodeReport>(bytes);
    of::<ClientOrder>(bytes);
    of::<ClientReport>(bytes);
}

fn of<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let whole = messages::<T>(&[bytes]);
    let cut = bytes
        .first()
        .map_or(0, |first| usize::from(*first).min(bytes.len()));
    let (one, other) = bytes.split_at(cut);
    assert_eq!(whole, messages::<T>(&[one, other]));
    for message in &whole {
        let frame = encode(message).expect("what was read is short enough to be written");
        // Numbers may be rounded by the first reading, and by no later one.
        let again = messages::<T>(&[&frame]);
        let frames: Vec<_> = again.iter().map(|message| encode(message).ok()).collect();
        assert_eq!(frames, [Some(frame)]);
    }
}

fn messages<T: DeserializeOwned>(pieces: &[&[u8]]) -> Vec<T> {
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        while let Ok(Some(message)) = decoder.next_message() {
            messages.push(message);
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_messages() {
        let orders = include_bytes!("../seeds/frames/node_orders");
        assert_eq!(messages::<NodeOrder>(&[orders]).len(), 5);
        let orders = include_bytes!("../seeds/frames/network_orders");
        assert_eq!(messages::<NetworkOrder>(&[orders]).len(), 3);
        let reports = include_bytes!("../seeds/frames/reports");
        assert_eq!(messages::<NodeReport>(&[reports]).len(), 2);
    }
}
