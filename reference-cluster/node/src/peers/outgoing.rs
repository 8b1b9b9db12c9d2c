//! The connection that this node dialled to one peer: dial, greet, write, dial again.
//!
//! After a partition TCP's own patience is the enemy: unacknowledged data is retransmitted at
//! doubling intervals, so a connection that was silent for ten seconds may stay silent for another
//! ten after the network is whole again, and would be counted against the cluster's recovery. Two
//! limits prevent that. TCP_USER_TIMEOUT makes the kernel give up a connection whose data was not
//! acknowledged for a second. Dialling does not rely on SYN retransmission (1 s, 2 s, 4 s): a new
//! attempt is begun every 300 ms while the earlier ones go on, the first that stands is taken. So a
//! healed path is in use within 300 ms and a round trip, and a path slower than 300 ms still
//! connects.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use shakedown_contracts::frame;
use shakedown_contracts::node::Member;
use shakedown_core::interface::{Ending, Peer};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::link::{Outbox, link};
use super::{Hello, PeerEvent};
use crate::config::peer_address;

/// Unacknowledged for this long, a connection is given up. Above any round trip worth testing,
/// below what a recovery is measured in.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(1);
/// An attempt that stands after this long is joined by another.
const DIAL_PATIENCE: Duration = Duration::from_millis(300);
/// An attempt is given up after this long.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Attempts under way at once: what the patience starts within the timeout.
const DIALS_MAX: usize = 10;
/// Wait after a first refused attempt; doubled for each next one.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// Longest wait after a refused attempt.
const BACKOFF_MAX: Duration = Duration::from_millis(200);
/// Bytes written at once.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// From where to where a connection goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    from: SocketAddr,
    to: SocketAddr,
}

impl Route {
    /// From the own member's address (any port) to the peer's port.
    pub(super) fn new(own: &Member, peer: &Member) -> Self {
        Route {
            from: SocketAddr::new(IpAddr::V4(own.address), 0),
            to: peer_address(peer),
        }
    }
}

/// Dials, writes what the loop sends, and dials again, until the loop is gone.
pub(super) async fn keep_connected(
    peer: Peer,
    route: Route,
    hello: Hello,
    events: mpsc::Sender<PeerEvent>,
) {
    let hello = frame::encode(&hello).expect("a name is shorter than a frame");
    loop {
        let (mut reader, mut writer) = dial(route).await.into_split();
        let (link, outbox) = link();
        if writer.write_all(&hello).await.is_err() {
            // Refused after all; without a pause a peer that accepts and closes would be a busy loop.
            sleep(BACKOFF_MAX).await;
            continue;
        }
        if events
            .send(PeerEvent::Connected { peer, link })
            .await
            .is_err()
        {
            return;
        }
        let ending = tokio::select! {
            ending = closed(&mut reader) => ending,
            ending = write_all(&mut writer, outbox) => ending,
        };
        let broken = PeerEvent::Broken { peer, ending };
        if events.send(broken).await.is_err() {
            return;
        }
        sleep(BACKOFF_MIN).await;
    }
}

/// A new connection, however long it takes.
async fn dial(route: Route) -> TcpStream {
    let mut attempts = JoinSet::new();
    let mut backoff = BACKOFF_MIN;
    loop {
        if attempts.len() < DIALS_MAX {
            attempts.spawn(timeout(DIAL_TIMEOUT, attempt(route)));
        }
        tokio::select! {
            Some(ended) = attempts.join_next() => match ended {
                Ok(Ok(Ok(stream))) => return stream,
                Ok(Ok(Err(_refused))) => {
                    sleep(backoff).await;
                    backoff = BACKOFF_MAX.min(backoff * 2);
                }
                // Timed out: it has waited long enough.
                Ok(Err(_)) | Err(_) => {}
            },
            () = sleep(DIAL_PATIENCE) => {}
        }
    }
}

async fn attempt(route: Route) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(route.from)?;
    socket.set_nodelay(true)?;
    SockRef::from(&socket).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    let stream = socket.connect(route.to).await?;
    // Dialling a port of the own machine that nobody listens on can connect to itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// Ends when the peer closes or breaks the connection; it never sends anything on it.
async fn closed(reader: &mut OwnedReadHalf) -> Ending {
    match reader.read(&mut [0; 16]).await {
        Ok(_end_of_stream) => Ending::Closed,
        Err(error) => ending(&error),
    }
}

/// Writes until the connection breaks or the loop gives it up.
async fn write_all(writer: &mut OwnedWriteHalf, mut outbox: Outbox) -> Ending {
    while let Some(bytes) = outbox.take(WRITE_BYTES_MAX).await {
        if let Err(error) = writer.write_all(&bytes).await {
            return ending(&error);
        }
    }
    Ending::GivenUp
}

/// An RST speaks for the peer's host; any other error is the own kernel's, which heard nothing.
fn ending(error: &io::Error) -> Ending {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Ending::Closed,
        _ => Ending::GivenUp,
    }
}
