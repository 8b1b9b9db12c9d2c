//! `[target.strategy] balancing`: its options, and which of them would have no effect.
//!
//! A balanced cluster keeps no data: what the tables of recovery log and replication could say has
//! nobody to do it.

use shakedown_contracts::node::MemberKind;
use shakedown_contracts::plan::Companion;
use shakedown_contracts::strategy::{
    Backend, Balancing, BalancingKind, CircuitBreaker, Detector, OutlierEjection, RecoveryLog,
    Retry, Service, Shedding, Strategy, default_retry_budget,
};

use crate::reader::TableReader;
use crate::tree::Value;

/// The balancer's name.
const BALANCER: &str = "b1";
/// The bound of consistent hashing where nothing else is said.
const DEFAULT_BOUND: f64 = 1.25;
/// Beyond this a bound bounds nothing.
const BOUND_MAX: f64 = 1_000.0;
/// More workers or places than a backend could use within any trial.
const BACKEND_MAX: u32 = 100_000;

/// The balancing of that kind.
pub(crate) fn read(part: &TableReader<'_>, kind: &str) -> Balancing {
    let mut balancing = defaults(kind);
    balancing.backend = backend(part);
    if let Some(timeout) = part.duration_above_zero("attempt_timeout") {
        balancing.attempt_timeout = timeout.value;
    }
    if let Some(timeout) = part.duration_above_zero("timeout") {
        balancing.timeout = timeout.value;
    } else {
        balancing.timeout = balancing.timeout.max(balancing.attempt_timeout);
    }
    if balancing.attempt_timeout > balancing.timeout {
        let message = format!(
            "an attempt may take {}, a whole request {}",
            balancing.attempt_timeout, balancing.timeout
        );
        part.invalid(
            "attempt_timeout",
            message,
            "give `timeout` at least as much",
        );
    }
    balancing.bound = bound(part, balancing.kind);
    balancing.health_check = part.boolean("health_check").unwrap_or(false);
    balancing.outlier_ejection = outlier_ejection(part);
    balancing.circuit_breaker = circuit_breaker(part);
    balancing.hedging = hedging(part);
    (balancing.retry, balancing.retry_budget) = retry(part);
    balancing.slow_start = part.duration_above_zero("slow_start").map(|one| one.value);
    refuse_what_has_no_effect(part, &balancing);
    balancing
}

/// The contract holds the defaults; they are what an empty table of that kind reads as.
fn defaults(kind: &str) -> Balancing {
    serde_json::from_value(serde_json::json!({ "kind": kind }))
        .expect("every option of balancing has a default in the contract")
}

fn backend(part: &TableReader<'_>) -> Backend {
    let mut backend = Backend::default();
    let Some(table) = part.table("backend") else {
        return backend;
    };
    let spreads = [
        ("exponential", Service::Exponential),
        ("fixed", Service::Fixed),
    ];
    let rules = [
        ("none", Shedding::None),
        ("deadline", Shedding::Deadline),
        ("codel", Shedding::Codel),
    ];
    backend.slots = table
        .integer("slots", 1, BACKEND_MAX)
        .unwrap_or(backend.slots);
    backend.queue = table
        .integer("queue", 0, BACKEND_MAX)
        .unwrap_or(backend.queue);
    if let Some(time) = table.duration_above_zero("service_time") {
        backend.service_time = time.value;
    }
    backend.service = table.choice("service", &spreads).unwrap_or_default();
    backend.shedding = table.choice("shedding", &rules).unwrap_or_default();
    if backend.queue == 0 && table.has("shedding") {
        let message = "`shedding` has no effect on a queue that holds nobody";
        table.invalid("shedding", message, "raise `queue`, or leave this out");
    }
    table.finish();
    backend
}

fn bound(part: &TableReader<'_>, kind: BalancingKind) -> Option<f64> {
    if kind != BalancingKind::ConsistentHash {
        if part.has("bound") {
            let message = "`bound` has no effect without `kind = \"consistent-hash\"`";
            part.invalid("bound", message, "leave one of the two out");
        }
        return None;
    }
    let none = part
        .entry("bound")
        .is_some_and(|entry| matches!(&entry.node.value, Value::Text(text) if text == "none"));
    if none {
        return None;
    }
    let bound = part.positive("bound", BOUND_MAX).unwrap_or(DEFAULT_BOUND);
    if bound < 1.0 {
        let message =
            format!("a bound of {bound} is below the mean: all requests cannot be under it");
        part.invalid("bound", message, "give 1.25 or so, or \"none\"");
    }
    Some(bound)
}

