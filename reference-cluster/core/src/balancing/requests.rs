//! The life of a request: attempt, hedge, retry, answer.
//!
//! An attempt ends by an answer, a refusal, its timeout or a broken connection. The first good answer
//! counts and the other attempt is called off. When the last attempt under way has failed, the retry
//! rule says whether there is another, after a wait that grows.
//!
//! Invariant: a request is answered when it leaves `requests`, and it leaves once; the budget gets
//! back what it gave.

use shakedown_contracts::node::{Answer, ApiError, ApiErrorKind};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::balancer::{Attempt, Balancer, Due, Request};
use super::breaker::Ended;
use super::latencies::Latencies;
use super::message::{BalancingMessage, WorkId};
use super::picker::Candidate;
use crate::flaw::Flaw;
use crate::interface::{ClientReply, Output, Peer};
use crate::message::Message;

/// The n-th retry waits for a drawn part of (2^n − 1) times this (Envoy's `base_interval`) …
const RETRY_WAIT: Duration = Duration::from_millis(25);
/// … at most.
const RETRY_WAIT_MAX: Duration = Duration::from_millis(250);

impl Balancer {
    /// Puts a request to a backend.
    pub(super) fn attempt(&mut self, now: Moment, number: u64, out: &mut Vec<Output>) {
        let Some(request) = self.requests.get(&number) else {
            return;
        };
        let (key, failed_at) = (request.key.clone(), request.failed_at);
        match self.choose(now, &key, failed_at) {
            Some(backend) => {
                self.send(now, number, backend, out);
                self.plan_hedge(now, number);
            }
            None => self.failed(now, number, "no backend may be asked", out),
        }
    }

    /// Puts it to a second one, if it is still to be hedged.
    pub(super) fn hedge(&mut self, now: Moment, due: (Moment, u64), out: &mut Vec<Output>) {
        let (at, number) = due;
        let Some(request) = self.requests.get_mut(&number) else {
            return;
        };
        let [attempt] = request.attempts[..] else {
            return;
        };
        if request.hedge_at != Some(at) || request.hedged {
            return;
        }
        request.hedged = true;
        let key = request.key.clone();
        let asked = self.attempts[&attempt].backend;
        let second = self.choose(now, &key, Some(asked));
        if let Some(backend) = second.filter(|backend| *backend != asked) {
            self.send(now, number, backend, out);
        }
    }

    /// A backend has served it.
    pub(super) fn served(&mut self, now: Moment, attempt: u64, out: &mut Vec<Output>) {
        let Some(ended) = self.end_attempt(now, attempt, Ended::Well, out) else {
            return;
        };
        if let Some(latencies) = &mut self.latencies {
            latencies.add(now.since(ended.sent));
        }
        let node = self.pool.name(ended.backend).to_owned();
        if let Some(request) = self.close(now, ended.request, out) {
            let reply = ClientReply::Done(Answer { node, epoch: 0 });
            let id = request.client;
            out.push(Output::Reply { id, reply });
        }
    }

    /// An attempt was refused, took too long or was lost.
    pub(super) fn attempt_failed(&mut self, now: Moment, attempt: u64, out: &mut Vec<Output>) {
        let Some(ended) = self.end_attempt(now, attempt, Ended::Badly, out) else {
            return;
        };
        let Some(request) = self.requests.get_mut(&ended.request) else {
            return;
        };
        request.failed_at = Some(ended.backend);
        if request.attempts.is_empty() {
            self.failed(now, ended.request, "the last backend asked failed", out);
        }
    }

    /// Its time is over, or nothing more is tried.
    pub(super) fn give_up(
        &mut self,
        now: Moment,
        number: u64,
        reason: &str,
        out: &mut Vec<Output>,
    ) {
        let Some(request) = self.close(now, number, out) else {
            return;
        };
        let error = ApiError {
            error: ApiErrorKind::BadGateway,
            message: format!("{reason}, after {} retries", request.retries),
            node: self.name.clone(),
            epoch: 0,
            primary: None,
        };
        let reply = ClientReply::Error(error);
        let id = request.client;
        out.push(Output::Reply { id, reply });
    }

