//! Quantities with their units, as an experiment file writes them: `"250ms"`, `"10MiB"`, `"1%"`.
//!
//! A value is parsed once, at the edge; inside the program the type says what the number means.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Why a quantity could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a {quantity}; write it like {example}")]
pub struct QuantityError {
    /// What was written.
    pub text: String,
    /// What was expected: "duration", "size" or "ratio".
    pub quantity: &'static str,
    /// A value that would be accepted.
    pub example: &'static str,
}

/// A length of time in whole nanoseconds, at most about 584 years; written `"250ms"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

impl Duration {
    /// No time at all.
    pub const ZERO: Duration = Duration(0);

    /// From whole nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Duration(nanos)
    }

    /// From whole microseconds, saturating.
    pub const fn from_micros(micros: u64) -> Self {
        Duration(micros.saturating_mul(1_000))
    }

    /// From whole milliseconds, saturating.
    pub const fn from_millis(millis: u64) -> Self {
        Duration(millis.saturating_mul(1_000_000))
    }

    /// From whole seconds, saturating.
    pub const fn from_secs(secs: u64) -> Self {
        Duration(secs.saturating_mul(1_000_000_000))
    }

    /// Whole nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Milliseconds with fractions, for tables and statistics.
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Seconds with fractions.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// True for no time at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Sum, saturating.
    pub const fn saturating_add(self, other: Duration) -> Duration {
        Duration(self.0.saturating_add(other.0))
    }

    /// Difference, never below zero.
    pub const fn saturating_sub(self, other: Duration) -> Duration {
        Duration(self.0.saturating_sub(other.0))
    }
}

impl From<Duration> for std::time::Duration {
    fn from(value: Duration) -> Self {
        std::time::Duration::from_nanos(value.0)
    }
}

impl From<std::time::Duration> for Duration {
    fn from(value: std::time::Duration) -> Self {
        Duration(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX))
    }
}

const DURATION_UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl FromStr for Duration {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse_scaled(text, &DURATION_UNITS)
            .map(Duration)
            .ok_or_else(|| QuantityError {
                text: text.to_owned(),
                quantity: "duration",
                example: "\"250ms\", \"1.5s\" or \"2m\"",
            })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = [
            ("h", 3_600_000_000_000),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
        ]
        .into_iter()
        .chain([("ms", 1_000_000), ("us", 1_000)])
        .find(|(_, scale)| self.0 != 0 && self.0.is_multiple_of(*scale));
        match exact {
            Some((unit, scale)) => write!(f, "{}{unit}", self.0 / scale),
            None if self.0 == 0 => f.write_str("0s"),
            None => write!(f, "{}ns", self.0),
        }
    }
}

/// A number of bytes, written `"10MiB"`, `"4kB"` or `"512B"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

const SIZE_UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

impl FromStr for Bytes {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse_scaled(text, &SIZE_UNITS)
            .map(Bytes)
            .ok_or_else(|| QuantityError {
                text: text.to_owned(),
                quantity: "size",
                example: "\"4KiB\" or \"10MiB\"",
            })
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
            .into_iter()
            .find(|(_, scale)| self.0 != 0 && self.0.is_multiple_of(*scale));
        match exact {
            Some((unit, scale)) => write!(f, "{}{unit}", self.0 / scale),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// How much a link carries, in bits a second; written `"10mbit"`, as tc does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

const RATE_UNITS: [(&str, u64); 8] = [
    ("bit", 1),
    ("kbit", 1_000),
    ("mbit", 1_000_000),
    ("gbit", 1_000_000_000),
    ("bit/s", 1),
    ("kbit/s", 1_000),
    ("Mbit/s", 1_000_000),
    ("Gbit/s", 1_000_000_000),
];

impl Rate {
    /// Bits a second; `None` for a link that carries nothing.
    pub fn from_bits(bits: u64) -> Option<Self> {
        (bits > 0).then_some(Rate(bits))
    }

    /// Bits a second; above zero.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// How long so many bytes take.
    pub fn time_of(self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(self.0);
        Duration(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many bytes pass in that time.
    pub fn bytes_in(self, time: Duration) -> f64 {
        self.0 as f64 / 8.0 * time.as_secs_f64()
    }
}

impl FromStr for Rate {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse_scaled(text, &RATE_UNITS)
            .and_then(Rate::from_bits)
            .ok_or_else(|| QuantityError {
                text: text.to_owned(),
                quantity: "rate",
                example: "\"512kbit\" or \"10mbit\" (bits a second)",
            })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = [
            ("gbit", 1_000_000_000),
            ("mbit", 1_000_000),
            ("kbit", 1_000),
        ]
        .into_iter()
        .find(|(_, scale)| self.0.is_multiple_of(*scale));
        match exact {
            Some((unit, scale)) => write!(f, "{}{unit}", self.0 / scale),
            None => write!(f, "{}bit", self.0),
        }
    }
}

/// A share between 0 and 1, written `"1%"` or as the plain number `0.01`.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl Ratio {
    /// A share in `0.0..=1.0`; `None` outside it.
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Ratio(share))
    }

    /// The share as a number in `0.0..=1.0`.
    pub const fn as_f64(self) -> f64 {
        self.0
    }
}

impl FromStr for Ratio {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let share = match text.trim().strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().map(|p| p / 100.0),
            None => text.trim().parse::<f64>(),
        };
        share
            .ok()
            .and_then(Ratio::new)
            .ok_or_else(|| QuantityError {
                text: text.to_owned(),
                quantity: "share between 0% and 100%",
                example: "\"1%\" or 0.01",
            })
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded so that 0.07 prints as 7% and not as 7.000000000000001%.
        write!(f, "{}%", (self.0 * 1e8).round() / 1e6)
    }
}

/// `number unit` with a unit of the table; exact for whole numbers, rounded for fractions.
fn parse_scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim());
    let scale = units.iter().find(|(name, _)| *name == unit)?.1;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale);
    }
    let scaled = number.parse::<f64>().ok()? * scale as f64;
    (scaled.is_finite() && scaled < u64::MAX as f64).then_some(scaled.round() as u64)
}

macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}

serde_as_text!(Duration);
serde_as_text!(Bytes);
serde_as_text!(Rate);

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_print_as_they_are_written() {
        for text in ["250ms", "2s", "1h", "3us", "7ns", "0s"] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), text);
        }
        assert_eq!(
            "1.5s".parse::<Duration>().unwrap(),
            Duration::from_millis(1500)
        );
        assert_eq!("4MiB".parse::<Bytes>().unwrap(), Bytes(4 << 20));
        assert_eq!("7%".parse::<Ratio>().unwrap().to_string(), "7%");
    }

    #[test]
    fn a_quantity_without_a_unit_or_out_of_range_is_refused() {
        for text in [
            "250",
            "ms",
            "-1s",
            "1 fortnight",
            "",
            "1e400s",
            "99999999999h",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
        for text in ["101%", "-1%", "many", "NaN"] {
            assert!(text.parse::<Ratio>().is_err(), "{text}");
        }
    }
}
