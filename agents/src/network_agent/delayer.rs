//! Holds packets of slow links until they are due.
//!
//! One thread reads the queue, draws each packet's fate, and keeps a heap of deadlines. Its
//! accuracy is its priority: real-time where the kernel allows it, else the highest nice value, else
//! as it comes, and the agent says which. It waits with `ppoll`, whose timeouts are exact to the
//! timer slack (set to 1 ns). Healing releases what is held at once and in order of deadline: no
//! packet is lost by healing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use shakedown_contracts::time::Moment;

use super::fate::Fate;
use crate::clock::now;
use crate::netlink::NetlinkError;
use crate::netlink::nftables::Pair;
use crate::netlink::queue::{Packet, Queue};

/// Real-time priority: above normal work, below anything a system might set for itself.
const FIFO_PRIORITY: i32 = 10;
/// The queue's number; the namespace is the agent's own, so any is free.
pub const QUEUE_NUMBER: u16 = 0;

/// What the thread is told.
enum Order {
    /// From now on these are the fates of packets; held ones of links that are not in it go on at
    /// once. Answered when that is done.
    Fates(BTreeMap<Pair, Fate>, Sender<()>),
    End,
}

/// The thread's handle; dropping it lets all held packets go on and ends the thread.
#[derive(Debug)]
pub struct Delayer {
    orders: Sender<Order>,
    wake: EventFd,
    thread: Option<JoinHandle<()>>,
    /// Such as `SCHED_FIFO`.
    pub priority: &'static str,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Order::Fates(..) => "Fates",
            Order::End => "End",
        })
    }
}

impl Delayer {
    /// Starts the thread in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`NetlinkError`] when the kernel has no packet queue.
    pub fn start() -> Result<Self, NetlinkError> {
        let system = |source: nix::Error| NetlinkError::System {
            action: "making an eventfd".to_owned(),
            source: source.into(),
        };
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_flags(flags).map_err(system)?;
        let woken = wake
            .as_fd()
            .try_clone_to_owned()
            .map_err(|source| NetlinkError::System {
                action: "copying an eventfd".to_owned(),
                source,
            })?;
        let queue = Queue::bind(QUEUE_NUMBER)?;
        let (orders, incoming) = channel();
        let (told, priority) = channel();
        let thread = std::thread::Builder::new()
            .name("delayer".to_owned())
            .spawn(move || {
                let _ = told.send(take_priority());
                Holding {
                    queue,
                    incoming,
                    woken,
                    fates: BTreeMap::new(),
                    held: BinaryHeap::new(),
                    arrivals: 0,
                }
                .work();
            })
            .map_err(|source| NetlinkError::System {
                action: "starting the delaying thread".to_owned(),
                source,
            })?;
        let priority = priority.recv().unwrap_or("unknown priority");
        Ok(Delayer {
            orders,
            wake,
            thread: Some(thread),
            priority,
        })
    }

    /// Sets the fates of all slow links; returns when held packets of the others have gone on.
    ///
    /// # Errors
    /// When the thread has ended, which means the queue broke.
    pub fn set(&self, fates: BTreeMap<Pair, Fate>) -> io::Result<()> {
        let ended =
            || io::Error::other("the delaying thread has ended; see the network agent's log");
        let (done, answered) = channel();
        self.orders
            .send(Order::Fates(fates, done))
            .map_err(|_| ended())?;
        self.wake.write(1)?;
        answered.recv().map_err(|_| ended())
    }
}

impl Drop for Delayer {
    fn drop(&mut self) {
        if self.orders.send(Order::End).is_ok() && self.wake.write(1).is_ok() {
            let ended = self.thread.take().map(JoinHandle::join);
            if let Some(Err(_)) = ended {
                eprintln!("the delaying thread panicked");
            }
        }
    }
}

