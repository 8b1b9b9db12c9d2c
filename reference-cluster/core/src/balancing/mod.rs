//! Load balancing: a balancer in front of backends that keep nothing.
//!
//! The balancer `b1` takes clients' calls and sends each to a backend over the ordered connections
//! between members; a backend has so many workers and a bounded queue. What the balancer knows of a
//! backend is what it sees: attempts that succeed, fail or time out, and its failure detector. From
//! that it decides who gets work (`pool`: ejection, breaker, health, slow start), who of those is
//! next (`picker`), and what follows on a failure (`requests`: retries within a `budget`, hedges).
//!
//! Invariants: a request is answered exactly once, after at most `timeout`. Nothing is written down,
//! and an answer to a balancer that is gone answers nobody: both kinds may restart at any time.
//!
//! A balancer that has just begun asks a backend only once it has heard it: its answers could not
//! come before that, and missing answers would be held against it.
//!
//! Sources: Envoy's outlier detection, retry budgets and slow start; Nygard, "Release It!" (circuit
//! breaker); Dean and Barroso, "The Tail at Scale" (hedging); Bronson et al., "Metastable Failures in
//! Distributed Systems" (why retries need a budget).

mod backend;
mod balancer;
mod breaker;
mod budget;
mod latencies;
pub mod message;
mod outlier;
mod picker;
mod pool;
mod queue;
mod requests;
mod ring;
mod stateless;
#[cfg(test)]
mod tests;

use shakedown_contracts::node::{MemberKind, NodeConfig};
use shakedown_contracts::strategy::Balancing;

use crate::flaw::Planted;
use crate::interface::Peer;
use crate::service::Service;

/// The machine of one member of a balanced cluster: the balancer, or a backend.
pub fn service(
    options: &Balancing,
    config: &NodeConfig,
    backends: Vec<String>,
    planted: Planted,
) -> Box<dyn Service> {
    let member = config.members.iter().find(|one| one.name == config.name);
    let name = config.name.clone();
    match member.map(|member| member.kind) {
        Some(MemberKind::Balancer) => {
            let (own, of) = (name.clone(), (backends.as_slice(), config.seed));
            let balancer = balancer::Balancer::new(own, options, of, planted);
            Box::new(stateless::Stateless::new(name, balancer))
        }
        _ => {
            let members = (0..).map(Peer).zip(&config.members);
            let balancers = members.filter(|(_, member)| member.kind == MemberKind::Balancer);
            let balancers = balancers.map(|(peer, _)| peer).collect();
            let (own, options) = ((name.clone(), balancers), options.backend);
            let backend = backend::Backend::new(own, options, config.seed, planted);
            Box::new(stateless::Stateless::new(name, backend))
        }
    }
}
