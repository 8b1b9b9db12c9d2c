//! Ledgers, whole or torn.

use shakedown_agents::ledger::parse;

/// A line that is none changes nothing but their count, and faults come from lines.
pub(crate) fn hold(bytes: &[u8]) {
    let whole = parse(bytes);
    let lines = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let lines = lines.count();
    let found = whole.open_faults.len() + whole.processes.len() + whole.groups.len();
    let seen = found + whole.damaged_lines;
    assert!(seen <= lines, "{seen} of {lines}");
    let mut torn = bytes.to_vec();
    torn.extend_from_slice(b"\n{\"line\":\"entered\",\"id\":{\"fau");
    let torn = parse(&torn);
    assert_eq!(torn.open_faults, whole.open_faults);
    assert_eq!(torn.processes, whole.processes);
    assert_eq!(torn.damaged_lines, whole.damaged_lines + 1);
}
