//! The backends as the balancer sees them: how many requests each has open, and which may get more.
//!
//! Health checks, ejection and breaker each can take a backend out, and one that comes back is
//! warmed up. Whoever is out for any reason is no candidate.
//!
//! Invariant: `open` of a backend is the number of attempts that were sent to it and have not ended.

use std::collections::BTreeSet;

use shakedown_contracts::event::{Ejection, Event};
use shakedown_contracts::random::Random;
use shakedown_contracts::strategy::Balancing;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::{Duration, Ratio};

use super::breaker::{Breaker, Change, Ended, Trial};
use super::outlier::Outliers;
use crate::flaw::{Flaw, Planted};
use crate::interface::{Output, Peer};

/// The share that a backend gets at first when it comes back (Envoy's `min_weight_percent`).
const FIRST_SHARE: f64 = 0.1;

#[derive(Debug)]
struct Seen {
    name: String,
    open: u32,
    /// It has a connection on which it can answer, or had one.
    heard: bool,
    suspected: bool,
    breaker: Option<Breaker>,
    /// Since when it is back.
    back_since: Option<Moment>,
}

/// All backends.
#[derive(Debug)]
pub(super) struct Pool {
    backends: Vec<Seen>,
    outliers: Option<Outliers>,
    health_check: bool,
    slow_start: Option<Duration>,
    random: Random,
}

impl Pool {
    pub fn new(options: &Balancing, names: &[String], seed: u64, planted: Planted) -> Self {
        let outliers = options.outlier_ejection.map(|mut options| {
            if planted.has(Flaw::EjectsWithoutCap) {
                options.max_ejection_percent = Ratio::new(1.0).expect("all is a share");
            }
            Outliers::new(options, names.len())
        });
        let seen = |name: &String| Seen {
            name: name.clone(),
            open: 0,
            heard: false,
            suspected: false,
            breaker: options.circuit_breaker.map(Breaker::new),
            back_since: None,
        };
        Pool {
            backends: names.iter().map(seen).collect(),
            outliers,
            health_check: options.health_check && !planted.has(Flaw::HealthUnheard),
            slow_start: options.slow_start,
            random: Random::keyed(seed, "slow-start", ""),
        }
    }

    pub fn begin(&mut self, now: Moment) {
        if let Some(outliers) = &mut self.outliers {
            outliers.begin(now);
        }
    }

    /// A backend can answer.
    pub fn heard(&mut self, from: Peer) {
        // Backends are the first members, in rank order.
        if let Some(seen) = self.backends.get_mut(from.0 as usize) {
            seen.heard = true;
        }
    }

    pub fn name(&self, backend: usize) -> &str {
        &self.backends[backend].name
    }

    /// Attempts that are open at a backend.
    pub fn open(&self, backend: usize) -> u32 {
        self.backends[backend].open
    }

    /// The backends that may get one more, in rank order.
    pub fn candidates(&self, now: Moment) -> Vec<usize> {
        let may = |(backend, seen): &(usize, &Seen)| {
            let out = self
                .outliers
                .as_ref()
                .is_some_and(|one| one.is_out(*backend));
            let breaker = seen.breaker.as_ref();
            seen.heard
                && !seen.suspected
                && !out
                && breaker.is_none_or(|one| one.admits(now, seen.open))
        };
        let backends = self.backends.iter().enumerate().filter(may);
        backends.map(|(backend, _)| backend).collect()
    }

    /// Passes over those that are not warm yet, as often as they are cold; all stay when none would.
    pub fn thinned(&mut self, now: Moment, candidates: Vec<usize>) -> Vec<usize> {
        let Some(window) = self.slow_start else {
            return candidates;
        };
        let kept: Vec<usize> = candidates
            .iter()
            .copied()
            .filter(|backend| {
                let back = self.backends[*backend].back_since;
                let warm = back.map_or(1.0, |since| {
                    now.since(since).as_secs_f64() / window.as_secs_f64()
                });
                warm >= 1.0 || self.random.chance(warm.max(FIRST_SHARE))
            })
            .collect();
        if kept.is_empty() { candidates } else { kept }
    }

    /// An attempt goes to a backend.
    pub fn sent(&mut self, now: Moment, backend: usize) -> Option<Trial> {
        let seen = &mut self.backends[backend];
        seen.open += 1;
        seen.breaker.as_mut()?.sent(now)
    }

