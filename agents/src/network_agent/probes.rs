//! Packets of the agent's own that prove what a link does.
//!
//! The agent holds a UDP socket inside every endpoint's namespace. A probe from one to another
//! travels the link as any packet does: whether it arrives, and after what time, is what an
//! endpoint would see. Arrival is stamped by the kernel (`SO_TIMESTAMPNS`), so that a reader who
//! comes late does not make a link look slow; those stamps are wall time, and so is the sender's.
//!
//! A probe says its number again and again, and goes without a UDP checksum: what was altered on the
//! way arrives and is seen to be.
//!
//! All probes go to [`PROBE_PORT`]. They come from there too, unless it is asked what happens to the
//! traffic of another port: then they come from that one, whether a program listens on it or not.

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::time::{ClockId, clock_gettime};
use shakedown_contracts::fault::Link;
use shakedown_contracts::ports::PROBE_PORT;
use shakedown_contracts::units::Duration;

use super::topology::Wire;
use super::wire_bytes::datagram;
use crate::clock::now;

/// Numbers of probes begin here, so that a stranger's packet is not taken for one.
const FIRST_NUMBER: u64 = u64::from_be_bytes(*b"SDP1\0\0\0\0");
/// How often a probe says its number: 256 bytes. [`LARGE`] fills a packet.
const USUAL: usize = 32;
/// The same of a probe that fills a packet of 1428 bytes.
pub const LARGE: usize = 175;
const NUMBER_BYTES: usize = 8;
/// IP and UDP header.
const HEADER_BYTES: usize = 28;
/// Probes sent before arrivals are taken.
const BURST: u32 = 64;
/// Probes under way to one endpoint. A delayed link lets go of all at once, before anyone may read:
/// a socket's usual buffer of 208 KiB holds 166 of them.
const WINDOW: u32 = 120;

/// What became of the probes on one link.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arrivals {
    /// Sent.
    pub sent: u32,
    /// One-way times of those that arrived, in order of arrival.
    pub times: Vec<Duration>,
    /// Arrived a second time.
    pub twice: u32,
    /// Arrived with other bytes.
    pub altered: u32,
    /// Arrived after one that was sent later.
    pub overtaken: u32,
}

impl Arrivals {
    /// How many arrived.
    pub fn arrived(&self) -> u32 {
        self.times.len() as u32
    }

    /// Mean one-way time; `None` when none arrived.
    pub fn mean_ms(&self) -> Option<f64> {
        let total: f64 = self.times.iter().map(|time| time.as_millis_f64()).sum();
        (!self.times.is_empty()).then(|| total / self.times.len() as f64)
    }
}

/// Opens the probe socket of an endpoint; call it inside the endpoint's namespace.
///
/// # Errors
/// As the kernel gives them.
pub fn socket(address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::from((address, PROBE_PORT)))?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    without_checksum(&socket)?;
    Ok(socket)
}

/// What the socket sends carries no UDP checksum.
fn without_checksum(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: pointer and length describe `on`, which lives over the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sends and collects probes; numbers them over its life so that late ones are not taken for new.
#[derive(Debug)]
pub struct Prober {
    next: u64,
}

impl Default for Prober {
    fn default() -> Self {
        Prober { next: FIRST_NUMBER }
    }
}

/// How probes look.
#[derive(Debug, Clone, Copy)]
struct Probe {
    /// Where they come from; `None` for the usual port.
    port: Option<u16>,
    /// How often each says its number.
    repeats: usize,
}

/// Probes under way.
#[derive(Debug)]
pub struct Volley<'a> {
    links: &'a [Link],
    probe: Probe,
    /// Position of the link and wall time of sending, by number.
    open: BTreeMap<u64, (usize, i64)>,
    /// Position of the link by number of those that have arrived.
    arrived: BTreeMap<u64, usize>,
    /// Highest number that has arrived on each link.
    newest: Vec<u64>,
    arrivals: Vec<Arrivals>,
}

/// Bytes of a probe on the wire, from its IP header on.
pub const PROBE_BYTES: u64 = (HEADER_BYTES + USUAL * NUMBER_BYTES) as u64;
/// The same of a large one.
pub const LARGE_BYTES: u64 = (HEADER_BYTES + LARGE * NUMBER_BYTES) as u64;

