//! The agent's own use of the disk, to see what the node would: in a process of its own, which may hang.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;
use shakedown_contracts::host_fault::DiskMethod;
use shakedown_contracts::units::Duration;

use super::operations::PROBE_NAME;
use crate::clock::now;
use crate::process::child::Child;

/// What a probe does, in this order.
pub(super) const STEPS: [DiskMethod; 8] = [
    DiskMethod::Write,
    DiskMethod::Read,
    DiskMethod::Sync,
    DiskMethod::Truncate,
    DiskMethod::Open,
    DiskMethod::Create,
    DiskMethod::Rename,
    DiskMethod::Unlink,
];
/// A step's number, nanoseconds, error number.
const REPORT_BYTES: usize = 24;
const WRITTEN: usize = 512;

/// A step that completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What it was.
    pub method: DiskMethod,
    /// How long it took.
    pub took: Duration,
    /// The error number with which it failed.
    pub errno: Option<i32>,
}

/// The file that probes write.
pub(super) fn open_file(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(folder.join(PROBE_NAME))
}

/// Runs a probe; the steps, `wanted` at most, that completed within the limit.
pub(super) fn run(
    folder: &Path,
    file: &File,
    wanted: usize,
    limit: Duration,
) -> io::Result<Vec<Step>> {
    let name = |suffix: &str| {
        let path = folder.join(format!("{PROBE_NAME}{suffix}"));
        CString::new(path.as_os_str().as_bytes())
    };
    let names = [name("")?, name("-new")?, name("-renamed")?];
    let (read, write) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let (file, reports) = (file.as_raw_fd(), write.as_raw_fd());
    // SAFETY: async-signal-safe calls only.
    let probe = unsafe {
        Child::start(c"shakedown-probe", &[file, reports], || {
            take_steps(file, &names, reports);
        })
    }?;
    drop(write);
    let steps = collect(read, wanted, limit);
    if !probe.end()? {
        let pid = probe.pid();
        return Err(io::Error::other(format!("probe {pid} cannot be ended")));
    }
    steps
}

/// Reads reports until the wanted steps are there, the probe has ended, or the limit.
fn collect(read: OwnedFd, wanted: usize, limit: Duration) -> io::Result<Vec<Step>> {
    let until = now().after(limit);
    let mut steps = Vec::new();
    let mut read = File::from(read);
    while steps.len() < wanted {
        let left = until.since(now()).as_nanos().div_ceil(1_000_000);
        let timeout = PollTimeout::try_from(left.min(i32::MAX as u64)).unwrap_or(PollTimeout::MAX);
        let mut waiting = [PollFd::new(read.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, timeout) {
            Ok(0) => break,
            Err(nix::errno::Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
            Ok(_) => {}
        }
        // A report is written at once.
        let mut report = [0; REPORT_BYTES];
        if read.read(&mut report)? < REPORT_BYTES {
            break;
        }
        let (fields, _) = report.as_chunks::<8>();
        let [number, nanos, errno] = [0, 1, 2].map(|at| u64::from_ne_bytes(fields[at]));
        steps.push(Step {
            method: STEPS[number as usize % STEPS.len()],
            took: Duration::from_nanos(nanos),
            errno: (errno != 0).then_some(errno as i32),
        });
    }
    Ok(steps)
}

/// Takes all steps and reports each.
///
/// # Safety
/// The descriptors are open.
unsafe fn take_steps(file: RawFd, names: &[CString; 3], reports: RawFd) {
    let [base, new, renamed] = names;
    let buffer = [0x5a_u8; WRITTEN];
    let mut back = [0_u8; WRITTEN];
    // SAFETY: async-signal-safe calls; pointers are to locals and terminated names.
    unsafe {
        for (number, method) in STEPS.iter().enumerate() {
            let began = now();
            let result = match method {
                DiskMethod::Write => libc::pwrite(file, buffer.as_ptr().cast(), WRITTEN, 0),
                DiskMethod::Read => libc::pread(file, back.as_mut_ptr().cast(), WRITTEN, 0),
                DiskMethod::Sync => libc::fsync(file) as isize,
                DiskMethod::Truncate => libc::ftruncate(file, WRITTEN as libc::off_t) as isize,
                DiskMethod::Open => libc::open(base.as_ptr(), libc::O_RDWR) as isize,
                DiskMethod::Create => {
                    libc::open(new.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600) as isize
                }
                DiskMethod::Rename => libc::rename(new.as_ptr(), renamed.as_ptr()) as isize,
                DiskMethod::Unlink => libc::unlink(renamed.as_ptr()) as isize,
            };
            let errno = if result < 0 {
                *libc::__errno_location()
            } else {
                0
            };
            let took = now().since(began).as_nanos();
            let report = [number as u64, took, errno as u64];
            libc::write(reports, report.as_ptr().cast(), REPORT_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_probe_of_a_sound_folder_completes_every_step() {
        let folder = tempfile::tempdir().unwrap();
        let file = open_file(folder.path()).unwrap();
        let steps = run(folder.path(), &file, STEPS.len(), Duration::from_secs(20)).unwrap();
        let methods: Vec<DiskMethod> = steps.iter().map(|step| step.method).collect();
        assert_eq!(methods, STEPS);
        assert!(steps.iter().all(|step| step.errno.is_none()), "{steps:?}");
    }

    #[test]
    fn reports_end_with_their_writer() {
        let (read, write) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let report = [2_u64, 77, 5].map(u64::to_ne_bytes).concat();
        File::from(write).write_all(&report).unwrap();
        let steps = collect(read, STEPS.len(), Duration::from_secs(20)).unwrap();
        let expected = Step {
            method: DiskMethod::Sync,
            took: Duration::from_nanos(77),
            errno: Some(5),
        };
        assert_eq!(steps, [expected]);
    }
}
