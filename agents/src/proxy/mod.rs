//! A TCP proxy that does to connections what Toxiproxy's toxics do, for targets that cannot be put into a namespace.
//!
//! `toxics` are pure, with time handed in; `flow` is one direction of a `connection`, `transfer` how bytes move; `active` is a
//! toxic that is there; `engine` is the loop over sockets, timers and commands, in one thread. It listens where it is told
//! to and nowhere else.

mod active;
mod connection;
mod engine;
mod flow;
pub mod toxics;
mod transfer;

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;

use serde::Serialize;
use thiserror::Error;

use engine::{Engine, Request, Waker};
use toxics::Settings;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// From the client to the server.
    Upstream,
    /// From the server to the client.
    Downstream,
}

/// A toxic with its name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Toxic {
    /// No two have the same.
    pub name: String,
    /// Which way it acts.
    pub stream: Stream,
    /// Share of connections that meet it.
    pub toxicity: f64,
    /// What it does.
    #[serde(flatten)]
    pub settings: Settings,
}

/// What a proxy is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// This toxic acts from now on, on connections that are there, too.
    Add(Toxic),
    /// A toxic of that name has other numbers from now on.
    Update {
        /// Which.
        name: String,
        /// Of the same kind.
        settings: Settings,
        /// Another share of connections, if wanted.
        toxicity: Option<f64>,
    },
    /// A toxic is gone; what it held goes on.
    Remove {
        /// Which.
        name: String,
    },
    /// Goes down (connections end, new ones are refused), or up again.
    Toggle,
    /// Nothing changes.
    Inspect,
}

/// Where a proxy stands after a command.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it connects to.
    pub upstream: SocketAddr,
    /// Whether it takes connections.
    pub enabled: bool,
    /// Connections that are open.
    pub connections: usize,
    /// Connections that it has taken since it began.
    pub accepted: u64,
    /// Of these, such as could not be handed on: upstream was not to be reached.
    pub unreachable: u64,
    /// Toxics, in the order in which they act, with what they have done.
    pub toxics: Vec<Done>,
    /// The toxic that the command was about, with what it has done.
    #[serde(skip)]
    pub concerned: Option<Done>,
}

/// Whether it was seen that a toxic did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It was.
    Seen,
    /// Nothing has met it on which it could act.
    Unverified,
}

/// What a toxic has done on all connections together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Done {
    /// Which.
    #[serde(flatten)]
    pub toxic: Toxic,
    /// Whether it was seen to act.
    pub effect: Effect,
    /// Connections that met it.
    pub connections: u64,
    /// Bytes that passed it.
    pub passed_bytes: u64,
    /// Bytes that it holds, or held when it was taken away.
    pub held_bytes: u64,
    /// Connections that it has ended.
    pub ended_connections: u64,
    /// Bytes a second, from when the first had come until the last had passed.
    pub bytes_a_second: Option<f64>,
    /// Milliseconds for which bytes were in it, in the mean of what it handed on at a time.
    pub delay_mean_ms: Option<f64>,
    /// And at most.
    pub delay_max_ms: Option<f64>,
}

/// Why a proxy cannot be, or a command not be obeyed.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// The kernel refuses.
    #[error("{action}: {source}")]
    System {
        /// What.
        action: String,
        /// Its reason.
        source: io::Error,
    },
    /// The command makes no sense; nothing has changed.
    #[error("{0}")]
    Command(String),
}

/// A running proxy; it ends with this.
#[derive(Debug)]
pub struct Proxy {
    commands: mpsc::Sender<Request>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    listen: SocketAddr,
}

impl Proxy {
    /// Listens at an address (port 0: any that is free) and connects to another; `seed` is for draws.
    ///
    /// # Errors
    /// [`ProxyError::System`], such as when the address is in use.
    pub fn start(listen: SocketAddr, upstream: SocketAddr, seed: u64) -> Result<Self, ProxyError> {
        let (commands, received) = mpsc::channel();
        let (engine, waker) = Engine::new(listen, upstream, seed, received)?;
        let listen = engine.listen();
        let thread = std::thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || engine.run())
            .map_err(engine::system("starting its thread"))?;
        Ok(Proxy {
            commands,
            waker,
            thread: Some(thread),
            listen,
        })
    }

    /// Where it listens.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Has it obey; it has when this returns.
    ///
    /// # Errors
    /// [`ProxyError::Command`] when the command makes no sense, [`ProxyError::System`] when it cannot.
    pub fn tell(&self, command: Command) -> Result<Report, ProxyError> {
        let (answer, answered) = mpsc::channel();
        let gone = || ProxyError::Command("the proxy has ended".to_owned());
        let request = Request::Command(command, answer);
        self.commands.send(request).map_err(|_| gone())?;
        self.waker.wake().map_err(engine::system("waking it"))?;
        answered.recv().map_err(|_| gone())?
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // One that has ended needs no word.
        let _ = self.commands.send(Request::End);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
