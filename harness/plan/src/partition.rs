//! What a partition cuts: a shape, an explicit grudge, or one direction between two sets.

use std::collections::BTreeSet;

use shakedown_contracts::fault::{CutBehavior, FaultKind, Grudge, PartitionShape, Selector};

use crate::fault::Endpoints;
use crate::ports;
use crate::reader::{Placed, TableReader};
use crate::selector;
use crate::tree::{Node, Value};

const SHAPES: &[(&str, usize)] = &[
    ("isolate", 2),
    ("halves", 2),
    ("random-halves", 2),
    ("minority-third", 2),
    ("bridge", 3),
    ("majorities-ring", 3),
    ("one-way", 2),
];

/// The partition, with its nodes: `isolate` and `one-way` select some, all other shapes are of all.
pub(crate) fn read(
    table: &TableReader<'_>,
    endpoints: &Endpoints,
) -> Option<(FaultKind, Selector)> {
    let behaviors = [("drop", CutBehavior::Drop), ("reject", CutBehavior::Reject)];
    let behavior = table
        .choice("behavior", &behaviors)
        .unwrap_or(CutBehavior::Drop);
    let from_to = table.has("from") || table.has("to");
    let ways = [table.has("shape"), table.has("grudge"), from_to];
    match ways.iter().filter(|way| **way).count() {
        0 => {
            table.missing(
                "shape",
                "give `shape = \"isolate\"` (or another), a `grudge`, or `from` and `to`",
            );
            return None;
        }
        1 => {}
        _ => {
            let key = if ways[1] { "grudge" } else { "from" };
            let message = "a partition is a shape, a grudge, or from and to: only one of them";
            table.invalid(key, message, "leave out the others, or write two faults");
            return None;
        }
    }
    let shape = if ways[0] {
        read_shape(table, endpoints)?
    } else if ways[1] {
        PartitionShape::Grudge(read_grudge(table, endpoints)?)
    } else {
        read_from_to(table, endpoints)?
    };
    let selects = matches!(shape, PartitionShape::Isolate | PartitionShape::OneWay);
    let nodes = if selects {
        selector::read(table, endpoints).unwrap_or(Selector::Primary)
    } else {
        if table.has("nodes") {
            let message = "this partition concerns all nodes; `nodes` has no effect";
            table.invalid(
                "nodes",
                message,
                "leave `nodes` out, or use shape \"isolate\" or \"one-way\"",
            );
        }
        Selector::All
    };
    let kind = FaultKind::Partition {
        shape,
        behavior,
        ports: ports::read(table),
    };
    Some((kind, nodes))
}

fn read_shape(table: &TableReader<'_>, endpoints: &Endpoints) -> Option<PartitionShape> {
    let choices: Vec<(&'static str, usize)> = SHAPES
        .iter()
        .enumerate()
        .map(|(index, (name, _))| (*name, index))
        .collect();
    let (name, least) = SHAPES[table.choice("shape", &choices)?];
    let nodes = endpoints.nodes.len();
    if nodes < least {
        let message = format!("shape `{name}` needs {least} nodes, the target has {nodes}");
        table.invalid(
            "shape",
            message,
            format!("set `target.nodes` to {least} or more"),
        );
    }
    Some(match name {
        "isolate" => PartitionShape::Isolate,
        "halves" => PartitionShape::Halves,
        "random-halves" => PartitionShape::RandomHalves,
        "minority-third" => PartitionShape::MinorityThird,
        "bridge" => PartitionShape::Bridge,
        "majorities-ring" => PartitionShape::MajoritiesRing,
        _ => PartitionShape::OneWay,
    })
}

fn read_grudge(table: &TableReader<'_>, endpoints: &Endpoints) -> Option<Grudge> {
    let entry = table.entry("grudge")?;
    let example = "write it like { n1 = [\"n2\", \"c1\"] }: n1 does not hear n2 and c1";
    let Value::Table(written) = &entry.node.value else {
        let message = format!(
            "a grudge is a table, this is {}",
            entry.node.value.type_name()
        );
        table.invalid("grudge", message, example);
        return None;
    };
    let mut grudge = Grudge::new();
    for hearer in &written.entries {
        let name = Placed {
            value: hearer.key.as_str(),
            span: hearer.key_span.clone(),
        };
        let Some(name) = selector::endpoint(table, "grudge", &name, endpoints) else {
            continue;
        };
        let unheard = read_unheard(table, &name, &hearer.node, endpoints, example);
        grudge.insert(name, unheard);
    }
    if grudge.values().all(BTreeSet::is_empty) && !written.entries.iter().any(has_items) {
        table.invalid("grudge", "the grudge cuts nothing", example);
    }
    Some(grudge)
}

fn has_items(entry: &crate::tree::Entry) -> bool {
    !matches!(&entry.node.value, Value::Array(items) if items.is_empty())
}

fn read_unheard(
    table: &TableReader<'_>,
    hearer: &str,
    list: &Node,
    endpoints: &Endpoints,
    example: &str,
) -> BTreeSet<String> {
    let key = table.key("grudge");
    let mut unheard = BTreeSet::new();
    let items = match &list.value {
        Value::Array(items) => items.as_slice(),
        _ => std::slice::from_ref(list),
    };
    for item in items {
        let (Value::Text(text), Value::Array(_)) = (&item.value, &list.value) else {
            let message = "a grudge lists names".to_owned();
            table
                .log
                .invalid(&item.span, &key, message, Some(example.to_owned()));
            continue;
        };
        let name = Placed {
            value: text.as_str(),
            span: item.span.clone(),
        };
        let Some(name) = selector::endpoint(table, "grudge", &name, endpoints) else {
            continue;
        };
        if name == hearer {
            let message = format!("`{name}` cannot be cut off from itself");
            table
                .log
                .invalid(&item.span, &key, message, Some(example.to_owned()));
        }
        unheard.insert(name);
    }
    unheard
}

fn read_from_to(table: &TableReader<'_>, endpoints: &Endpoints) -> Option<PartitionShape> {
    let side = |key: &'static str| {
        let Some(text) = table.text(key) else {
            if !table.has(key) {
                table.missing(key, "a partition from … to … names both sides");
            }
            return None;
        };
        if matches!(text.value, "primary" | "backups") {
            if endpoints.nodes.len() < 2 {
                let message = "one node has nobody to be cut off from but its clients";
                table.invalid(key, message, "set `target.nodes` to 2 or more");
            }
            return Some(text.value.to_owned());
        }
        selector::endpoint(table, key, &text, endpoints)
    };
    let (from, to) = (side("from"), side("to"));
    let (from, to) = (from?, to?);
    if from == to {
        let message = format!("`from` and `to` are both `{from}`");
        table.invalid("to", message, "name two different sides");
    }
    Some(PartitionShape::FromTo { from, to })
}
