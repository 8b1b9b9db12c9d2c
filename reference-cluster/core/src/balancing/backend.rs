//! A backend: so many workers, each busy for a service time with one request, before one queue.
//!
//! The machine itself makes capacity real: `slots` ÷ `service_time` requests a second get out, on
//! every stage, whatever the computer could do. Who has asked and stopped waiting still costs his
//! service time unless the queue's rule gives him up.
//!
//! Invariant: at most `slots` jobs are in service, and each job is answered at most once.

use std::collections::{BTreeMap, BTreeSet};

use shakedown_contracts::event::Role;
use shakedown_contracts::node::{ApiError, ApiErrorKind};
use shakedown_contracts::random::Random;
use shakedown_contracts::strategy::{Backend as Options, Service as Spread, Shedding};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::message::{BalancingMessage, WorkId};
use super::queue::{Job, Queue};
use super::stateless::Machine;
use crate::flaw::{Flaw, Planted};
use crate::interface::{ClientReply, Output, Peer, RequestId};
use crate::message::Message;

/// One backend.
#[derive(Debug)]
pub(super) struct Backend {
    name: String,
    balancers: Vec<Peer>,
    options: Options,
    queue: Queue,
    /// What is in service, by when it is done and in which order it began.
    serving: BTreeMap<(Moment, u64), Job>,
    begun: u64,
    random: Random,
}

impl Backend {
    pub fn new(
        (name, balancers): (String, Vec<Peer>),
        options: Options,
        seed: u64,
        planted: Planted,
    ) -> Self {
        let shedding = match planted.has(Flaw::ShedsNothing) {
            true => Shedding::None,
            false => options.shedding,
        };
        Backend {
            name,
            balancers,
            options,
            queue: Queue::new(options.queue, shedding),
            serving: BTreeMap::new(),
            begun: 0,
            random: Random::keyed(seed, "service-time", ""),
        }
    }

    fn work(&mut self, now: Moment, job: Job, out: &mut Vec<Output>) {
        self.tick(now, out);
        if self.serving.len() < self.options.slots as usize {
            self.serve(now, job);
        } else if let Err(job) = self.queue.push(now, job) {
            out.push(answer(&job, BalancingMessage::Refused { id: job.id }));
        }
    }

    fn serve(&mut self, from: Moment, job: Job) {
        self.begun += 1;
        let done = from.after(self.service_time());
        self.serving.insert((done, self.begun), job);
    }

    fn service_time(&mut self) -> Duration {
        let mean = self.options.service_time.as_nanos();
        match self.options.service {
            Spread::Fixed => Duration::from_nanos(mean),
            Spread::Exponential => {
                let nanos = -(1.0 - self.random.unit()).ln() * mean as f64;
                Duration::from_nanos(nanos as u64)
            }
        }
    }

    fn fill(&mut self, now: Moment, out: &mut Vec<Output>) {
        let mut shed = Vec::new();
        while self.serving.len() < self.options.slots as usize {
            let Some(job) = self.queue.pop(now, &mut shed) else {
                break;
            };
            self.serve(now, job);
        }
        let refusals = shed.iter();
        out.extend(refusals.map(|job| answer(job, BalancingMessage::Refused { id: job.id })));
    }

    fn cancel(&mut self, now: Moment, id: WorkId, out: &mut Vec<Output>) {
        self.queue.remove(id);
        self.serving.retain(|_, job| job.id != id);
        self.fill(now, out);
    }
}

impl Machine for Backend {
    fn role(&self) -> Role {
        Role::Backend
    }

    fn begin(&mut self, _now: Moment) {}

    fn message(
        &mut self,
        now: Moment,
        from: Peer,
        message: BalancingMessage,
        out: &mut Vec<Output>,
    ) {
        match message {
            BalancingMessage::Work { id, patience, .. } => {
                let job = Job {
                    id,
                    from,
                    arrived: now,
                    patience,
                };
                self.work(now, job, out);
            }
            BalancingMessage::Cancel { id } => self.cancel(now, id, out),
            BalancingMessage::Hello {} => self.reconnected(now, from, out),
            // Only a balancer waits for these.
            BalancingMessage::Here {}
            | BalancingMessage::Done { .. }
            | BalancingMessage::Refused { .. } => {}
        }
    }

