//! A typed reader over one table: takes keys, checks types and units, and knows what was not taken.
//!
//! Each `take` returns `None` both for a key that is absent and for one that is wrong; the latter
//! is logged. Callers go on with a default, so that all problems come out at once. Invariant:
//! [`TableReader::finish`] is called once for each table, and reports every key nobody asked for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::str::FromStr;

use shakedown_contracts::catalogue::{Availability, Choice};
use shakedown_contracts::range::DurationRange;
use shakedown_contracts::units::{Duration, QuantityError, Ratio};

use crate::problem::Log;
use crate::suggestion;
use crate::tree::{Entry, Node, Table, Value};

/// A value with the place of it, for later checks.
#[derive(Debug, Clone)]
pub(crate) struct Placed<T> {
    pub value: T,
    pub span: Range<usize>,
}

/// Reads one table.
pub(crate) struct TableReader<'t> {
    table: &'t Table,
    /// Where the table stands, for problems about what is missing in it.
    pub span: Range<usize>,
    path: String,
    known: RefCell<BTreeSet<&'static str>>,
    pub log: &'t Log,
}

impl<'t> TableReader<'t> {
    /// A reader of `table`, which stands at `span` under the key `path`.
    pub fn new(table: &'t Table, span: Range<usize>, path: &str, log: &'t Log) -> Self {
        TableReader {
            table,
            span,
            path: path.to_owned(),
            known: RefCell::default(),
            log,
        }
    }

