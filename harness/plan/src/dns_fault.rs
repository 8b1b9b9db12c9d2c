//! `[[fault]]` of kind `dns`: how looking names up goes wrong, and of which names.

use shakedown_contracts::dns_fault::{DnsFault, DnsTrouble};
use shakedown_contracts::units::Duration;

use crate::reader::{TableReader, quoted};

/// The modes, with what each needs beside.
const MODES: [(&str, Mode); 5] = [
    ("error", Mode::Error),
    ("nxdomain", Mode::Nxdomain),
    ("random", Mode::Random),
    ("timeout", Mode::Timeout),
    ("delay", Mode::Delay),
];
/// An answer must be seen, and seen again, within the harness's patience; the C library asks anew after
/// 5 s.
const LATENCY_MAX: Duration = Duration::from_secs(4);
/// A name has no more.
const NAME_CHARACTERS_MAX: usize = 200;
/// Each is asked for by itself.
const PATTERNS_MAX: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Error,
    Nxdomain,
    Random,
    Timeout,
    Delay,
}

/// The fault; `None` where its mode is missing or wrong.
pub(crate) fn read(table: &TableReader<'_>) -> Option<DnsFault> {
    if !table.has("mode") {
        let modes = MODES.map(|(name, _)| name).join(", ");
        table.missing("mode", &format!("say how lookups go wrong: one of {modes}"));
    }
    let names = names(table);
    let mode = table.choice("mode", &MODES);
    let latency = latency(table, mode);
    let trouble = match mode? {
        Mode::Error => DnsTrouble::Error {},
        Mode::Nxdomain => DnsTrouble::Nxdomain {},
        Mode::Random => DnsTrouble::Random {},
        Mode::Timeout => DnsTrouble::Timeout {},
        Mode::Delay => DnsTrouble::Delay { latency: latency? },
    };
    Some(DnsFault { trouble, names })
}

fn latency(table: &TableReader<'_>, mode: Option<Mode>) -> Option<Duration> {
    let delays = mode == Some(Mode::Delay);
    match (delays, table.has("latency")) {
        (true, false) => {
            let hint = "say how much later answers come: `latency = \"200ms\"`";
            table.missing("latency", hint);
        }
        (false, true) if mode.is_some() => {
            let message = "`latency` has no effect in this mode";
            table.invalid(
                "latency",
                message,
                "leave it out, or set `mode = \"delay\"`",
            );
        }
        _ => {}
    }
    let latency = table.duration_above_zero("latency")?.value;
    if latency > LATENCY_MAX {
        let message = format!("an answer after {latency} is too late to be verified");
        let hint = format!("give at most {LATENCY_MAX}, or set `mode = \"timeout\"`");
        table.invalid("latency", message, hint);
    }
    Some(latency)
}

/// Patterns of names, in lower case; none without a word.
fn names(table: &TableReader<'_>) -> Vec<String> {
    let Some(written) = table.texts("names") else {
        return Vec::new();
    };
    let example = "write it like `names = [\"n2\", \"*.example\"]`";
    if written.is_empty() {
        let message = "the list of names is empty, so the fault would meet none";
        table.invalid("names", message, "leave `names` out for all names");
    }
    if written.len() > PATTERNS_MAX {
        let message = format!("{} patterns; each is asked for by itself", written.len());
        table.invalid("names", message, format!("give at most {PATTERNS_MAX}"));
    }
    let mut names: Vec<String> = Vec::new();
    for name in &written {
        let pattern = name.value.to_ascii_lowercase();
        if !is_pattern(&pattern) {
            let message = format!("{} fits no name", quoted(name.value));
            let key = table.key("names");
            table
                .log
                .invalid(&name.span, &key, message, Some(example.to_owned()));
        }
        names.push(pattern);
    }
    names
}

/// Letters, digits, `-` and `_` with single dots between, and `*` and `?` that stand for any.
fn is_pattern(pattern: &str) -> bool {
    const LABEL_CHARACTERS_MAX: usize = 40;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_*?".contains(c);
    let label =
        |label: &str| (1..=LABEL_CHARACTERS_MAX).contains(&label.len()) && label.chars().all(plain);
    let stars = pattern.matches('*').count();
    pattern.len() <= NAME_CHARACTERS_MAX && stars <= 3 && pattern.split('.').all(label)
}
