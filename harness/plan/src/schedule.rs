//! When each fault comes in each trial: all randomness of the plan is drawn here and in `nemesis`.
//!
//! Streams are keyed by trial and fault, so that removing one fault changes no other's draw, and
//! the variants of an experiment meet the same schedules.

use shakedown_contracts::plan::{Injection, Phases, Start, Trial};
use shakedown_contracts::random::Random;
use shakedown_contracts::units::Duration;

use crate::fault::{Planned, Timing};
use crate::nemesis::Nemesis;

/// The trials with their seeds and schedules.
pub(crate) fn trials(
    seed: u64,
    count: u32,
    planned: &[Planned],
    nemesis: &Nemesis,
    phases: &Phases,
) -> Vec<Trial> {
    (1..=count)
        .map(|index| trial(seed, index, planned, nemesis, phases))
        .collect()
}

fn trial(seed: u64, index: u32, planned: &[Planned], nemesis: &Nemesis, phases: &Phases) -> Trial {
    let seed = Random::keyed(seed, "trial", &index.to_string()).next_u64();
    let mut schedule: Vec<Injection> = planned
        .iter()
        .filter_map(|planned| injection(seed, planned))
        .collect();
    schedule.extend(nemesis.draw(seed));
    // Stable: faults of one moment stay in file order.
    schedule.sort_by_key(|injection| match injection.start {
        Start::At(at) => (false, at),
        Start::After(_) => (true, phases.fault),
    });
    Trial {
        index,
        seed,
        schedule,
    }
}

fn injection(trial_seed: u64, planned: &Planned) -> Option<Injection> {
    let name = &planned.fault.name;
    let start = match &planned.timing {
        Timing::At { at, jitter: spread } => {
            let mut random = Random::keyed(trial_seed, "at_jitter", name);
            Start::At(at.saturating_add(jitter(&mut random, *spread)))
        }
        Timing::After(event) => Start::After(event.clone()),
        Timing::Drawn => return None,
    };
    let instant = planned.fault.kind.is_instant();
    let duration = planned.duration.filter(|_| !instant);
    Some(Injection {
        fault: name.clone(),
        occurrence: 0,
        start,
        duration,
    })
}

/// Uniform in whole microseconds up to `spread`: finer than anything that can be injected.
pub(crate) fn jitter(random: &mut Random, spread: Duration) -> Duration {
    Duration::from_micros(random.below(spread.as_nanos() / 1_000 + 1))
}
