//! TCP connections of a network namespace: listed, and ended from outside (linux/inet_diag.h).
//!
//! The kernel ends a connection as if its owner had aborted it: the owner's next call fails, the
//! other end is sent a reset.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{Message, NetlinkError, Socket};

const DIAGNOSE: u16 = 20;
const DESTROY: u16 = 21;
/// Bits by TCP state of what is alive: established, asked for, half closed by either side.
const LIVE_STATES: u32 = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8;
const ALL_STATES: u32 = u32::MAX;
/// `struct inet_diag_sockid`.
const IDENTITY_BYTES: usize = 48;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// This end.
    pub local: SocketAddrV4,
    /// The other.
    pub remote: SocketAddrV4,
    /// As the kernel names it, with a cookie that no later connection has.
    identity: [u8; IDENTITY_BYTES],
}

/// Live connections over IPv4 that have an end in the calling thread's namespace.
///
/// # Errors
/// [`NetlinkError`] when the kernel cannot list sockets.
pub fn connections() -> Result<Vec<Connection>, NetlinkError> {
    let mut socket = Socket::open(libc::NETLINK_SOCK_DIAG)?;
    let message = request(
        DIAGNOSE,
        libc::NLM_F_DUMP,
        LIVE_STATES,
        &[0; IDENTITY_BYTES],
    );
    let mut found = Vec::new();
    socket.dump("list connections", message, |body| {
        found.extend(connection(body));
    })?;
    Ok(found)
}

/// Ends connections of the calling thread's namespace; how many of them lived until then.
///
/// # Errors
/// [`NetlinkError`] when the kernel cannot end sockets (CONFIG_INET_DIAG_DESTROY).
pub fn destroy(connections: &[Connection]) -> Result<usize, NetlinkError> {
    let mut socket = Socket::open(libc::NETLINK_SOCK_DIAG)?;
    let mut ended = 0;
    for connection in connections {
        let message = request(DESTROY, libc::NLM_F_ACK, ALL_STATES, &connection.identity);
        match socket.request("end a connection", message) {
            Ok(()) => ended += 1,
            // It ended by itself meanwhile.
            Err(NetlinkError::Refused { source, .. })
                if source.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ended)
}

/// `struct inet_diag_req_v2`.
fn request(kind: u16, flags: i32, states: u32, identity: &[u8; IDENTITY_BYTES]) -> Message {
    let mut fixed = vec![libc::AF_INET as u8, libc::IPPROTO_TCP as u8, 0, 0];
    fixed.extend(states.to_ne_bytes());
    fixed.extend(identity);
    Message::new(kind, flags, &fixed)
}

/// Of a `struct inet_diag_msg`: family, state, timer and retransmits come before the identity, which
/// begins with both ports and both addresses.
pub fn connection(body: &[u8]) -> Option<Connection> {
    if *body.first()? != libc::AF_INET as u8 {
        return None;
    }
    let identity: [u8; IDENTITY_BYTES] = *body.get(4..)?.first_chunk()?;
    let port = |at: usize| u16::from_be_bytes([identity[at], identity[at + 1]]);
    let address = |at: usize| {
        Ipv4Addr::new(
            identity[at],
            identity[at + 1],
            identity[at + 2],
            identity[at + 3],
        )
    };
    Some(Connection {
        local: SocketAddrV4::new(address(4), port(0)),
        remote: SocketAddrV4::new(address(20), port(2)),
        identity,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_live_connection_is_listed_by_both_its_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (SocketAddr::V4(one), SocketAddr::V4(other)) =
            (stream.local_addr().unwrap(), stream.peer_addr().unwrap())
        else {
            panic!("loopback is IPv4 here");
        };
        let found = connections().unwrap();
        let has = |local, remote| {
            let mut ends = found.iter();
            ends.any(|end| (end.local, end.remote) == (local, remote))
        };
        assert!(has(one, other) && has(other, one), "{found:?}");
    }

    proptest! {
        #[test]
        fn arbitrary_answers_are_survived(body: Vec<u8>) {
            connection(&body);
        }
    }
}