impl Prober {
    /// Sends `rounds` probes from a port on each link, of each of which `copies` may arrive, then
    /// waits until all have arrived or the last was sent `patience` ago.
    ///
    /// # Errors
    /// When a socket breaks; a link's fault never is an error.
    pub fn exchange(
        &mut self,
        wires: &[Wire],
        links: &[Link],
        port: Option<u16>,
        (rounds, copies): (u32, u32),
        patience: Duration,
    ) -> io::Result<BTreeMap<Link, Arrivals>> {
        let repeats = USUAL;
        let mut volley = Volley::new(links, Probe { port, repeats });
        let at_once = rounds_at_once(links, copies);
        let mut left = rounds;
        while left > 0 {
            let some = left.min(at_once);
            self.send_more(wires, &mut volley, some)?;
            volley.collect(wires, patience)?;
            left -= some;
        }
        Ok(volley.by_link())
    }

    /// Sends `rounds` probes that fill packets on each link, all at once, then waits like
    /// [`Prober::exchange`].
    ///
    /// # Errors
    /// When a socket breaks.
    pub fn burst(
        &mut self,
        wires: &[Wire],
        links: &[Link],
        port: Option<u16>,
        rounds: u32,
        patience: Duration,
    ) -> io::Result<BTreeMap<Link, Arrivals>> {
        let repeats = LARGE;
        let mut volley = Volley::new(links, Probe { port, repeats });
        self.send_more(wires, &mut volley, rounds)?;
        volley.collect(wires, patience)?;
        Ok(volley.by_link())
    }

    /// Sends `rounds` probes on each link, and takes what arrives meanwhile.
    ///
    /// # Errors
    /// When a socket breaks.
    pub fn send<'a>(
        &mut self,
        wires: &[Wire],
        links: &'a [Link],
        port: Option<u16>,
        rounds: u32,
    ) -> io::Result<Volley<'a>> {
        let repeats = USUAL;
        let mut volley = Volley::new(links, Probe { port, repeats });
        self.send_more(wires, &mut volley, rounds)?;
        Ok(volley)
    }

    fn send_more(
        &mut self,
        wires: &[Wire],
        volley: &mut Volley<'_>,
        rounds: u32,
    ) -> io::Result<()> {
        let ends = volley
            .links
            .iter()
            .map(|link| Ok((wire(wires, &link.from)?, wire(wires, &link.to)?)));
        let ends: Vec<(&Wire, &Wire)> = ends.collect::<io::Result<_>>()?;
        let mut since_taken = 0;
        for _ in 0..rounds {
            for (position, (from, to)) in ends.iter().enumerate() {
                volley.open.insert(self.next, (position, wall_nanos()?));
                send(from, to, self.next, volley.probe)?;
                self.next += 1;
                volley.arrivals[position].sent += 1;
                since_taken += 1;
                if since_taken == BURST {
                    volley.take(wires)?;
                    since_taken = 0;
                }
            }
        }
        volley.take(wires)
    }
}

/// So many rounds that no endpoint's buffer overflows when all of their probes arrive together.
fn rounds_at_once(links: &[Link], copies: u32) -> u32 {
    let mut links_to: BTreeMap<&str, u32> = BTreeMap::new();
    for link in links {
        *links_to.entry(&link.to).or_default() += 1;
    }
    let most = links_to.into_values().max().unwrap_or(1);
    (WINDOW / most / copies).max(1)
}

impl<'a> Volley<'a> {
    fn new(links: &'a [Link], probe: Probe) -> Self {
        Volley {
            links,
            probe,
            open: BTreeMap::new(),
            arrived: BTreeMap::new(),
            newest: vec![0; links.len()],
            arrivals: vec![Arrivals::default(); links.len()],
        }
    }

    /// Waits until all have arrived or `patience` is over.
    ///
    /// # Errors
    /// When a socket breaks.
    pub fn collect(&mut self, wires: &[Wire], patience: Duration) -> io::Result<()> {
        let deadline = now().after(patience);
        loop {
            // Looks once more after the deadline: this thread may have slept over it.
            let left = deadline.since(now());
            self.take(wires)?;
            if self.open.is_empty() || left.is_zero() {
                return Ok(());
            }
            wait_readable(wires, left)?;
        }
    }

    /// What became of them so far.
    pub fn by_link(self) -> BTreeMap<Link, Arrivals> {
        self.links.iter().cloned().zip(self.arrivals).collect()
    }

    fn take(&mut self, wires: &[Wire]) -> io::Result<()> {
        for wire in wires {
            while let Some(received) = receive(&wire.probe)? {
                self.note(&received);
            }
        }
        Ok(())
    }

    fn note(&mut self, received: &Received) {
        let number = received.number;
        let Some((position, sent)) = self.open.remove(&number) else {
            if let Some(position) = self.arrived.get(&number) {
                self.arrivals[*position].twice += 1;
            }
            return;
        };
        self.arrived.insert(number, position);
        // A wall clock that steps between the two stamps is caught by the judgement.
        let nanos = u64::try_from(received.at - sent).unwrap_or(0);
        let arrivals = &mut self.arrivals[position];
        arrivals.times.push(Duration::from_nanos(nanos));
        let port = self.probe.port.unwrap_or(PROBE_PORT);
        let altered = received.altered || received.port != Some(port);
        arrivals.altered += u32::from(altered);
        arrivals.overtaken += u32::from(number < self.newest[position]);
        self.newest[position] = self.newest[position].max(number);
    }
}

