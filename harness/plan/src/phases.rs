//! `[phases]`: how long each part of a trial lasts.

use shakedown_contracts::plan::Phases;
use shakedown_contracts::units::Duration;

use crate::reader::TableReader;

/// A phase longer than a day is a mistake in the unit.
const PHASE_MAX: Duration = Duration::from_secs(24 * 3600);

/// The phases with their defaults.
pub(crate) fn read(root: &TableReader<'_>) -> Phases {
    let table = root.table("phases");
    let phase = |key: &'static str, default: Duration| {
        let Some(table) = &table else { return default };
        let Some(phase) = table.duration_above_zero(key) else {
            return default;
        };
        if phase.value > PHASE_MAX {
            let message = format!("`phases.{key}` lasts {}", phase.value);
            table.invalid(key, message, format!("a phase lasts at most {PHASE_MAX}"));
            return default;
        }
        phase.value
    };
    let warm_up = phase("warm_up", Duration::from_secs(2));
    let fault = phase("fault", Duration::from_secs(5));
    let settle = phase("settle", Duration::from_secs(3));
    if let Some(table) = table {
        table.finish();
    }
    let tenth = Duration::from_nanos((warm_up.as_nanos() / 10).max(1));
    Phases {
        warm_up,
        fault,
        settle,
        bin: tenth.min(Duration::from_secs(1)),
    }
}
