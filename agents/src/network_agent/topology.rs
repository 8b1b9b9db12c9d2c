//! One router namespace, one namespace per endpoint, one veth pair between each and the router.
//!
//! Every endpoint has an address that stands alone (`/32`) and sends everything to the router, which
//! forwards by host routes. Neighbours are permanent: there is no ARP that a fault could disturb.
//! Namespaces have no names; they live as long as the descriptors that hold them.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use nix::sched::{CloneFlags, setns, unshare};
use shakedown_contracts::control::{Endpoint, Namespace};
use thiserror::Error;

use super::probes;
use super::raw_socket::RawSocket;
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
/// Settings of the router. No check of reverse paths (asymmetric faults are the purpose) and no
/// limit on refusals, which would make the seventh in a row a silent drop.
const ROUTER_SETTINGS: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/icmp_ratemask", "0"),
];
/// Settings of an endpoint, before it has an interface.
const ENDPOINT_SETTINGS: &[(&str, &str)] = &[
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
];
/// IPv6 has no route here; without it interfaces do not look for neighbours and routers. A kernel
/// without IPv6 has no such file. `lo` is not concerned.
const NO_IPV6: &str = "ipv6/conf/default/disable_ipv6";

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
    /// A UDP socket inside its namespace, see [`probes`].
    pub probe: UdpSocket,
    /// A socket inside its namespace for probes that come from another port.
    pub raw: RawSocket,
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
        configure(ROUTER_SETTINGS)?;
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

/// Writes kernel settings of the calling thread's network namespace.
fn configure(settings: &[(&str, &str)]) -> Result<(), TopologyError> {
    let write = |(name, value): (&str, &str)| {
        let path = PathBuf::from("/proc/sys/net").join(name);
        fs::write(&path, value).map_err(system(&format!("writing {value} to {}", path.display())))
    };
    settings.iter().copied().try_for_each(write)?;
    match fs::write(PathBuf::from("/proc/sys/net").join(NO_IPV6), "1") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(system("switching IPv6 off on new interfaces")(error))
        }
        _ => Ok(()),
    }
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
    configure(ENDPOINT_SETTINGS)?;
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
    let sockets = || Ok::<_, io::Error>((probes::socket(endpoint.address)?, RawSocket::open()?));
    let opening = format!("opening probe sockets on {}", endpoint.address);
    let (probe, raw) = within(router, &namespace, sockets)?.map_err(system(&opening))?;
    Ok(Wire {
        name: endpoint.name.clone(),
        address: endpoint.address,
        index,
        probe,
        raw,
        namespace,
    })
}