    fn call(&mut self, _now: Moment, id: RequestId, _key: String, out: &mut Vec<Output>) {
        let error = ApiError {
            error: ApiErrorKind::NotPrimary,
            message: "this node is a backend; ask the balancer".to_owned(),
            node: self.name.clone(),
            epoch: 0,
            primary: None,
        };
        let reply = ClientReply::Error(error);
        out.push(Output::Reply { id, reply });
    }

    /// Says that it can be heard; lost where the connection has just broken. The balancer's attempts
    /// have failed by then, and their work is done all the same, as by real backends.
    fn reconnected(&mut self, _now: Moment, peer: Peer, out: &mut Vec<Output>) {
        if self.balancers.contains(&peer) {
            out.push(Output::Send {
                to: peer,
                message: Message::Balancing(BalancingMessage::Here {}),
            });
        }
    }

    fn suspicion_changed(&mut self, _: Moment, _: &BTreeSet<Peer>, _: &mut Vec<Output>) {}

    fn tick(&mut self, now: Moment, out: &mut Vec<Output>) {
        // Ends: what begins now is done later, and a service time of nothing at all is served from
        // a finite queue.
        while let Some(first) = self.serving.first_entry() {
            let (done, _) = *first.key();
            if done > now {
                break;
            }
            let job = first.remove();
            out.push(answer(&job, BalancingMessage::Done { id: job.id }));
            self.fill(now, out);
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        self.serving.keys().next().map(|(done, _)| *done)
    }
}

fn answer(job: &Job, message: BalancingMessage) -> Output {
    Output::Send {
        to: job.from,
        message: Message::Balancing(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(number: u64) -> BalancingMessage {
        BalancingMessage::Work {
            id: id(number),
            key: "k".into(),
            patience: Duration::from_secs(1),
        }
    }

    fn id(number: u64) -> WorkId {
        WorkId {
            incarnation: 7,
            number,
        }
    }

    fn messages(out: Vec<Output>) -> Vec<BalancingMessage> {
        let message = |output| match output {
            Output::Send {
                message: Message::Balancing(message),
                ..
            } => Some(message),
            _ => None,
        };
        out.into_iter().filter_map(message).collect()
    }

    #[test]
    fn capacity_is_slots_by_service_time_whatever_is_offered() {
        let options = Options {
            slots: 3,
            queue: 5,
            ..Options::default()
        };
        for seed in 0..5 {
            let mut backend = Backend::new(
                ("n1".into(), vec![Peer(5)]),
                options,
                seed,
                Planted::default(),
            );
            let (mut now, mut out) = (Moment(0), Vec::new());
            // 1000 a second for 30 s, three times what 3 ÷ 10 ms lets out.
            for number in 0..30_000 {
                while let Some(next) = backend.next_deadline().filter(|at| *at <= now) {
                    backend.tick(next, &mut out);
                }
                backend.message(now, Peer(5), work(number), &mut out);
                assert!(backend.serving.len() <= 3 && backend.queue.len() <= 5);
                now = now.after(Duration::from_millis(1));
            }
            let answers = messages(out);
            let done = answers
                .iter()
                .filter(|one| matches!(one, BalancingMessage::Done { .. }));
            // 9000 exponential service times: their sum strays by 1 % (one sigma); 6 sigma.
            let share = done.count() as f64 / 9_000.0;
            assert!((share - 1.0).abs() < 0.06, "seed {seed}: {share}");
        }
    }

    #[test]
    fn a_cancelled_job_makes_room_and_is_never_answered() {
        let options = Options {
            slots: 1,
            service: Spread::Fixed,
            ..Options::default()
        };
        let mut backend =
            Backend::new(("n1".into(), vec![Peer(5)]), options, 1, Planted::default());
        let mut out = Vec::new();
        for number in 0..3 {
            backend.message(Moment(0), Peer(5), work(number), &mut out);
        }
        for number in 0..2 {
            let cancel = BalancingMessage::Cancel { id: id(number) };
            backend.message(Moment(1), Peer(5), cancel, &mut out);
        }
        backend.tick(Moment(20_000_000), &mut out);
        assert_eq!(messages(out), [BalancingMessage::Done { id: id(2) }]);
    }
}
