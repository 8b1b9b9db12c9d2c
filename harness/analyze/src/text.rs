//! Numbers with their units, as verdicts print them.

use shakedown_contracts::metric::{Condition, Unit};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

/// A measured value with its unit.
pub fn value(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Milliseconds if value >= 1_000.0 => format!("{:.3}s", value / 1_000.0),
        Unit::Milliseconds => format!("{value:.1}ms"),
        Unit::Seconds => format!("{value:.3}s"),
        Unit::Count => plain(value),
        Unit::PerHour => format!("{} per hour", plain(value)),
        Unit::PerSecond => format!("{} per second", plain(value)),
        Unit::Ratio => format!("{}%", plain(value * 100.0)),
        Unit::Factor => format!("{}×", plain(value)),
    }
}

/// A condition as an experiment file writes it.
pub fn condition(unit: Unit, condition: Condition) -> String {
    let bound = match unit {
        Unit::Milliseconds if condition.bound >= 0.0 => {
            Duration::from_nanos((condition.bound * 1e6).round() as u64).to_string()
        }
        Unit::Seconds if condition.bound >= 0.0 => {
            Duration::from_nanos((condition.bound * 1e9).round() as u64).to_string()
        }
        Unit::Ratio => format!("{}%", plain(condition.bound * 100.0)),
        _ => plain(condition.bound),
    };
    format!("{} {bound}", condition.comparison.symbol())
}

/// A moment relative to the start of the trial, in seconds.
pub fn since(start: Moment, moment: Moment) -> String {
    format!("{:.3}s", moment.since(start).as_secs_f64())
}

/// `1 word`, `2 words`.
pub fn plural(count: u64, word: &str) -> String {
    if count == 1 {
        format!("1 {word}")
    } else {
        format!("{count} {word}s")
    }
}

fn plain(value: f64) -> String {
    if value == value.trunc() {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::metric::Comparison;

    use super::*;

    #[test]
    fn conditions_read_as_they_were_written() {
        let two_seconds = Condition {
            comparison: Comparison::Less,
            bound: 2_000.0,
        };
        assert_eq!(condition(Unit::Milliseconds, two_seconds), "< 2s");
        let none = Condition {
            comparison: Comparison::Equal,
            bound: 0.0,
        };
        assert_eq!(condition(Unit::Count, none), "== 0");
        assert_eq!(condition(Unit::Milliseconds, none), "== 0s");
        assert_eq!(condition(Unit::Seconds, none), "== 0s");
        let share = Condition {
            comparison: Comparison::AtMost,
            bound: 0.015,
        };
        assert_eq!(condition(Unit::Ratio, share), "<= 1.50%");
    }
}
