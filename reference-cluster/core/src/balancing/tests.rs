//! A balancer before backends that do anything: what holds whatever they do.
//!
//! Each seed draws options, load and behaviour anew. Backends answer, refuse, fall silent, answer
//! twice or break their connection, each with probabilities of the seed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use shakedown_contracts::random::Random;
use shakedown_contracts::strategy::{Balancing, Retry};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::balancer::Balancer;
use super::message::{BalancingMessage, WorkId};
use super::stateless::Machine;
use crate::flaw::Planted;
use crate::interface::{ClientReply, Output, Peer, RequestId};
use crate::message::Message;

const BACKENDS: u64 = 5;

/// What comes to the balancer later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Coming {
    Done(WorkId),
    Refused(WorkId),
    Broken(u32),
}

#[derive(Debug)]
struct World {
    balancer: Balancer,
    now: Moment,
    random: Random,
    coming: BTreeSet<(Moment, Coming)>,
    calls: BTreeMap<RequestId, Moment>,
    answered: BTreeMap<RequestId, bool>,
    /// Work that was sent and neither answered nor called off, by its backend.
    working: BTreeMap<WorkId, u32>,
    cancelled: u64,
    trouble: f64,
}

fn options(random: &mut Random) -> Balancing {
    let kinds = [
        "round-robin",
        "least-requests",
        "power-of-two-choices",
        "consistent-hash",
    ];
    let retries = ["none", "unlimited", "budget"];
    let mut written = json!({
        "kind": random.pick(&kinds).unwrap(),
        "retry": random.pick(&retries).unwrap(),
        "attempt_timeout": "100ms",
        "timeout": "400ms",
    });
    let ejection = json!({
        "consecutive_5xx": 3, "interval": "100ms", "base_ejection_time": "200ms",
        "max_ejection_percent": "40%",
    });
    for (key, value) in [
        ("hedging", json!("90%")),
        ("outlier_ejection", ejection),
        (
            "circuit_breaker",
            json!({ "failures": 3, "open_for": "200ms" }),
        ),
        ("bound", json!(1.25)),
    ] {
        if random.chance(0.5) {
            written[key] = value;
        }
    }
    serde_json::from_value(written).unwrap()
}

/// The mistake that `SHAKEDOWN_FLAW` names, if any: the tests that fail then would notice it.
fn planted() -> Planted {
    #[cfg(feature = "flaws")]
    if let Ok(name) = std::env::var("SHAKEDOWN_FLAW") {
        return crate::flaw::Flaw::named(&name).into();
    }
    Planted::default()
}

