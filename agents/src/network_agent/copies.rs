//! Packets sent a second time, by a raw socket of the router.
//!
//! The router's own packets do not pass the table of links again, so a copy meets no fault twice.
//! The kernel fills in the IP checksum; those behind it are part of the bytes. IPv4 alone, as the
//! links are.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::sys::socket::{MsgFlags, SockaddrIn, sendto};

use crate::netlink::NetlinkError;

/// The socket.
#[derive(Debug)]
pub struct Copies {
    fd: OwnedFd,
}

impl Copies {
    /// Opens it in the calling thread's network namespace.
    ///
    /// # Errors
    /// As the kernel gives them; it takes the right to send raw packets there.
    pub fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: a call without pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, kind, libc::IPPROTO_RAW) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call just made this descriptor, and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Copies { fd })
    }

    /// Sends a packet, given from its IP header on, to where that says.
    ///
    /// # Errors
    /// When it is no IPv4 packet, or as the kernel gives them.
    pub fn send(&self, packet: &[u8]) -> Result<(), NetlinkError> {
        let failed = |source| NetlinkError::System {
            action: "sending a packet a second time".to_owned(),
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
}
