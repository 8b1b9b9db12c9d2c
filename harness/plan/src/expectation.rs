//! `expect`: a known answer, told beforehand.

use shakedown_contracts::plan::{Expectation, Gate};
use shakedown_contracts::verdict::Outcome;

use crate::reader::{TableReader, quoted};
use crate::suggestion;

/// The expectation, where the file has one.
pub(crate) fn read(root: &TableReader<'_>, gates: &[Gate]) -> Option<Expectation> {
    let table = root.table("expect")?;
    let verdict = table.choice(
        "verdict",
        &[("fail", Outcome::Fail), ("pass", Outcome::Pass)],
    );
    if !table.has("verdict") {
        table.missing(
            "verdict",
            "write `verdict = \"fail\"` or `verdict = \"pass\"`",
        );
    }
    let written = table.texts("gates").unwrap_or_default();
    let mut names: Vec<String> = Vec::new();
    for name in &written {
        if !gates.iter().any(|gate| gate.metric == name.value) {
            let metrics: Vec<&str> = gates.iter().map(|gate| gate.metric.as_str()).collect();
            let message = format!("no gate of this experiment is on {}", quoted(name.value));
            let hint = match metrics.is_empty() {
                true => "the experiment has no gates".to_owned(),
                false => suggestion::hint(name.value, "its gates are on", metrics),
            };
            table
                .log
                .invalid(&name.span, &table.key("gates"), message, Some(hint));
        } else if !names.iter().any(|other| other == name.value) {
            names.push(name.value.to_owned());
        }
    }
    match verdict {
        Some(Outcome::Fail) if written.is_empty() => {
            let message = "an expected failure names the gates that fail";
            let hint = "add `gates = [\"…\"]`, so that another failure is not taken for this one";
            table.invalid("gates", message, hint);
        }
        Some(Outcome::Pass) if !written.is_empty() => {
            let message = "an expected pass has no failing gates";
            table.invalid("gates", message, "leave `gates` out, or expect \"fail\"");
        }
        _ => {}
    }
    table.finish();
    Some(Expectation {
        verdict: verdict.unwrap_or(Outcome::Pass),
        gates: names,
    })
}