fn balancer(options: &Balancing, seed: u64) -> Balancer {
    let names: Vec<String> = (1..=BACKENDS).map(|number| format!("n{number}")).collect();
    let mut balancer = Balancer::new("b1".into(), options, (&names, seed), planted());
    for backend in 0..BACKENDS as u32 {
        let here = BalancingMessage::Here {};
        balancer.message(Moment(0), Peer(backend), here, &mut Vec::new());
    }
    balancer
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::keyed(seed, "balancing", "");
        let options = options(&mut random);
        let mut balancer = balancer(&options, seed);
        balancer.begin(Moment(1));
        World {
            balancer,
            now: Moment(1),
            trouble: random.unit() * 0.6,
            random,
            coming: BTreeSet::new(),
            calls: BTreeMap::new(),
            answered: BTreeMap::new(),
            working: BTreeMap::new(),
            cancelled: 0,
        }
    }

    /// Goes on to `until`, one thing after the other.
    fn pass(&mut self, until: Moment) {
        loop {
            let coming = self.coming.first().map(|(at, _)| *at);
            let due = self.balancer.next_deadline();
            let next = coming.into_iter().chain(due).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            match self.coming.first().cloned() {
                Some((at, coming)) if at <= self.now => {
                    self.coming.pop_first();
                    self.deliver(coming);
                }
                _ => self.step(|_, _, _| {}),
            }
        }
        self.now = until;
    }

    fn deliver(&mut self, coming: Coming) {
        match coming {
            Coming::Done(id) => self.tell(BalancingMessage::Done { id }),
            Coming::Refused(id) => self.tell(BalancingMessage::Refused { id }),
            Coming::Broken(peer) => {
                self.step(|balancer, now, out| balancer.reconnected(now, Peer(peer), out));
            }
        }
    }

    fn tell(&mut self, message: BalancingMessage) {
        self.step(|balancer, now, out| balancer.message(now, Peer(0), message, out));
    }

    fn call(&mut self, number: u64) {
        let id = RequestId(number);
        self.calls.insert(id, self.now);
        let key = format!("k{}", number % 3);
        self.step(|balancer, now, out| balancer.call(now, id, key, out));
    }

    /// One step as a node takes it, and what must hold after each.
    fn step(&mut self, input: impl FnOnce(&mut Balancer, Moment, &mut Vec<Output>)) {
        let mut out = Vec::new();
        let retries = self.balancer.budget.under_way();
        input(&mut self.balancer, self.now, &mut out);
        self.balancer.tick(self.now, &mut out);
        self.check_budget(retries);
        for output in out {
            match output {
                Output::Send { to, message } => self.sent(to, message),
                Output::Reply { id, reply } => self.reply(id, &reply),
                _ => {}
            }
        }
        self.working
            .retain(|id, _| self.balancer.attempts.contains_key(&id.number));
        for backend in 0..BACKENDS as usize {
            let attempts = self.balancer.attempts.values();
            let open = attempts
                .filter(|attempt| attempt.backend == backend)
                .count();
            assert_eq!(self.balancer.pool.open(backend) as usize, open);
        }
        for request in self.balancer.requests.values() {
            assert!(request.attempts.len() <= 2, "an attempt and its hedge");
            assert!(request.attempts.len() < 2 || request.hedged);
        }
    }

    fn check_budget(&self, before: u32) {
        let budget = &self.balancer.budget;
        let holding = self.balancer.requests.values().filter(|one| one.retrying);
        assert_eq!(holding.count(), budget.under_way() as usize, "none is lost");
        let budgeted = self.balancer.options.retry == Retry::Budget;
        // Requests that were answered in the same step counted when a retry was granted.
        let open = self.balancer.requests.len() + BACKENDS as usize;
        if budgeted && budget.under_way() > before {
            assert!(budget.under_way() <= budget.limit(open) + 1, "{before}");
        }
    }

    fn sent(&mut self, to: Peer, message: Message) {
        let Message::Balancing(message) = message else {
            panic!("a balancer speaks of nothing else");
        };
        match message {
            BalancingMessage::Work { id, patience, .. } => {
                assert!(patience <= Duration::from_millis(100));
                assert_eq!(self.working.insert(id, to.0), None, "sent once");
                self.behave(to, id);
            }
            BalancingMessage::Cancel { id } => {
                self.cancelled += 1;
                assert!(!self.balancer.attempts.contains_key(&id.number));
            }
            BalancingMessage::Hello {} => {}
            other => panic!("{other:?} is not the balancer's to say"),
        }
    }

    fn behave(&mut self, backend: Peer, id: WorkId) {
        let quick = self
            .now
            .after(Duration::from_micros(self.random.below(30_000)));
        let late = self
            .now
            .after(Duration::from_micros(self.random.below(300_000)));
        if !self.random.chance(self.trouble) {
            self.coming.insert((quick, Coming::Done(id)));
            return;
        }
        match self.random.below(5) {
            0 => drop(self.coming.insert((quick, Coming::Refused(id)))),
            1 => drop(self.coming.insert((late, Coming::Done(id)))),
            2 => drop(self.coming.insert((quick, Coming::Broken(backend.0)))),
            3 => {
                self.coming.insert((quick, Coming::Done(id)));
                self.coming.insert((late, Coming::Done(id)));
            }
            _ => {}
        }
    }

    fn reply(&mut self, id: RequestId, reply: &ClientReply) {
        let began = self.calls[&id];
        let took = self.now.since(began);
        assert!(took <= Duration::from_millis(400), "{id:?} after {took}");
        let done = matches!(reply, ClientReply::Done(_));
        assert_eq!(self.answered.insert(id, done), None, "answered twice");
    }
}

#[test]
fn each_request_is_answered_once_and_in_time_whatever_backends_do() {
    let (mut cancelled, mut done, mut failed) = (0, 0, 0);
    for seed in 0..60 {
        let mut world = World::new(seed);
        for number in 0..300 {
            let pause = Duration::from_micros(world.random.below(8_000));
            world.pass(world.now.after(pause));
            world.call(number);
        }
        world.pass(world.now.after(Duration::from_secs(1)));
        assert_eq!(world.answered.len(), 300, "none is lost (seed {seed})");
        assert!(world.balancer.requests.is_empty() && world.balancer.attempts.is_empty());
        assert_eq!(world.balancer.budget.under_way(), 0);
        assert!(world.working.is_empty(), "nothing is at work for nobody");
        cancelled += world.cancelled;
        done += world.answered.values().filter(|done| **done).count();
        failed += world.answered.values().filter(|done| !**done).count();
    }
    // All ways were gone, many times.
    assert!(
        cancelled > 100 && done > 1_000 && failed > 1_000,
        "{cancelled} {done} {failed}"
    );
}

