//! One experiment: trials in, verdict out.
//!
//! Invariant: every planned trial is accounted for. A trial that is missing, torn, void or
//! unfinished adds a reason and makes the experiment unknown; it is never left out in silence.

use shakedown_contracts::event::{Event, EventRecord};
use shakedown_contracts::plan::{Plan, Stage, WorkloadKind};
use shakedown_contracts::verdict::{
    ExperimentVerdict, Finding, GateVerdict, Outcome, VERDICT_FORMAT,
};

use crate::Options;
use crate::consistency::{self, Consistency};
use crate::data;
use crate::evidence;
use crate::expectation::{self, Raw};
use crate::faults::Faults;
use crate::gates;
use crate::history::History;
use crate::metrics;
use crate::reading::TrialReading;
use crate::samples::Samples;
use crate::trial::Trial;

/// Takes the trials of an experiment one by one and judges them together.
#[derive(Debug)]
pub struct Judge<'a> {
    plan: &'a Plan,
    options: Options,
    samples: Samples,
    consistency: Vec<(u32, Consistency)>,
    findings: Vec<Finding>,
    doubts: Vec<String>,
    faults: Faults,
    trials: u32,
    died: u64,
    seconds: f64,
}

impl<'a> Judge<'a> {
    /// No trial yet.
    pub fn new(plan: &'a Plan, options: Options) -> Self {
        Judge {
            plan,
            options,
            samples: Samples::default(),
            consistency: Vec::new(),
            findings: Vec::new(),
            doubts: Vec::new(),
            faults: Faults::new(plan),
            trials: 0,
            died: 0,
            seconds: 0.0,
        }
    }

    /// Takes the trial of that index as it was found.
    pub fn add(&mut self, index: u32, reading: TrialReading) {
        match reading {
            TrialReading::Missing => {
                self.doubts.push(format!(
                    "trial {index} is missing; run the experiment again"
                ));
            }
            TrialReading::Unreadable(reason) => {
                self.doubts
                    .push(format!("trial {index} cannot be read: {reason}"));
            }
            TrialReading::Read {
                history,
                events,
                torn,
            } => {
                self.seconds += seconds(&events);
                if let Some(doubt) = unfinished(index, &events, torn) {
                    self.doubts.push(doubt);
                    return;
                }
                self.measure(index, &history, &events);
            }
        }
    }

    /// The verdict over all trials that were added.
    pub fn verdict(self, trials_void: u32) -> ExperimentVerdict {
        let evidence = gates::Evidence {
            samples: &self.samples,
            consistency: &self.consistency,
        };
        let gates = gates::judge(self.plan, evidence);
        let raw = Outcome::worst(
            gates
                .iter()
                .map(|gate| gate.verdict)
                .chain(self.doubts.iter().map(|_| Outcome::Unknown))
                .chain((self.trials == 0).then_some(Outcome::Unknown))
                .chain((self.died > 0).then_some(Outcome::Fail)),
        );
        let expectation = self
            .plan
            .expect
            .clone()
            .filter(|_| self.options.use_expectations);
        let (verdict, reasons) = self.reasons(raw, &gates, trials_void);
        ExperimentVerdict {
            format: VERDICT_FORMAT,
            name: self.plan.name.clone(),
            experiment: self.plan.experiment.clone(),
            variant: self.plan.variant.clone(),
            row: self.plan.row.clone(),
            title: self.plan.title.clone(),
            verdict,
            raw_verdict: raw,
            expectation,
            reasons,
            metrics: self.samples.summaries(),
            gates,
            findings: self.findings,
            faults: self.faults.into_summaries(),
            trials: self.trials,
            trials_void,
            started_unix_seconds: started(self.plan),
            seconds: self.seconds,
            repeat: repeat(self.plan),
        }
    }

