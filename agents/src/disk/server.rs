//! The process that serves a disk: reads requests, asks the gate what they meet, answers.
//!
//! ```text
//! /dev/fuse ─► readers ─► gate ─┬─ at once: carried out, answered
//!                               ├─ later:   waiting ─► late ones, at their time
//!                               └─ hangs:   waiting, until the fault is healed or the asker is killed
//! agent ─► orders ─► gate
//! ```
//! A process that is killed while it waits must be let go, or it could not die: the kernel says that it was
//! interrupted, and it is answered `EINTR` once a SIGKILL is pending for it (and for no other signal: a
//! disk does not interrupt anybody).
//!
//! Invariant: each request is answered once, and none is carried out before its time.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration as StdDuration;

use shakedown_contracts::fault::FaultId;
use shakedown_contracts::host_fault::{Damage, DiskMethod};
use shakedown_contracts::time::Moment;

use super::answer::Answer;
use super::control::{Damaged, Met, Order, PACKET_BYTES_MAX, Reply};
use super::files::{Files, lock};
use super::gate::{Fate, Gate, Operation};
use super::operations::{carry_out, is_probe};
use super::request::{Call, REQUEST_BYTES_MAX, Request};
use crate::clock::now;

/// Requests that are carried out side by side: more than programs sync at once.
const READERS: usize = 4;
const LATE_ONES: usize = 4;
/// Between two looks whether somebody who waits has been killed.
const KILLED_LOOK: StdDuration = StdDuration::from_millis(5);
const SECTOR_BYTES: u64 = 512;

struct Server {
    device: File,
    files: Files,
    desk: Mutex<Desk>,
    /// Something waits, or may go on.
    changed: Condvar,
}

/// What is decided under one lock.
struct Desk {
    gate: Gate,
    waiting: Vec<Waiting>,
    /// Requests that were interrupted before anybody had them wait.
    interrupted: BTreeSet<u64>,
}

struct Waiting {
    request: Request,
    fate: Fate,
    arrived: Moment,
    /// `None`: until a heal.
    due: Option<Moment>,
    interrupted: bool,
}

/// Serves until the agent's end of `orders` closes, or the disk is unmounted. Called in a process of its own.
pub(super) fn serve(
    device: OwnedFd,
    root: OwnedFd,
    orders: &OwnedFd,
    seed: u64,
) -> std::io::Result<()> {
    let server = Arc::new(Server {
        device: File::from(device),
        files: Files::new(root)?,
        desk: Mutex::new(Desk {
            gate: Gate::new(seed),
            waiting: Vec::new(),
            interrupted: BTreeSet::new(),
        }),
        changed: Condvar::new(),
    });
    for _ in 0..READERS {
        let server = server.clone();
        std::thread::Builder::new().spawn(move || server.read())?;
    }
    for _ in 0..LATE_ONES {
        let server = server.clone();
        std::thread::Builder::new().spawn(move || server.serve_late())?;
    }
    server.obey(orders)
}

