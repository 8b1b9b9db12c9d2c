//! Names of nodes and client groups, and the selectors that stand for nodes.

use shakedown_contracts::fault::Selector;

use crate::fault::Endpoints;
use crate::reader::{Placed, TableReader, quoted};
use crate::suggestion;
use crate::tree::Value;

/// Selectors by their name in experiment files.
const SELECTORS: &[(&str, Selector)] = &[
    ("one", Selector::One),
    ("all", Selector::All),
    ("minority", Selector::Minority),
    ("majority", Selector::Majority),
    ("minority-third", Selector::MinorityThird),
    ("primary", Selector::Primary),
    ("backups", Selector::Backups),
];

/// Selectors of the format that this version lacks.
const SELECTORS_NOT_YET: &[&str] = &["coordinator", "fixed", "fixed-percent"];

/// The value of `nodes`, or `None` where it is absent or wrong.
pub(crate) fn read(table: &TableReader<'_>, endpoints: &Endpoints) -> Option<Selector> {
    let entry = table.entry("nodes")?;
    if matches!(entry.node.value, Value::Array(_)) {
        let names = table.texts("nodes")?;
        if names.is_empty() {
            table.invalid(
                "nodes",
                "the list of nodes is empty",
                "name a node, or a selector such as \"primary\"",
            );
            return None;
        }
        let mut known: Vec<String> = Vec::new();
        for name in &names {
            if let Some(name) = node(table, name, endpoints) {
                if known.contains(&name) {
                    let message = format!("node {} is named twice", quoted(&name));
                    table.invalid("nodes", message, "name each node once");
                }
                known.push(name);
            }
        }
        return (known.len() == names.len()).then_some(Selector::Names(known));
    }
    let text = table.text("nodes")?;
    if let Some((_, selector)) = SELECTORS.iter().find(|(name, _)| *name == text.value) {
        check_size(table, selector, endpoints.nodes.len());
        return Some(selector.clone());
    }
    if SELECTORS_NOT_YET.contains(&text.value) {
        let names: Vec<&str> = SELECTORS.iter().map(|(name, _)| *name).collect();
        let message = format!("selector `{}` is not available yet", text.value);
        let hint = format!("available: names of nodes, {}", names.join(", "));
        table
            .log
            .unavailable(&text.span, &table.key("nodes"), message, hint);
        return None;
    }
    node(table, &text, endpoints).map(|name| Selector::Names(vec![name]))
}

/// A selector that can only come out empty is a fault that never happens.
fn check_size(table: &TableReader<'_>, selector: &Selector, nodes: usize) {
    let (least, why) = match selector {
        Selector::Minority => (3, "fewer than half of"),
        Selector::Backups => (2, "all but the primary of"),
        _ => return,
    };
    if nodes < least {
        let message = format!("`{selector}` selects nobody: {why} {nodes} node(s)");
        table.invalid(
            "nodes",
            message,
            format!("set `target.nodes` to {least} or more"),
        );
    }
}

fn node(table: &TableReader<'_>, name: &Placed<&str>, endpoints: &Endpoints) -> Option<String> {
    let mut named = endpoints.nodes.iter().chain(&endpoints.companions);
    if named.any(|node| node == name.value) {
        return Some(name.value.to_owned());
    }
    let selectors = SELECTORS.iter().map(|(name, _)| *name);
    let message = format!("unknown node {}", quoted(name.value));
    let hint = match SELECTORS
        .iter()
        .any(|(selector, _)| *selector == name.value)
    {
        true => format!("a selector stands alone: nodes = {:?}", name.value),
        false => {
            let known: Vec<&str> = endpoints
                .nodes
                .iter()
                .chain(&endpoints.companions)
                .map(String::as_str)
                .chain(selectors)
                .collect();
            suggestion::hint(name.value, "known are", known)
        }
    };
    table
        .log
        .invalid(&name.span, &table.key("nodes"), message, Some(hint));
    None
}

/// A node or client group.
pub(crate) fn endpoint(
    table: &TableReader<'_>,
    key: &str,
    name: &Placed<&str>,
    endpoints: &Endpoints,
) -> Option<String> {
    let known = || {
        endpoints
            .nodes
            .iter()
            .chain(&endpoints.companions)
            .chain(&endpoints.groups)
            .map(String::as_str)
    };
    if known().any(|known| known == name.value) {
        return Some(name.value.to_owned());
    }
    let message = format!("unknown node or client group {}", quoted(name.value));
    let known: Vec<&str> = known().collect();
    let hint = suggestion::hint(name.value, "known are", known);
    table
        .log
        .invalid(&name.span, &table.key(key), message, Some(hint));
    None
}
