//! What a gate requires: `"< 2s"`, `"= 0"`, `">= 95%"`, read in the unit of its metric.

use shakedown_contracts::metric::{Comparison, Condition, Unit};
use shakedown_contracts::units::{Duration, Ratio};

/// Longest first: `<` also begins `<=`.
const COMPARISONS: [(&str, Comparison); 7] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("=", Comparison::Equal),
];

/// Reads a condition.
///
/// # Errors
/// What is wrong with the text, and what to write.
pub(crate) fn condition(text: &str, unit: Unit) -> Result<Condition, (String, String)> {
    let text = text.trim();
    let found = COMPARISONS
        .iter()
        .find_map(|(symbol, comparison)| Some((*comparison, text.strip_prefix(symbol)?.trim())));
    let Some((comparison, written)) = found else {
        let message = "a condition begins with a comparison".to_owned();
        return Err((message, format!("write it like {}", example(unit))));
    };
    let bound = bound(written, unit).filter(|bound| bound.is_finite() && *bound >= 0.0);
    match bound {
        Some(bound) => Ok(Condition { comparison, bound }),
        None => {
            let message = format!(
                "{} is no {}",
                crate::reader::quoted(written),
                unit_name(unit)
            );
            Err((message, format!("write it like {}", example(unit))))
        }
    }
}

fn bound(written: &str, unit: Unit) -> Option<f64> {
    match unit {
        Unit::Milliseconds if written == "0" => Some(0.0),
        Unit::Milliseconds => written
            .parse::<Duration>()
            .ok()
            .map(Duration::as_millis_f64),
        Unit::Seconds if written == "0" => Some(0.0),
        Unit::Seconds => written.parse::<Duration>().ok().map(Duration::as_secs_f64),
        Unit::Ratio => written.parse::<Ratio>().ok().map(Ratio::as_f64),
        Unit::Count => written.parse::<u64>().ok().map(|count| count as f64),
        Unit::PerHour | Unit::PerSecond | Unit::Factor => written.parse::<f64>().ok(),
    }
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Milliseconds | Unit::Seconds => "duration",
        Unit::Ratio => "share",
        Unit::Count => "count",
        Unit::PerHour => "number of events an hour",
        Unit::PerSecond => "number of operations a second",
        Unit::Factor => "factor",
    }
}

fn example(unit: Unit) -> &'static str {
    match unit {
        Unit::Milliseconds | Unit::Seconds => "\"< 2s\" or \"<= 200ms\"",
        Unit::Ratio => "\">= 95%\"",
        Unit::Count => "\"= 0\" or \"< 10\"",
        Unit::PerHour => "\"< 3.5\"",
        Unit::PerSecond => "\">= 100\"",
        Unit::Factor => "\"<= 1.25\"",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_read_in_the_metrics_unit() {
        let read = |text, unit| condition(text, unit).map(|c| (c.comparison, c.bound)).ok();
        assert_eq!(
            read("< 2s", Unit::Milliseconds),
            Some((Comparison::Less, 2000.0))
        );
        assert_eq!(
            read("<=200ms", Unit::Milliseconds),
            Some((Comparison::AtMost, 200.0))
        );
        assert_eq!(
            read("= 0", Unit::Milliseconds),
            Some((Comparison::Equal, 0.0))
        );
        assert_eq!(read("== 0", Unit::Count), Some((Comparison::Equal, 0.0)));
        assert_eq!(
            read(">= 95%", Unit::Ratio),
            Some((Comparison::AtLeast, 0.95))
        );
        assert_eq!(read("!= 3", Unit::Count), Some((Comparison::NotEqual, 3.0)));
        assert_eq!(
            read("> 1.5", Unit::PerHour),
            Some((Comparison::Greater, 1.5))
        );
        for (text, unit) in [
            ("< 2s", Unit::Count),
            ("< 2", Unit::Milliseconds),
            ("2s", Unit::Milliseconds),
            ("< -1", Unit::PerSecond),
            ("< NaN", Unit::PerSecond),
            ("< 101%", Unit::Ratio),
            ("", Unit::Count),
        ] {
            assert!(condition(text, unit).is_err(), "{text}");
        }
    }
}
