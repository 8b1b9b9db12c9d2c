//! Faults of a node's host that its process cannot see coming: of its disk, of its clock, and of what
//! else a host gives.
//!
//! What a disk gives back is a node's only memory, and what a clock says its only measure of a
//! lease; a strategy is as good as what it makes of both when they lie.
//! Names as in the field: LazyFS and ChaosBlade for disks, Jepsen's nemeses for clocks.

use serde::{Deserialize, Serialize};

use crate::dns_fault::DnsFault;
use crate::units::{Bytes, Duration, Ratio};

/// What goes wrong in a host, with every default filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum HostFault {
    /// No disk operation completes until the fault is healed; then all go on.
    DiskHang {},
    /// Every disk operation takes longer.
    DiskLatency {
        /// By so much at least.
        latency: Duration,
        /// And by a share of this, drawn evenly.
        #[serde(default)]
        jitter: Duration,
        /// Of files whose path fits this pattern; absent: of all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    /// Disk operations fail. After a failed sync the bytes that were to be synced are lost, and a
    /// second sync of them succeeds (Rebello 2020, section 3: so do ext4, XFS and Btrfs).
    DiskFault {
        /// With this error.
        errno: Errno,
        /// Which operations.
        methods: Vec<DiskMethod>,
        /// The first so many of them; absent: all, until the fault is healed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        times: Option<u32>,
        /// Of files whose path fits this pattern; absent: of all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// This share of them; absent: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        percent: Option<Ratio>,
    },
    /// Nothing more can be written; what is there can be read and synced.
    DiskFull {},
    /// One sector (512 bytes) of synced log, not the last, reads back altered. Healing restores
    /// nothing.
    DiskCorrupt {
        /// How.
        damage: Damage,
        /// Of a file whose path fits this pattern; absent: of the one that was synced last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    /// What was not synced is gone, as after the host's death. Healing restores nothing.
    DiskLoseUnsynced {
        /// Writes up to a draw are there, and the one behind is there up to a sector.
        #[serde(default)]
        torn: bool,
    },
    /// The clock runs fast or slow, from what it shows on.
    ClockRate {
        /// Seconds of the clock in a second of time.
        rate: f64,
    },
    /// The clock jumps once; healing sets it back to where it would be.
    ClockBump {
        /// So far.
        delta: Duration,
        /// Which way.
        direction: BumpDirection,
    },
    /// The clock jumps to and fro: in every other period it is ahead.
    ClockStrobe {
        /// So far.
        delta: Duration,
        /// Between two jumps.
        period: Duration,
    },
    /// The node gets less of the processors.
    Cpu {
        /// Beside so many busy processes.
        #[serde(default)]
        hogs: u32,
        /// At most so many processors, a whole or a part of one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quota: Option<f64>,
    },
    /// Memory is short.
    Memory {
        /// The node's processes can take so much more; what they took before is not counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<Bytes>,
        /// Something else on the host holds so much.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pressure: Option<Bytes>,
    },
    /// Looking names up fails, or takes long.
    Dns(DnsFault),
    /// The node's processes can open only a few descriptors more.
    FileDescriptors {
        /// So many.
        left: u32,
    },
}

impl HostFault {
    /// The name an experiment file uses.
    pub fn name(&self) -> &'static str {
        match self {
            HostFault::DiskHang {} => "disk-hang",
            HostFault::DiskLatency { .. } => "disk-latency",
            HostFault::DiskFault { .. } => "disk-fault",
            HostFault::DiskFull {} => "disk-full",
            HostFault::DiskCorrupt { .. } => "disk-corrupt",
            HostFault::DiskLoseUnsynced { .. } => "disk-lose-unsynced",
            HostFault::ClockRate { .. } => "clock-rate",
            HostFault::ClockBump { .. } => "clock-bump",
            HostFault::ClockStrobe { .. } => "clock-strobe",
            HostFault::Cpu { .. } => "cpu",
            HostFault::Memory { .. } => "memory",
            HostFault::Dns(_) => "dns",
            HostFault::FileDescriptors { .. } => "file-descriptors",
        }
    }

    /// Whether a node may end by itself because of it, and be right: its disk fails it, or gives
    /// back what it must not believe.
    pub fn may_end_node(&self) -> bool {
        match self {
            HostFault::DiskFault { .. }
            | HostFault::DiskFull {}
            | HostFault::DiskCorrupt { .. }
            | HostFault::DiskLoseUnsynced { .. }
            | HostFault::Memory { .. }
            | HostFault::FileDescriptors { .. } => true,
            HostFault::DiskHang {}
            | HostFault::DiskLatency { .. }
            | HostFault::ClockRate { .. }
            | HostFault::ClockBump { .. }
            | HostFault::ClockStrobe { .. }
            | HostFault::Cpu { .. }
            | HostFault::Dns(_) => false,
        }
    }
}

