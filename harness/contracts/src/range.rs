//! A range of durations, as an experiment file writes it: `"150ms..300ms"`, both ends included.
//!
//! Equal ends are a range too, the one without randomness. Invariant: `low` is never above `high`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::units::{Duration, QuantityError};

/// Durations from `low` to `high`, both included; written `"150ms..300ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct DurationRange {
    low: Duration,
    high: Duration,
}

impl DurationRange {
    /// The range between two durations, in whichever order they come.
    pub fn between(one: Duration, other: Duration) -> Self {
        DurationRange {
            low: one.min(other),
            high: one.max(other),
        }
    }

    /// The shortest.
    pub const fn low(self) -> Duration {
        self.low
    }

    /// The longest.
    pub const fn high(self) -> Duration {
        self.high
    }

    /// From the shortest to the longest: what is left to chance.
    pub const fn width(self) -> Duration {
        self.high.saturating_sub(self.low)
    }
}

impl FromStr for DurationRange {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let wrong = || QuantityError {
            text: text.to_owned(),
            quantity: "range of durations",
            example: "\"150ms..300ms\"",
        };
        let (low, high) = text.split_once("..").ok_or_else(wrong)?;
        let end = |end: &str| end.parse::<Duration>().map_err(|_| wrong());
        let (low, high) = (end(low)?, end(high)?);
        if low > high {
            return Err(wrong());
        }
        Ok(DurationRange { low, high })
    }
}

impl fmt::Display for DurationRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.low, self.high)
    }
}

impl From<DurationRange> for String {
    fn from(range: DurationRange) -> String {
        range.to_string()
    }
}

impl TryFrom<String> for DurationRange {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_prints_as_it_is_written() {
        for text in ["150ms..300ms", "1s..1s", "0s..2m"] {
            let range: DurationRange = text.parse().unwrap();
            assert_eq!(range.to_string(), text);
            let json = serde_json::to_string(&range).unwrap();
            assert_eq!(serde_json::from_str::<DurationRange>(&json).unwrap(), range);
        }
        let range: DurationRange = " 150ms .. 0.3s".parse().unwrap();
        assert_eq!(range.to_string(), "150ms..300ms");
        assert_eq!(range.width(), Duration::from_millis(150));
    }

    #[test]
    fn a_range_with_one_end_or_none_or_backwards_is_refused() {
        for text in [
            "150ms",
            "150ms..",
            "..300ms",
            "..",
            "300ms..150ms",
            "1..2",
            "",
        ] {
            assert!(text.parse::<DurationRange>().is_err(), "{text}");
        }
    }
}