impl Server {
    /// One reader: until the kernel closes the session.
    fn read(&self) {
        let mut buffer = vec![0; REQUEST_BYTES_MAX];
        loop {
            match (&self.device).read(&mut buffer) {
                Ok(length) => {
                    if let Some(request) = Request::parse(buffer[..length].to_vec()) {
                        self.take(request);
                    }
                }
                // ENOENT: a request was taken back while it was read.
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::EINTR | libc::ENOENT | libc::EAGAIN)
                    ) => {}
                // ENODEV: unmounted, nobody can ask any more.
                Err(_) => std::process::exit(0),
            }
        }
    }

    fn take(&self, request: Request) {
        if let Some(Call::Interrupt { unique }) = request.call() {
            self.interrupt(unique);
            return;
        }
        self.judge(request, now());
    }

    /// Has the request carried out, fail or wait, as the gate says.
    fn judge(&self, request: Request, arrived: Moment) {
        let method = request.call().and_then(|call| call.method());
        let Some(method) = method else {
            let is_full = lock(&self.desk).gate.is_full();
            self.answer(carry_out(&self.files, &request, is_full));
            return;
        };
        let mut desk = lock(&self.desk);
        let fate = self.fate(&mut desk, &request, method);
        if fate.hangs || !fate.delay.is_zero() {
            let due = (!fate.hangs).then(|| now().after(fate.delay));
            let interrupted = desk.interrupted.remove(&request.unique);
            desk.waiting.push(Waiting {
                request,
                fate,
                arrived,
                due,
                interrupted,
            });
            drop(desk);
            self.changed.notify_one();
            return;
        }
        drop(desk);
        self.perform(&request, &fate);
    }

    fn fate(&self, desk: &mut Desk, request: &Request, method: DiskMethod) -> Fate {
        let name = request
            .call()
            .and_then(|call| call.name().map(|name| name.to_bytes().to_vec()));
        let own = name.as_deref().is_some_and(is_probe);
        let inode = self.files.get(request.node).ok();
        let of_file = matches!(request.call(), Some(Call::Sync { .. }));
        let is_idle = of_file && inode.as_ref().is_some_and(|inode| inode.is_clean());
        let path = inode.filter(|_| desk.gate.is_active());
        let path = path.and_then(|inode| self.files.path(&inode).ok());
        let mut path = path.unwrap_or_default();
        let is_probe = own || is_probe(path.as_bytes());
        if let Some(name) = name {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(&String::from_utf8_lossy(&name));
        }
        // A probe whose write failed has nothing to write either, and is to see its sync fail.
        let is_idle = is_idle && !is_probe;
        let operation = Operation {
            method,
            is_idle,
            is_probe,
            path: &path,
        };
        desk.gate.judge(operation)
    }

    /// Does what the request asks, or fails it.
    fn perform(&self, request: &Request, fate: &Fate) {
        let Some(errno) = fate.errno else {
            self.answer(carry_out(&self.files, request, false));
            self.done(request);
            return;
        };
        let of_sync = matches!(request.call(), Some(Call::Sync { .. }));
        let inode = self.files.get(request.node).ok().filter(|_| of_sync);
        let lost = inode.and_then(|inode| self.files.give_up(&inode).ok());
        self.answer(Some(Answer::error(request.unique, errno.number())));
        self.done(request);
        if let Some(bytes) = lost.filter(|bytes| *bytes > 0) {
            lock(&self.desk).gate.lost(fate, bytes);
            self.send(Answer::stale(request.node));
        }
    }

    fn done(&self, request: &Request) {
        lock(&self.desk).interrupted.remove(&request.unique);
    }

    fn answer(&self, answer: Option<Answer>) {
        if let Some(answer) = answer {
            self.send(answer);
        }
    }

    /// ENOENT: who asked has gone; for a notice: the kernel has nothing of that file.
    fn send(&self, answer: Answer) {
        let _ = (&self.device).write(&answer.finish());
    }

    /// Who made that request was sent a signal.
    fn interrupt(&self, unique: u64) {
        let mut desk = lock(&self.desk);
        let waiting = desk.waiting.iter_mut();
        match waiting.into_iter().find(|one| one.request.unique == unique) {
            Some(one) => one.interrupted = true,
            None => {
                desk.interrupted.insert(unique);
            }
        }
        drop(desk);
        self.changed.notify_one();
    }

    /// One of those who carry out what had to wait.
    fn serve_late(&self) {
        // The kernel rounds a thread's waits up by 50 µs unless told otherwise.
        // SAFETY: integers.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) };
        let mut desk = lock(&self.desk);
        loop {
            let present = now();
            let killed = |one: &Waiting| one.interrupted && is_killed(one.request.thread);
            if let Some(at) = desk.waiting.iter().position(killed) {
                let gone = desk.waiting.swap_remove(at);
                self.send(Answer::error(gone.request.unique, libc::EINTR));
                continue;
            }
            let is_due = |one: &Waiting| one.due.is_some_and(|due| due <= present);
            if let Some(at) = desk.waiting.iter().position(is_due) {
                let late = desk.waiting.swap_remove(at);
                drop(desk);
                self.carry_out_late(late, present);
                desk = lock(&self.desk);
                continue;
            }
            let next = desk.waiting.iter().filter_map(|one| one.due).min();
            let mut patience =
                next.map(|next| StdDuration::from_nanos(next.since(present).as_nanos()));
            if desk.waiting.iter().any(|one| one.interrupted) {
                patience = Some(patience.map_or(KILLED_LOOK, |until| until.min(KILLED_LOOK)));
            }
            desk = match patience {
                Some(patience) => {
                    let waited = self.changed.wait_timeout(desk, patience);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.changed.wait(desk);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    fn carry_out_late(&self, late: Waiting, present: Moment) {
        if late.fate.hangs {
            // Healed; other faults may be in effect. The kernel tells of an interruption once.
            if late.interrupted {
                lock(&self.desk).interrupted.insert(late.request.unique);
            }
            self.judge(late.request, late.arrived);
            return;
        }
        let added = present.since(late.arrived);
        lock(&self.desk).gate.delayed(&late.fate, added);
        self.perform(&late.request, &late.fate);
    }

    /// Obeys the agent until its end closes.
    fn obey(&self, orders: &OwnedFd) -> std::io::Result<()> {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        loop {
            let length = match nix::unistd::read(orders, &mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let told = match serde_json::from_slice(&buffer[..length]) {
                Ok(order) => self.carry_out_order(order),
                Err(error) => refused(&format!("an order that is none: {error}")),
            };
            let bytes = serde_json::to_vec(&told)?;
            nix::sys::socket::send(
                orders.as_raw_fd(),
                &bytes,
                nix::sys::socket::MsgFlags::MSG_NOSIGNAL,
            )?;
        }
    }

    fn carry_out_order(&self, order: Order) -> Reply {
        match order {
            Order::Begin { id, fault } => {
                lock(&self.desk).gate.begin(id, fault);
                Reply::Met(Met::default())
            }
            Order::Look { id } => Reply::Met(lock(&self.desk).gate.met(&id)),
            Order::End { id } => {
                let mut desk = lock(&self.desk);
                let met = desk.gate.end(&id);
                if !desk.gate.hangs() {
                    // Those that hung are judged again.
                    let present = now();
                    for one in &mut desk.waiting {
                        one.due.get_or_insert(present);
                    }
                }
                drop(desk);
                self.changed.notify_all();
                Reply::Met(met)
            }
            Order::Damage { id, damage, path } => self.damage(&id, damage, path.as_deref()),
            Order::Lose { id, torn } => self.lose(&id, torn),
        }
    }

    /// Alters a sector, not the last, of the file that was synced last among those that fit.
    fn damage(&self, id: &FaultId, damage: Damage, pattern: Option<&str>) -> Reply {
        let mut random = lock(&self.desk).gate.random(id);
        for (node, inode) in self.files.all() {
            let path = self.files.path(&inode).unwrap_or_default();
            let fits =
                pattern.is_none_or(|pattern| shakedown_contracts::pattern::fits(pattern, &path));
            let is_file = inode
                .status()
                .is_ok_and(|status| status.st_mode & libc::S_IFMT == libc::S_IFREG);
            if !fits || !is_file || !inode.was_synced() || is_probe(path.as_bytes()) {
                continue;
            }
            let altered = super::damage::alter(&inode, damage, &mut random, SECTOR_BYTES);
            match altered {
                Ok(Some((offset, before))) => {
                    self.forget_cached(vec![node]);
                    return Reply::Damaged(Damaged {
                        path,
                        offset,
                        before,
                    });
                }
                Ok(None) => {}
                Err(error) => return refused(&format!("altering {path}: {error}")),
            }
        }
        refused("no file that was synced has two whole sectors, none could be damaged")
    }

    fn lose(&self, id: &FaultId, torn: bool) -> Reply {
        let mut random = lock(&self.desk).gate.random(id);
        let draw = |bound: u64| random.below(bound.saturating_add(1));
        match self.files.lose(draw, torn) {
            Ok((nodes, bytes)) => {
                let files = nodes.len();
                self.forget_cached(nodes);
                Reply::Lost { files, bytes }
            }
            Err(error) => refused(&format!("taking back what was not synced: {error}")),
        }
    }

    /// Has the kernel drop what it keeps of files. It waits for reads that are under way, which may hang, so nobody
    /// waits for it.
    fn forget_cached(&self, nodes: Vec<u64>) {
        let Ok(device) = self.device.try_clone() else {
            return;
        };
        let told = std::thread::Builder::new().spawn(move || {
            for node in nodes {
                let _ = (&device).write(&Answer::stale(node).finish());
            }
        });
        // Seen by the agent, which reads through the disk.
        drop(told);
    }
}

fn refused(reason: &str) -> Reply {
    Reply::Refused {
        reason: reason.to_owned(),
    }
}

/// Whether SIGKILL is pending for the thread, or it is gone.
fn is_killed(thread: i32) -> bool {
    const SIGKILL_BIT: u64 = 1 << (libc::SIGKILL - 1);
    let Ok(status) = std::fs::read_to_string(format!("/proc/{thread}/status")) else {
        return true;
    };
    let pending = |line: &str| {
        let mask = line
            .strip_prefix("SigPnd:")
            .or(line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    };
    status
        .lines()
        .filter_map(pending)
        .any(|mask| mask & SIGKILL_BIT != 0)
}
