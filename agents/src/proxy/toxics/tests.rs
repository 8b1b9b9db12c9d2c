//! What holds of every toxic, and how the tests of each play it.

use super::*;

/// A toxic of that kind, at work from the origin of time on.
pub fn stage(kind: &str, attributes: &[(&str, &str)]) -> Box<dyn Stage> {
    let settings = Settings::new(kind, attributes).unwrap();
    settings.stage(Random::keyed(1, "test", kind), Moment(0))
}

/// What a stage gives up to a moment, and when.
pub fn played(stage: &mut dyn Stage, from: Moment, to: Moment) -> Vec<(Moment, Given)> {
    let mut out = Vec::new();
    let mut now = from;
    loop {
        match stage.give(now) {
            Given::Until(later) if later > to => return out,
            Given::Until(later) => {
                assert!(later > now, "it can be waited for");
                now = later;
            }
            Given::Nothing => return out,
            given @ Given::Item(_) => out.push((now, given)),
            given => {
                out.push((now, given));
                return out;
            }
        }
    }
}

pub fn bytes_of(given: &Given) -> usize {
    match given {
        Given::Item(item) => item.len(),
        _ => 0,
    }
}

pub fn first_byte(given: &Given) -> u8 {
    match given {
        Given::Item(Item {
            body: Body::Bytes(chunk),
            ..
        }) => chunk.bytes()[0],
        other => panic!("{other:?}"),
    }
}

/// One of each kind that ends no connection.
const HARMLESS: [(&str, &[(&str, &str)]); 7] = [
    ("latency", &[("latency", "5"), ("jitter", "4")]),
    ("bandwidth", &[("rate", "10")]),
    ("slow_close", &[("delay", "3")]),
    ("timeout", &[]),
    ("reset_peer", &[("timeout", "1000000")]),
    (
        "slicer",
        &[
            ("average_size", "7"),
            ("size_variation", "3"),
            ("delay", "100"),
        ],
    ),
    ("limit_data", &[("bytes", "1000")]),
];

#[test]
fn no_toxic_loses_or_reorders_bytes_when_it_is_taken_away_at_any_moment() {
    assert_eq!(HARMLESS.len(), KINDS.len(), "every kind is tried");
    let sent: Vec<u8> = (0..100_u8).collect();
    for (kind, attributes) in HARMLESS {
        let settings = Settings::new(kind, attributes).unwrap();
        for away_at in 0..60_u64 {
            let mut stage = settings.stage(Random::keyed(away_at, "test", ""), Moment(0));
            let mut got = Vec::new();
            let mut ends = 0;
            let mut take = |item: Item| match &item.body {
                Body::Bytes(chunk) => {
                    assert_eq!(ends, 0, "the end is the last");
                    got.extend_from_slice(chunk.bytes());
                }
                Body::End | Body::Broken => ends += 1,
            };
            let ending = std::iter::once(Item::end(Moment(10_000_000)));
            let pieces = sent.chunks(10).enumerate().map(|(number, piece)| {
                Item::bytes(piece.to_vec(), Moment(number as u64 * 1_000_000))
            });
            for item in pieces.chain(ending) {
                let now = item.entered;
                stage.take(item);
                if now < Moment(away_at * 250_000) {
                    for (_, given) in played(stage.as_mut(), now, now) {
                        if let Given::Item(item) = given {
                            take(item);
                        }
                    }
                }
            }
            stage.release().into_iter().for_each(&mut take);
            assert_eq!(stage.waiting().bytes(), 0);
            assert_eq!(
                (got.as_slice(), ends),
                (sent.as_slice(), 1),
                "{kind} away at {away_at}"
            );
        }
    }
}
