//! One router namespace, one namespace per endpoint, one veth pair between each and the router.
//!
//! Every endpoint has an address that stands alone (`/32`) and sends everything to the router, which
//! forwards by host routes. Neighbours are permanent: there is no ARP that a fault could disturb.
//! Namespaces have no names; they live as long as the descriptors that hold them.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use nix::sched::{CloneFlags, setns, unshare};
use shakedown_contracts::control::{Endpoint, Namespace};
use thiserror::Error;

use crate::netlink::NetlinkError;
use crate::netlink::route::{Mac, Route, VethPair};

/// The router as every endpoint sees it: an address of the link alone.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// Name of an endpoint's interface.
const INTERFACE: &str = "eth0";
/// Index of `lo` in every new namespace.
const LOOPBACK: u32 = 1;
/// Index of the first endpoint's interface in the router; the others follow.
const FIRST_INDEX: u32 = 10;
/// UDP port of the agent's own probes on every endpoint.
pub const PROBE_PORT: u16 = 7009;

/// Why the topology does not stand.
#[derive(Debug, Error)]
pub enum TopologyError {
    /// The kernel refuses a namespace, a file or a socket.
    #[error(
        "{action}: {source}; the agent needs root or a user namespace of its own (`shakedown doctor` tells)"
    )]
    System {
        /// What was tried.
        action: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel refuses a link, an address or a route.
    #[error("wiring {endpoint}: {source}")]
    Wire {
        /// Which endpoint.
        endpoint: String,
        /// What the kernel said.
        #[source]
        source: NetlinkError,
    },
}

fn system<E: Into<io::Error>>(action: &str) -> impl FnOnce(E) -> TopologyError {
    let action = action.to_owned();
    move |error| TopologyError::System {
        action,
        source: error.into(),
    }
}

/// An endpoint that is wired to the router.
#[derive(Debug)]
pub struct Wire {
    /// Name of the endpoint.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Index of its interface in the router.
    pub index: u32,
    /// A UDP socket inside its namespace, on [`PROBE_PORT`].
    pub probe: UdpSocket,
    namespace: OwnedFd,
}

/// The router and its wires. The calling thread stays in the router namespace.
#[derive(Debug)]
pub struct Topology {
    /// In the order of the endpoints.
    pub wires: Vec<Wire>,
    router: OwnedFd,
}

impl Topology {
    /// Builds it all from the calling thread.
    ///
    /// # Errors
    /// [`TopologyError`]; what was made until then goes with the descriptors.
    pub fn build(endpoints: &[Endpoint]) -> Result<Self, TopologyError> {
        let router = new_namespace()?;
        let mut route = open_route("the router")?;
        wire(&mut route, "the router", |route| {
            route.set_up(LOOPBACK)?;
            route.add_address(LOOPBACK, GATEWAY)
        })?;
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")
            .map_err(system("switching forwarding on in the router"))?;
        let mut wires = Vec::with_capacity(endpoints.len());
        for (endpoint, index) in endpoints.iter().zip(FIRST_INDEX..) {
            wires.push(build_wire(&mut route, &router, endpoint, index)?);
        }
        Ok(Topology { wires, router })
    }

    /// Paths by which others can enter the namespaces while this process lives.
    pub fn namespaces(&self) -> Vec<Namespace> {
        let path = |wire: &Wire| {
            let fd = wire.namespace.as_raw_fd();
            PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id()))
        };
        self.wires
            .iter()
            .map(|wire| Namespace {
                endpoint: wire.name.clone(),
                path: path(wire),
            })
            .collect()
    }

    /// Does something with the calling thread inside an endpoint's namespace.
    ///
    /// # Errors
    /// [`TopologyError`] when the namespace cannot be entered or left.
    pub fn inside<T>(&self, wire: &Wire, act: impl FnOnce() -> T) -> Result<T, TopologyError> {
        within(&self.router, &wire.namespace, act)
    }
}

fn within<T>(home: &OwnedFd, there: &OwnedFd, act: impl FnOnce() -> T) -> Result<T, TopologyError> {
    setns(there, CloneFlags::CLONE_NEWNET).map_err(system("entering a network namespace"))?;
    let result = act();
    setns(home, CloneFlags::CLONE_NEWNET).map_err(system("returning to the router"))?;
    Ok(result)
}

/// Moves the calling thread into a new network namespace and returns its descriptor.
fn new_namespace() -> Result<OwnedFd, TopologyError> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(system("making a network namespace"))?;
    fs::File::open("/proc/thread-self/ns/net")
        .map(OwnedFd::from)
        .map_err(system("opening a network namespace"))
}

fn open_route(endpoint: &str) -> Result<Route, TopologyError> {
    let wire = |source| TopologyError::Wire {
        endpoint: endpoint.to_owned(),
        source,
    };
    Route::open().map_err(wire)
}

fn wire(
    route: &mut Route,
    endpoint: &str,
    act: impl FnOnce(&mut Route) -> Result<(), NetlinkError>,
) -> Result<(), TopologyError> {
    act(route).map_err(|source| TopologyError::Wire {
        endpoint: endpoint.to_owned(),
        source,
    })
}

/// Locally administered; the last byte tells the side.
fn mac(index: u32, side: u8) -> Mac {
    let [_, high, middle, low] = index.to_be_bytes();
    [2, 0, high, middle, low, side]
}

fn build_wire(
    router_route: &mut Route,
    router: &OwnedFd,
    endpoint: &Endpoint,
    index: u32,
) -> Result<Wire, TopologyError> {
    let namespace = new_namespace()?;
    let mut endpoint_route = open_route(&endpoint.name)?;
    setns(router, CloneFlags::CLONE_NEWNET).map_err(system("returning to the router"))?;
    let name = format!("v{index}");
    wire(router_route, &endpoint.name, |route| {
        route.add_veth(&VethPair {
            name: &name,
            index,
            mac: mac(index, 1),
            peer_name: INTERFACE,
            peer_mac: mac(index, 2),
            peer_namespace: namespace.as_fd(),
        })?;
        route.set_up(index)?;
        route.add_neighbour(index, endpoint.address, mac(index, 2))?;
        route.add_host_route(endpoint.address, index)
    })?;
    let interface = within(router, &namespace, || {
        nix::net::if_::if_nametoindex(INTERFACE)
    })?
    .map_err(system("finding an endpoint's interface"))?;
    wire(&mut endpoint_route, &endpoint.name, |route| {
        route.set_up(LOOPBACK)?;
        route.set_up(interface)?;
        route.add_address(interface, endpoint.address)?;
        route.add_neighbour(interface, GATEWAY, mac(index, 1))?;
        route.add_host_route(GATEWAY, interface)?;
        route.add_default_route(GATEWAY, interface)
    })?;
    let probe = within(router, &namespace, || probe_socket(endpoint.address))?.map_err(system(
        &format!("opening a probe socket on {}", endpoint.address),
    ))?;
    Ok(Wire {
        name: endpoint.name.clone(),
        address: endpoint.address,
        index,
        probe,
        namespace,
    })
}

fn probe_socket(address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::from((address, PROBE_PORT)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
