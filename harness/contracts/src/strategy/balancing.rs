//! Options of load balancing: which backend a request goes to, which backends get none, and what is
//! done when one does not answer.
//!
//! The balancer is a process of its own, `b1`, in front of the nodes, which are its backends. All
//! options but `backend` are the balancer's. Names and defaults are Envoy's where it has them.

use serde::{Deserialize, Serialize};

use crate::units::{Duration, Ratio};

/// How a balancer in front of the nodes spreads requests. Present: nodes are its backends, and
/// clients speak to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balancing {
    /// Which backend a request goes to.
    pub kind: BalancingKind,
    /// With `consistent-hash` alone: no backend has more than this times the mean of open requests,
    /// rounded up (Mirrokni, Thorup, Zadimoghaddam 2018). Absent: no bound (wrong on purpose: a key
    /// that many ask for overloads its backend).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// A backend that the balancer's failure detector suspects gets nothing.
    #[serde(default)]
    pub health_check: bool,
    /// A backend that fails again and again gets nothing for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_ejection: Option<OutlierEjection>,
    /// Limits on each backend, and trials after failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// How long one attempt at a backend may take; then it has failed.
    #[serde(default = "default_attempt_timeout")]
    pub attempt_timeout: Duration,
    /// How long the balancer works on a request, all attempts together; then the client is told
    /// that it failed.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// What follows on an attempt that failed.
    #[serde(default)]
    pub retry: Retry,
    /// With `retry = "budget"` alone: retries under way are at most this share of the open requests,
    /// or [`RETRIES_ALWAYS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_budget: Option<Ratio>,
    /// A request that is not answered after this quantile of the latest latencies is sent to a
    /// second backend too, and the first answer counts. Absent: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedging: Option<Ratio>,
    /// A backend that comes back gets its full share of requests only after so long; at first a
    /// tenth of it. Absent: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Duration>,
    /// What each backend can do.
    #[serde(default)]
    pub backend: Backend,
}

/// Which backend a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BalancingKind {
    /// The one that the key belongs to for good, whether it lives or not (the control group).
    None,
    /// Each in turn.
    RoundRobin,
    /// The one with the fewest open requests.
    LeastRequests,
    /// The better of two drawn ones (Mitzenmacher 2001).
    PowerOfTwoChoices,
    /// By the key, on a ring; a backend that is gone moves its own keys alone.
    ConsistentHash,
}

/// Retries under way are never limited to less than this.
pub const RETRIES_ALWAYS: u32 = 3;

/// What follows on an attempt that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retry {
    /// The client is told.
    #[default]
    None,
    /// Another attempt, until the time is over (wrong on purpose: when all are slow, retries are
    /// the load that keeps them so).
    Unlimited,
    /// Another attempt, while retries are few beside the open requests.
    Budget,
}

/// The default retry budget: 20 %.
pub fn default_retry_budget() -> Ratio {
    Ratio::new(0.2).expect("20 % is a share")
}

/// When a backend is ejected, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutlierEjection {
    /// Failures in a row that eject.
    pub consecutive_5xx: u32,
    /// Time between two looks at who may return.
    pub interval: Duration,
    /// How long the first ejection lasts; the n-th lasts n times as long, at most 300 s.
    pub base_ejection_time: Duration,
    /// Most backends ejected at a time; one always may be.
    pub max_ejection_percent: Ratio,
}

impl Default for OutlierEjection {
    fn default() -> Self {
        OutlierEjection {
            consecutive_5xx: 5,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_percent: Ratio::new(0.1).expect("10 % is a share"),
        }
    }
}

/// Limits on each backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CircuitBreaker {
    /// Most open requests at one backend.
    pub max_requests: u32,
    /// Failures in a row that open the breaker: then the backend gets nothing.
    pub failures: u32,
    /// So long it stays open; then it is half open.
    pub open_for: Duration,
    /// Requests that a half-open breaker lets through at a time. The first success closes it, the
    /// first failure opens it again.
    pub half_open_requests: u32,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        CircuitBreaker {
            max_requests: 1024,
            failures: 5,
            open_for: Duration::from_secs(5),
            half_open_requests: 1,
        }
    }
}

/// What each backend can do: a number of workers before one bounded queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backend {
    /// Requests served at a time.
    pub slots: u32,
    /// Mean time that serving one takes.
    pub service_time: Duration,
    /// How service times are spread.
    pub service: Service,
    /// Requests that wait; more are refused.
    pub queue: u32,
    /// Which of those that wait are given up.
    pub shedding: Shedding,
}

impl Default for Backend {
    fn default() -> Self {
        Backend {
            slots: 4,
            service_time: Duration::from_millis(10),
            service: Service::Exponential,
            queue: 100,
            shedding: Shedding::None,
        }
    }
}

/// How service times are spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// Drawn from an exponential distribution.
    #[default]
    Exponential,
    /// All the same.
    Fixed,
}

/// Which waiting requests a backend gives up when it could serve them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shedding {
    /// None: also those that nobody waits for any more are served.
    #[default]
    None,
    /// Those whose attempt has timed out.
    Deadline,
    /// Those that have waited for 5 ms, once the queue has not been empty for 100 ms (CoDel; Nichols
    /// and Jacobson 2012, in the form for servers of Maurer, "Fail at Scale", 2015).
    Codel,
}

fn default_attempt_timeout() -> Duration {
    Duration::from_millis(250)
}

fn default_timeout() -> Duration {
    Duration::from_secs(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_alone_has_every_default_and_survives_json() {
        let balancing: Balancing =
            serde_json::from_value(serde_json::json!({ "kind": "power-of-two-choices" })).unwrap();
        assert_eq!(balancing.kind, BalancingKind::PowerOfTwoChoices);
        assert_eq!(balancing.retry, Retry::None);
        assert_eq!(balancing.backend, Backend::default());
        let json = serde_json::to_string(&balancing).unwrap();
        assert_eq!(serde_json::from_str::<Balancing>(&json).unwrap(), balancing);
    }
}