#[test]
fn the_attempt_that_lost_is_called_off_when_the_other_is_answered() {
    let options: Balancing =
        serde_json::from_value(json!({ "kind": "round-robin", "hedging": "95%" })).unwrap();
    let mut balancer = balancer(&options, 1);
    balancer.begin(Moment(7));
    let mut out = Vec::new();
    let work = |out: &mut Vec<Output>| -> Vec<(Peer, WorkId)> {
        let sent = out.drain(..).filter_map(|output| match output {
            Output::Send {
                to,
                message: Message::Balancing(BalancingMessage::Work { id, .. }),
            } => Some((to, id)),
            _ => None,
        });
        sent.collect()
    };
    // Twenty quick ones make 1 ms the usual; the next one gets no answer.
    let ms = |millis: u64| Moment(millis * 1_000_000);
    for number in 0..20 {
        balancer.call(ms(number), RequestId(number), "k".into(), &mut out);
        let (from, id) = work(&mut out)[0];
        balancer.message(
            ms(number + 1),
            from,
            BalancingMessage::Done { id },
            &mut out,
        );
    }
    out.clear();
    balancer.call(ms(100), RequestId(100), "k".into(), &mut out);
    let first = work(&mut out)[0];
    balancer.tick(Moment(ms(101).0 - 1), &mut out);
    assert!(out.is_empty(), "not before the quantile");
    balancer.tick(ms(101), &mut out);
    let second = work(&mut out)[0];
    assert_ne!(first.0, second.0, "at another backend");
    balancer.message(
        ms(103),
        second.0,
        BalancingMessage::Done { id: second.1 },
        &mut out,
    );
    let cancel = Output::Send {
        to: first.0,
        message: Message::Balancing(BalancingMessage::Cancel { id: first.1 }),
    };
    assert!(out.contains(&cancel), "{out:?}");
    out.clear();
    balancer.message(
        ms(104),
        first.0,
        BalancingMessage::Done { id: first.1 },
        &mut out,
    );
    assert!(out.is_empty(), "the late answer answers nobody");
}

/// How many clients are answered when an answer comes for the process that began at a moment, to one
/// that began at 2000.
fn answered_by(incarnation: u64, planted: Planted) -> usize {
    let options = serde_json::from_value(json!({ "kind": "round-robin" })).unwrap();
    let names = ["n1".to_owned()];
    let mut balancer = Balancer::new("b1".into(), &options, (&names, 1), planted);
    balancer.begin(Moment(2_000));
    let mut out = Vec::new();
    let here = BalancingMessage::Here {};
    balancer.message(Moment(2_001), Peer(0), here, &mut out);
    balancer.call(Moment(2_002), RequestId(0), "k".into(), &mut out);
    // Numbers begin anew in each process: alone they would be confused.
    let number = *balancer.attempts.keys().next().unwrap();
    let id = WorkId {
        incarnation,
        number,
    };
    let done = BalancingMessage::Done { id };
    balancer.message(Moment(3_000), Peer(0), done, &mut out);
    let replies = out.iter().filter(|one| matches!(one, Output::Reply { .. }));
    replies.count()
}

#[test]
fn a_new_process_takes_no_answer_that_the_one_before_was_waiting_for() {
    assert_eq!(answered_by(1_000, planted()), 0);
    assert_eq!(answered_by(2_000, planted()), 1);
    #[cfg(feature = "flaws")]
    {
        let planted = Planted::from(Some(crate::flaw::Flaw::TakesOldAnswers));
        assert_eq!(answered_by(1_000, planted), 1, "the mistake would show");
    }
}

#[test]
fn a_balancer_asks_nobody_whom_it_has_not_heard() {
    let options = serde_json::from_value(json!({ "kind": "round-robin" })).unwrap();
    let names = ["n1", "n2"].map(String::from);
    let mut balancer = Balancer::new("b1".into(), &options, (&names, 1), Planted::default());
    balancer.begin(Moment(1));
    let mut out = Vec::new();
    balancer.call(Moment(2), RequestId(0), "k".into(), &mut out);
    assert!(matches!(out[..], [Output::Reply { .. }]), "failed at once");
    let here = BalancingMessage::Here {};
    balancer.message(Moment(3), Peer(1), here, &mut out);
    out.clear();
    for number in 1..4 {
        balancer.call(Moment(4), RequestId(number), "k".into(), &mut out);
    }
    let asked = out.iter().map(|output| match output {
        Output::Send { to, .. } => to.0,
        other => panic!("{other:?}"),
    });
    assert_eq!(asked.collect::<Vec<_>>(), [1, 1, 1]);
}
