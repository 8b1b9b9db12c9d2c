//! Opens the node's sockets on its own address and names what is in the way.
//!
//! Binding comes first of all and listening last: a taken port is found before the disk is touched,
//! and nobody is accepted before the node has recovered.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::NodeError;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// What a socket is for; `purpose` and `key` appear in messages.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// Address and port.
    pub address: SocketAddr,
    /// `clients`, `peers` or `heartbeats`.
    pub purpose: &'static str,
    /// The config key that chose the port.
    pub key: &'static str,
}

/// A TCP socket that holds its port but does not accept yet.
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    endpoint: Endpoint,
}

impl Bound {
    /// Takes the port.
    pub fn new(endpoint: Endpoint) -> Result<Self, NodeError> {
        let socket = bind(&endpoint, Type::STREAM, Protocol::TCP)?;
        Ok(Bound { socket, endpoint })
    }

    /// The port taken, where the endpoint left the choice to the kernel.
    #[cfg(test)]
    pub fn local_port(&self) -> u16 {
        self.socket
            .local_addr()
            .unwrap()
            .as_socket()
            .unwrap()
            .port()
    }

    /// Begins to accept. Must be called within a runtime.
    pub fn listen(self) -> Result<tokio::net::TcpListener, NodeError> {
        let listening = self.socket.listen(BACKLOG);
        let listener =
            listening.and_then(|()| tokio::net::TcpListener::from_std(self.socket.into()));
        listener.map_err(|source| refused(&self.endpoint, source))
    }
}

/// A bound UDP socket.
pub fn bind_udp(endpoint: Endpoint) -> Result<std::net::UdpSocket, NodeError> {
    bind(&endpoint, Type::DGRAM, Protocol::UDP).map(Into::into)
}

fn bind(endpoint: &Endpoint, kind: Type, protocol: Protocol) -> Result<Socket, NodeError> {
    let opened = || {
        let socket = Socket::new(Domain::IPV4, kind, Some(protocol))?;
        socket.set_nonblocking(true)?;
        if protocol == Protocol::TCP {
            // Connections of the process before this one may still be closing on the port. With
            // UDP the option would let two nodes share it.
            socket.set_reuse_address(true)?;
        }
        socket.bind(&endpoint.address.into())?;
        Ok(socket)
    };
    opened().map_err(|source: io::Error| refused(endpoint, source))
}

fn refused(endpoint: &Endpoint, source: io::Error) -> NodeError {
    let Endpoint {
        address,
        purpose,
        key,
    } = *endpoint;
    NodeError::Bind {
        purpose,
        address,
        key,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_taken_port_is_named_with_its_key() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let endpoint = Endpoint {
            address,
            purpose: "clients",
            key: "client_port",
        };
        let message = Bound::new(endpoint).unwrap_err().to_string();
        for expected in [address.to_string().as_str(), "clients", "client_port"] {
            assert!(message.contains(expected), "{message}");
        }
    }
}
