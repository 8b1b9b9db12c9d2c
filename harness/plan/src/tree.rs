//! The experiment file as a tree in which each key and value knows its place in the file.
//!
//! Own types instead of the parser's, because overlays build trees from pieces of the file and
//! must keep both the spans and the file's order. Invariant: no deeper than [`DEPTH_MAX`].

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::Log;

/// An experiment file nests at most six deep; the limit guards the stack.
const DEPTH_MAX: usize = 32;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub span: Range<usize>,
    pub value: Value,
}

/// A value of TOML.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    /// Out of range of `i128` is refused while the tree is built.
    Integer(i128),
    Float(f64),
    Boolean(bool),
    /// No key of an experiment takes one.
    Datetime,
    Array(Vec<Node>),
    Table(Table),
}

/// The entries in file order; keys are unique.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub entries: Vec<Entry>,
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: String,
    pub key_span: Range<usize>,
    pub node: Node,
}

impl Value {
    /// With an article, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number with a fraction",
            Value::Boolean(_) => "a boolean",
            Value::Datetime => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

impl Table {
    /// The entry of that key.
    pub fn find(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Takes the entry of that key out.
    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(index))
    }
}

/// Parses the text; what is not TOML is logged, and nothing returned.
pub(crate) fn parse(text: &str, log: &Log) -> Option<Table> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        log.invalid(&span, "", format!("not TOML: {}", error.message()), None);
    }
    let table = build_table(table.get_ref(), 0, log);
    log.is_empty().then_some(table)
}

fn build_table(table: &DeTable<'_>, depth: usize, log: &Log) -> Table {
    let mut entries: Vec<Entry> = table
        .iter()
        .filter_map(|(key, value)| {
            let node = build(value, depth + 1, log)?;
            Some(Entry {
                key: key.get_ref().to_string(),
                key_span: key.span(),
                node,
            })
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    Table { entries }
}

fn build(value: &Spanned<DeValue<'_>>, depth: usize, log: &Log) -> Option<Node> {
    let span = value.span();
    if depth > DEPTH_MAX {
        let message = format!("nested more than {DEPTH_MAX} deep");
        log.invalid(
            &span,
            "",
            message,
            Some("no experiment needs that".to_owned()),
        );
        return None;
    }
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => {
            let Ok(number) = i128::from_str_radix(integer.as_str(), integer.radix()) else {
                log.invalid(&span, "", "the integer is too large".to_owned(), None);
                return None;
            };
            Value::Integer(number)
        }
        DeValue::Float(float) => match float.as_str().parse::<f64>() {
            Ok(number) => Value::Float(number),
            Err(_) => {
                log.invalid(&span, "", "the number cannot be read".to_owned(), None);
                return None;
            }
        },
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .filter_map(|item| build(item, depth + 1, log))
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(build_table(table, depth, log)),
    };
    Some(Node { span, value })
}
