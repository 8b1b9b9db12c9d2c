//! Which of the backends that may get a request gets it.
//!
//! In turn is fair only when all requests and backends are alike. The fewest open requests follows
//! what really happens, but all balancers herd to the same one; the better of two drawn ones is
//! nearly as even and does not (Mitzenmacher, "The Power of Two Choices in Randomized Load
//! Balancing", 2001). By key keeps what a backend remembers useful, and needs a bound for keys that
//! many ask for.
//!
//! Invariant: whoever is picked was offered; by key and with a bound, nobody gets above it.

use shakedown_contracts::random::Random;
use shakedown_contracts::strategy::{Balancing, BalancingKind};

use super::ring::{Ring, most_open, position};
use crate::flaw::{Flaw, Planted};

/// One whom a request may go to, and the attempts that are open there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub backend: usize,
    pub open: u32,
}

/// The rule with what it has to remember.
#[derive(Debug)]
pub(super) struct Picker {
    kind: BalancingKind,
    bound: Option<f64>,
    ring: Ring,
    backends: usize,
    /// The backend that was picked last.
    last: usize,
    random: Random,
}

impl Picker {
    pub fn new(options: &Balancing, names: &[String], seed: u64, planted: Planted) -> Self {
        Picker {
            kind: options.kind,
            bound: options.bound.filter(|_| !planted.has(Flaw::BoundIgnored)),
            ring: Ring::new(names),
            backends: names.len(),
            last: names.len().saturating_sub(1),
            random: Random::keyed(seed, "two-choices", ""),
        }
    }

    /// The backend that a key belongs to for good, where that is the rule.
    pub fn pinned(&self, key: &str) -> Option<usize> {
        let own = position(key) % self.backends.max(1) as u64;
        (self.kind == BalancingKind::None).then_some(own as usize)
    }

    /// One of `among`, which are in rank order; `all` are those that may get a request at all, over
    /// whom a bound is reckoned. `None` where nobody may.
    pub fn pick(&mut self, key: &str, among: &[Candidate], all: &[Candidate]) -> Option<usize> {
        let picked = match self.kind {
            BalancingKind::None => self.pinned(key),
            BalancingKind::RoundRobin => self.next(among.iter()),
            BalancingKind::LeastRequests => {
                let fewest = among.iter().map(|one| one.open).min()?;
                self.next(among.iter().filter(|one| one.open == fewest))
            }
            BalancingKind::PowerOfTwoChoices => self.better_of_two(among),
            BalancingKind::ConsistentHash => self.by_key(key, among, all),
        };
        self.last = picked.unwrap_or(self.last);
        picked
    }

    /// The first after the last one, in turn.
    fn next<'c>(&self, among: impl Iterator<Item = &'c Candidate>) -> Option<usize> {
        let step = |backend: &usize| (backend + self.backends - self.last - 1) % self.backends;
        among.map(|one| one.backend).min_by_key(step)
    }

    fn better_of_two(&mut self, among: &[Candidate]) -> Option<usize> {
        let first = self.random.below(among.len() as u64) as usize;
        let others = among.len().saturating_sub(1) as u64;
        let second = (first + 1 + self.random.below(others) as usize) % among.len().max(1);
        let (first, second) = (among.get(first)?, among.get(second)?);
        let better = if second.open < first.open {
            second
        } else {
            first
        };
        Some(better.backend)
    }

    fn by_key(&self, key: &str, among: &[Candidate], all: &[Candidate]) -> Option<usize> {
        let open = all.iter().map(|one| one.open).sum();
        let most = self.bound.map(|bound| most_open(bound, open, all.len()));
        let mut order = self.ring.order(key).into_iter();
        order.find(|backend| {
            let candidate = among.iter().find(|one| one.backend == *backend);
            candidate.is_some_and(|one| most.is_none_or(|most| one.open < most))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picker(options: serde_json::Value, backends: usize, seed: u64) -> Picker {
        let options = serde_json::from_value(options).unwrap();
        let names: Vec<String> = (1..=backends).map(|n| format!("n{n}")).collect();
        Picker::new(&options, &names, seed, Planted::default())
    }

    fn candidates(open: &[u32]) -> Vec<Candidate> {
        let all = open.iter().enumerate();
        all.map(|(backend, open)| Candidate {
            backend,
            open: *open,
        })
        .collect()
    }

    #[test]
    fn in_turn_each_candidate_gets_the_same() {
        let mut picker = picker(serde_json::json!({ "kind": "round-robin" }), 5, 1);
        let mut among = candidates(&[0; 5]);
        among.remove(2);
        let picked: Vec<usize> = (0..8)
            .filter_map(|_| picker.pick("k", &among, &among))
            .collect();
        assert_eq!(picked, [0, 1, 3, 4, 0, 1, 3, 4]);
    }

    #[test]
    fn the_fewest_open_requests_win_and_ties_go_in_turn() {
        let mut picker = picker(serde_json::json!({ "kind": "least-requests" }), 4, 1);
        let among = candidates(&[2, 1, 1, 3]);
        let mut pick = || picker.pick("k", &among, &among);
        assert_eq!([pick(), pick(), pick()], [Some(1), Some(2), Some(1)]);
    }

    #[test]
    fn two_choices_keep_the_fullest_far_below_one_choice() {
        // 1000 requests to 100 backends, none of which ends: with one choice the fullest has some 20,
        // with two ln ln 100 ÷ ln 2 above the mean of 10, so that 14 proves the second look.
        for seed in 0..20 {
            let kind = serde_json::json!({ "kind": "power-of-two-choices" });
            let mut picker = picker(kind, 100, seed);
            let mut open = vec![0; 100];
            for _ in 0..1_000 {
                let among = candidates(&open);
                open[picker.pick("k", &among, &among).unwrap()] += 1;
            }
            assert!(*open.iter().max().unwrap() <= 14, "seed {seed}");
        }
    }

    #[test]
    fn by_key_nobody_is_ever_above_the_bound() {
        for seed in 0..100 {
            let mut random = Random::keyed(seed, "picks", "");
            let bound = 1.0 + random.unit();
            let kind = serde_json::json!({ "kind": "consistent-hash", "bound": bound });
            let mut picker = picker(kind, 7, seed);
            let mut open = vec![0_u32; 7];
            for _ in 0..500 {
                let mut all = candidates(&open);
                all.retain(|_| random.chance(0.9));
                let total: u32 = all.iter().map(|one| one.open).sum();
                let key = format!("k{}", random.below(2));
                if let Some(picked) = picker.pick(&key, &all, &all) {
                    open[picked] += 1;
                    let mean = f64::from(total + 1) / all.len() as f64;
                    assert!(open[picked] <= (bound * mean).ceil() as u32, "seed {seed}");
                } else {
                    assert!(all.is_empty(), "there is always one below the bound");
                }
                let done = random.below(7) as usize;
                open[done] = open[done].saturating_sub(random.below(3) as u32);
            }
        }
    }

    #[test]
    fn nobody_to_pick_from_is_nobody_picked() {
        let kinds = [
            "round-robin",
            "least-requests",
            "power-of-two-choices",
            "consistent-hash",
        ];
        for kind in kinds {
            let mut picker = picker(serde_json::json!({ "kind": kind }), 3, 1);
            assert_eq!(picker.pick("k", &[], &[]), None, "{kind}");
        }
    }
}