    /// The full path of a key.
    pub fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// The entry as it stands.
    pub fn entry(&self, key: &'static str) -> Option<&'t Entry> {
        self.known.borrow_mut().insert(key);
        self.table.find(key)
    }

    /// Place of the value, or of the table where the key is absent.
    pub fn place(&self, key: &str) -> Range<usize> {
        self.table
            .find(key)
            .map_or_else(|| self.span.clone(), |entry| entry.node.span.clone())
    }

    /// Whether the key is there, right or wrong.
    pub fn has(&self, key: &'static str) -> bool {
        self.entry(key).is_some()
    }

    /// Logs a problem with a key.
    pub fn invalid(&self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        let hint = hint.into();
        let hint = (!hint.is_empty()).then_some(hint);
        self.log
            .invalid(&self.place(key), &self.key(key), message.into(), hint);
    }

    /// Logs that a key is missing.
    pub fn missing(&self, key: &'static str, hint: &str) {
        self.known.borrow_mut().insert(key);
        let message = format!("missing key `{}`", self.key(key));
        self.log
            .invalid(&self.span, &self.key(key), message, Some(hint.to_owned()));
    }

    fn wrong_type(&self, key: &'static str, node: &Node, expected: &str) {
        let message = format!(
            "`{}` must be {expected}, this is {}",
            self.key(key),
            node.value.type_name()
        );
        self.log.invalid(&node.span, &self.key(key), message, None);
    }

    /// A table.
    pub fn table(&self, key: &'static str) -> Option<TableReader<'t>> {
        let entry = self.entry(key)?;
        match &entry.node.value {
            Value::Table(table) => {
                let path = self.key(key);
                Some(TableReader::new(
                    table,
                    entry.key_span.clone(),
                    &path,
                    self.log,
                ))
            }
            _ => {
                self.wrong_type(key, &entry.node, "a table");
                None
            }
        }
    }

    /// A list of tables; absent is empty.
    pub fn tables(&self, key: &'static str) -> Vec<TableReader<'t>> {
        let Some(entry) = self.entry(key) else {
            return Vec::new();
        };
        let Value::Array(items) = &entry.node.value else {
            self.wrong_type(key, &entry.node, &format!("a list of tables, `[[{key}]]`"));
            return Vec::new();
        };
        let reader = |item: &'t Node| match &item.value {
            Value::Table(table) => Some(TableReader::new(table, item.span.clone(), key, self.log)),
            _ => {
                self.wrong_type(key, item, "a list of tables");
                None
            }
        };
        items.iter().filter_map(reader).collect()
    }

    /// A string.
    pub fn text(&self, key: &'static str) -> Option<Placed<&'t str>> {
        let entry = self.entry(key)?;
        match &entry.node.value {
            Value::Text(text) => Some(Placed {
                value: text,
                span: entry.node.span.clone(),
            }),
            _ => {
                self.wrong_type(key, &entry.node, "a string");
                None
            }
        }
    }

    /// A list of strings.
    pub fn texts(&self, key: &'static str) -> Option<Vec<Placed<&'t str>>> {
        let entry = self.entry(key)?;
        let Value::Array(items) = &entry.node.value else {
            self.wrong_type(key, &entry.node, "a list of strings");
            return None;
        };
        let mut texts = Vec::new();
        for item in items {
            match &item.value {
                Value::Text(text) => {
                    texts.push(Placed {
                        value: text.as_str(),
                        span: item.span.clone(),
                    });
                }
                _ => self.wrong_type(key, item, "a list of strings"),
            }
        }
        Some(texts)
    }

    /// True or false.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        let entry = self.entry(key)?;
        match &entry.node.value {
            Value::Boolean(value) => Some(*value),
            _ => {
                self.wrong_type(key, &entry.node, "true or false");
                None
            }
        }
    }

    /// A whole number in `min..=max`.
    pub fn integer<T>(&self, key: &'static str, min: T, max: T) -> Option<T>
    where
        T: TryFrom<i128> + Into<i128> + Copy,
    {
        let entry = self.entry(key)?;
        let Value::Integer(number) = entry.node.value else {
            self.wrong_type(key, &entry.node, "a whole number");
            return None;
        };
        let (low, high) = (min.into(), max.into());
        if number < low || number > high {
            let message = format!("`{}` is {number}", self.key(key));
            self.invalid(key, message, format!("give a number from {low} to {high}"));
            return None;
        }
        T::try_from(number).ok()
    }

    /// A finite number above zero.
    pub fn positive(&self, key: &'static str, max: f64) -> Option<f64> {
        let entry = self.entry(key)?;
        let number = match entry.node.value {
            Value::Integer(number) => number as f64,
            Value::Float(number) => number,
            _ => {
                self.wrong_type(key, &entry.node, "a number");
                return None;
            }
        };
        if number > 0.0 && number <= max {
            return Some(number);
        }
        let message = format!("`{}` is {number}", self.key(key));
        self.invalid(
            key,
            message,
            format!("give a number above 0, at most {max}"),
        );
        None
    }

    /// A quantity with its unit.
    pub fn quantity<T>(&self, key: &'static str) -> Option<Placed<T>>
    where
        T: FromStr<Err = QuantityError>,
    {
        let entry = self.entry(key)?;
        let written = match &entry.node.value {
            Value::Text(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            _ => {
                self.wrong_type(key, &entry.node, "a string with a unit, such as \"250ms\"");
                return None;
            }
        };
        match written.parse() {
            Ok(value) => Some(Placed {
                value,
                span: entry.node.span.clone(),
            }),
            Err(error) => {
                let QuantityError {
                    quantity, example, ..
                } = error;
                let message = format!(
                    "`{}` is {}, which is no {quantity}",
                    self.key(key),
                    shown(&entry.node)
                );
                self.invalid(key, message, format!("write it like {example}"));
                None
            }
        }
    }

    /// A duration such as `"250ms"`.
    pub fn duration(&self, key: &'static str) -> Option<Placed<Duration>> {
        self.quantity(key)
    }

    /// A duration that is not zero.
    pub fn duration_above_zero(&self, key: &'static str) -> Option<Placed<Duration>> {
        let duration = self.duration(key)?;
        if duration.value.is_zero() {
            let message = format!("`{}` is no time at all", self.key(key));
            self.invalid(key, message, "give a duration above zero, such as \"50ms\"");
            return None;
        }
        Some(duration)
    }

    /// A range of durations such as `"150ms..300ms"`.
    pub fn duration_range(&self, key: &'static str) -> Option<Placed<DurationRange>> {
        self.quantity(key)
    }

    /// A share such as `"1%"`, rounded as it prints, so that it survives a plan file.
    pub fn ratio(&self, key: &'static str) -> Option<Ratio> {
        let ratio: Placed<Ratio> = self.quantity(key)?;
        Some(ratio.value.to_string().parse().unwrap_or(ratio.value))
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, key: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = choices.iter().find(|(name, _)| *name == text.value);
        if found.is_none() {
            let names = choices.iter().map(|(name, _)| *name);
            let message = format!("`{}` cannot be {}", self.key(key), quoted(text.value));
            let hint = suggestion::hint(text.value, "choose one of", names);
            self.log
                .invalid(&text.span, &self.key(key), message, Some(hint));
        }
        found.map(|(_, value)| *value)
    }

    /// A name of the catalogue that this version has. `what` is said in messages: "fault".
    pub fn available(
        &self,
        key: &'static str,
        what: &str,
        choices: &'static [Choice],
    ) -> Option<&'static str> {
        let text = self.text(key)?;
        find_available(&text, &self.key(key), what, choices, self.log)
    }

    /// Marks every key of the table as known: the problem with it was told already.
    pub fn ignore_rest(&self) {
        self.known.borrow_mut().insert("*");
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(self) {
        let known = self.known.borrow();
        if known.contains("*") {
            return;
        }
        for entry in &self.table.entries {
            if known.contains(entry.key.as_str()) {
                continue;
            }
            let place = if self.path.is_empty() {
                "at the top of an experiment".to_owned()
            } else {
                format!("in `{}`", self.path)
            };
            let hint = suggestion::hint(&entry.key, "known here are", known.iter().copied());
            let message = format!("unknown key `{}` {place}", entry.key.escape_debug());
            self.log
                .invalid(&entry.key_span, &self.key(&entry.key), message, Some(hint));
        }
    }
}

/// A name of the catalogue that this version has, in some stage at least.
pub(crate) fn find_available(
    text: &Placed<&str>,
    key: &str,
    what: &str,
    choices: &'static [Choice],
    log: &Log,
) -> Option<&'static str> {
    let now = || {
        choices
            .iter()
            .filter(|choice| choice.availability != Availability::NotYet)
    };
    match choices.iter().find(|choice| choice.name == text.value) {
        Some(choice) if choice.availability != Availability::NotYet => Some(choice.name),
        Some(choice) => {
            let names: Vec<&str> = now().map(|choice| choice.name).collect();
            let message = format!("{what} `{}` is not available yet", choice.name);
            log.unavailable(
                &text.span,
                key,
                message,
                format!("available: {}", names.join(", ")),
            );
            None
        }
        None => {
            let names = choices.iter().map(|choice| choice.name);
            let hint = match suggestion::nearest(text.value, names) {
                Some(word) => format!("did you mean `{word}`?"),
                None => {
                    let names: Vec<&str> = now().map(|choice| choice.name).collect();
                    format!("available: {}", names.join(", "))
                }
            };
            let message = format!("unknown {what} {}", quoted(text.value));
            log.invalid(&text.span, key, message, Some(hint));
            None
        }
    }
}

/// The text in quotes, without control characters, cut where it is long.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let short: String = text.chars().take(SHOWN_MAX).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("\"{}{dots}\"", short.escape_debug())
}

fn shown(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => quoted(text),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        other => other.type_name().to_owned(),
    }
}
