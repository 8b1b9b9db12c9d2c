//! A toxic's kind and numbers, as somebody gives them.

use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;

use super::{KINDS, Kind, Stage};

/// The largest number there is: as milliseconds 35 years, as bytes a tebibyte.
const NUMBER_MAX: u64 = 1 << 40;

/// A kind with its numbers. Those that nobody gave are 0.
#[derive(Clone)]
pub struct Settings {
    kind: &'static Kind,
    values: Vec<u64>,
}

impl Settings {
    /// Of a kind by its name.
    ///
    /// # Errors
    /// What is wrong, and what there is instead.
    pub fn new(kind: &str, attributes: &[(&str, &str)]) -> Result<Self, String> {
        let known = KINDS.iter().find(|known| known.name == kind);
        let Some(kind) = known else {
            let kinds = KINDS.map(|kind| kind.name).join(", ");
            return Err(format!("`{kind}` is no toxic; there are {kinds}"));
        };
        let none = Settings {
            kind,
            values: vec![0; kind.attributes.len()],
        };
        none.with(attributes)
    }

    /// The same with other numbers.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn with(&self, attributes: &[(&str, &str)]) -> Result<Self, String> {
        let mut changed = self.clone();
        for (name, text) in attributes {
            let at = self.kind.attributes.iter().position(|known| known == name);
            let Some(at) = at else {
                let (kind, names) = (self.kind.name, self.kind.attributes.join(", "));
                return Err(format!(
                    "`{kind}` has no attribute `{name}`; it has {names}"
                ));
            };
            let number = text.parse().ok().filter(|number| *number <= NUMBER_MAX);
            changed.values[at] = number.ok_or_else(|| {
                format!(
                    "`{name}={text}` is no whole number from 0 to {NUMBER_MAX}, such as `{name}=100`"
                )
            })?;
        }
        match (self.kind.refuse)(&changed.values) {
            Some(wrong) => Err(wrong),
            None => Ok(changed),
        }
    }

    /// What kind it is.
    pub fn kind(&self) -> &'static Kind {
        self.kind
    }

    /// At work on a stream from now on; draws come from `random`.
    pub fn stage(&self, random: Random, now: Moment) -> Box<dyn Stage> {
        (self.kind.stage)(&self.values, random, now)
    }

    fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.kind
            .attributes
            .iter()
            .copied()
            .zip(self.values.iter().copied())
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name)?;
        self.named()
            .try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.kind.name == other.kind.name && self.values == other.values
    }
}

/// As Toxiproxy writes them: `"type"`, and `"attributes"` by name.
impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let attributes: serde_json::Map<String, serde_json::Value> = self
            .named()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let mut fields = serializer.serialize_struct("Settings", 2)?;
        fields.serialize_field("type", self.kind.name)?;
        fields.serialize_field("attributes", &attributes)?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toxics_are_made_of_names_and_numbers_and_what_is_wrong_is_told() {
        let made = Settings::new("latency", &[("latency", "100")]).unwrap();
        assert_eq!(made.to_string(), "latency latency=100 jitter=0");
        for (kind, given, told) in [
            ("latnecy", &[][..], "there are latency, bandwidth"),
            ("latency", &[("rate", "1")], "it has latency, jitter"),
            ("latency", &[("latency", "-1")], "such as `latency=100`"),
            (
                "latency",
                &[("jitter", "99999999999999")],
                "no whole number",
            ),
            ("slicer", &[("delay", "1")], "average_size"),
        ] {
            let error = Settings::new(kind, given).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn other_numbers_leave_those_that_are_not_named() {
        let made = Settings::new("latency", &[("latency", "100"), ("jitter", "7")]).unwrap();
        let changed = made.with(&[("latency", "5")]).unwrap();
        assert_eq!(changed.to_string(), "latency latency=5 jitter=7");
    }
}