/// Takes the best priority that the kernel gives, and its name.
fn take_priority() -> &'static str {
    let parameters = libc::sched_param {
        sched_priority: FIFO_PRIORITY,
    };
    // SAFETY: 0 is the calling thread, and the parameters live over the call.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) } == 0 {
        return "SCHED_FIFO";
    }
    // SAFETY: prctl with PR_SET_TIMERSLACK takes a number and no pointer.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64, 0, 0, 0) };
    // SAFETY: setpriority takes numbers and no pointer; 0 is the calling thread.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) } == 0 {
        return "nice -20";
    }
    "normal priority"
}

/// A held packet, ordered by deadline, then by arrival.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: Moment,
    arrival: u64,
    packet: u32,
    pair: Pair,
}

struct Holding {
    queue: Queue,
    incoming: Receiver<Order>,
    woken: std::os::fd::OwnedFd,
    fates: BTreeMap<Pair, Fate>,
    held: BinaryHeap<Reverse<Held>>,
    arrivals: u64,
}

impl Holding {
    /// Until it is told to end, or the queue breaks.
    fn work(mut self) {
        loop {
            if let Err(error) = self.wait() {
                eprintln!("packet queue broke: {error}; all links are fast again");
                return;
            }
            while let Ok(order) = self.incoming.try_recv() {
                match order {
                    Order::Fates(fates, done) => {
                        self.fates = fates;
                        self.release_healed();
                        let _ = done.send(());
                    }
                    Order::End => {
                        self.fates.clear();
                        self.release_healed();
                        return;
                    }
                }
            }
            if let Err(error) = self.take_arrivals() {
                eprintln!("packet queue broke: {error}; all links are fast again");
                return;
            }
            self.release_due();
        }
    }

    fn wait(&self) -> io::Result<()> {
        let until = self.held.peek().map(|Reverse(held)| held.due.since(now()));
        let timeout = until.map(|left| TimeSpec::from_duration(left.into()));
        // SAFETY: the queue's descriptor lives as long as `self`.
        let queue = unsafe { std::os::fd::BorrowedFd::borrow_raw(self.queue.as_raw_fd()) };
        let mut fds = [
            PollFd::new(queue, PollFlags::POLLIN),
            PollFd::new(self.woken.as_fd(), PollFlags::POLLIN),
        ];
        match ppoll(&mut fds, timeout, None) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if fds[1].any().unwrap_or(false) {
            let mut count = [0; 8];
            // Nonblocking: an empty eventfd only means that somebody read it already.
            let _ = nix::unistd::read(&self.woken, &mut count);
        }
        Ok(())
    }

    fn take_arrivals(&mut self) -> io::Result<()> {
        let mut fetched: Vec<Packet> = Vec::new();
        let overflows = self.queue.fetch(|packet| fetched.push(packet))?;
        if overflows > 0 {
            eprintln!(
                "packet queue overflowed {overflows} times: more packets were lost than asked"
            );
        }
        let at = now();
        for packet in fetched {
            self.arrivals += 1;
            let fate = self.fates.get_mut(&packet.pair);
            match fate.map_or(Some(Default::default()), Fate::next_packet) {
                None => self.decide(packet.id, false),
                Some(added) if added.is_zero() => self.decide(packet.id, true),
                Some(added) => self.held.push(Reverse(Held {
                    due: at.after(added),
                    arrival: self.arrivals,
                    packet: packet.id,
                    pair: packet.pair,
                })),
            }
        }
        Ok(())
    }

    fn release_due(&mut self) {
        let at = now();
        while self.held.peek().is_some_and(|Reverse(held)| held.due <= at) {
            if let Some(Reverse(held)) = self.held.pop() {
                self.decide(held.packet, true);
            }
        }
    }

    /// Lets go, in order of deadline, what is held on links that are no longer slow.
    fn release_healed(&mut self) {
        let held = std::mem::take(&mut self.held).into_sorted_vec();
        // `Reverse` sorts the latest first.
        for Reverse(held) in held.into_iter().rev() {
            if self.fates.contains_key(&held.pair) {
                self.held.push(Reverse(held));
            } else {
                self.decide(held.packet, true);
            }
        }
    }

    fn decide(&mut self, packet: u32, pass: bool) {
        if let Err(error) = self.queue.decide(packet, pass) {
            eprintln!("packet {packet} could not be decided: {error}");
        }
    }
}