    fn measure(&mut self, index: u32, history: &History, events: &[EventRecord]) {
        let trial = match Trial::new(self.plan, index, history, events) {
            Ok(trial) => trial,
            Err(reason) => {
                self.doubts
                    .push(format!("trial {index}: {reason}; run it again"));
                return;
            }
        };
        self.trials += 1;
        self.doubts.extend(evidence::doubts(&trial));
        self.faults.add(events);
        let deaths = evidence::deaths(&trial);
        self.died += deaths.len() as u64;
        self.findings.extend(deaths);
        self.findings.extend(data::check(&trial, &mut self.samples));
        if let WorkloadKind::Register { .. } = self.plan.workload.kind {
            let (consistency, findings) = consistency::check(&trial);
            self.consistency.push((index, consistency));
            self.findings.extend(findings);
        }
        self.findings
            .extend(metrics::measure(&trial, &mut self.samples));
    }

    fn reasons(
        &self,
        raw: Outcome,
        gates: &[GateVerdict],
        trials_void: u32,
    ) -> (Outcome, Vec<String>) {
        let mut reasons = Vec::new();
        let mut verdict = raw;
        if let Some(expectation) = self
            .plan
            .expect
            .as_ref()
            .filter(|_| self.options.use_expectations)
        {
            let raw = Raw {
                verdict: raw,
                gates,
                doubtful: !self.doubts.is_empty() || self.trials == 0,
                broken: self.died > 0,
            };
            let (expected, reason) = expectation::apply(expectation, raw);
            verdict = expected;
            reasons.push(reason);
        }
        let deaths = self
            .findings
            .iter()
            .filter(|finding| finding.kind == evidence::NODE_DIED);
        reasons.extend(deaths.map(|death| death.explanation.clone()));
        let open = gates.iter().filter(|gate| gate.verdict != Outcome::Pass);
        reasons.extend(open.map(|gate| {
            let fault = gate
                .fault
                .as_ref()
                .map_or(String::new(), |fault| format!(" of {fault}"));
            format!("{}{fault}: {}", gate.metric, gate.reason)
        }));
        reasons.extend(self.doubts.iter().cloned());
        if self.trials == 0 && trials_void > 0 {
            reasons.push(format!(
                "every attempt was void ({trials_void}); is this machine busy?"
            ));
        }
        (verdict, reasons)
    }
}

/// Why the trial does not count.
fn unfinished(index: u32, events: &[EventRecord], torn: bool) -> Option<String> {
    let void = events.iter().find_map(|record| match &record.event {
        Event::TrialVoid { reason } => Some(reason),
        _ => None,
    });
    if let Some(reason) = void {
        return Some(format!(
            "trial {index} is void and was not repeated: {reason}"
        ));
    }
    let broken = events.iter().find_map(|record| match &record.event {
        Event::TrialBroken { reason } => Some(reason),
        _ => None,
    });
    if let Some(reason) = broken {
        return Some(format!("trial {index} broke off: {reason}"));
    }
    let ended = events
        .iter()
        .any(|record| matches!(record.event, Event::TrialEnded {}));
    if !ended {
        let at = if torn {
            ", in the middle of a record"
        } else {
            ""
        };
        return Some(format!(
            "trial {index} was not finished: the harness died or was stopped{at}; run it again"
        ));
    }
    torn.then(|| {
        format!("trial {index} ended but a file of it is cut off in the middle of a record; run it again")
    })
}

fn seconds(events: &[EventRecord]) -> f64 {
    let first = events
        .iter()
        .map(|record| record.time)
        .min()
        .unwrap_or_default();
    let last = events
        .iter()
        .map(|record| record.time)
        .max()
        .unwrap_or_default();
    last.since(first).as_secs_f64()
}

fn started(plan: &Plan) -> u64 {
    plan.environment
        .get("started_unix_seconds")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn repeat(plan: &Plan) -> String {
    let source = if plan
        .source
        .contains(|c: char| c.is_whitespace() || c == '\'')
    {
        format!("'{}'", plan.source.replace('\'', r"'\''"))
    } else {
        plan.source.clone()
    };
    let stage = match plan.stage {
        Stage::Local => "",
        Stage::Simulation => " --stage simulation",
    };
    format!(
        "shakedown run {source}{stage} --seed {} --trials {}",
        plan.seed,
        plan.trials.len()
    )
}

#[cfg(test)]
mod tests;