    /// An attempt has ended.
    pub fn ended(
        &mut self,
        now: Moment,
        backend: usize,
        (trial, how): (Option<Trial>, Ended),
        out: &mut Vec<Output>,
    ) {
        let seen = &mut self.backends[backend];
        seen.open = seen.open.saturating_sub(1);
        let breaker = seen.breaker.as_mut();
        match breaker.and_then(|breaker| breaker.ended(now, trial, how)) {
            Some(Change::Opened) => self.ejected(backend, Ejection::Breaker, out),
            Some(Change::Closed) => self.restored(now, backend, Ejection::Breaker, out),
            None => {}
        }
        let Some(outliers) = &mut self.outliers else {
            return;
        };
        match how {
            Ended::Well => outliers.succeeded(backend),
            Ended::Badly => {
                if outliers.failed(now, backend) {
                    self.ejected(backend, Ejection::Outlier, out);
                }
            }
            Ended::Unjudged => {}
        }
    }

    /// The detector suspects these and nobody else.
    pub fn suspect(&mut self, now: Moment, suspected: &BTreeSet<Peer>, out: &mut Vec<Output>) {
        if !self.health_check {
            return;
        }
        for backend in 0..self.backends.len() {
            // Backends are the first members, in rank order.
            let is = suspected.contains(&Peer(backend as u32));
            let was = std::mem::replace(&mut self.backends[backend].suspected, is);
            match (was, is) {
                (false, true) => self.ejected(backend, Ejection::Health, out),
                (true, false) => self.restored(now, backend, Ejection::Health, out),
                _ => {}
            }
        }
    }

    /// Lets those return whose ejection is over.
    pub fn look(&mut self, now: Moment, out: &mut Vec<Output>) {
        let outliers = self.outliers.as_mut();
        let returning = outliers.map(|one| one.look(now)).unwrap_or_default();
        for backend in returning {
            self.restored(now, backend, Ejection::Outlier, out);
        }
    }

    pub fn next_deadline(&self) -> Option<Moment> {
        self.outliers.as_ref().map(Outliers::next_deadline)
    }

    fn ejected(&self, backend: usize, reason: Ejection, out: &mut Vec<Output>) {
        let backend = self.backends[backend].name.clone();
        let event = Event::BalancerEjected { backend, reason };
        out.push(Output::Note { event });
    }

    fn restored(&mut self, now: Moment, backend: usize, reason: Ejection, out: &mut Vec<Output>) {
        let seen = &mut self.backends[backend];
        seen.back_since = Some(now);
        let backend = seen.name.clone();
        let event = Event::BalancerRestored { backend, reason };
        out.push(Output::Note { event });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(options: serde_json::Value) -> Pool {
        let options = serde_json::from_value(options).unwrap();
        let names = ["n1", "n2", "n3"].map(String::from);
        let mut pool = Pool::new(&options, &names, 3, Planted::default());
        assert!(pool.candidates(at(0)).is_empty(), "nobody was heard");
        (0..3).for_each(|backend| pool.heard(Peer(backend)));
        pool
    }

    fn at(millis: u64) -> Moment {
        Moment(millis * 1_000_000)
    }

    #[test]
    fn who_is_suspected_gets_nothing_where_health_is_checked() {
        let suspected = BTreeSet::from([Peer(1), Peer(7)]);
        for (checked, candidates) in [(true, vec![0, 2]), (false, vec![0, 1, 2])] {
            let kind = serde_json::json!({ "kind": "round-robin", "health_check": checked });
            let mut pool = pool(kind);
            let mut out = Vec::new();
            pool.suspect(at(1), &suspected, &mut out);
            assert_eq!(pool.candidates(at(1)), candidates);
            assert_eq!(out.len(), usize::from(checked), "it is noted");
            pool.suspect(at(2), &BTreeSet::new(), &mut out);
            assert_eq!(pool.candidates(at(2)), [0, 1, 2]);
        }
    }

    #[test]
    fn one_that_comes_back_gets_a_tenth_at_first_and_all_after_its_window() {
        let mut pool = pool(serde_json::json!({
            "kind": "round-robin", "health_check": true, "slow_start": "10s",
        }));
        let mut out = Vec::new();
        pool.suspect(at(0), &BTreeSet::from([Peer(1)]), &mut out);
        pool.suspect(at(0), &BTreeSet::new(), &mut out);
        let mut share = |millis| {
            let kept = (0..4_000).filter(|_| pool.thinned(at(millis), vec![0, 1, 2]).contains(&1));
            kept.count() as f64 / 4_000.0
        };
        for (millis, expected) in [(0, 0.1), (500, 0.1), (5_000, 0.5), (10_000, 1.0)] {
            // The share of 4000 draws strays by 0.008 (one sigma) at most; 5 sigma.
            assert!((share(millis) - expected).abs() < 0.04, "{millis} ms");
        }
    }
}
