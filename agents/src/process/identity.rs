//! Which process a number means.
//!
//! A pid alone is reused; a pid with its start time is not, within one boot. Source: proc(5),
//! `/proc/<pid>/stat` field 22 and `/proc/sys/kernel/random/boot_id`.

use std::io;

use serde::{Deserialize, Serialize};

/// One process of one boot, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its number in our pid namespace.
    pub pid: i32,
    /// When it was started, in clock ticks since boot.
    pub start_ticks: u64,
}

impl ProcessIdentity {
    /// Who has this number now.
    ///
    /// # Errors
    /// Not found when nobody has it.
    pub fn of(pid: i32) -> io::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let start_ticks = start_ticks(&stat).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("/proc/{pid}/stat is not proc(5)'s"),
            )
        })?;
        Ok(ProcessIdentity { pid, start_ticks })
    }

    /// True while this very process exists and has not ended (a zombie has).
    pub fn is_alive(self) -> bool {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)) else {
            return false;
        };
        start_ticks(&stat) == Some(self.start_ticks) && !matches!(state(&stat), Some('Z' | 'X'))
    }
}

/// The running kernel's boot id.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// Fields of a `stat` line after the command name, which may itself hold blanks and brackets.
fn fields(stat: &str) -> Option<std::str::SplitAsciiWhitespace<'_>> {
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace())
}

/// Field 3, the state letter.
pub(crate) fn state(stat: &str) -> Option<char> {
    fields(stat)?.next()?.chars().next()
}

/// Field 4, the parent.
pub(crate) fn parent(stat: &str) -> Option<i32> {
    fields(stat)?.nth(1)?.parse().ok()
}

/// Field 22, the start time.
fn start_ticks(stat: &str) -> Option<u64> {
    fields(stat)?.nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_brackets_does_not_shift_the_fields() {
        let numbers: Vec<String> = (4..=52).map(|field| field.to_string()).collect();
        let stat = format!("7 (a) b (c) T {}", numbers.join(" "));
        assert_eq!(state(&stat), Some('T'));
        assert_eq!(parent(&stat), Some(4));
        assert_eq!(start_ticks(&stat), Some(22));
    }

    #[test]
    fn the_same_number_with_another_start_time_is_another_process() {
        let own = ProcessIdentity::of(std::process::id() as i32).unwrap();
        assert!(own.is_alive());
        let other = ProcessIdentity {
            start_ticks: own.start_ticks + 1,
            ..own
        };
        assert!(!other.is_alive());
    }
}
