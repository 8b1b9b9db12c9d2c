//! `[target.strategy] detector`: its options, and what makes a detector that can only be wrong.

use shakedown_contracts::strategy::Detector;
use shakedown_contracts::units::Duration;

use crate::reader::{Placed, TableReader};
use crate::swim;

/// Arrivals remembered by φ-accrual and chen; more than a day of them at 10 ms helps nothing.
const WINDOW_MAX: u32 = 1_000_000;
/// φ is −log10 of a probability; beyond 300 that is 0 in double precision.
const THRESHOLD_MAX: f64 = 300.0;

/// The detector of that kind.
pub(crate) fn read(table: &TableReader<'_>, kind: &str) -> Detector {
    match kind {
        "fixed-timeout" => fixed_timeout(table),
        "phi-accrual" => phi_accrual(table),
        "chen" => chen(table),
        "progress-probe" => progress_probe(table),
        "connection-close" => connection_close(table),
        "swim" => Detector::Swim(swim::read(table)),
        _ => Detector::None {},
    }
}

/// The contract holds the defaults; they are what an empty table of that kind reads as.
fn defaults(kind: &str) -> Detector {
    serde_json::from_value(serde_json::json!({ "kind": kind }))
        .expect("every option of a detector has a default in the contract")
}

fn value(placed: Option<Placed<Duration>>, default: Duration) -> Duration {
    placed.map_or(default, |placed| placed.value)
}

fn fixed_timeout(table: &TableReader<'_>) -> Detector {
    let mut detector = defaults("fixed-timeout");
    if let Detector::FixedTimeout {
        heartbeat_interval,
        timeout,
        ack,
    } = &mut detector
    {
        *heartbeat_interval = value(
            table.duration_above_zero("heartbeat_interval"),
            *heartbeat_interval,
        );
        *timeout = value(table.duration_above_zero("timeout"), *timeout);
        *ack = table.boolean("ack").unwrap_or(*ack);
        if *timeout <= *heartbeat_interval {
            let message = format!(
                "the timeout ({timeout}) is not above the heartbeat interval ({heartbeat_interval})"
            );
            let key = if table.has("timeout") {
                "timeout"
            } else {
                "heartbeat_interval"
            };
            let hint = "every node would be suspected between two heartbeats; three intervals or more are usual";
            table.invalid(key, message, hint);
        }
    }
    detector
}

fn phi_accrual(table: &TableReader<'_>) -> Detector {
    let mut detector = defaults("phi-accrual");
    if let Detector::PhiAccrual {
        heartbeat_interval,
        threshold,
        min_std_deviation,
        acceptable_pause,
        window,
        ack,
    } = &mut detector
    {
        *heartbeat_interval = value(
            table.duration_above_zero("heartbeat_interval"),
            *heartbeat_interval,
        );
        *threshold = table
            .positive("threshold", THRESHOLD_MAX)
            .unwrap_or(*threshold);
        *min_std_deviation = value(
            table.duration_above_zero("min_std_deviation"),
            *min_std_deviation,
        );
        *acceptable_pause = value(table.duration("acceptable_pause"), *acceptable_pause);
        *window = table.integer("window", 2, WINDOW_MAX).unwrap_or(*window);
        *ack = table.boolean("ack").unwrap_or(*ack);
    }
    detector
}

fn chen(table: &TableReader<'_>) -> Detector {
    let mut detector = defaults("chen");
    if let Detector::Chen {
        heartbeat_interval,
        margin,
        window,
        ack,
    } = &mut detector
    {
        *heartbeat_interval = value(
            table.duration_above_zero("heartbeat_interval"),
            *heartbeat_interval,
        );
        *margin = value(table.duration_above_zero("margin"), *margin);
        *window = table.integer("window", 1, WINDOW_MAX).unwrap_or(*window);
        *ack = table.boolean("ack").unwrap_or(*ack);
    }
    detector
}

fn connection_close(table: &TableReader<'_>) -> Detector {
    let mut detector = defaults("connection-close");
    if let Detector::ConnectionClose { keepalive } = &mut detector {
        *keepalive = value(table.duration_above_zero("keepalive"), *keepalive);
    }
    detector
}

fn progress_probe(table: &TableReader<'_>) -> Detector {
    let mut detector = defaults("progress-probe");
    if let Detector::ProgressProbe {
        probe_interval,
        timeout,
    } = &mut detector
    {
        *probe_interval = value(table.duration_above_zero("probe_interval"), *probe_interval);
        *timeout = value(table.duration_above_zero("timeout"), *timeout);
        if *timeout <= *probe_interval {
            let message = format!(
                "the timeout ({timeout}) is not above the probe interval ({probe_interval})"
            );
            let key = if table.has("timeout") {
                "timeout"
            } else {
                "probe_interval"
            };
            let hint =
                "every node would be suspected between two probes; leave time for a slow sync";
            table.invalid(key, message, hint);
        }
    }
    detector
}
