//! The thread that reads the packet queues and holds packets of slow links until they are due.
//!
//! Its accuracy is its priority: real-time where the kernel allows it, else the highest nice value,
//! else as it comes, and the agent says which. It waits with `ppoll`, whose timeout is exact to the
//! timer slack (1 ns). What happens to which packet is decided in `holding`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

use super::holding::{Decision, Holding, Ruling};
use super::priority::{Priority, take_priority};
use super::raw_socket::RawSocket;
use crate::clock::now;
use crate::netlink::NetlinkError;
use crate::netlink::nftables::Pair;
use crate::netlink::queue::{Arrival, Copied, Lane, Queue};

/// Real-time priority: above the agent's orders, so that a verification delays no packet.
const FIFO_PRIORITY: i32 = 10;

/// What the thread is told.
enum Order {
    /// From now on these are the slow links. Answered when held packets have obeyed.
    Rule(BTreeMap<Pair, Ruling>, Sender<()>),
    End,
}

/// The thread's handle; dropping it lets all held packets go on and ends the thread.
#[derive(Debug)]
pub struct Delayer {
    orders: Sender<Order>,
    wake: EventFd,
    thread: Option<JoinHandle<()>>,
    /// What the kernel gave it.
    pub priority: Priority,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Order::Rule(..) => "Rule",
            Order::End => "End",
        })
    }
}

fn system<E: Into<io::Error>>(action: &str) -> impl FnOnce(E) -> NetlinkError {
    let action = action.to_owned();
    move |error| NetlinkError::System {
        action,
        source: error.into(),
    }
}

impl Delayer {
    /// Starts the thread in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`NetlinkError`] when the kernel has no NFQUEUE.
    pub fn start(seed: u64) -> Result<Self, NetlinkError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_flags(flags).map_err(system("making an eventfd"))?;
        let woken = wake.as_fd().try_clone_to_owned();
        let woken = woken.map_err(system("copying an eventfd"))?;
        let queues = [Queue::bind(Lane::Each)?, Queue::bind(Lane::Whole)?];
        let copies =
            RawSocket::open().map_err(system("opening a raw socket for doubled packets"))?;
        let (orders, incoming) = channel();
        let (told, priority) = channel();
        let work = move || {
            // The receiver waits for exactly this; it cannot be gone.
            let _ = told.send(take_priority(FIFO_PRIORITY));
            let holding = Holding::new(seed);
            Worker {
                queues,
                copies,
                incoming,
                woken,
                holding,
            }
            .work();
        };
        let thread = std::thread::Builder::new().name("delayer".to_owned());
        let thread = thread
            .spawn(work)
            .map_err(system("starting the delaying thread"))?;
        Ok(Delayer {
            orders,
            wake,
            thread: Some(thread),
            priority: priority.recv().unwrap_or(Priority::Normal),
        })
    }

    /// Sets the slow links; returns when held packets have obeyed.
    ///
    /// # Errors
    /// When the thread has ended, which means the queue broke.
    pub fn rule(&self, rulings: BTreeMap<Pair, Ruling>) -> io::Result<()> {
        let ended =
            || io::Error::other("the delaying thread has ended; see the network agent's log");
        let (done, answered) = channel();
        let order = Order::Rule(rulings, done);
        self.orders.send(order).map_err(|_| ended())?;
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

struct Worker {
    /// As in [`Lane::ALL`].
    queues: [Queue; 2],
    copies: RawSocket,
    incoming: Receiver<Order>,
    woken: OwnedFd,
    holding: Holding,
}

impl Worker {
    /// Until it is told to end, or the queue breaks.
    fn work(mut self) {
        let broken = loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => break error,
            }
        };
        eprintln!("packet queue broke: {broken}; all links are fast again");
    }

    /// One wait and all that was waited for; false at the end.
    fn turn(&mut self) -> io::Result<bool> {
        self.wait()?;
        while let Ok(order) = self.incoming.try_recv() {
            match order {
                Order::Rule(rulings, done) => {
                    // What the kernel has queued before the change came before it.
                    self.take_arrivals()?;
                    let copied = rulings.values().map(Ruling::copied).max();
                    let copied = self.queue(Lane::Each).copy(copied.unwrap_or_default());
                    copied.map_err(io::Error::other)?;
                    let copied = match rulings.values().any(Ruling::names_ports) {
                        true => Copied::Headers,
                        false => Copied::Nothing,
                    };
                    let copied = self.queue(Lane::Whole).copy(copied);
                    copied.map_err(io::Error::other)?;
                    let decisions = self.holding.rule(&rulings);
                    self.carry_out(decisions);
                    // Whoever asked may have given up; the ruling holds all the same.
                    let _ = done.send(());
                }
                Order::End => {
                    let decisions = self.holding.rule(&BTreeMap::new());
                    self.carry_out(decisions);
                    return Ok(false);
                }
            }
        }
        self.take_arrivals()?;
        let at = now();
        while let Some(decision) = self.holding.release(at) {
            self.carry_out([decision]);
        }
        Ok(true)
    }

    fn wait(&self) -> io::Result<()> {
        let left = self.holding.next_due().map(|due| due.since(now()));
        let timeout = left.map(|left| TimeSpec::from_duration(left.into()));
        let [each, whole] = &self.queues;
        let mut fds = [self.woken.as_fd(), each.as_fd(), whole.as_fd()]
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match ppoll(&mut fds, timeout, None) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if fds[0].any().unwrap_or(false) {
            // Nonblocking: an empty eventfd only means that it was read already.
            let _ = nix::unistd::read(&self.woken, &mut [0; 8]);
        }
        Ok(())
    }

    fn take_arrivals(&mut self) -> io::Result<()> {
        let mut fetched: Vec<Arrival> = Vec::new();
        let mut overflows = 0;
        for queue in &mut self.queues {
            overflows += queue.fetch(|arrival| fetched.push(arrival))?;
        }
        if overflows > 0 {
            eprintln!(
                "packet queue overflowed {overflows} times; the fault's heal counts how many"
            );
        }
        let at = now();
        for arrival in fetched {
            let decisions = self.holding.arrive(at, arrival);
            self.carry_out(decisions);
        }
        Ok(())
    }

    fn queue(&mut self, lane: Lane) -> &mut Queue {
        &mut self.queues[usize::from(lane.number())]
    }

    fn carry_out(&mut self, decisions: impl IntoIterator<Item = Decision>) {
        for decision in decisions {
            let done = match &decision {
                Decision::Pass(id) => self.queue(id.lane).decide(id.number, true),
                Decision::Drop(id) => self.queue(id.lane).decide(id.number, false),
                Decision::Alter(id, bytes) => self.queue(id.lane).alter(id.number, bytes),
                Decision::Send(bytes) => self.copies.send(bytes),
            };
            if let Err(error) = done {
                eprintln!("a packet could not be decided: {error}");
            }
        }
    }
}
