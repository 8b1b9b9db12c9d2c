//! Packets sent as they are, from their IP header on, and answers to them from the network.
//!
//! In the router it sends packets a second time: the router's own do not pass the table of links
//! again, so a copy meets no fault twice. In an endpoint it sends probes that come from any port,
//! also from one that a program listens on. The kernel fills in the IP checksum; those behind it are
//! part of the bytes. IPv4 alone, as the links are.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrIn, recv, sendto};

use crate::netlink::NetlinkError;

/// An answer holds the headers of what it answers; the rest of it is of no interest.
const RECEIVED_BYTES: usize = 256;

/// The socket.
#[derive(Debug)]
pub struct RawSocket {
    fd: OwnedFd,
}

impl AsFd for RawSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl RawSocket {
    /// Opens it in the calling thread's network namespace.
    ///
    /// # Errors
    /// As the kernel gives them; it takes the right to send raw packets there.
    pub fn open() -> io::Result<Self> {
        Self::of(libc::IPPROTO_RAW)
    }

    /// One that takes what the network tells senders (ICMP), there.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn of_answers() -> io::Result<Self> {
        Self::of(libc::IPPROTO_ICMP)
    }

    fn of(protocol: libc::c_int) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: a call without pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, kind, protocol) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call just made this descriptor, and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(RawSocket { fd })
    }

    /// Sends a packet, given from its IP header on, to where that says.
    ///
    /// # Errors
    /// When it is no IPv4 packet, or as the kernel gives them.
    pub fn send(&self, packet: &[u8]) -> Result<(), NetlinkError> {
        let failed = |source| NetlinkError::System {
            action: "sending a raw packet".to_owned(),
            source,
        };
        let to = packet.get(16..20).and_then(<[u8]>::first_chunk::<4>);
        let to = to.filter(|_| packet[0] >> 4 == 4);
        let to = to.ok_or_else(|| failed(io::Error::other("it is no IPv4 packet")))?;
        let [a, b, c, d] = *to;
        let address = SockaddrIn::from(std::net::SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), 0));
        let sent = sendto(self.fd.as_raw_fd(), packet, &address, MsgFlags::empty());
        sent.map(drop).map_err(|errno| failed(errno.into()))
    }

    /// The next packet that waits, from its IP header on; `None` when there is none.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn receive(&self) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; RECEIVED_BYTES];
        match recv(self.fd.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
            Ok(length) => {
                bytes.truncate(length);
                Ok(Some(bytes))
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}
