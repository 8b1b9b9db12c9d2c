//! `shakedown doctor`: what this machine can inject, by which mechanism, and why not.
//!
//! It does not guess from kernel versions: it starts the agents a run would start, on a cluster of
//! two endpoints that nothing else can reach, injects each fault for a moment and prints what the
//! agents verified.

mod conversation;
mod probe;

use shakedown_contracts::catalogue::{Availability, FAULTS, STAGES};
use shakedown_contracts::event::Evidence;
use shakedown_contracts::verdict::Outcome;

use crate::exit::Failure;
use crate::verbs::run::ledger_root;

/// One line of the answer: a fault and what came of trying it.
#[derive(Debug)]
struct Finding {
    fault: &'static str,
    result: Result<Evidence, String>,
}

/// Tries everything and prints it; pass when every fault of this version works here.
///
/// # Errors
/// The harness's, when it cannot start itself.
pub fn main() -> Result<Outcome, Failure> {
    let machine = machine();
    // As a run does: by who we are outside the user namespace.
    let ledgers = ledger_root();
    let findings = match shakedown_run::enter_namespaces() {
        Ok(isolation) => {
            anstream::println!("machine      {machine}");
            anstream::println!("isolation    {isolation}");
            probe::all(&ledgers)?
        }
        Err(error) => {
            anstream::println!("machine      {machine}");
            anstream::println!("isolation    none: {error}");
            Vec::new()
        }
    };
    print_stages(!findings.is_empty());
    for finding in &findings {
        print_finding(finding);
    }
    let later = |choice: &&_| {
        matches!(
            choice,
            shakedown_contracts::catalogue::Choice {
                availability: Availability::NotYet,
                ..
            }
        )
    };
    let names: Vec<&str> = FAULTS
        .iter()
        .filter(later)
        .map(|choice| choice.name)
        .collect();
    anstream::println!("\nnot available yet in this version: {}", names.join(", "));
    let all = !findings.is_empty() && findings.iter().all(|finding| finding.result.is_ok());
    Ok(if all { Outcome::Pass } else { Outcome::Fail })
}

fn print_stages(local_works: bool) {
    for stage in STAGES
        .iter()
        .filter(|stage| stage.availability == Availability::Now)
    {
        let works = if local_works || stage.name == "simulation" {
            "available"
        } else {
            "not available here"
        };
        anstream::println!("stage        {}: {works} ({})", stage.name, stage.meaning);
    }
    anstream::println!();
}

fn print_finding(finding: &Finding) {
    match &finding.result {
        Ok(evidence) => {
            anstream::println!("{:<18} yes  {}", finding.fault, evidence.mechanism);
            anstream::println!("{:<18}      seen: {}", "", evidence.observed);
        }
        Err(reason) => anstream::println!("{:<18} no   {reason}", finding.fault),
    }
}

fn machine() -> String {
    let kernel = nix::sys::utsname::uname().map_or_else(
        |_| "unknown kernel".to_owned(),
        |name| format!("{} {}", name.sysname().display(), name.release().display()),
    );
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{kernel}, {cores} cores, user id {}", nix::unistd::getuid())
}
