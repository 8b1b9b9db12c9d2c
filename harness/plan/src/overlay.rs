//! Variants and matrix rows: partial experiments laid over the base.
//!
//! Tables merge key by key; whatever else is stated replaces what was there. Three kinds of table
//! are one thing rather than a collection and are replaced whole: a table that states `kind` (its
//! other keys belong to that kind), a `mix` (its shares sum to 1) and an `expect`. Spans travel
//! with the pieces, so a problem in an overlay points into the overlay.

use crate::problem::Log;
use crate::tree::{Entry, Node, Table, Value};

/// One experiment of the file: base, variant and row put together.
#[derive(Debug)]
pub(crate) struct Laid {
    pub variant: Option<String>,
    pub row: Option<String>,
    pub table: Table,
}

/// A sweep beyond this is a mistake: at ten seconds a trial it runs for hours.
const PLANS_MAX: usize = 1000;
/// Folder names are limited to 255 bytes by file systems; experiment and row need their share.
const VARIANT_NAME_MAX: usize = 60;

/// All experiments of the file, in file order, variants before rows.
pub(crate) fn experiments(mut base: Table, log: &Log) -> Vec<Laid> {
    let variants = take_variants(base.remove("variant"), log);
    let rows = take_rows(base.remove("matrix"), log);
    let mut laid = Vec::new();
    for (variant, over) in variants {
        let with_variant = match &over {
            Some(over) => merge(&base, over),
            None => base.clone(),
        };
        for (row, overlays) in &rows {
            let mut table = with_variant.clone();
            for overlay in overlays {
                table = merge(&table, overlay);
            }
            laid.push(Laid {
                variant: variant.clone(),
                row: row.clone(),
                table,
            });
        }
    }
    laid
}

type Variant = (Option<String>, Option<Table>);
type Row = (Option<String>, Vec<Table>);

fn take_variants(entry: Option<Entry>, log: &Log) -> Vec<Variant> {
    let Some(entry) = entry else {
        return vec![(None, None)];
    };
    let Value::Array(items) = entry.node.value else {
        let hint = "write `[[variant]]` above each variant".to_owned();
        log.invalid(
            &entry.key_span,
            "variant",
            "`variant` is not a list".to_owned(),
            Some(hint),
        );
        return vec![(None, None)];
    };
    let mut variants: Vec<Variant> = Vec::new();
    for item in items {
        let Value::Table(mut table) = item.value else {
            let message = format!("a variant is a table, this is {}", item.value.type_name());
            log.invalid(&item.span, "variant", message, None);
            continue;
        };
        for key in ["variant", "matrix"] {
            if let Some(nested) = table.remove(key) {
                let message = format!("a variant holds no `{key}`");
                let hint = format!("`{key}` stands at the top of the file alone");
                log.invalid(
                    &nested.key_span,
                    &format!("variant.{key}"),
                    message,
                    Some(hint),
                );
            }
        }
        let Some(name) = variant_name(table.remove("name"), &item.span, log) else {
            continue;
        };
        let folder = slug(&name);
        let twin = variants
            .iter()
            .flat_map(|(other, _)| other)
            .find(|other| slug(other) == folder);
        if let Some(twin) = twin {
            let message =
                format!("variants `{twin}` and `{name}` would share the folder `{folder}`");
            let hint = "give them names that differ in letters or digits".to_owned();
            log.invalid(&item.span, "variant.name", message, Some(hint));
        }
        variants.push((Some(name), Some(table)));
    }
    if variants.is_empty() {
        vec![(None, None)]
    } else {
        variants
    }
}

fn variant_name(
    entry: Option<Entry>,
    variant: &std::ops::Range<usize>,
    log: &Log,
) -> Option<String> {
    let key = "variant.name";
    let Some(entry) = entry else {
        let hint = "add `name = \"…\"`; results are reported under it".to_owned();
        log.invalid(
            variant,
            key,
            "the variant has no name".to_owned(),
            Some(hint),
        );
        return None;
    };
    match entry.node.value {
        Value::Text(name) if slug(&name).is_empty() || name.len() > VARIANT_NAME_MAX => {
            let message = format!("`{}` cannot name a variant", name.escape_debug());
            let hint = format!("use letters or digits, at most {VARIANT_NAME_MAX} bytes");
            log.invalid(&entry.node.span, key, message, Some(hint));
            None
        }
        Value::Text(name) => Some(name),
        other => {
            let message = format!(
                "a variant's name is a string, this is {}",
                other.type_name()
            );
            log.invalid(&entry.node.span, key, message, None);
            None
        }
    }
}

fn take_rows(entry: Option<Entry>, log: &Log) -> Vec<Row> {
    let Some(entry) = entry else {
        return vec![(None, Vec::new())];
    };
    let Value::Table(table) = entry.node.value else {
        let hint = "write `[matrix]` with lines such as `\"target.nodes\" = [3, 5]`".to_owned();
        log.invalid(
            &entry.key_span,
            "matrix",
            "`matrix` is not a table".to_owned(),
            Some(hint),
        );
        return vec![(None, Vec::new())];
    };
    let mut axes = Vec::new();
    for entry in table.entries {
        flatten_axis(entry, String::new(), &mut axes, log);
    }
    let mut rows: Vec<Row> = vec![(None, Vec::new())];
    for (path, axis) in axes {
        let Value::Array(values) = axis.node.value else {
            continue;
        };
        if rows.len().saturating_mul(values.len()) > PLANS_MAX {
            let message = format!("the matrix has more than {PLANS_MAX} rows");
            log.invalid(&axis.key_span, &format!("matrix.{path}"), message, None);
            return rows;
        }
        let mut product = Vec::new();
        for (row, overlays) in &rows {
            for value in &values {
                let setting = format!("{path}={}", value_text(&value.value));
                let row = row
                    .as_ref()
                    .map_or(setting.clone(), |row| format!("{row},{setting}"));
                let mut overlays = overlays.clone();
                overlays.push(setting_table(&path, &axis.key_span, value));
                product.push((Some(row), overlays));
            }
        }
        rows = product;
    }
    rows
}

