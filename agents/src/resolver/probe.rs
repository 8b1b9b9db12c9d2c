//! Questions of the agent's own, by the sockets by which a node asks.

use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::message::{MESSAGE_BYTES_MAX, Reply, TYPE_A, decode_reply, encode_query};
use super::{ADDRESS, PORT};
use crate::clock::now;

/// How a question travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As a datagram.
    Datagram,
    /// In a connection.
    Stream,
}

/// An answer, and after what time it was there.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// What it said.
    pub reply: Reply,
    /// After so long.
    pub took: Duration,
}

enum Socket {
    Datagram(UdpSocket),
    Stream(TcpStream),
}

struct Asked {
    socket: Socket,
    at: Moment,
    received: Vec<u8>,
    heard: Option<Heard>,
}

/// Asks for the address of each name in both ways, all at once, and waits until all are answered or
/// `patience` is over. `None` for what was not answered.
///
/// # Errors
/// When nobody listens, or a name cannot be asked for.
pub fn ask(names: &[String], patience: Duration) -> io::Result<Vec<(String, Way, Option<Heard>)>> {
    let questions = names
        .iter()
        .flat_map(|name| [Way::Datagram, Way::Stream].map(|way| (name, way)));
    let mut asked = Vec::new();
    for ((name, way), id) in questions.zip(1..) {
        asked.push((name.clone(), way, Asked::send(name, way, id)?));
    }
    let deadline = now().after(patience);
    loop {
        // Looks once more after the deadline: this thread may have slept over it.
        let left = deadline.since(now());
        for (_, _, one) in &mut asked {
            one.take()?;
        }
        let open = asked.iter().filter(|(_, _, one)| one.heard.is_none());
        let mut fds: Vec<PollFd<'_>> = open
            .map(|(_, _, one)| PollFd::new(one.socket.as_fd(), PollFlags::POLLIN))
            .collect();
        if fds.is_empty() || left.is_zero() {
            break;
        }
        match ppoll(&mut fds, Some(TimeSpec::from_duration(left.into())), None) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let heard = asked.into_iter();
    Ok(heard
        .map(|(name, way, one)| (name, way, one.heard))
        .collect())
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Datagram(socket) => socket.as_fd(),
            Socket::Stream(socket) => socket.as_fd(),
        }
    }
}

impl Asked {
    fn send(name: &str, way: Way, id: u16) -> io::Result<Self> {
        let query = encode_query(id, name, TYPE_A);
        let query = query.ok_or_else(|| io::Error::other(format!("{name} is no name")))?;
        let server = (ADDRESS, PORT);
        let at = now();
        let socket = match way {
            Way::Datagram => {
                let socket = UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
                socket.connect(server)?;
                socket.send(&query)?;
                socket.set_nonblocking(true)?;
                Socket::Datagram(socket)
            }
            Way::Stream => {
                let mut socket = TcpStream::connect(server)?;
                let mut whole = (query.len() as u16).to_be_bytes().to_vec();
                whole.extend(query);
                socket.write_all(&whole)?;
                socket.set_nonblocking(true)?;
                Socket::Stream(socket)
            }
        };
        Ok(Asked {
            socket,
            at,
            received: Vec::new(),
            heard: None,
        })
    }

    fn take(&mut self) -> io::Result<()> {
        if self.heard.is_some() {
            return Ok(());
        }
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        let read = match &mut self.socket {
            Socket::Datagram(socket) => socket.recv(&mut bytes),
            Socket::Stream(socket) => socket.read(&mut bytes),
        };
        let length = match read {
            Ok(0) => return Err(io::Error::other("the resolver closed the connection")),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let took = now().since(self.at);
        self.received.extend(&bytes[..length]);
        let message = match &self.socket {
            Socket::Datagram(_) => Some(&self.received[..]),
            Socket::Stream(_) => self.received.first_chunk().and_then(|length| {
                let end = 2 + usize::from(u16::from_be_bytes(*length));
                self.received.get(2..end)
            }),
        };
        let reply = message.map(decode_reply);
        self.heard = match reply {
            None => None,
            Some(Some(reply)) => Some(Heard { reply, took }),
            Some(None) => return Err(io::Error::other("an answer cannot be read")),
        };
        Ok(())
    }
}
