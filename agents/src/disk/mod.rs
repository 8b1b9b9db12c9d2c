//! A node's disk that can fail: its folder, served to it by a process of the agent's through FUSE.
//!
//! `mount` puts the disk over the folder, in the agent's own mount namespace, so that it is there before the node
//! is and goes with the agent; `server` is the process that serves it, `gate` what operations meet, `files` and
//! `unsynced` what stands behind, `request`, `operations` and `answer` the work on what is asked; `control` is what agent and
//! server say to each other, `probe` how the agent sees what the node would.
//!
//! The invariant: without a fault every operation is carried out at once on the folder, so what the node wrote
//! is there, under its own name, when the disk is gone.

mod answer;
mod control;
mod damage;
mod files;
mod gate;
mod mount;
mod operations;
mod probe;
mod request;
mod server;
mod unsynced;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::host_fault::{Damage, HostFault};
use shakedown_contracts::units::Duration;

pub use control::{Damaged, Met};
use control::{Order, PACKET_BYTES_MAX, Reply};
pub use mount::Unserved;
pub use probe::Step;

use crate::process::child::Child;

/// The server answers within microseconds, and within a second on a machine that is busy.
const ANSWER_LIMIT_MS: u16 = 10_000;

/// Steps of a whole probe.
pub const PROBE_STEPS: usize = probe::STEPS.len();

/// A disk that is served; unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    /// Opened through the disk while it was sound, so that a probe needs no open.
    probe_file: File,
    orders: OwnedFd,
    /// Ended when this is: whoever still waits for it gets an error from the kernel.
    _server: Child,
}

impl Disk {
    /// Serves the folder to whoever is started after this in the same or a later mount namespace.
    ///
    /// # Errors
    /// [`Unserved`], with what to do.
    pub fn serve(folder: &Path, seed: u64) -> Result<Disk, Unserved> {
        let (server, orders) = mount::mount(folder, seed)?;
        let probe_file = probe::open_file(folder).map_err(|source| {
            mount::unmount(folder);
            Unserved::new("opening a file through it", source)
        })?;
        Ok(Disk {
            folder: folder.to_owned(),
            probe_file,
            orders,
            _server: server,
        })
    }

    /// Has operations meet the fault.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn begin(&self, id: &FaultId, fault: &HostFault) -> io::Result<()> {
        let (id, fault) = (id.clone(), fault.clone());
        self.met(&Order::Begin { id, fault }).map(drop)
    }

    /// Ends the fault; what operations have met of it.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn end(&self, id: &FaultId) -> io::Result<Met> {
        self.met(&Order::End { id: id.clone() })
    }

    /// What operations have met of a fault so far.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn look(&self, id: &FaultId) -> io::Result<Met> {
        self.met(&Order::Look { id: id.clone() })
    }

    /// Alters one sector of a file that was synced; of which, as read through the disk before and after.
    ///
    /// # Errors
    /// When there is none, or the server is gone.
    pub fn damage(
        &self,
        id: &FaultId,
        damage: Damage,
        path: Option<String>,
    ) -> io::Result<Damaged> {
        let id = id.clone();
        match self.order(&Order::Damage { id, damage, path })? {
            Reply::Damaged(damaged) => Ok(damaged),
            other => Err(unexpected(&other)),
        }
    }

    /// Forgets what was not synced, or all of it behind a draw, with a write torn there; of how many files how
    /// many bytes.
    ///
    /// # Errors
    /// When the server is gone or cannot write.
    pub fn lose(&self, id: &FaultId, torn: bool) -> io::Result<(usize, u64)> {
        let id = id.clone();
        match self.order(&Order::Lose { id, torn })? {
            Reply::Lost { files, bytes } => Ok((files, bytes)),
            other => Err(unexpected(&other)),
        }
    }

    /// Bytes of a file as the node reads them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(&self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let relative = path.trim_start_matches('/');
        let mut bytes = vec![0; length];
        File::open(self.folder.join(relative))?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Does what a node does, in a process that is killed at the limit; the steps that completed.
    ///
    /// # Errors
    /// When no process can be started.
    pub fn probe(&self, limit: Duration) -> io::Result<Vec<Step>> {
        probe::run(&self.folder, &self.probe_file, PROBE_STEPS, limit)
    }

    /// The same, but ends behind the first step, a write; how long that took.
    ///
    /// # Errors
    /// When no process can be started.
    pub fn probe_write(&self, limit: Duration) -> io::Result<Option<Duration>> {
        let steps = probe::run(&self.folder, &self.probe_file, 1, limit)?;
        Ok(steps.first().map(|step| step.took))
    }

    /// Bytes free by the disk's own word.
    ///
    /// # Errors
    /// When it does not say.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let statistics = nix::sys::statvfs::statvfs(&self.folder)?;
        Ok(statistics.blocks_available() * statistics.fragment_size())
    }

    fn met(&self, order: &Order) -> io::Result<Met> {
        match self.order(order)? {
            Reply::Met(met) => Ok(met),
            other => Err(unexpected(&other)),
        }
    }

    fn order(&self, order: &Order) -> io::Result<Reply> {
        send(
            self.orders.as_raw_fd(),
            &serde_json::to_vec(order)?,
            MsgFlags::MSG_NOSIGNAL,
        )?;
        let mut waiting = [PollFd::new(self.orders.as_fd(), PollFlags::POLLIN)];
        if poll(&mut waiting, PollTimeout::from(ANSWER_LIMIT_MS))? == 0 {
            let message = format!("the disk's server did not answer in {ANSWER_LIMIT_MS} ms");
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        let length = File::from(self.orders.try_clone()?).read(&mut buffer)?;
        if length == 0 {
            return Err(io::Error::other("the disk's server has ended"));
        }
        match serde_json::from_slice(&buffer[..length])? {
            Reply::Refused { reason } => Err(io::Error::other(reason)),
            answer => Ok(answer),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        mount::unmount(&self.folder);
    }
}

fn unexpected(answer: &Reply) -> io::Error {
    io::Error::other(format!("the disk's server answered {answer:?}"))
}