/// Keys may be quoted (`"target.nodes"`) or plain dotted (`target.nodes`); both come out as a path.
fn flatten_axis(entry: Entry, prefix: String, axes: &mut Vec<(String, Entry)>, log: &Log) {
    let path = if prefix.is_empty() {
        entry.key.clone()
    } else {
        format!("{prefix}.{}", entry.key)
    };
    let key = format!("matrix.{path}");
    match &entry.node.value {
        Value::Table(table) => {
            for inner in table.entries.clone() {
                flatten_axis(inner, path.clone(), axes, log);
            }
        }
        Value::Array(values) if values.is_empty() => {
            log.invalid(
                &entry.node.span,
                &key,
                format!("`{path}` has no values"),
                None,
            );
        }
        Value::Array(values) => {
            let nested = |node: &&Node| matches!(node.value, Value::Array(_) | Value::Table(_));
            match values.iter().find(nested) {
                Some(node) => {
                    let message = "a matrix sweeps single values".to_owned();
                    let hint = "use `[[variant]]` for tables and lists".to_owned();
                    log.invalid(&node.span, &key, message, Some(hint));
                }
                None if path.split('.').any(str::is_empty) => {
                    let message = format!("`{}` is no path to a key", path.escape_debug());
                    let hint = "write it like `\"target.nodes\" = [3, 5]`".to_owned();
                    log.invalid(&entry.key_span, &key, message, Some(hint));
                }
                None if path
                    .split('.')
                    .any(|part| matches!(part, "variant" | "matrix" | "fault" | "gate")) =>
                {
                    let message = format!("the matrix cannot sweep `{path}`");
                    let hint =
                        "it reaches single keys of tables; use `[[variant]]` for faults and gates"
                            .to_owned();
                    log.invalid(&entry.key_span, &key, message, Some(hint));
                }
                None => axes.push((path, entry)),
            }
        }
        other => {
            let message = format!(
                "`{path}` must list its values, this is {}",
                other.type_name()
            );
            let hint = format!("write `\"{path}\" = [{}]`", value_text(other));
            log.invalid(&entry.node.span, &key, message, Some(hint));
        }
    }
}

fn setting_table(path: &str, key_span: &std::ops::Range<usize>, value: &Node) -> Table {
    let mut node = value.clone();
    let mut table = Table::default();
    for (index, part) in path.rsplit('.').enumerate() {
        if index > 0 {
            node = Node {
                span: key_span.clone(),
                value: Value::Table(table),
            };
        }
        let entry = Entry {
            key: part.to_owned(),
            key_span: key_span.clone(),
            node: node.clone(),
        };
        table = Table {
            entries: vec![entry],
        };
    }
    table
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Datetime | Value::Array(_) | Value::Table(_) => "…".to_owned(),
    }
}

/// `over` laid over `base`.
pub(crate) fn merge(base: &Table, over: &Table) -> Table {
    let mut merged = base.clone();
    for entry in &over.entries {
        let Some(old) = merged.entries.iter_mut().find(|old| old.key == entry.key) else {
            merged.entries.push(entry.clone());
            continue;
        };
        let whole = matches!(entry.key.as_str(), "mix" | "expect");
        match (&old.node.value, &entry.node.value) {
            (Value::Table(below), Value::Table(above))
                if !whole && above.find("kind").is_none() =>
            {
                old.node.value = Value::Table(merge(below, above));
            }
            _ => *old = entry.clone(),
        }
    }
    merged
}

/// A name as part of a folder's name: lower-case letters, digits, `-`, `=` and `.`.
pub(crate) fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '=' | '.') {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_safe_as_a_folders_name() {
        assert_eq!(slug("never, host dies"), "never-host-dies");
        assert_eq!(slug("weak (async)"), "weak-async");
        assert_eq!(slug("target.nodes=5"), "target.nodes=5");
        assert_eq!(slug("../../etc"), "..-..-etc");
        assert_eq!(slug("ÄÖ"), "");
    }

    #[test]
    fn a_table_with_a_kind_is_replaced_whole_and_others_key_by_key() {
        let log = Log::default();
        let parse = |text: &str| crate::tree::parse(text, &log).unwrap();
        let base = parse("a = { kind = \"x\", p = 1 }\nb = { p = 1, q = 2 }\nc = [1, 2]");
        let over = parse("a = { kind = \"y\" }\nb = { p = 3 }\nc = [3]\nd = 4");
        let merged = merge(&base, &over);
        let keys = |key: &str| match &merged.find(key).unwrap().node.value {
            Value::Table(table) => table
                .entries
                .iter()
                .map(|e| (e.key.clone(), value_text(&e.node.value)))
                .collect(),
            Value::Array(items) => items
                .iter()
                .map(|i| (String::new(), value_text(&i.value)))
                .collect(),
            _ => Vec::new(),
        };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(keys("a"), [pair("kind", "y")]);
        assert_eq!(keys("b"), [pair("p", "3"), pair("q", "2")]);
        assert_eq!(keys("c"), [pair("", "3")]);
        assert!(merged.find("d").is_some());
    }
}
