//! `detector = { kind = "swim", … }`: its options, and which of them have no effect together.

use shakedown_contracts::strategy::Swim;
use shakedown_contracts::units::Duration;

use crate::reader::TableReader;

/// Below this the machine's own scheduling decides who lives.
const INTERVAL_MIN: Duration = Duration::from_millis(1);
/// Above this nobody waits for a detection.
const INTERVAL_MAX: Duration = Duration::from_secs(60);
/// Largest factor.
const FACTOR_MAX: u32 = 1_000;

/// The options, with the contract's defaults for what is not written.
pub(crate) fn read(table: &TableReader<'_>) -> Swim {
    let default = Swim::default();
    let duration = |key, default| table.duration(key).map_or(default, |placed| placed.value);
    let factor = |key, least, default| table.integer(key, least, FACTOR_MAX).unwrap_or(default);
    let switch = |key, default| table.boolean(key).unwrap_or(default);
    let swim = Swim {
        probe_interval: duration("probe_interval", default.probe_interval),
        probe_timeout: duration("probe_timeout", default.probe_timeout),
        indirect_checks: factor("indirect_checks", 0, default.indirect_checks),
        suspicion_mult: factor("suspicion_mult", 0, default.suspicion_mult),
        suspicion_max_timeout_mult: factor(
            "suspicion_max_timeout_mult",
            1,
            default.suspicion_max_timeout_mult,
        ),
        awareness_max_multiplier: factor(
            "awareness_max_multiplier",
            1,
            default.awareness_max_multiplier,
        ),
        gossip_interval: duration("gossip_interval", default.gossip_interval),
        retransmit_mult: factor("retransmit_mult", 1, default.retransmit_mult),
        self_awareness: switch("self_awareness", default.self_awareness),
        dogpile: switch("dogpile", default.dogpile),
        buddy: switch("buddy", default.buddy),
    };
    check_times(table, &swim);
    check_effects(table, &swim);
    swim
}

fn check_times(table: &TableReader<'_>, swim: &Swim) {
    let (interval, timeout) = (swim.probe_interval, swim.probe_timeout);
    if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        let message = format!("a probe interval of {interval} cannot work");
        table.invalid("probe_interval", message, "give \"1ms\" to \"1m\"");
    } else if timeout.is_zero() || timeout >= interval {
        let message = format!(
            "the probe timeout ({timeout}) is not between zero and the probe interval ({interval})"
        );
        let key = if table.has("probe_timeout") {
            "probe_timeout"
        } else {
            "probe_interval"
        };
        let hint = "others are asked after the timeout and must answer within the interval; half of it is usual";
        table.invalid(key, message, hint);
    }
    if swim.gossip_interval < INTERVAL_MIN {
        let message = format!(
            "the gossip interval ({}) is below 1ms",
            swim.gossip_interval
        );
        let hint = "give at least \"1ms\"; a fifth of the probe interval is usual";
        table.invalid("gossip_interval", message, hint);
    }
}

/// An option that would have no effect is refused.
fn check_effects(table: &TableReader<'_>, swim: &Swim) {
    let refuse = |key, why: &str, hint: &str| {
        if table.has(key) {
            table.invalid(key, format!("`{key}` has no effect {why}"), hint);
        }
    };
    if !swim.self_awareness {
        let why = "without `self_awareness`";
        refuse("awareness_max_multiplier", why, "leave one of the two out");
    }
    if !swim.dogpile {
        let why = "without `dogpile`";
        refuse(
            "suspicion_max_timeout_mult",
            why,
            "leave one of the two out",
        );
    } else if swim.suspicion_mult < 3 {
        let why = "with a `suspicion_mult` below 3: nobody's confirmation is waited for";
        let hint = "raise `suspicion_mult`, or set `dogpile = false` and leave its factor out";
        refuse("dogpile", why, hint);
        refuse("suspicion_max_timeout_mult", why, hint);
    }
    if swim.suspicion_mult == 0 && swim.buddy {
        let why = "with `suspicion_mult = 0`: nobody is a suspect for any time";
        refuse("buddy", why, "raise `suspicion_mult`, or leave `buddy` out");
    }
}
