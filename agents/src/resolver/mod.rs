//! A node's resolver: names of the run have their addresses, and no other name is known, until a
//! fault changes what is said.
//!
//! `server` is a process of the agent's in the node's network namespace, on 127.0.0.53; `message`
//! what it reads and writes, `zone` what it says under which faults; `probe` asks like the node, and
//! `configuration` has the node's programs ask there, in the agent's own mount namespace, which the
//! node inherits. Nothing of the machine is changed, and all of it ends with the agent.

mod configuration;
pub mod message;
mod probe;
mod server;
mod zone;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use shakedown_contracts::control::Names;
use shakedown_contracts::dns_fault::DnsFault;
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::random::Random;
use thiserror::Error;

pub use probe::{Heard, Way, ask};
use server::Server;
use zone::Faults;
pub use zone::{Answer, Verdict, is_random};

use crate::process::child::Child;

/// Where it listens: an address of the loopback that programs leave alone, as systemd's stub does.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
/// The port of every resolver.
pub const PORT: u16 = 53;
/// All faults together, as the agent says them.
const ORDER_BYTES_MAX: usize = 1 << 18;
/// They are in effect.
const DONE: &[u8] = b"done";
/// It answers within microseconds, and within a second on a machine that is busy.
const ANSWER_LIMIT_MS: u16 = 10_000;

/// Why a node has no resolver.
#[derive(Debug, Error)]
#[error("giving the node a resolver: {action}: {source}")]
pub struct Unresolved {
    action: String,
    source: io::Error,
}

impl Unresolved {
    fn new(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Unresolved { action, source }
    }
}

/// A resolver that serves; it ends when dropped.
#[derive(Debug)]
pub struct Resolver {
    names: BTreeMap<String, Ipv4Addr>,
    faults: Faults,
    orders: OwnedFd,
    /// Ended when this is.
    _server: Child,
}

impl Resolver {
    /// Serves in the calling process's network namespace, and has its mount namespace ask there.
    /// `folder` is for a moment's files.
    ///
    /// # Errors
    /// [`Unresolved`]
    pub fn serve(names: &Names, folder: &Path) -> Result<Self, Unresolved> {
        let listen = format!("listening on {ADDRESS}:{PORT}");
        let bound = || {
            let datagrams = UdpSocket::bind((ADDRESS, PORT))?;
            datagrams.set_nonblocking(true)?;
            let listener = TcpListener::bind((ADDRESS, PORT))?;
            listener.set_nonblocking(true)?;
            Ok((datagrams, listener))
        };
        let (datagrams, listener) = bound().map_err(Unresolved::new(listen))?;
        let pair = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        );
        let (orders, theirs) =
            pair.map_err(|errno| Unresolved::new("making a socket pair")(errno.into()))?;
        let endpoints = names.endpoints.iter();
        let known: BTreeMap<String, Ipv4Addr> = endpoints
            .map(|endpoint| (endpoint.name.to_ascii_lowercase(), endpoint.address))
            .collect();
        let server = Server {
            datagrams,
            listener,
            orders: theirs,
            names: known.clone(),
            random: Random::keyed(names.seed, "addresses", "dns"),
        };
        let server = start(server).map_err(Unresolved::new("starting its process"))?;
        let resolver = Resolver {
            names: known,
            faults: Faults::default(),
            orders,
            _server: server,
        };
        configuration::place(folder)?;
        Ok(resolver)
    }

    /// Names of the run.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.names.keys()
    }

    /// What it should say about a name.
    pub fn verdict(&self, name: &str) -> Verdict {
        self.faults.verdict(&self.names, name)
    }

    /// Has queries meet the fault from now on.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn begin(&mut self, id: &FaultId, fault: DnsFault) -> io::Result<()> {
        self.faults.begin(id, fault);
        self.tell()
    }

    /// Ends the fault.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn end(&mut self, id: &FaultId) -> io::Result<()> {
        self.faults.end(id);
        self.tell()
    }

    /// Sees that it serves, and under all faults that it should.
    ///
    /// # Errors
    /// When it does not.
    pub fn confirm(&self) -> io::Result<()> {
        self.tell()
    }

    /// All faults, whole at each change.
    fn tell(&self) -> io::Result<()> {
        let order = serde_json::to_vec(&self.faults)?;
        if order.len() > ORDER_BYTES_MAX {
            return Err(io::Error::other("too many patterns of names"));
        }
        send(self.orders.as_raw_fd(), &order, MsgFlags::MSG_NOSIGNAL)?;
        let mut waiting = [PollFd::new(self.orders.as_fd(), PollFlags::POLLIN)];
        if poll(&mut waiting, PollTimeout::from(ANSWER_LIMIT_MS))? == 0 {
            let message = format!("the node's resolver did not answer in {ANSWER_LIMIT_MS} ms");
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        let mut answer = [0; DONE.len()];
        match File::from(self.orders.try_clone()?).read(&mut answer)? {
            0 => Err(io::Error::other("the node's resolver has ended")),
            _ => Ok(()),
        }
    }
}

fn start(server: Server) -> io::Result<Child> {
    let kept = [
        server.datagrams.as_raw_fd(),
        server.listener.as_raw_fd(),
        server.orders.as_raw_fd(),
    ];
    // SAFETY: an agent has one thread.
    unsafe {
        Child::start(c"shakedown-dns", &kept, || {
            if let Err(error) = server.serve() {
                eprintln!("the node's resolver cannot go on: {error}");
            }
        })
    }
}