fn outlier_ejection(part: &TableReader<'_>) -> Option<OutlierEjection> {
    let table = part.table("outlier_ejection")?;
    let default = OutlierEjection::default();
    let interval = table.duration_above_zero("interval");
    let base = table.duration_above_zero("base_ejection_time");
    let failures = table.integer("consecutive_5xx", 1, u32::MAX);
    let ejection = OutlierEjection {
        consecutive_5xx: failures.unwrap_or(default.consecutive_5xx),
        interval: interval.map_or(default.interval, |placed| placed.value),
        base_ejection_time: base.map_or(default.base_ejection_time, |placed| placed.value),
        max_ejection_percent: table
            .ratio("max_ejection_percent")
            .unwrap_or(default.max_ejection_percent),
    };
    table.finish();
    Some(ejection)
}

fn circuit_breaker(part: &TableReader<'_>) -> Option<CircuitBreaker> {
    let table = part.table("circuit_breaker")?;
    let default = CircuitBreaker::default();
    let number = |key, default| table.integer(key, 1, u32::MAX).unwrap_or(default);
    let open_for = table.duration_above_zero("open_for");
    let breaker = CircuitBreaker {
        max_requests: number("max_requests", default.max_requests),
        failures: number("failures", default.failures),
        open_for: open_for.map_or(default.open_for, |placed| placed.value),
        half_open_requests: number("half_open_requests", default.half_open_requests),
    };
    table.finish();
    Some(breaker)
}

fn hedging(part: &TableReader<'_>) -> Option<shakedown_contracts::units::Ratio> {
    let quantile = part.ratio("hedging")?;
    if !(0.5..1.0).contains(&quantile.as_f64()) {
        let message = format!("hedging after the {quantile} quantile of latencies");
        let hint = "give \"95%\" or so: from 50 % on, below 100 %";
        part.invalid("hedging", message, hint);
    }
    Some(quantile)
}

fn retry(part: &TableReader<'_>) -> (Retry, Option<shakedown_contracts::units::Ratio>) {
    let rules = [
        ("none", Retry::None),
        ("unlimited", Retry::Unlimited),
        ("budget", Retry::Budget),
    ];
    let retry = part.choice("retry", &rules).unwrap_or_default();
    let budget = part.ratio("retry_budget");
    if retry == Retry::Budget {
        return (retry, Some(budget.unwrap_or_else(default_retry_budget)));
    }
    if part.has("retry_budget") {
        let message = "`retry_budget` has no effect without `retry = \"budget\"`";
        part.invalid("retry_budget", message, "leave one of the two out");
    }
    (retry, None)
}

/// What a key that is bound to one backend, or kept on a ring, leaves nothing to.
fn refuse_what_has_no_effect(part: &TableReader<'_>, balancing: &Balancing) {
    let options = [
        "health_check",
        "outlier_ejection",
        "circuit_breaker",
        "retry",
        "retry_budget",
        "hedging",
        "slow_start",
    ];
    let pinned = balancing.kind == BalancingKind::None;
    for key in options.into_iter().filter(|key| pinned && part.has(key)) {
        let message =
            format!("`{key}` has no effect with `kind = \"none\"`: a key has one backend");
        part.invalid(key, message, "choose another kind, or leave this out");
    }
    let returns = balancing.health_check
        || balancing.outlier_ejection.is_some()
        || balancing.circuit_breaker.is_some();
    if !pinned && balancing.slow_start.is_some() {
        if balancing.kind == BalancingKind::ConsistentHash {
            let message = "`slow_start` would move keys about for as long as it lasts";
            part.invalid(
                "slow_start",
                message,
                "leave it out with consistent hashing",
            );
        } else if !returns {
            let message = "`slow_start` has no effect where no backend is ever taken out";
            let hint = "add `health_check`, `outlier_ejection` or `circuit_breaker`";
            part.invalid("slow_start", message, hint);
        }
    }
}

/// What goes with a balancer: no data is kept, and the options that would keep some are refused.
pub(crate) fn complete(table: &TableReader<'_>, strategy: &mut Strategy) {
    let Some(balancing) = &strategy.balancing else {
        return;
    };
    if balancing.health_check {
        check_detector(table, &strategy.detector);
    }
    if table.has("recovery_log") && strategy.recovery_log != (RecoveryLog::None {}) {
        let message = "`recovery_log` has no effect behind a balancer: backends keep no data";
        table.invalid("recovery_log", message, "leave one of the two out");
    }
    strategy.recovery_log = RecoveryLog::None {};
}

/// Backends send a balancer no heartbeats of their own: it lives on the answers to its own.
fn check_detector(table: &TableReader<'_>, detector: &Detector) {
    let message = match detector {
        Detector::None {} => "`balancing.health_check` has no effect without a detector",
        Detector::FixedTimeout { ack: false, .. }
        | Detector::Chen { ack: false, .. }
        | Detector::PhiAccrual { ack: false, .. } => {
            "`balancing.health_check` rests on acknowledged heartbeats"
        }
        _ => return,
    };
    let hint = "choose a detector with `ack = true`, or leave the health check out";
    table.invalid("balancing", message, hint);
}

/// The balancer itself.
pub(crate) fn companion() -> Companion {
    Companion {
        name: BALANCER.to_owned(),
        kind: MemberKind::Balancer,
    }
}
