//! Netlink spoken directly: messages, attributes, and a socket that waits for the kernel's word.
//!
//! No `ip`, `nft` or `tc` program is run: a change takes microseconds instead of tens of
//! milliseconds, and nothing has to be installed. `route` wires interfaces, `nftables` rules
//! packets, `queue` takes packets to user space, `sockets` ends connections. Formats: linux/netlink.h and the headers named
//! in each file.

pub mod nftables;
pub mod queue;
pub mod route;
pub mod sockets;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType};
use thiserror::Error;

/// Length of `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// The kernel answers a request within microseconds; a silent one is a defect of ours.
const ANSWER_PATIENCE_SECONDS: i64 = 2;
/// Attribute flag: the payload is attributes.
const NESTED: u16 = 1 << 15;
/// Message type of an acknowledgement or error.
const TYPE_ERROR: u16 = 2;
/// Message type at the end of a dump.
const TYPE_DONE: u16 = 3;

/// Why the kernel did not do what was asked.
#[derive(Debug, Error)]
pub enum NetlinkError {
    /// A call on the socket failed.
    #[error("{action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the request.
    #[error("kernel refuses to {action}: {source}")]
    Refused {
        /// What was asked.
        action: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl NetlinkError {
    fn system(action: &str) -> impl FnOnce(io::Error) -> NetlinkError {
        let action = action.to_owned();
        move |source| NetlinkError::System { action, source }
    }
}

/// One netlink message under construction.
#[derive(Debug, Clone)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message of `kind` with `flags` (NLM_F_REQUEST is added) and a fixed part.
    pub fn new(kind: u16, flags: i32, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(fixed);
        let mut message = Message { bytes };
        message.pad();
        message
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Adds an attribute.
    pub fn attribute(mut self, kind: u16, payload: &[u8]) -> Self {
        let length = (4 + payload.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(payload);
        self.pad();
        self
    }

    /// Adds a text attribute, with its final zero.
    pub fn text(self, kind: u16, text: &str) -> Self {
        let mut payload = text.as_bytes().to_vec();
        payload.push(0);
        self.attribute(kind, &payload)
    }

    /// Adds an attribute that holds what `fill` adds.
    pub fn nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let mut message = fill(self);
        let length = (message.bytes.len() - start) as u16;
        message.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        message.bytes[start + 2..start + 4].copy_from_slice(&(kind | NESTED).to_ne_bytes());
        message
    }

    /// Adds bytes as they are, such as the fixed part of a nested message.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// A netlink socket of the namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Socket {
    /// Opens one for a protocol such as `NETLINK_ROUTE`, in the calling thread's namespace.
    ///
    /// # Errors
    /// [`NetlinkError::System`] when the kernel lacks the protocol.
    pub fn open(protocol: i32) -> Result<Self, NetlinkError> {
        let flags = SockType::Raw as i32 | SockFlag::SOCK_CLOEXEC.bits();
        // SAFETY: socket takes no pointers.
        let fd = unsafe { libc::socket(AddressFamily::Netlink as i32, flags, protocol) };
        if fd < 0 {
            return Err(NetlinkError::system("opening a netlink socket")(
                io::Error::last_os_error(),
            ));
        }
        // SAFETY: the kernel just made this descriptor, and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let socket = Socket { fd, sequence: 1 };
        let patience = libc::timeval {
            tv_sec: ANSWER_PATIENCE_SECONDS,
            tv_usec: 0,
        };
        socket.set_option(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &patience)?;
        Ok(socket)
    }

    fn set_option<T>(&self, level: i32, name: i32, value: &T) -> Result<(), NetlinkError> {
        let length = size_of::<T>() as libc::socklen_t;
        let pointer = std::ptr::from_ref(value).cast();
        // SAFETY: the pointer and length describe `value`, which lives over the call.
        let result = unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, name, pointer, length) };
        let error = NetlinkError::system("setting an option of a netlink socket");
        if result == 0 {
            Ok(())
        } else {
            Err(error(io::Error::last_os_error()))
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        // SAFETY: pointer and length describe `bytes`, which lives over the call.
        let sent =
            unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        let error = NetlinkError::system("sending to the kernel");
        if sent >= 0 {
            Ok(())
        } else {
            Err(error(io::Error::last_os_error()))
        }
    }

    /// One datagram of messages into `buffer`; its length.
    ///
    /// # Errors
    /// As the kernel gives them, `WouldBlock` after the patience of the socket.
    pub fn receive(&self, buffer: &mut [u8], flags: i32) -> io::Result<usize> {
        // SAFETY: pointer and length describe `buffer`, which lives over the call.
        let got = unsafe {
            libc::recv(
                self.fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                flags,
            )
        };
        if got >= 0 {
            Ok(got as usize)
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends one message and waits until the kernel has done it.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`] with what `action` was.
    pub fn request(&mut self, action: &str, message: Message) -> Result<(), NetlinkError> {
        self.transaction(action, vec![message])
    }

    /// Sends messages in one datagram; done when the kernel has answered the last that asks for an
    /// acknowledgement.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`] with the first refusal.
    pub fn transaction(
        &mut self,
        action: &str,
        messages: Vec<Message>,
    ) -> Result<(), NetlinkError> {
        let mut bytes = Vec::new();
        let mut last_acknowledged = 0;
        let first = self.sequence.wrapping_add(1);
        for message in messages {
            let sequence = self.next_sequence();
            let flags = u16::from_ne_bytes([message.bytes[6], message.bytes[7]]);
            if i32::from(flags) & libc::NLM_F_ACK != 0 {
                last_acknowledged = sequence;
            }
            bytes.extend(message.finish(sequence));
        }
        self.send(&bytes)?;
        self.await_acknowledgement(action, first, last_acknowledged)
    }

    /// Answers to requests before `first` are left over from a refused transaction.
    fn await_acknowledgement(
        &self,
        action: &str,
        first: u32,
        last: u32,
    ) -> Result<(), NetlinkError> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = self
                .receive(&mut buffer, 0)
                .map_err(NetlinkError::system(&format!(
                    "waiting for the kernel to {action}"
                )))?;
            let ours = |answer: &Received<'_>| {
                // Sequence numbers wrap, so they are compared by their distance.
                answer.kind == TYPE_ERROR && answer.sequence.wrapping_sub(first) < u32::MAX / 2
            };
            for answer in messages(&buffer[..length]).filter(ours) {
                let code = answer
                    .body
                    .first_chunk::<4>()
                    .map_or(0, |code| i32::from_ne_bytes(*code));
                if code != 0 {
                    let source = io::Error::from_raw_os_error(-code);
                    return Err(NetlinkError::Refused {
                        action: action.to_owned(),
                        source,
                    });
                }
                if answer.sequence == last {
                    return Ok(());
                }
            }
        }
    }

    /// Sends a dump request and hands each answer's body to `each`.
    ///
    /// # Errors
    /// [`NetlinkError`] when the kernel refuses or does not end the dump.
    pub fn dump(
        &mut self,
        action: &str,
        message: Message,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), NetlinkError> {
        let sequence = self.next_sequence();
        self.send(&message.finish(sequence))?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = self
                .receive(&mut buffer, 0)
                .map_err(NetlinkError::system(&format!(
                    "waiting for the kernel to {action}"
                )))?;
            for answer in messages(&buffer[..length]).filter(|a| a.sequence == sequence) {
                match answer.kind {
                    TYPE_DONE => return Ok(()),
                    TYPE_ERROR => {
                        let code = answer
                            .body
                            .first_chunk::<4>()
                            .map_or(0, |c| i32::from_ne_bytes(*c));
                        let source = io::Error::from_raw_os_error(-code);
                        return Err(NetlinkError::Refused {
                            action: action.to_owned(),
                            source,
                        });
                    }
                    _ => each(answer.body),
                }
            }
        }
    }
}

/// A message as received.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// Its type.
    pub kind: u16,
    /// The request it answers.
    pub sequence: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

/// The messages of one datagram; a malformed rest ends the walk.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let body = bytes.get(HEADER_BYTES..length)?;
        let received = Received {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            body,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(received)
    })
}

/// The attributes in `bytes`, as (type without flags, payload); a malformed rest ends the walk.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let payload = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let message = Message::new(7, 0, &[1, 2, 3, 4])
            .text(1, "eth0")
            .nest(2, |inner| inner.attribute(5, &[9, 9, 9]));
        let bytes = message.finish(3);
        let received: Vec<_> = messages(&bytes).collect();
        assert_eq!(
            (received.len(), received[0].kind, received[0].sequence),
            (1, 7, 3)
        );
        let found: Vec<_> = attributes(&received[0].body[4..]).collect();
        assert_eq!(found[0], (1, &b"eth0\0"[..]));
        assert_eq!(
            attributes(found[1].1).collect::<Vec<_>>(),
            [(5, &[9, 9, 9][..])]
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_walked_to_an_end(bytes: Vec<u8>) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }
}
