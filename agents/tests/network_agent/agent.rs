//! The harness's side of a network agent, and eyes of its own inside the namespaces.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sched::{CloneFlags, setns};
use shakedown_agents::clock;
use shakedown_agents::process::pidfd::poll_timeout;
use shakedown_agents::session::{Incoming, Outgoing};
use shakedown_contracts::control::{
    CONTROL_VERSION, Endpoint, FaultReport, NetworkOrder, NetworkReport,
};
use shakedown_contracts::event::Evidence;
use shakedown_contracts::fault::{FaultId, Link, LinkEffect};
use shakedown_contracts::time::Bracket;
use shakedown_contracts::units::Duration;

/// Far above what anything here takes; only a hang reaches it.
pub const LIMIT: Duration = Duration::from_secs(30);
/// Names of the endpoints of every test.
pub const NAMES: [&str; 3] = ["n1", "n2", "n3"];

/// A running agent.
pub struct Agent {
    pub process: Child,
    orders: Option<Outgoing>,
    reports: Incoming,
    namespaces: BTreeMap<String, PathBuf>,
    pub folder: tempfile::TempDir,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.orders = None;
        // Already ended in most tests; both calls then only collect it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Agent {
    /// Started with `argument`, and told nothing.
    pub fn silent(argument: &str) -> Self {
        // Ledgers lie where those of a run lie: in memory.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let folder = folder.unwrap();
        let log = File::create(folder.path().join("agent.log")).unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg(argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let orders = Outgoing::new(OwnedFd::from(process.stdin.take().unwrap()));
        let reports = Incoming::new(OwnedFd::from(process.stdout.take().unwrap()));
        Agent {
            process,
            orders: Some(orders),
            reports,
            namespaces: BTreeMap::new(),
            folder,
        }
    }

    /// Three endpoints, ready.
    pub fn new() -> Self {
        Agent::started_as("agent")
    }

    /// Three endpoints, ready; the agent was started with `argument`.
    pub fn started_as(argument: &str) -> Self {
        let mut agent = Agent::silent(argument);
        agent.hello(CONTROL_VERSION);
        match agent.report() {
            Some(NetworkReport::Ready {
                version,
                namespaces,
                ..
            }) => {
                assert_eq!(version, CONTROL_VERSION);
                let paths = namespaces.into_iter().map(|n| (n.endpoint, n.path));
                agent.namespaces = paths.collect();
            }
            other => panic!("{other:?}\nlog: {}", agent.log()),
        }
        assert!(agent.namespaces.keys().eq(NAMES));
        agent
    }

    pub fn hello(&mut self, version: u32) {
        let endpoints = NAMES.map(|name| Endpoint {
            name: name.to_owned(),
            address: address(name),
        });
        self.order(&NetworkOrder::Hello {
            version,
            endpoints: endpoints.to_vec(),
            ledger: self.ledger(),
            seed: 7,
        });
    }

    pub fn ledger(&self) -> PathBuf {
        self.folder.path().join("run").join("network.jsonl")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("agent.log")).unwrap()
    }

    pub fn order(&self, order: &NetworkOrder) {
        self.orders.as_ref().unwrap().send(order).unwrap();
    }

    /// Closes the harness's end of the stream.
    pub fn hang_up(&mut self) {
        self.orders = None;
    }

    /// The next report; `None` at the end of the stream or the limit.
    pub fn report(&mut self) -> Option<NetworkReport> {
        let deadline = clock::now().after(LIMIT);
        loop {
            if let Some(report) = self.reports.buffered().unwrap() {
                return Some(report);
            }
            let mut fds = [PollFd::new(self.reports.as_fd(), PollFlags::POLLIN)];
            let left = deadline.since(clock::now());
            if poll(&mut fds, poll_timeout(left)).unwrap() == 0
                || !self.reports.read_once().unwrap()
            {
                return None;
            }
        }
    }

    pub fn fault_report(&mut self) -> FaultReport {
        match self.report() {
            Some(NetworkReport::Fault(report)) => report,
            other => panic!("{other:?}\nlog: {}", self.log()),
        }
    }

    /// Injects and expects it to be verified.
    pub fn inject(&mut self, fault: &str, links: &[Link], effect: LinkEffect) -> Evidence {
        match self.try_inject(fault, links, effect) {
            Ok((_, evidence)) => evidence,
            Err(reason) => panic!("{fault}: {reason}\nlog: {}", self.log()),
        }
    }

