//! Options of the recovery log: what a node writes down, when it is durable, and when it is
//! replaced by a checkpoint.

use serde::{Deserialize, Serialize};

use crate::units::{Bytes, Duration};

/// What a node writes down so that its own death loses nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RecoveryLog {
    /// Nothing: a restarted node is empty.
    None {},
    /// Write-ahead log of operations, replayed at restart. A checkpoint holds what the group has
    /// committed and nothing else.
    Redo(LogOptions),
    /// The same with before-images: a checkpoint may hold effects of operations that are still in
    /// flight, and a restart rolls those back.
    UndoRedo(LogOptions),
}

/// What a log on disk can be told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogOptions {
    /// When the log is forced to the disk.
    #[serde(default)]
    pub fsync: Fsync,
    /// When the state is written whole, so that the log before it can go.
    #[serde(default)]
    pub checkpoint: Checkpoint,
    /// With `checkpoint = "young-daly"` alone: mean time between two failures of the node.
    /// Absent: [`DEFAULT_MEAN_TIME_BETWEEN_FAILURES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_time_between_failures: Option<Duration>,
    /// How altered bytes are noticed.
    #[serde(default)]
    pub checksum: Checksum,
    /// What follows a sync that failed.
    #[serde(default)]
    pub on_fsync_error: OnFsyncError,
}

/// Mean time between two failures of a node, where `young-daly` is not told.
pub const DEFAULT_MEAN_TIME_BETWEEN_FAILURES: Duration = Duration::from_secs(3600);

impl RecoveryLog {
    /// The options, where there is a log.
    pub fn options(&self) -> Option<&LogOptions> {
        match self {
            RecoveryLog::None {} => None,
            RecoveryLog::Redo(options) | RecoveryLog::UndoRedo(options) => Some(options),
        }
    }
}

impl Default for RecoveryLog {
    fn default() -> Self {
        RecoveryLog::Redo(LogOptions::default())
    }
}

/// What a node does when its disk could not make bytes durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFsyncError {
    /// It ends: what was not synced was not acknowledged, and a restart begins with what the disk
    /// has.
    #[default]
    Panic,
    /// It syncs again and believes the answer (wrong on purpose): the kernel has given the bytes up
    /// and has nothing left to write, so the second sync succeeds (Rebello 2020).
    Retry,
}

/// When a log is forced to the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fsync {
    /// Once for each operation, before it is acknowledged.
    PerOperation,
    /// Once for all operations that arrived during the sync before, before they are acknowledged.
    #[default]
    Group,
    /// Every 100 ms, whatever was acknowledged meanwhile.
    Interval,
    /// Never: the page cache survives a process, not a host.
    Never,
}

/// How altered bytes of log and checkpoints are noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checksum {
    /// CRC32C over each record and each checkpoint: a torn tail is cut, anything else is refused.
    #[default]
    Crc32c,
    /// Not at all (wrong on purpose): what can be parsed is believed, and what cannot be ends the
    /// log, whatever follows.
    None,
}

/// When a checkpoint is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Checkpoint {
    /// Never: recovery replays the whole log.
    None,
    /// After this many bytes of log.
    Bytes(Bytes),
    /// After this time.
    Every(Duration),
    /// After √(2·C·M): C is what the node's last checkpoint took, M the mean time between
    /// failures (Young 1974, Daly 2006).
    YoungDaly,
    /// After 4 MiB of log.
    #[default]
    Default,
}

impl Checkpoint {
    /// Log bytes after which a checkpoint is due, where that is the rule.
    pub fn bytes(self) -> Option<u64> {
        match self {
            Checkpoint::Bytes(bytes) => Some(bytes.0),
            Checkpoint::Default => Some(4 << 20),
            Checkpoint::None | Checkpoint::Every(_) | Checkpoint::YoungDaly => None,
        }
    }
}

impl From<Checkpoint> for String {
    fn from(value: Checkpoint) -> String {
        match value {
            Checkpoint::None => "none".to_owned(),
            Checkpoint::Bytes(bytes) => bytes.to_string(),
            Checkpoint::Every(duration) => duration.to_string(),
            Checkpoint::YoungDaly => "young-daly".to_owned(),
            Checkpoint::Default => "4MiB".to_owned(),
        }
    }
}

impl TryFrom<String> for Checkpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "none" {
            return Ok(Checkpoint::None);
        }
        if text == "young-daly" {
            return Ok(Checkpoint::YoungDaly);
        }
        let bytes = text.parse().map(Checkpoint::Bytes);
        bytes.or_else(|_| text.parse().map(Checkpoint::Every)).map_err(|_| {
            format!("{text:?} is no checkpoint rule; write \"none\", a size like \"4MiB\", a time like \"10s\", or \"young-daly\"")
        })
    }
}
