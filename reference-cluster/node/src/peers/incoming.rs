//! Connections that peers dialled to this node: who it is, then one message after the other.
//!
//! A peer has one connection: a newer one ends the reader of the older, which a partition may have
//! left without a farewell. Whoever does not introduce itself as a member is disconnected.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shakedown_contracts::frame::{Decoder, FrameError};
use shakedown_core::interface::Peer;
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::{Hello, PeerEvent};
use crate::config::Config;

/// Longest wait for the greeting, which follows the connection at once.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that have not said who they are; a peer dials at most ten at once.
const STRANGERS_MAX: usize = 256;
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// Wait after a failed accept (no descriptor left), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who may connect, and the reader of each one's newest connection.
struct Members {
    own: String,
    peers: BTreeMap<String, Peer>,
    readers: Mutex<BTreeMap<Peer, AbortHandle>>,
}

#[derive(Debug, Error)]
enum ReadError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("connection lost: {0}")]
    Connection(#[from] std::io::Error),
    #[error("no greeting within {HELLO_TIMEOUT:?}")]
    Silent,
    #[error("{name:?} meant to reach {to:?}, which is not a pair of this group's members")]
    Stranger { name: String, to: String },
}

/// Accepts for as long as the loop lives.
pub async fn accept(listener: TcpListener, config: Config, events: mpsc::Sender<PeerEvent>) {
    let peers = config
        .peers()
        .map(|(peer, member)| (member.name.clone(), peer))
        .collect();
    let readers = Mutex::new(BTreeMap::new());
    let members = Arc::new(Members {
        own: config.node.name.clone(),
        peers,
        readers,
    });
    let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
    while !events.is_closed() {
        let Ok((stream, address)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(stranger) = Arc::clone(&strangers).try_acquire_owned() else {
            continue;
        };
        let (members, events) = (Arc::clone(&members), events.clone());
        tokio::spawn(async move {
            let mut reader = Reader::new(stream);
            match timeout(HELLO_TIMEOUT, reader.greeting(&members)).await {
                Ok(Ok(Some(from))) => {
                    drop(stranger);
                    members.begin(from, reader, events);
                }
                // Closed without a word: one of several attempts that another one won.
                Ok(Ok(None)) => {}
                Ok(Err(error)) => eprintln!("connection from {address} refused: {error}"),
                Err(_) => eprintln!("connection from {address} refused: {}", ReadError::Silent),
            }
        });
    }
}

impl Members {
    fn begin(&self, from: Peer, reader: Reader, events: mpsc::Sender<PeerEvent>) {
        let task = tokio::spawn(async move {
            if let Err(error @ ReadError::Frame(_)) = reader.read_all(from, &events).await {
                eprintln!("connection from member {} dropped: {error}", from.0);
            }
        });
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(older) = readers.insert(from, task.abort_handle()) {
            older.abort();
        }
    }
}

/// One connection being read.
struct Reader {
    stream: TcpStream,
    decoder: Decoder,
    buffer: Box<[u8]>,
}

impl Reader {
    fn new(stream: TcpStream) -> Self {
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        Reader {
            stream,
            decoder: Decoder::default(),
            buffer,
        }
    }

    /// Who is at the other end; `None` when it closed without saying so.
    async fn greeting(&mut self, members: &Members) -> Result<Option<Peer>, ReadError> {
        let hello: Hello = loop {
            if let Some(hello) = self.decoder.next_message()? {
                break hello;
            }
            if !self.read_more().await? {
                return Ok(None);
            }
        };
        match members.peers.get(&hello.name) {
            Some(peer) if hello.to == members.own => Ok(Some(*peer)),
            _ => Err(ReadError::Stranger {
                name: hello.name,
                to: hello.to,
            }),
        }
    }

    /// Hands messages to the loop until the connection ends.
    async fn read_all(
        mut self,
        from: Peer,
        events: &mpsc::Sender<PeerEvent>,
    ) -> Result<(), ReadError> {
        loop {
            while let Some(message) = self.decoder.next_message()? {
                if events
                    .send(PeerEvent::Message { from, message })
                    .await
                    .is_err()
                {
                    return Ok(());
                }
            }
            if !self.read_more().await? {
                return Ok(());
            }
        }
    }

    /// False at the end of the stream.
    async fn read_more(&mut self) -> Result<bool, ReadError> {
        let length = self.stream.read(&mut self.buffer).await?;
        self.decoder.feed(&self.buffer[..length]);
        Ok(length > 0)
    }
}
