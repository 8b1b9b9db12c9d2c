//! What a proxy does to the bytes of a stream, by the names of Toxiproxy: one file a toxic, one trait, one line in
//! [`Settings::stage`].

mod bandwidth;
mod latency;
mod limit_data;
mod reset_peer;
mod slicer;
mod slow_close;
mod timeout;

use std::collections::VecDeque;

use serde::Serialize;
use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

/// What travels along a stream, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Bytes, and when they came to the proxy.
    Bytes(Vec<u8>, Moment),
    /// The sender has closed its end.
    End(Moment),
}

impl Item {
    /// How many bytes it is.
    pub fn len(&self) -> usize {
        match self {
            Item::Bytes(bytes, _) => bytes.len(),
            Item::End(_) => 0,
        }
    }

    /// Whether it is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When it came to the proxy.
    pub fn arrived(&self) -> Moment {
        match self {
            Item::Bytes(_, arrived) | Item::End(arrived) => *arrived,
        }
    }
}

/// What a toxic hands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// This, now.
    Item(Item),
    /// Nothing before that moment.
    Until(Moment),
    /// Nothing before something else comes.
    Nothing,
    /// The connection is to end as if both ends had closed it.
    Close,
    /// The connection is to end with a reset, at both ends.
    Reset,
}

/// A toxic at work on one direction of one connection. Time is handed in.
pub trait Stage: Send {
    /// Takes the next item.
    fn take(&mut self, item: Item, now: Moment);

    /// What it hands on now; asked again until it has nothing.
    fn give(&mut self, now: Moment) -> Given;

    /// Gives back all that it holds, in order: it is being taken away.
    fn release(&mut self) -> VecDeque<Item>;

    /// Bytes that it holds.
    fn held_bytes(&self) -> usize;
}

/// A toxic's kind and numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Settings {
    /// Everything arrives later.
    Latency {
        /// Milliseconds.
        latency: u64,
        /// Milliseconds, more or less.
        jitter: u64,
    },
    /// Only so much passes in a second.
    Bandwidth {
        /// Kilobytes (1000 bytes) a second.
        rate: u64,
    },
    /// The end of the stream arrives later.
    SlowClose {
        /// Milliseconds.
        delay: u64,
    },
    /// Nothing passes, and after a time the connection ends.
    Timeout {
        /// Milliseconds; 0: it does not end.
        timeout: u64,
    },
    /// The connection is reset.
    ResetPeer {
        /// Milliseconds from when the toxic meets it.
        timeout: u64,
    },
    /// Bytes arrive in small pieces.
    Slicer {
        /// Bytes of a piece.
        average_size: u64,
        /// Bytes, more or less; below the average.
        size_variation: u64,
        /// Microseconds between two pieces.
        delay: u64,
    },
    /// The connection ends after so many bytes.
    LimitData {
        /// So many.
        bytes: u64,
    },
}

/// Kinds with the attributes of each.
const KINDS: [(&str, &[&str]); 7] = [
    ("latency", &["latency", "jitter"]),
    ("bandwidth", &["rate"]),
    ("slow_close", &["delay"]),
    ("timeout", &["timeout"]),
    ("reset_peer", &["timeout"]),
    ("slicer", &["average_size", "size_variation", "delay"]),
    ("limit_data", &["bytes"]),
];

