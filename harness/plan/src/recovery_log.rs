//! `[target.strategy] recovery_log`: its options, and what makes a checkpoint rule that cannot work.

use shakedown_contracts::strategy::{
    Checkpoint, Checksum, DEFAULT_MEAN_TIME_BETWEEN_FAILURES, Fsync, LogOptions, OnFsyncError,
    RecoveryLog,
};
use shakedown_contracts::units::{Bytes, Duration};

use crate::reader::{TableReader, quoted};

/// The default log, with the default checkpoint written as its value.
pub(crate) fn default() -> RecoveryLog {
    RecoveryLog::Redo(LogOptions {
        checkpoint: default_checkpoint(),
        ..LogOptions::default()
    })
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
    let options = options(part);
    match kind {
        "undo-redo" => {
            if options.checkpoint == Checkpoint::None && part.has("checkpoint") {
                let message = "`undo-redo` without checkpoints has nothing to undo";
                let hint = "give a checkpoint rule, or use kind \"redo\"";
                part.invalid("checkpoint", message, hint);
            }
            RecoveryLog::UndoRedo(options)
        }
        _ => RecoveryLog::Redo(options),
    }
}

fn options(part: &TableReader<'_>) -> LogOptions {
    let fsync = part.choice(
        "fsync",
        &[
            ("per-operation", Fsync::PerOperation),
            ("group", Fsync::Group),
            ("interval", Fsync::Interval),
            ("never", Fsync::Never),
        ],
    );
    let checksum = part.choice(
        "checksum",
        &[("crc32c", Checksum::Crc32c), ("none", Checksum::None)],
    );
    let fsync = fsync.unwrap_or_default();
    let checkpoint = checkpoint(part);
    LogOptions {
        fsync,
        checkpoint,
        mean_time_between_failures: mean_time_between_failures(part, checkpoint),
        checksum: checksum.unwrap_or_default(),
        on_fsync_error: on_fsync_error(part, fsync),
    }
}

fn checkpoint(part: &TableReader<'_>) -> Checkpoint {
    let written = part.text("checkpoint").and_then(|text| {
        let zero = |checkpoint: &Checkpoint| {
            matches!(checkpoint, Checkpoint::Bytes(bytes) if bytes.0 == 0)
                || matches!(checkpoint, Checkpoint::Every(every) if every.is_zero())
        };
        match Checkpoint::try_from(text.value.to_owned()) {
            Ok(checkpoint) if !zero(&checkpoint) => Some(checkpoint),
            _ => {
                let message = format!("{} is no checkpoint rule", quoted(text.value));
                let hint =
                    "write \"none\", a size like \"4MiB\", a time like \"10s\", or \"young-daly\"";
                part.invalid("checkpoint", message, hint);
                None
            }
        }
    });
    written.unwrap_or_else(default_checkpoint)
}

fn on_fsync_error(part: &TableReader<'_>, fsync: Fsync) -> OnFsyncError {
    const KEY: &str = "on_fsync_error";
    let written = part.choice(
        KEY,
        &[
            ("panic", OnFsyncError::Panic),
            ("retry", OnFsyncError::Retry),
        ],
    );
    if fsync == Fsync::Never && written.is_some() {
        let message = format!("`{KEY}` has no effect with `fsync = \"never\"`");
        part.invalid(KEY, message, "leave one of the two out");
    }
    written.unwrap_or_default()
}

fn mean_time_between_failures(part: &TableReader<'_>, checkpoint: Checkpoint) -> Option<Duration> {
    const KEY: &str = "mean_time_between_failures";
    if checkpoint != Checkpoint::YoungDaly {
        if part.has(KEY) {
            let message = format!("`{KEY}` has no effect without `checkpoint = \"young-daly\"`");
            part.invalid(KEY, message, "leave one of the two out");
        }
        return None;
    }
    let written = part.duration_above_zero(KEY).map(|placed| placed.value);
    Some(written.unwrap_or(DEFAULT_MEAN_TIME_BETWEEN_FAILURES))
}