    /// No attempt is under way any more: another one, or the end.
    fn failed(&mut self, now: Moment, number: u64, reason: &str, out: &mut Vec<Output>) {
        let open = self.requests.len();
        let Some(request) = self.requests.get_mut(&number) else {
            return;
        };
        if std::mem::take(&mut request.retrying) {
            self.budget.give_back();
        }
        if now >= request.deadline || !self.budget.take(open) {
            return self.give_up(now, number, reason, out);
        }
        request.retrying = true;
        request.retries += 1;
        let steps = (1_u64 << request.retries.min(16)) - 1;
        let longest = Duration::from_nanos(RETRY_WAIT.as_nanos() * steps).min(RETRY_WAIT_MAX);
        let at = now.after(self.random.duration_up_to(longest));
        self.agenda.insert((at, Due::Retry(number)));
    }

    /// Another backend than the one to avoid where there is one, else also that.
    fn choose(&mut self, now: Moment, key: &str, avoided: Option<usize>) -> Option<usize> {
        if let Some(pinned) = self.picker.pinned(key) {
            return Some(pinned);
        }
        let may = self.pool.candidates(now);
        let others = may.iter().copied().filter(|one| Some(*one) != avoided);
        let others = self.pool.thinned(now, others.collect());
        let (all, others) = (self.with_load(&may), self.with_load(&others));
        let picked = self.picker.pick(key, &others, &all);
        picked.or_else(|| self.picker.pick(key, &all, &all))
    }

    fn with_load(&self, backends: &[usize]) -> Vec<Candidate> {
        let candidate = |backend: &usize| Candidate {
            backend: *backend,
            open: self.pool.open(*backend),
        };
        backends.iter().map(candidate).collect()
    }

    fn send(&mut self, now: Moment, number: u64, backend: usize, out: &mut Vec<Output>) {
        let id = WorkId {
            incarnation: self.incarnation,
            number: self.next_number(),
        };
        let Some(request) = self.requests.get_mut(&number) else {
            return;
        };
        let due = now
            .after(self.options.attempt_timeout)
            .min(request.deadline);
        request.attempts.push(id.number);
        let key = request.key.clone();
        let attempt = Attempt {
            request: number,
            backend,
            sent: now,
            due,
            trial: self.pool.sent(now, backend),
        };
        self.attempts.insert(id.number, attempt);
        self.agenda.insert((due, Due::Attempt(id.number)));
        let patience = due.since(now);
        out.push(to(backend, BalancingMessage::Work { id, key, patience }));
    }

    fn plan_hedge(&mut self, now: Moment, number: u64) {
        let after = self.latencies.as_ref().and_then(Latencies::hedge_after);
        let request = self.requests.get_mut(&number);
        if let (Some(after), Some(request)) = (after, request)
            && !request.hedged
        {
            let at = now.after(after);
            request.hedge_at = Some(at);
            self.agenda.insert((at, Due::Hedge(number)));
        }
    }

    fn end_attempt(
        &mut self,
        now: Moment,
        number: u64,
        how: Ended,
        out: &mut Vec<Output>,
    ) -> Option<Attempt> {
        let attempt = self.attempts.remove(&number)?;
        self.agenda.remove(&(attempt.due, Due::Attempt(number)));
        if let Some(request) = self.requests.get_mut(&attempt.request) {
            request.attempts.retain(|one| *one != number);
        }
        let verdict = (attempt.trial, how);
        self.pool.ended(now, attempt.backend, verdict, out);
        Some(attempt)
    }

    /// Takes a request out, with everything that belongs to it.
    fn close(&mut self, now: Moment, number: u64, out: &mut Vec<Output>) -> Option<Request> {
        let request = self.requests.remove(&number)?;
        self.agenda
            .remove(&(request.deadline, Due::Request(number)));
        if request.retrying {
            self.budget.give_back();
        }
        for attempt in &request.attempts {
            let Some(ended) = self.end_attempt(now, *attempt, Ended::Unjudged, out) else {
                continue;
            };
            if !self.planted.has(Flaw::HedgesNotCancelled) {
                let id = WorkId {
                    incarnation: self.incarnation,
                    number: *attempt,
                };
                out.push(to(ended.backend, BalancingMessage::Cancel { id }));
            }
        }
        Some(request)
    }
}

/// Backends are the first members, in rank order.
fn to(backend: usize, message: BalancingMessage) -> Output {
    Output::Send {
        to: Peer(backend as u32),
        message: Message::Balancing(message),
    }
}
