//! What a program under test writes to its event pipe.

use shakedown_agents::node_agent::events::EventLines;

/// A stream in two pieces gives what it gives whole.
pub(crate) fn hold(bytes: &[u8]) {
    let cut = bytes
        .first()
        .map_or(0, |first| usize::from(*first).min(bytes.len()));
    let (one, other) = bytes.split_at(cut);
    assert_eq!(events(&[bytes]), events(&[one, other]));
}

fn events(pieces: &[&[u8]]) -> Vec<String> {
    let (mut lines, mut events) = (EventLines::quiet(), Vec::new());
    for piece in pieces {
        lines.take(piece, &mut events);
    }
    events.iter().map(|event| format!("{event:?}")).collect()
}