/// With what error an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Errno {
    /// The device cannot do it.
    #[serde(rename = "EIO")]
    Io,
    /// There is no room.
    #[serde(rename = "ENOSPC")]
    NoSpace,
    /// The user has no room left.
    #[serde(rename = "EDQUOT")]
    Quota,
    /// The disk has become read-only, as after an error on many systems.
    #[serde(rename = "EROFS")]
    ReadOnly,
    /// It is not allowed.
    #[serde(rename = "EACCES")]
    Denied,
}

impl Errno {
    /// As the C library names it.
    pub const fn name(self) -> &'static str {
        match self {
            Errno::Io => "EIO",
            Errno::NoSpace => "ENOSPC",
            Errno::Quota => "EDQUOT",
            Errno::ReadOnly => "EROFS",
            Errno::Denied => "EACCES",
        }
    }

    /// As Linux numbers it.
    pub const fn number(self) -> i32 {
        match self {
            Errno::Io => 5,
            Errno::NoSpace => 28,
            Errno::Quota => 122,
            Errno::ReadOnly => 30,
            Errno::Denied => 13,
        }
    }
}

/// What a node does to its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskMethod {
    /// Writes bytes.
    Write,
    /// Makes them durable.
    Sync,
    /// Reads bytes.
    Read,
    /// Opens a file that is there.
    Open,
    /// Makes a file, a folder or a link.
    Create,
    /// Gives a file another name.
    Rename,
    /// Removes a file or a folder.
    Unlink,
    /// Makes a file shorter or longer, or reserves room for it.
    Truncate,
}

impl DiskMethod {
    /// All of them with the names of an experiment file.
    pub const ALL: [(&'static str, DiskMethod); 8] = [
        ("write", DiskMethod::Write),
        ("sync", DiskMethod::Sync),
        ("read", DiskMethod::Read),
        ("open", DiskMethod::Open),
        ("create", DiskMethod::Create),
        ("rename", DiskMethod::Rename),
        ("unlink", DiskMethod::Unlink),
        ("truncate", DiskMethod::Truncate),
    ];
}

/// How bytes change by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Damage {
    /// One bit is flipped.
    BitFlip,
    /// The whole sector holds other bytes, as after a write that went astray.
    Scramble,
}

/// Which way a clock jumps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BumpDirection {
    /// Into the future.
    #[default]
    Forward,
    /// Into the past.
    Back,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultKind;

    #[test]
    fn a_fault_of_the_host_stands_in_a_plan_like_any_other() {
        let faults = [
            HostFault::DiskHang {},
            HostFault::DiskFault {
                errno: Errno::Io,
                methods: vec![DiskMethod::Sync],
                times: Some(2),
                path: None,
                percent: None,
            },
            HostFault::ClockRate { rate: 0.5 },
        ];
        for fault in faults {
            let json = serde_json::to_value(FaultKind::Host(fault.clone())).unwrap();
            assert_eq!(json["kind"], fault.name());
            let kind: FaultKind = serde_json::from_value(json).unwrap();
            assert_eq!(kind, FaultKind::Host(fault));
        }
        let json = r#"{"kind":"pause"}"#;
        assert_eq!(
            serde_json::from_str::<FaultKind>(json).unwrap(),
            FaultKind::Pause {}
        );
    }
}
