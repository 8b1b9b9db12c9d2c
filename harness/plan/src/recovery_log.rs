//! `[target.strategy] recovery_log`: its options, and what makes a checkpoint rule that cannot work.

use shakedown_contracts::strategy::{Checkpoint, Fsync, RecoveryLog};
use shakedown_contracts::units::Bytes;

use crate::reader::{TableReader, quoted};

/// The default log, with the default checkpoint written as its value.
pub(crate) fn default() -> RecoveryLog {
    RecoveryLog::Redo {
        fsync: Fsync::default(),
        checkpoint: default_checkpoint(),
    }
}

fn default_checkpoint() -> Checkpoint {
    Checkpoint::default()
        .bytes()
        .map_or(Checkpoint::None, |bytes| Checkpoint::Bytes(Bytes(bytes)))
}

/// The recovery log of that kind.
pub(crate) fn read(part: &TableReader<'_>, kind: &str) -> RecoveryLog {
    if kind == "none" {
        return RecoveryLog::None {};
    }
    let fsync = part.choice(
        "fsync",
        &[
            ("per-operation", Fsync::PerOperation),
            ("group", Fsync::Group),
            ("interval", Fsync::Interval),
            ("never", Fsync::Never),
        ],
    );
    let checkpoint = part.text("checkpoint").and_then(|text| {
        let hint = "write \"none\", a size like \"4MiB\" or a time like \"10s\"";
        let parsed = Checkpoint::try_from(text.value.to_owned());
        let zero = |checkpoint: &Checkpoint| {
            matches!(checkpoint, Checkpoint::Bytes(bytes) if bytes.0 == 0)
                || matches!(checkpoint, Checkpoint::Every(every) if every.is_zero())
        };
        match parsed {
            Ok(checkpoint) if !zero(&checkpoint) => Some(checkpoint),
            _ => {
                let message = format!("{} is no checkpoint rule", quoted(text.value));
                part.invalid("checkpoint", message, hint);
                None
            }
        }
    });
    RecoveryLog::Redo {
        fsync: fsync.unwrap_or_default(),
        checkpoint: checkpoint.unwrap_or_else(default_checkpoint),
    }
}
