//! Numbers with their units, as short as they stay honest.

use shakedown_contracts::metric::{MetricDescription, Unit};
use shakedown_contracts::verdict::MetricSummary;

/// A cell: `median / worst`, or one number where they are equal; `never` for what did not come.
pub(crate) fn cell(summary: &MetricSummary, metric: Option<&MetricDescription>) -> String {
    let smaller_is_better = metric.is_none_or(|metric| metric.smaller_is_better);
    let worst = if smaller_is_better {
        summary.max
    } else {
        summary.min
    };
    match (summary.count, summary.never) {
        (0, 0) => match summary.bound {
            Some(bound) => format!("< {}", number(bound, summary.unit)),
            None => "–".to_owned(),
        },
        (0, _) => "never".to_owned(),
        (_, 0) => {
            let (median, worst) = (
                digits(summary.p50, summary.unit),
                digits(worst, summary.unit),
            );
            let text = if median == worst {
                worst
            } else {
                format!("{median} / {worst}")
            };
            let bound = summary.bound.filter(|_| summary.max == 0.0);
            let bound = bound.map(|bound| format!(" (< {})", digits(bound, summary.unit)));
            format!("{text}{}{}", bound.unwrap_or_default(), unit(summary.unit))
        }
        (count, never) => {
            let median = number(summary.p50, summary.unit);
            format!("{median} / never ({never} of {})", count + never)
        }
    }
}

/// A number with its unit.
pub(crate) fn number(value: f64, of: Unit) -> String {
    format!("{}{}", digits(value, of), unit(of))
}

fn digits(value: f64, of: Unit) -> String {
    match of {
        Unit::Milliseconds if value == 0.0 || value.abs() >= 100.0 => format!("{value:.0}"),
        Unit::Milliseconds if value.abs() < 1.0 => format!("{value:.2}"),
        Unit::Milliseconds => format!("{value:.1}"),
        Unit::Seconds if value == 0.0 => "0".to_owned(),
        Unit::Seconds => format!("{value:.2}"),
        Unit::Count => format!("{value:.0}"),
        Unit::PerHour | Unit::PerSecond if value.fract() == 0.0 || value.abs() >= 100.0 => {
            format!("{value:.0}")
        }
        Unit::PerHour | Unit::PerSecond => format!("{value:.1}"),
        Unit::Ratio => format!("{:.1}", value * 100.0),
        Unit::Factor => format!("{value:.2}"),
    }
}

fn unit(of: Unit) -> &'static str {
    match of {
        Unit::Milliseconds => " ms",
        Unit::Seconds => " s",
        Unit::Count => "",
        Unit::PerHour => "/h",
        Unit::PerSecond => "/s",
        Unit::Ratio => " %",
        Unit::Factor => " ×",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(count: u64, never: u64, p50: f64, max: f64) -> MetricSummary {
        let unit = Unit::Milliseconds;
        MetricSummary {
            unit,
            count,
            min: p50,
            mean: p50,
            p50,
            p90: max,
            p99: max,
            max,
            never,
            bound: None,
        }
    }

    #[test]
    fn what_never_came_is_never_printed_as_a_number() {
        assert_eq!(cell(&summary(0, 3, 0.0, 0.0), None), "never");
        assert_eq!(
            cell(&summary(2, 1, 412.0, 447.0), None),
            "412 ms / never (1 of 3)"
        );
        assert_eq!(cell(&summary(3, 0, 412.0, 447.0), None), "412 / 447 ms");
        assert_eq!(cell(&summary(1, 0, 0.25, 0.25), None), "0.25 ms");
        assert_eq!(cell(&summary(0, 0, 0.0, 0.0), None), "–");
    }
}
