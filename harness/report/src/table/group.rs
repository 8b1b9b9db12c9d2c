//! The experiments that stand side by side: variants and matrix rows of one file.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width};
use shakedown_contracts::verdict::{ExperimentVerdict, FaultSummary, Outcome};

use crate::table::paragraph::{printable, wrap};
use crate::table::row::{self, Row};

/// Findings shown for each experiment; all are in verdict.json.
const FINDINGS_SHOWN: usize = 3;
/// The longest names of usual metrics, with a space on both sides; and those of all metrics.
const METRIC_WIDTH: u16 = 28;
const METRIC_WIDTH_MAX: u16 = 36;
/// Columns that the labels need, and those that one experiment's numbers need.
const LABEL_WIDTH: u16 = 32;
const CELL_WIDTH: u16 = 15;

/// The plans of one experiment.
pub(crate) struct Group<'v> {
    experiments: Vec<&'v ExperimentVerdict>,
}

/// Groups by experiment, in the order in which each first appears.
pub(crate) fn of(experiments: &[ExperimentVerdict]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for experiment in experiments {
        let same = |group: &&mut Group<'_>| {
            group
                .experiments
                .iter()
                .any(|one| one.experiment == experiment.experiment)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.experiments.push(experiment),
            None => groups.push(Group {
                experiments: vec![experiment],
            }),
        }
    }
    groups
}

impl Group<'_> {
    /// Title, tables, and in sentences what numbers cannot say.
    pub(crate) fn render(&self, width: u16) -> String {
        let mut out = String::new();
        let columns = usize::from((width.saturating_sub(LABEL_WIDTH) / CELL_WIDTH).max(1));
        if let Some(first) = self.experiments.first() {
            let title = format!("{}: {}", first.experiment, first.title);
            push_line(&mut out, &wrap(&title, usize::from(width), 2));
        }
        for part in self.experiments.chunks(columns) {
            push_line(&mut out, &table(part, width));
        }
        let note = "Cells: median / worst over the samples; one number where they are equal.";
        push_line(&mut out, &wrap(note, usize::from(width), 2));
        let shared = self.shared_faults();
        for line in shared.iter().flatten() {
            push_line(&mut out, &wrap(line, usize::from(width), 2));
        }
        for experiment in &self.experiments {
            for line in self.remarks(experiment, shared.is_none()) {
                push_line(&mut out, &wrap(&line, usize::from(width), 2));
            }
        }
        out
    }

    /// The faults in a line each, where they went the same way in all experiments.
    fn shared_faults(&self) -> Option<Vec<String>> {
        let lines = |one: &ExperimentVerdict| one.faults.iter().map(fault_line).collect();
        let mut all = self.experiments.iter().map(|one| lines(one));
        let first: Vec<String> = all.next()?;
        all.all(|other| other == first).then_some(first)
    }

    /// Faults (unless they are told for all), reasons and findings of one experiment.
    fn remarks(&self, experiment: &ExperimentVerdict, with_faults: bool) -> Vec<String> {
        let prefix = match self.experiments.len() {
            1 => String::new(),
            _ => format!("{}: ", label(experiment)),
        };
        let faults = experiment
            .faults
            .iter()
            .filter(|_| with_faults)
            .map(|fault| format!("{prefix}{}", fault_line(fault)));
        let mut lines: Vec<String> = faults.collect();
        lines.extend(
            experiment
                .reasons
                .iter()
                .map(|reason| format!("{prefix}{reason}")),
        );
        for gate in experiment
            .gates
            .iter()
            .filter(|gate| gate.verdict != Outcome::Pass)
        {
            if !gate.reason.is_empty() {
                let told = experiment
                    .reasons
                    .iter()
                    .any(|reason| reason.contains(&gate.reason));
                let line = format!(
                    "{prefix}{}: {}: {}",
                    row::gate_label(gate),
                    gate.verdict,
                    gate.reason
                );
                lines.extend((!told).then_some(line));
            }
        }
        for finding in experiment.findings.iter().take(FINDINGS_SHOWN) {
            let line = format!(
                "{prefix}trial {}: {}: {}",
                finding.trial, finding.kind, finding.explanation
            );
            lines.push(line);
        }
        let more = experiment.findings.len().saturating_sub(FINDINGS_SHOWN);
        if more > 0 {
            lines.push(format!("{prefix}and {more} more findings, in verdict.json"));
        }
        lines
    }
}

fn push_line(out: &mut String, line: &str) {
    for line in line.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// Variant and matrix row, or `value` for an experiment without either.
pub(crate) fn label(experiment: &ExperimentVerdict) -> String {
    let parts: Vec<&str> = experiment
        .variant
        .as_deref()
        .into_iter()
        .chain(experiment.row.as_deref())
        .collect();
    if parts.is_empty() {
        "value".to_owned()
    } else {
        parts.join(", ")
    }
}

fn table(experiments: &[&ExperimentVerdict], width: u16) -> String {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .force_no_tty()
        .set_width(width);
    let labels = experiments.iter().map(|one| printable(&label(one)));
    table.set_header(
        std::iter::once(String::new())
            .chain(labels)
            .collect::<Row>(),
    );
    let heading = |text: &str| {
        let blanks = std::iter::repeat_n(String::new(), experiments.len());
        std::iter::once(text.to_owned())
            .chain(blanks)
            .collect::<Row>()
    };
    let metrics = row::metrics(experiments);
    let gates = row::gates(experiments);
    let label_width = label_width(metrics.iter().chain(&gates));
    table.add_rows(metrics);
    if !gates.is_empty() {
        table.add_row(heading("── gates"));
        table.add_rows(gates);
    }
    table.add_row(heading("──"));
    table.add_rows(row::verdicts(experiments));
    if let Some(labels) = table.column_mut(0) {
        labels.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(label_width)));
    }
    table.to_string()
}

/// What the first column needs so that no name in it is broken, within bounds.
fn label_width<'r>(rows: impl Iterator<Item = &'r Row>) -> u16 {
    let words = rows
        .filter_map(|row| row.first())
        .flat_map(|label| label.split(' '));
    let longest = words.map(|word| word.chars().count()).max().unwrap_or(0);
    let padded = u16::try_from(longest + 2).unwrap_or(METRIC_WIDTH_MAX);
    padded.clamp(METRIC_WIDTH, METRIC_WIDTH_MAX)
}

fn fault_line(fault: &FaultSummary) -> String {
    if fault.effective == 0 {
        let name = &fault.name;
        return format!("{name}: {} was in effect in no finished trial", fault.kind);
    }
    let achieved = fault.achieved.iter().map(|value| {
        format!(
            "; {} {} {} for {} asked",
            value.name,
            round(value.achieved),
            value.unit,
            round(value.requested)
        )
    });
    format!(
        "{}: {} {} of {} times verified in effect, {} healed; by {} on {}{}",
        fault.name,
        fault.kind,
        fault.effective,
        fault.requested,
        fault.healed,
        fault.mechanism,
        fault.nodes.join(", "),
        achieved.collect::<String>()
    )
}

/// Three digits after the point are finer than anything that was measured.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