    pub fn try_inject(
        &mut self,
        fault: &str,
        links: &[Link],
        effect: LinkEffect,
    ) -> Result<(Bracket, Evidence), String> {
        self.try_inject_at(fault, links, effect, &[])
    }

    /// Injects into the traffic of some ports and expects it to be verified.
    pub fn inject_at(
        &mut self,
        fault: &str,
        links: &[Link],
        effect: LinkEffect,
        ports: &[u16],
    ) -> Evidence {
        match self.try_inject_at(fault, links, effect, ports) {
            Ok((_, evidence)) => evidence,
            Err(reason) => panic!("{fault}: {reason}\nlog: {}", self.log()),
        }
    }

    pub fn try_inject_at(
        &mut self,
        fault: &str,
        links: &[Link],
        effect: LinkEffect,
        ports: &[u16],
    ) -> Result<(Bracket, Evidence), String> {
        self.order(&NetworkOrder::Inject {
            id: id(fault),
            links: links.to_vec(),
            effect,
            ports: ports.iter().copied().collect(),
        });
        match self.fault_report() {
            FaultReport::Effective {
                id: told,
                at,
                evidence,
            } => {
                assert_eq!(told, id(fault));
                Ok((at, evidence))
            }
            FaultReport::Unverified { reason, .. } => Err(reason),
            FaultReport::Healed { .. } => panic!("healed instead of injected"),
        }
    }

    /// Heals and expects it to be verified.
    pub fn heal(&mut self, fault: &str) -> Evidence {
        match self.try_heal(fault) {
            Ok((_, evidence)) => evidence,
            Err(reason) => panic!("{fault}: {reason}\nlog: {}", self.log()),
        }
    }

    pub fn try_heal(&mut self, fault: &str) -> Result<(Bracket, Evidence), String> {
        self.order(&NetworkOrder::Heal { id: id(fault) });
        match self.fault_report() {
            FaultReport::Healed {
                id: told,
                at,
                evidence,
            } => {
                assert_eq!(told, id(fault));
                Ok((at, evidence))
            }
            FaultReport::Unverified { reason, .. } => Err(reason),
            FaultReport::Effective { .. } => panic!("injected instead of healed"),
        }
    }

    pub fn namespace(&self, name: &str) -> PathBuf {
        self.namespaces[name].clone()
    }

    /// Does something on a thread inside an endpoint's namespace.
    pub fn inside<T: Send>(&self, name: &str, act: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(&self.namespaces[name]).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
                act()
            });
            thread.join().unwrap()
        })
    }

    /// A socket of the test's own on an endpoint.
    pub fn socket(&self, name: &str) -> UdpSocket {
        let socket = self.inside(name, || UdpSocket::bind((address(name), 0)).unwrap());
        socket.set_read_timeout(Some(LIMIT.into())).unwrap();
        socket
    }
}

/// Whether a datagram of the test's own gets from one socket to the other within a moment; the path
/// takes tens of microseconds.
pub fn passes(from: &UdpSocket, to: &UdpSocket) -> bool {
    let quick = std::time::Duration::from_millis(100);
    to.set_read_timeout(Some(quick)).unwrap();
    from.send_to(b"?", to.local_addr().unwrap()).unwrap();
    let arrived = to.recv_from(&mut [0; 8]).is_ok();
    to.set_read_timeout(Some(LIMIT.into())).unwrap();
    arrived
}

/// How long a datagram takes.
pub fn one_way(from: &UdpSocket, to: &UdpSocket) -> Duration {
    let begun = clock::now();
    from.send_to(b"?", to.local_addr().unwrap()).unwrap();
    to.recv_from(&mut [0; 8]).unwrap();
    clock::now().since(begun)
}

pub fn address(name: &str) -> Ipv4Addr {
    let number = NAMES.iter().position(|known| *known == name).unwrap() as u8;
    Ipv4Addr::new(10, 77, 0, number + 1)
}

pub fn target(name: &str, port: u16) -> SocketAddr {
    SocketAddr::from((address(name), port))
}

pub fn link(from: &str, to: &str) -> Link {
    Link {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

fn id(fault: &str) -> FaultId {
    FaultId {
        fault: fault.to_owned(),
        occurrence: 0,
    }
}
