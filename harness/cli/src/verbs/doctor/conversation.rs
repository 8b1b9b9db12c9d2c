//! A live TCP connection between two endpoints, for faults that need one.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

use anyhow::{Context, anyhow};
use nix::sched::{CloneFlags, setns};

/// Both ends; it lives as long as this.
pub struct Conversation {
    _ends: (TcpStream, TcpListener),
}

impl Conversation {
    /// From an endpoint's namespace to another's, whose address is given.
    pub fn between(from: &Path, to: (&Path, Ipv4Addr)) -> Result<Self, anyhow::Error> {
        let begin = || -> Result<Self, anyhow::Error> {
            enter(to.0)?;
            let listener = TcpListener::bind((to.1, 0)).context("cannot listen there")?;
            let address = listener.local_addr().context("cannot tell its address")?;
            enter(from)?;
            let stream = TcpStream::connect(address).context("cannot connect")?;
            Ok(Conversation {
                _ends: (stream, listener),
            })
        };
        // A thread of its own: whoever enters a namespace stays there.
        let thread = std::thread::scope(|scope| scope.spawn(begin).join());
        thread.map_err(|_| anyhow!("the connecting thread panicked"))?
    }
}

fn enter(namespace: &Path) -> Result<(), anyhow::Error> {
    let file = File::open(namespace)
        .with_context(|| format!("cannot open namespace {}", namespace.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET).context("cannot enter a namespace")
}
