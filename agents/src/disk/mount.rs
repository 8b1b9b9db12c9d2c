//! Puts a disk over a folder: the mount, and the process that serves it.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use thiserror::Error;

use super::server::serve;
use crate::process::child::Child;

const DEVICE: &str = "/dev/fuse";

/// Why a folder cannot be served as a disk.
#[derive(Debug, Error)]
#[error("serving the node's disk through FUSE: {action}: {source}{hint}")]
pub struct Unserved {
    action: &'static str,
    source: io::Error,
    hint: &'static str,
}

impl Unserved {
    pub(super) fn new(action: &'static str, source: io::Error) -> Self {
        let hint = match (action == OPENING, source.kind()) {
            (true, io::ErrorKind::NotFound) => {
                "; the kernel's module fuse is missing: `modprobe fuse`"
            }
            (true, io::ErrorKind::PermissionDenied) => {
                "; run as root, or have root open it to all: `chmod 666 /dev/fuse`"
            }
            _ => "",
        };
        Unserved {
            action,
            source,
            hint,
        }
    }
}

const OPENING: &str = "opening /dev/fuse";

/// Takes the disk away. Files that are open on it stay open.
pub(super) fn unmount(folder: &Path) {
    // It goes with the agent's mount namespace otherwise.
    let _ = umount2(folder, MntFlags::MNT_DETACH);
}

/// Mounts over the folder and starts the server; where it takes orders.
pub(super) fn mount(folder: &Path, seed: u64) -> Result<(Child, OwnedFd), Unserved> {
    let open = |path: &Path, flags| {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags(flags)
            .open(path)
            .map(OwnedFd::from)
    };
    let device = OpenOptions::new().read(true).write(true).open(DEVICE);
    let device = OwnedFd::from(device.map_err(|error| Unserved::new(OPENING, error))?);
    let root = open(folder, libc::O_PATH | libc::O_DIRECTORY);
    let root = root.map_err(|error| Unserved::new("opening the node's folder", error))?;
    let pair = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    );
    let (ours, theirs) =
        pair.map_err(|errno| Unserved::new("making a socket pair", errno.into()))?;
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions,allow_other",
        device.as_raw_fd(),
        nix::unistd::getuid(),
        nix::unistd::getgid(),
    );
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    nix::mount::mount(
        Some("shakedown-disk"),
        folder,
        Some("fuse"),
        flags,
        Some(options.as_str()),
    )
    .map_err(|errno| Unserved::new("mounting", errno.into()))?;
    match start(device, root, theirs, seed) {
        Ok(server) => Ok((server, ours)),
        Err(error) => {
            unmount(folder);
            Err(Unserved::new("starting its server", error))
        }
    }
}

fn start(device: OwnedFd, root: OwnedFd, orders: OwnedFd, seed: u64) -> io::Result<Child> {
    let kept = [device.as_raw_fd(), root.as_raw_fd(), orders.as_raw_fd()];
    // SAFETY: an agent has one thread.
    unsafe {
        Child::start(c"shakedown-disk", &kept, || {
            have_room_for_files();
            if let Err(error) = serve(device, root, &orders, seed) {
                eprintln!("the disk's server cannot go on: {error}");
            }
        })
    }
}

/// Each file that the kernel knows takes a descriptor.
fn have_room_for_files() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // A refusal leaves what there was.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}
