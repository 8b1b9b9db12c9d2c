//! Packets in user space: NFQUEUE (linux/netfilter/nfnetlink_queue.h).
//!
//! The packet stays in the kernel until its verdict. Its number and its interfaces are copied, and as
//! much of its bytes as faults in effect have to see ([`Copied`]).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::nftables::Pair;
use super::{Message, NetlinkError, Socket, attributes, messages};

const SUBSYSTEM: u16 = 3;
const PACKET: u16 = 0;
const VERDICT: u16 = 1;
const CONFIG: u16 = 2;
const CONFIG_COMMAND: u16 = 1;
const CONFIG_PARAMETERS: u16 = 2;
const CONFIG_LENGTH_MAX: u16 = 3;
const CONFIG_MASK: u16 = 4;
const CONFIG_FLAGS: u16 = 5;
/// `NFQA_CFG_F_GSO`
const FLAG_WHOLE: u32 = 4;
const COMMAND_BIND: u8 = 1;
const COPY_METADATA: u8 = 1;
const COPY_PACKET: u8 = 2;
/// Longest headers: those of IPv4 with all options, and of TCP with all of its.
const HEADER_BYTES: u32 = 128;
const PACKET_HEADER: u16 = 1;
const VERDICT_HEADER: u16 = 2;
const PACKET_INCOMING: u16 = 5;
const PACKET_OUTGOING: u16 = 6;
const PAYLOAD: u16 = 10;
/// Packets the kernel may hold for us: 100,000 a second over a delay of 2 s. A full queue drops.
const PACKETS_HELD_MAX: u32 = 200_000;
/// Bytes of metadata the kernel may have waiting for us.
const RECEIVE_BUFFER_BYTES: i32 = 64 << 20;

/// Two queues: what the kernel keeps in one large piece on its way (GSO) is cut into packets for one,
/// and stays whole for the other, which is ten times as fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// For packets of which each has a fate of its own.
    Each,
    /// For packets that all have the same.
    Whole,
}

impl Lane {
    /// Both.
    pub const ALL: [Lane; 2] = [Lane::Each, Lane::Whole];

    /// The queue's number; the namespace is the agent's own, so any is free.
    pub const fn number(self) -> u16 {
        match self {
            Lane::Each => 0,
            Lane::Whole => 1,
        }
    }
}

/// Names a packet that waits for its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketId {
    /// Its queue.
    pub lane: Lane,
    /// Its number there.
    pub number: u32,
}

/// A packet that waits for its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Its name.
    pub id: PacketId,
    /// The link it travels on.
    pub pair: Pair,
}

/// A packet as it comes out of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// What to decide about.
    pub packet: Packet,
    /// Its bytes from the IP header on, as far as they are copied.
    pub bytes: Vec<u8>,
}

/// How much of each packet is copied; more takes longer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Copied {
    /// None of it.
    #[default]
    Nothing,
    /// Its headers.
    Headers,
    /// All of it, with its checksums complete.
    Everything,
}

/// A bound queue.
#[derive(Debug)]
pub struct Queue {
    socket: Socket,
    lane: Lane,
    buffer: Vec<u8>,
    copied: Copied,
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Queue {
    /// Binds a queue of the calling thread's namespace.
    ///
    /// # Errors
    /// [`NetlinkError`] when the kernel has no NFQUEUE or the number is taken.
    pub fn bind(lane: Lane) -> Result<Self, NetlinkError> {
        let number = lane.number();
        let mut socket = Socket::open(libc::NETLINK_NETFILTER)?;
        let forced = socket.set_option(
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            &RECEIVE_BUFFER_BYTES,
        );
        if forced.is_err() {
            // Without the privilege the kernel gives as much as its limit allows.
            socket.set_option(libc::SOL_SOCKET, libc::SO_RCVBUF, &RECEIVE_BUFFER_BYTES)?;
        }
        let bind =
            configure(number, libc::NLM_F_ACK).attribute(CONFIG_COMMAND, &[COMMAND_BIND, 0, 0, 0]);
        socket.request("bind a packet queue (NFQUEUE)", bind)?;
        let longest = configure(number, libc::NLM_F_ACK)
            .attribute(CONFIG_PARAMETERS, &parameters(Copied::Nothing))
            .attribute(CONFIG_LENGTH_MAX, &PACKETS_HELD_MAX.to_be_bytes());
        let longest = match lane {
            Lane::Each => longest,
            Lane::Whole => longest
                .attribute(CONFIG_FLAGS, &FLAG_WHOLE.to_be_bytes())
                .attribute(CONFIG_MASK, &FLAG_WHOLE.to_be_bytes()),
        };
        socket.request("configure a packet queue (NFQUEUE)", longest)?;
        Ok(Queue {
            socket,
            lane,
            buffer: vec![0; 128 << 10],
            copied: Copied::Nothing,
        })
    }

    /// From the next packet on, copies so much of each.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn copy(&mut self, copied: Copied) -> Result<(), NetlinkError> {
        if self.copied == copied {
            return Ok(());
        }
        // Unacknowledged: the answer would come among packets. A refusal shows as missing bytes.
        let message =
            configure(self.lane.number(), 0).attribute(CONFIG_PARAMETERS, &parameters(copied));
        self.socket.send(&message.finish(0))?;
        self.copied = copied;
        Ok(())
    }

