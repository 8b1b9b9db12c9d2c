//! The process that answers: one loop over its sockets, the agent's orders, and what is due.
//!
//! Every collection has a limit; what comes beyond it is dropped, as a busy resolver does.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::time::TimeSpec;
use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;

use super::message::{self, Code, MESSAGE_BYTES_MAX, TYPE_A};
use super::zone::{Answer, Faults, random_address};
use super::{DONE, ORDER_BYTES_MAX};
use crate::clock::now;

/// Answers that wait for their time.
const WAITING_MAX: usize = 10_000;
/// Connections that are open.
const STREAMS_MAX: usize = 128;
/// Of a message in a stream.
const LENGTH_BYTES: usize = 2;

/// The resolver's side of what it holds open.
pub(super) struct Server {
    pub datagrams: UdpSocket,
    pub listener: TcpListener,
    pub orders: OwnedFd,
    pub names: BTreeMap<String, Ipv4Addr>,
    pub random: Random,
}

/// Who is to be answered.
#[derive(Debug, Clone, Copy)]
enum Asker {
    Datagram(SocketAddr),
    Stream(u64),
}

struct Stream {
    socket: TcpStream,
    received: Vec<u8>,
}

#[derive(Default)]
struct Desk {
    faults: Faults,
    waiting: BTreeMap<(Moment, u64), (Asker, Vec<u8>)>,
    streams: BTreeMap<u64, Stream>,
    /// Numbers answers and connections.
    next: u64,
}

impl Server {
    /// Until the agent's end of the orders closes.
    pub fn serve(mut self) -> io::Result<()> {
        let mut desk = Desk::default();
        loop {
            self.wait(&desk)?;
            if !self.take_order(&mut desk)? {
                return Ok(());
            }
            self.take_datagrams(&mut desk);
            self.take_streams(&mut desk);
            self.answer_due(&mut desk);
        }
    }

    fn wait(&self, desk: &Desk) -> io::Result<()> {
        let due = desk.waiting.first_key_value();
        let left = due.map(|((due, _), _)| TimeSpec::from_duration(due.since(now()).into()));
        let own = [
            self.orders.as_fd(),
            self.datagrams.as_fd(),
            self.listener.as_fd(),
        ];
        let streams = desk.streams.values().map(|stream| stream.socket.as_fd());
        let mut fds: Vec<PollFd<'_>> = own
            .into_iter()
            .chain(streams)
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match ppoll(&mut fds, left, None) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// False at the end of the orders.
    fn take_order(&self, desk: &mut Desk) -> io::Result<bool> {
        let mut bytes = vec![0; ORDER_BYTES_MAX];
        let fd = self.orders.as_raw_fd();
        match recv(fd, &mut bytes, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Ok(false),
            Ok(length) => desk.faults = serde_json::from_slice(&bytes[..length])?,
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
        send(fd, DONE, MsgFlags::MSG_NOSIGNAL)?;
        Ok(true)
    }

    fn take_datagrams(&mut self, desk: &mut Desk) {
        let mut bytes = [0; MESSAGE_BYTES_MAX + 1];
        // An error here is that of one datagram, such as a refusal of an earlier answer.
        for _ in 0..WAITING_MAX {
            match self.datagrams.recv_from(&mut bytes) {
                Ok((length, from)) => self.take(desk, &bytes[..length], Asker::Datagram(from)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {}
            }
        }
    }

    fn take_streams(&mut self, desk: &mut Desk) {
        while let Ok((socket, _)) = self.listener.accept() {
            if desk.streams.len() < STREAMS_MAX && socket.set_nonblocking(true).is_ok() {
                desk.next += 1;
                let received = Vec::new();
                desk.streams.insert(desk.next, Stream { socket, received });
            }
        }
        let mut asked = Vec::new();
        desk.streams.retain(|number, stream| {
            let open = stream.fill();
            while let Some(message) = stream.message() {
                asked.push((*number, message));
            }
            open
        });
        for (number, bytes) in asked {
            self.take(desk, &bytes, Asker::Stream(number));
        }
    }

    /// A message that was asked.
    fn take(&mut self, desk: &mut Desk, bytes: &[u8], asker: Asker) {
        let (delay, answer) = match message::decode(bytes) {
            Ok(query) => {
                let verdict = desk.faults.verdict(&self.names, &query.name);
                let (code, addresses) = match verdict.answer {
                    Answer::Silence => return,
                    Answer::Failure => (Code::ServerFailure, None),
                    Answer::NoSuchName | Answer::True(None) => (Code::NoSuchName, None),
                    Answer::Random => (Code::Fine, Some(random_address(self.random.next_u64()))),
                    Answer::True(address) => (Code::Fine, address),
                };
                let addresses: Vec<Ipv4Addr> = addresses
                    .into_iter()
                    .filter(|_| query.kind == TYPE_A)
                    .collect();
                let answer = message::encode_answer(&query, code, &addresses);
                (verdict.delay, answer)
            }
            Err(_) => match message::encode_refusal(bytes) {
                Some(refusal) => (Default::default(), refusal),
                None => return,
            },
        };
        if desk.waiting.len() < WAITING_MAX {
            desk.next += 1;
            let due = now().after(delay);
            desk.waiting.insert((due, desk.next), (asker, answer));
        }
    }

    fn answer_due(&self, desk: &mut Desk) {
        while let Some(first) = desk.waiting.first_entry() {
            if first.key().0 > now() {
                return;
            }
            // Whoever asked may be gone; that is no trouble of ours.
            match first.remove() {
                (Asker::Datagram(to), answer) => {
                    let _ = self.datagrams.send_to(&answer, to);
                }
                (Asker::Stream(number), answer) => {
                    if let Some(stream) = desk.streams.get_mut(&number) {
                        let mut whole = (answer.len() as u16).to_be_bytes().to_vec();
                        whole.extend(answer);
                        let _ = stream.socket.write_all(&whole);
                    }
                }
            }
        }
    }
}

impl Stream {
    /// Takes what has come; false at its end, or when it says too much.
    fn fill(&mut self) -> bool {
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return false,
                Ok(length) => self.received.extend(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
            if self.received.len() > 2 * MESSAGE_BYTES_MAX {
                return false;
            }
        }
    }

    fn message(&mut self) -> Option<Vec<u8>> {
        let length: [u8; LENGTH_BYTES] = *self.received.first_chunk()?;
        let end = LENGTH_BYTES + usize::from(u16::from_be_bytes(length));
        if self.received.len() < end {
            return None;
        }
        let rest = self.received.split_off(end);
        let mut message = std::mem::replace(&mut self.received, rest);
        Some(message.split_off(LENGTH_BYTES))
    }
}