impl Settings {
    /// Of a kind by its name with attributes; one that is not given is 0.
    ///
    /// # Errors
    /// What is wrong, and what there is instead.
    pub fn from_attributes(kind: &str, attributes: &[(String, String)]) -> Result<Self, String> {
        let known = KINDS.iter().find(|(name, _)| *name == kind);
        let Some((_, names)) = known else {
            let kinds = KINDS.map(|(name, _)| name).join(", ");
            return Err(format!("`{kind}` is no toxic; there are {kinds}"));
        };
        for (name, _) in attributes {
            if !names.contains(&name.as_str()) {
                let names = names.join(", ");
                return Err(format!(
                    "`{kind}` has no attribute `{name}`; it has {names}"
                ));
            }
        }
        let of = |wanted: &str| -> Result<u64, String> {
            let given = attributes.iter().rev().find(|(name, _)| name == wanted);
            let Some((_, value)) = given else {
                return Ok(0);
            };
            value.parse().map_err(|_| {
                format!(
                    "`{wanted}={value}` is no whole number of 0 or more, such as `{wanted}=100`"
                )
            })
        };
        let settings = match kind {
            "latency" => Settings::Latency {
                latency: of("latency")?,
                jitter: of("jitter")?,
            },
            "bandwidth" => Settings::Bandwidth { rate: of("rate")? },
            "slow_close" => Settings::SlowClose {
                delay: of("delay")?,
            },
            "timeout" => Settings::Timeout {
                timeout: of("timeout")?,
            },
            "reset_peer" => Settings::ResetPeer {
                timeout: of("timeout")?,
            },
            "slicer" => Settings::Slicer {
                average_size: of("average_size")?,
                size_variation: of("size_variation")?,
                delay: of("delay")?,
            },
            _ => Settings::LimitData {
                bytes: of("bytes")?,
            },
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Settings::Slicer {
                average_size,
                size_variation,
                ..
            } if *average_size == 0 || size_variation >= average_size => Err(
                "`slicer` needs an `average_size` above its `size_variation`, such as `average_size=64`"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }

    /// At work on a stream from now on; draws come from `random`.
    pub fn stage(&self, random: Random, now: Moment) -> Box<dyn Stage> {
        let millis = Duration::from_millis;
        match self {
            Settings::Latency { latency, jitter } => Box::new(latency::Latency::new(
                millis(*latency),
                millis(*jitter),
                random,
            )),
            Settings::Bandwidth { rate } => Box::new(bandwidth::Bandwidth::new(*rate)),
            Settings::SlowClose { delay } => Box::new(slow_close::SlowClose::new(millis(*delay))),
            Settings::Timeout { timeout } => {
                let ends = (*timeout > 0).then(|| now.after(millis(*timeout)));
                Box::new(timeout::Timeout::new(ends))
            }
            Settings::ResetPeer { timeout } => {
                Box::new(reset_peer::ResetPeer::new(now.after(millis(*timeout))))
            }
            Settings::Slicer {
                average_size,
                size_variation,
                delay,
            } => Box::new(slicer::Slicer::new(
                *average_size,
                *size_variation,
                Duration::from_micros(*delay),
                random,
            )),
            Settings::LimitData { bytes } => Box::new(limit_data::LimitData::new(*bytes)),
        }
    }
}

/// Items that wait, with their bytes counted.
#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    bytes: usize,
}

impl Waiting {
    fn push(&mut self, item: Item) {
        self.bytes += item.len();
        self.items.push_back(item);
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes -= item.len();
        Some(item)
    }

    fn front(&self) -> Option<&Item> {
        self.items.front()
    }

    /// Splits so many bytes off the first item.
    fn pop_bytes(&mut self, most: usize) -> Option<Item> {
        if let Some(Item::Bytes(bytes, arrived)) = self.items.front_mut()
            && bytes.len() > most
        {
            let rest = bytes.split_off(most);
            let first = std::mem::replace(bytes, rest);
            self.bytes -= most;
            return Some(Item::Bytes(first, *arrived));
        }
        self.pop()
    }

    fn release(&mut self) -> VecDeque<Item> {
        self.bytes = 0;
        std::mem::take(&mut self.items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(text: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = text
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        owned.collect()
    }

    #[test]
    fn toxics_are_made_of_names_and_numbers_and_what_is_wrong_is_told() {
        let made = Settings::from_attributes("latency", &attributes(&[("latency", "100")]));
        let expected = Settings::Latency {
            latency: 100,
            jitter: 0,
        };
        assert_eq!(made, Ok(expected));
        for (kind, given, told) in [
            ("latnecy", &[][..], "there are latency, bandwidth"),
            ("latency", &[("rate", "1")], "it has latency, jitter"),
            ("latency", &[("latency", "-1")], "such as `latency=100`"),
            ("slicer", &[("delay", "1")], "average_size"),
        ] {
            let error = Settings::from_attributes(kind, &attributes(given)).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    /// Items of a stage up to a moment, with the moment at which each came out.
    pub(super) fn run(stage: &mut dyn Stage, from: Moment, to: Moment) -> Vec<(u64, Given)> {
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
                given @ Given::Item(_) => out.push((now.0, given)),
                given => {
                    out.push((now.0, given));
                    return out;
                }
            }
        }
    }

    #[test]
    fn no_toxic_loses_or_reorders_bytes_when_it_is_taken_away_at_any_moment() {
        let settings = [
            Settings::Latency {
                latency: 5,
                jitter: 4,
            },
            Settings::Bandwidth { rate: 10 },
            Settings::SlowClose { delay: 3 },
            Settings::Timeout { timeout: 0 },
            Settings::Slicer {
                average_size: 7,
                size_variation: 3,
                delay: 100,
            },
        ];
        let sent: Vec<u8> = (0..100_u8).collect();
        for setting in settings {
            for away_at in 0..40_u64 {
                let random = Random::keyed(away_at, "test", "");
                let mut stage = setting.stage(random, Moment(0));
                let mut got = Vec::new();
                let mut take = |item: Item| {
                    if let Item::Bytes(bytes, _) = item {
                        got.extend(bytes);
                    }
                };
                for (number, piece) in sent.chunks(10).enumerate() {
                    let now = Moment(number as u64 * 1_000_000);
                    stage.take(Item::Bytes(piece.to_vec(), now), now);
                    if now >= Moment(away_at * 250_000) {
                        continue;
                    }
                    for (_, given) in run(stage.as_mut(), now, now) {
                        if let Given::Item(item) = given {
                            take(item);
                        }
                    }
                }
                stage.release().into_iter().for_each(take);
                assert_eq!(got, sent, "{setting:?} away at {away_at}");
            }
        }
    }
}
