//! Links, addresses, routes and neighbours (linux/rtnetlink.h, linux/if_link.h).

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Message, NetlinkError, Socket};

/// A link-layer address.
pub type Mac = [u8; 6];

/// Attribute `VETH_INFO_PEER` of linux/veth.h.
const VETH_INFO_PEER: u16 = 1;
/// `ARPHRD`-independent scope of addresses on the link alone.
const SCOPE_LINK: u8 = 253;

/// A route netlink socket of one namespace.
#[derive(Debug)]
pub struct Route(Socket);

/// A veth pair to be made: this end in the socket's namespace, the peer in another.
#[derive(Debug, Clone, Copy)]
pub struct VethPair<'a> {
    /// Name of this end.
    pub name: &'a str,
    /// Index of this end; must be free.
    pub index: u32,
    /// Address of this end.
    pub mac: Mac,
    /// Name of the peer.
    pub peer_name: &'a str,
    /// Address of the peer.
    pub peer_mac: Mac,
    /// Namespace of the peer.
    pub peer_namespace: BorrowedFd<'a>,
}

impl Route {
    /// For the calling thread's namespace.
    ///
    /// # Errors
    /// [`NetlinkError`] when the kernel has no route netlink.
    pub fn open() -> Result<Self, NetlinkError> {
        Socket::open(libc::NETLINK_ROUTE).map(Route)
    }

    /// Makes a veth pair.
    ///
    /// # Errors
    /// [`NetlinkError`], such as when the kernel has no veth.
    pub fn add_veth(&mut self, pair: &VethPair<'_>) -> Result<(), NetlinkError> {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK;
        let peer_namespace = pair.peer_namespace.as_raw_fd() as u32;
        let peer = |message: Message| {
            message
                .raw(&link_header(0, 0))
                .text(libc::IFLA_IFNAME, pair.peer_name)
                .attribute(libc::IFLA_ADDRESS, &pair.peer_mac)
                .attribute(libc::IFLA_NET_NS_FD, &peer_namespace.to_ne_bytes())
        };
        let message = Message::new(libc::RTM_NEWLINK, flags, &link_header(pair.index, 0))
            .text(libc::IFLA_IFNAME, pair.name)
            .attribute(libc::IFLA_ADDRESS, &pair.mac)
            .nest(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "veth")
                    .nest(libc::IFLA_INFO_DATA, |data| data.nest(VETH_INFO_PEER, peer))
            });
        self.0.request("make a veth pair", message)
    }

    /// Switches a link on.
    ///
    /// # Errors
    /// [`NetlinkError`]
    pub fn set_up(&mut self, index: u32) -> Result<(), NetlinkError> {
        let header = link_header(index, libc::IFF_UP as u32);
        let message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, &header);
        self.0.request("switch a link on", message)
    }

    /// Gives a link an address that stands alone (`/32`).
    ///
    /// # Errors
    /// [`NetlinkError`]
    pub fn add_address(&mut self, index: u32, address: Ipv4Addr) -> Result<(), NetlinkError> {
        let mut header = vec![libc::AF_INET as u8, 32, 0, 0];
        header.extend_from_slice(&index.to_ne_bytes());
        let message = Message::new(libc::RTM_NEWADDR, create(), &header)
            .attribute(libc::IFA_LOCAL, &address.octets())
            .attribute(libc::IFA_ADDRESS, &address.octets());
        self.0.request("add an address", message)
    }

    /// Routes one address to a link, with nothing between.
    ///
    /// # Errors
    /// [`NetlinkError`]
    pub fn add_host_route(&mut self, to: Ipv4Addr, index: u32) -> Result<(), NetlinkError> {
        let message = Message::new(libc::RTM_NEWROUTE, create(), &route_header(32, SCOPE_LINK))
            .attribute(libc::RTA_DST, &to.octets())
            .attribute(libc::RTA_OIF, &index.to_ne_bytes());
        self.0.request("add a route", message)
    }

    /// Routes everything else to `gateway` on a link.
    ///
    /// # Errors
    /// [`NetlinkError`]
    pub fn add_default_route(&mut self, gateway: Ipv4Addr, index: u32) -> Result<(), NetlinkError> {
        let message = Message::new(libc::RTM_NEWROUTE, create(), &route_header(0, 0))
            .attribute(libc::RTA_GATEWAY, &gateway.octets())
            .attribute(libc::RTA_OIF, &index.to_ne_bytes());
        self.0.request("add a default route", message)
    }

    /// Tells where an address is, for good: no ARP is ever needed, so that a dropped packet stays a
    /// dropped packet and does not become an unreachable host.
    ///
    /// # Errors
    /// [`NetlinkError`]
    pub fn add_neighbour(
        &mut self,
        index: u32,
        address: Ipv4Addr,
        mac: Mac,
    ) -> Result<(), NetlinkError> {
        let mut header = vec![libc::AF_INET as u8, 0, 0, 0];
        header.extend_from_slice(&index.to_ne_bytes());
        header.extend_from_slice(&libc::NUD_PERMANENT.to_ne_bytes());
        header.extend_from_slice(&[0, 0]);
        let message = Message::new(libc::RTM_NEWNEIGH, create(), &header)
            .attribute(libc::NDA_DST, &address.octets())
            .attribute(libc::NDA_LLADDR, &mac);
        self.0.request("add a neighbour", message)
    }
}

fn create() -> i32 {
    libc::NLM_F_CREATE | libc::NLM_F_REPLACE | libc::NLM_F_ACK
}

/// `struct ifinfomsg`
fn link_header(index: u32, up: u32) -> Vec<u8> {
    let mut header = vec![libc::AF_UNSPEC as u8, 0, 0, 0];
    header.extend_from_slice(&index.to_ne_bytes());
    header.extend_from_slice(&up.to_ne_bytes());
    header.extend_from_slice(&up.to_ne_bytes());
    header
}

/// `struct rtmsg`
fn route_header(prefix: u8, scope: u8) -> Vec<u8> {
    let table = libc::RT_TABLE_MAIN;
    let protocol = libc::RTPROT_STATIC;
    let mut header = vec![
        libc::AF_INET as u8,
        prefix,
        0,
        0,
        table,
        protocol,
        scope,
        libc::RTN_UNICAST,
    ];
    header.extend_from_slice(&[0; 4]);
    header
}
