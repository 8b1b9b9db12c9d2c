//! The balancer: takes clients' calls and has backends serve them.
//!
//! This file holds what it knows and what it is told; the life of a request is in `requests`.
//!
//! Invariant: each open request has attempts under way, or waits for its next one, or both ends
//! are due; whatever happens it is answered by its deadline.

use std::collections::{BTreeMap, BTreeSet};

use shakedown_contracts::event::Role;
use shakedown_contracts::random::Random;
use shakedown_contracts::strategy::{Balancing, Retry, default_retry_budget};
use shakedown_contracts::time::Moment;

use super::breaker::Trial;
use super::budget::Budget;
use super::latencies::Latencies;
use super::message::{BalancingMessage, WorkId};
use super::picker::Picker;
use super::pool::Pool;
use super::stateless::Machine;
use crate::flaw::{Flaw, Planted};
use crate::interface::{Output, Peer, RequestId};
use crate::message::Message;

/// Requests that may be open at once; more fail at once.
const OPEN_REQUESTS_MAX: usize = 4096;

/// A client's call.
#[derive(Debug)]
pub(super) struct Request {
    pub client: RequestId,
    pub key: String,
    pub deadline: Moment,
    /// Attempts under way: one, or two of which the later is a hedge.
    pub attempts: Vec<u64>,
    /// Retries so far.
    pub retries: u32,
    /// It holds a part of the retry budget.
    pub retrying: bool,
    /// The backend at which it failed last.
    pub failed_at: Option<usize>,
    /// When it is hedged, unless it is answered before or was hedged already.
    pub hedge_at: Option<Moment>,
    pub hedged: bool,
}

/// A call put to one backend.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub request: u64,
    pub backend: usize,
    pub sent: Moment,
    pub due: Moment,
    pub trial: Option<Trial>,
}

/// What is due at a moment. Attempts end before their request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// An attempt has taken too long.
    Attempt(u64),
    /// A request is to be hedged.
    Hedge(u64),
    /// A request's next attempt.
    Retry(u64),
    /// A request's time is over.
    Request(u64),
}

/// The balancer.
#[derive(Debug)]
pub(super) struct Balancer {
    pub name: String,
    pub options: Balancing,
    pub pool: Pool,
    pub picker: Picker,
    pub budget: Budget,
    pub latencies: Option<Latencies>,
    pub requests: BTreeMap<u64, Request>,
    pub attempts: BTreeMap<u64, Attempt>,
    pub agenda: BTreeSet<(Moment, Due)>,
    /// Which process this is.
    pub incarnation: u64,
    /// Numbers given to requests and attempts so far.
    pub numbered: u64,
    /// For the waits before retries.
    pub random: Random,
    pub planted: Planted,
}

impl Balancer {
    pub fn new(
        name: String,
        options: &Balancing,
        (backends, seed): (&[String], u64),
        planted: Planted,
    ) -> Self {
        let share = options.retry_budget.unwrap_or_else(default_retry_budget);
        let retry = match planted.has(Flaw::BudgetIgnored) {
            true => unlimited(options),
            false => options.retry,
        };
        Balancer {
            name,
            pool: Pool::new(options, backends, seed, planted),
            picker: Picker::new(options, backends, seed, planted),
            budget: Budget::new(retry, share.as_f64()),
            latencies: options
                .hedging
                .filter(|_| !planted.has(Flaw::NeverHedges))
                .map(|quantile| Latencies::new(quantile.as_f64())),
            requests: BTreeMap::new(),
            attempts: BTreeMap::new(),
            agenda: BTreeSet::new(),
            incarnation: 0,
            numbered: 0,
            random: Random::keyed(seed, "retry", ""),
            planted,
            options: options.clone(),
        }
    }

    pub fn next_number(&mut self) -> u64 {
        self.numbered += 1;
        self.numbered
    }

    /// The attempt that an answer is for; none where it was not asked for by this process, or is
    /// over.
    fn attempt_of(&self, id: WorkId) -> Option<u64> {
        let own = id.incarnation == self.incarnation || self.planted.has(Flaw::TakesOldAnswers);
        (own && self.attempts.contains_key(&id.number)).then_some(id.number)
    }
}

impl Machine for Balancer {
    fn role(&self) -> Role {
        Role::Balancer
    }

    fn begin(&mut self, now: Moment) {
        self.incarnation = now.0;
        self.pool.begin(now);
    }

    fn message(
        &mut self,
        now: Moment,
        from: Peer,
        message: BalancingMessage,
        out: &mut Vec<Output>,
    ) {
        match message {
            BalancingMessage::Here {} => self.pool.heard(from),
            BalancingMessage::Done { id } => {
                if let Some(attempt) = self.attempt_of(id) {
                    self.served(now, attempt, out);
                }
            }
            BalancingMessage::Refused { id } => {
                if let Some(attempt) = self.attempt_of(id) {
                    self.attempt_failed(now, attempt, out);
                }
            }
            // Only a backend is told these.
            BalancingMessage::Hello {}
            | BalancingMessage::Work { .. }
            | BalancingMessage::Cancel { .. } => {}
        }
    }

    fn call(&mut self, now: Moment, client: RequestId, key: String, out: &mut Vec<Output>) {
        let number = self.next_number();
        let request = Request {
            client,
            key,
            deadline: now.after(self.options.timeout),
            attempts: Vec::new(),
            retries: 0,
            retrying: false,
            failed_at: None,
            hedge_at: None,
            hedged: false,
        };
        let full = self.requests.len() >= OPEN_REQUESTS_MAX;
        self.agenda.insert((request.deadline, Due::Request(number)));
        self.requests.insert(number, request);
        match full {
            true => self.give_up(now, number, "too many requests are open", out),
            false => self.attempt(now, number, out),
        }
    }

    fn reconnected(&mut self, now: Moment, peer: Peer, out: &mut Vec<Output>) {
        let lost = self.attempts.iter();
        let lost = lost.filter(|(_, attempt)| attempt.backend == peer.0 as usize);
        let lost: Vec<u64> = lost.map(|(number, _)| *number).collect();
        for attempt in lost {
            self.attempt_failed(now, attempt, out);
        }
        let message = Message::Balancing(BalancingMessage::Hello {});
        out.push(Output::Send { to: peer, message });
    }

    fn suspicion_changed(
        &mut self,
        now: Moment,
        suspected: &BTreeSet<Peer>,
        out: &mut Vec<Output>,
    ) {
        self.pool.suspect(now, suspected, out);
    }

    fn tick(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.pool.look(now, out);
        // Ends: what an entry leads to is due later, but for finitely many retries without a wait.
        while let Some((at, due)) = self.agenda.first().copied().filter(|(at, _)| *at <= now) {
            self.agenda.remove(&(at, due));
            match due {
                Due::Attempt(attempt) => self.attempt_failed(now, attempt, out),
                Due::Hedge(request) => self.hedge(now, (at, request), out),
                Due::Retry(request) => self.attempt(now, request, out),
                Due::Request(request) => {
                    self.give_up(now, request, "no backend answered in time", out);
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        let first = self.agenda.first().map(|(at, _)| *at);
        first.into_iter().chain(self.pool.next_deadline()).min()
    }
}

/// What a budget that is not kept comes to.
fn unlimited(options: &Balancing) -> Retry {
    match options.retry {
        Retry::Budget => Retry::Unlimited,
        other => other,
    }
}