fn wire<'a>(wires: &'a [Wire], name: &str) -> io::Result<&'a Wire> {
    let found = wires.iter().find(|wire| wire.name == name);
    found.ok_or_else(|| io::Error::other(format!("{name} is no endpoint of this run")))
}

fn wall_nanos() -> io::Result<i64> {
    Ok(clock_gettime(ClockId::CLOCK_REALTIME)?.num_nanoseconds())
}

fn send(from: &Wire, to: &Wire, number: u64, probe: Probe) -> io::Result<()> {
    let bytes = number.to_be_bytes().repeat(probe.repeats);
    let target = SocketAddrV4::new(to.address, PROBE_PORT);
    match probe.port {
        None => from.probe.send_to(&bytes, target).map(drop),
        Some(port) => {
            let packet = datagram(SocketAddrV4::new(from.address, port), target, &bytes);
            from.raw.send(&packet).map_err(io::Error::other)
        }
    }
}

/// A probe that arrived.
struct Received {
    number: u64,
    altered: bool,
    /// Where it came from.
    port: Option<u16>,
    /// Wall time.
    at: i64,
}

/// The next probe that waits in a socket; strangers are skipped.
fn receive(socket: &UdpSocket) -> io::Result<Option<Received>> {
    loop {
        let mut bytes = [0; LARGE * NUMBER_BYTES];
        let mut space = nix::cmsg_space!(TimeSpec);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let (fd, flags) = (socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let message = match recvmsg::<SockaddrIn>(fd, &mut parts, Some(&mut space), flags) {
            Ok(message) => message,
            Err(nix::Error::EAGAIN) => return Ok(None),
            Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let stamp = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp.num_nanoseconds()),
            _ => None,
        });
        let (length, port) = (message.bytes, message.address.map(|from| from.port()));
        if let (Some((number, altered)), Some(at)) = (number_of(&bytes[..length]), stamp) {
            return Ok(Some(Received {
                number,
                altered,
                port,
                at,
            }));
        }
    }
}

/// The number that a probe says, and whether it says anything else; `None` for a stranger's.
fn number_of(bytes: &[u8]) -> Option<(u64, bool)> {
    let (said, rest) = bytes.as_chunks::<NUMBER_BYTES>();
    let said = || said.iter().map(|said| u64::from_be_bytes(*said));
    // One bit is flipped at most: of three that are said one after the other, two are right.
    let mut three = said();
    let (one, two, three) = (three.next()?, three.next()?, three.next()?);
    let number = if one == two || one == three { one } else { two };
    let altered = !rest.is_empty() || said().any(|said| said != number);
    (number >= FIRST_NUMBER && said().filter(|said| *said == number).count() > 1)
        .then_some((number, altered))
}

fn wait_readable(wires: &[Wire], left: Duration) -> io::Result<()> {
    let sockets = wires.iter().map(|wire| wire.probe.as_fd());
    let mut fds: Vec<_> = sockets
        .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
        .collect();
    match ppoll(&mut fds, Some(TimeSpec::from_duration(left.into())), None) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_endpoint_is_sent_more_at_once_than_its_buffer_holds() {
        let link = |from: &str, to: &str| Link {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        assert_eq!(rounds_at_once(&[link("n1", "n2")], 1), WINDOW);
        let to_n2 = [link("n1", "n2"), link("n3", "n2"), link("n1", "n3")];
        assert_eq!(rounds_at_once(&to_n2, 1), WINDOW / 2);
        let crowd: Vec<Link> = (0..300).map(|n| link(&format!("n{n}"), "m")).collect();
        assert_eq!(rounds_at_once(&to_n2, 2), WINDOW / 4);
        assert_eq!(rounds_at_once(&crowd, 1), 1);
    }

    #[test]
    fn an_altered_probe_is_known_and_seen_to_be_altered_and_a_stranger_is_not_known() {
        let number = FIRST_NUMBER + 5;
        let probe = number.to_be_bytes().repeat(USUAL);
        assert_eq!(number_of(&probe), Some((number, false)));
        for bit in 0..probe.len() * 8 {
            let mut altered = probe.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(number_of(&altered), Some((number, true)), "bit {bit}");
        }
        assert_eq!(number_of(&probe[..100]), Some((number, true)));
        assert_eq!(number_of(b"some stranger's message of some length"), None);
        assert_eq!(number_of(&[]), None);
    }
}