    /// Hands every waiting packet to `each`, without blocking; how many times the kernel had to
    /// drop some because they were not fetched soon enough.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn fetch(&mut self, mut each: impl FnMut(Arrival)) -> io::Result<u64> {
        let lane = self.lane;
        let mut overflows = 0;
        loop {
            match self.socket.receive(&mut self.buffer, libc::MSG_DONTWAIT) {
                Ok(length) => {
                    let packets = messages(&self.buffer[..length])
                        .filter(|message| message.kind == (SUBSYSTEM << 8) | PACKET);
                    packets
                        .filter_map(|message| arrival(lane, message.body))
                        .for_each(&mut each);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(overflows),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => overflows += 1,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Lets a packet go on, or drops it.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn decide(&mut self, number: u32, pass: bool) -> Result<(), NetlinkError> {
        let message = self.verdict(number, pass);
        self.socket.send(&message.finish(0))
    }

    /// Lets a packet go on with other bytes.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn alter(&mut self, number: u32, bytes: &[u8]) -> Result<(), NetlinkError> {
        let message = self.verdict(number, true).attribute(PAYLOAD, bytes);
        self.socket.send(&message.finish(0))
    }

    fn verdict(&self, number: u32, pass: bool) -> Message {
        let verdict = u32::from(pass).to_be_bytes();
        let queue = self.lane.number().to_be_bytes();
        let fixed = [libc::AF_UNSPEC as u8, 0, queue[0], queue[1]];
        Message::new((SUBSYSTEM << 8) | VERDICT, 0, &fixed)
            .attribute(VERDICT_HEADER, &[verdict, number.to_be_bytes()].concat())
    }
}

fn configure(number: u16, flags: i32) -> Message {
    let number = number.to_be_bytes();
    let fixed = [libc::AF_UNSPEC as u8, 0, number[0], number[1]];
    Message::new((SUBSYSTEM << 8) | CONFIG, flags, &fixed)
}

/// `struct nfqnl_msg_config_params`.
fn parameters(copied: Copied) -> [u8; 5] {
    let (range, mode) = match copied {
        Copied::Nothing => (0, COPY_METADATA),
        Copied::Headers => (HEADER_BYTES, COPY_PACKET),
        Copied::Everything => (0xffff, COPY_PACKET),
    };
    let [a, b, c, d] = range.to_be_bytes();
    [a, b, c, d, mode]
}

/// Packets that the kernel dropped so far because a queue of the calling thread's namespace was full
/// or was not read soon enough: nobody asked for these losses.
///
/// # Errors
/// When the kernel's table of queues cannot be read.
pub fn overflows() -> io::Result<u64> {
    let table = std::fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue")?;
    Ok(overflows_of(&table))
}

/// Columns: queue, port, waiting, mode, range, dropped when full, dropped when unread, last number.
fn overflows_of(table: &str) -> u64 {
    let columns = table.lines().flat_map(|line| {
        let columns = line.split_whitespace().skip(5).take(2);
        columns.filter_map(|column| column.parse::<u64>().ok())
    });
    columns.sum()
}

/// The packet in the body of a message of the kernel's; `None` for what is none.
pub fn arrival(lane: Lane, body: &[u8]) -> Option<Arrival> {
    let mut number = None;
    let mut bytes = Vec::new();
    let mut pair = Pair {
        incoming: 0,
        outgoing: 0,
    };
    for (kind, payload) in attributes(body.get(4..)?) {
        let word = payload
            .first_chunk()
            .map(|bytes| u32::from_be_bytes(*bytes));
        match kind {
            PACKET_HEADER => number = word,
            PACKET_INCOMING => pair.incoming = word?,
            PACKET_OUTGOING => pair.outgoing = word?,
            PAYLOAD => bytes = payload.to_vec(),
            _ => {}
        }
    }
    let number = number?;
    let packet = Packet {
        id: PacketId { lane, number },
        pair,
    };
    Some(Arrival { packet, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_dropped_packets_are_counted_over_all_queues() {
        let table = "    0  31755     0 1     0     3     4       17  1\n    1  9 2 1 0 5 0 9 1\n";
        assert_eq!(overflows_of(table), 12);
        assert_eq!(overflows_of(""), 0);
    }
}
