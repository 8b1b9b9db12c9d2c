//! Traffic between endpoints: streams as fast as they go, datagrams to and fro, datagrams counted.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// Room for all that a burst leaves unread.
const RECEIVE_BYTES: usize = 256 << 20;

/// An endpoint, and how to get there.
#[derive(Debug, Clone)]
pub struct End {
    pub address: Ipv4Addr,
    pub namespace: PathBuf,
}

impl End {
    /// Does something in the endpoint's namespace, by a thread of its own on one processor.
    pub fn inside<T: Send>(&self, processor: usize, act: impl FnOnce() -> T + Send) -> T {
        let work = || {
            enter(&self.namespace);
            pin(processor);
            act()
        };
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    }
}

fn enter(namespace: &Path) {
    setns(File::open(namespace).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
}

fn pin(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor % processors()).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

/// Processors there are.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Gbit/s of one stream, over `length`.
pub fn stream(from: &End, to: &End, length: Duration) -> f64 {
    let listener = to.inside(1, || TcpListener::bind((to.address, 0)).unwrap());
    let target = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            to.inside(1, || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = vec![0; 1 << 20];
                let start = Instant::now();
                let mut bytes = 0;
                loop {
                    match stream.read(&mut buffer).unwrap() {
                        0 => return bytes as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e9,
                        read => bytes += read,
                    }
                }
            })
        });
        from.inside(0, || {
            let mut stream = TcpStream::connect(target).unwrap();
            let buffer = vec![7; 1 << 20];
            let start = Instant::now();
            while start.elapsed() < length {
                stream.write_all(&buffer).unwrap();
            }
        });
        receiver.join().unwrap()
    })
}

/// Round trips of one datagram after the other, in microseconds; the median.
pub fn round_trip(from: &End, to: &End, rounds: usize) -> f64 {
    let echo = to.inside(1, || UdpSocket::bind((to.address, 0)).unwrap());
    let asking = from.inside(0, || UdpSocket::bind((from.address, 0)).unwrap());
    asking.connect(echo.local_addr().unwrap()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            to.inside(1, || {
                for _ in 0..rounds {
                    let mut bytes = [0; 64];
                    let (length, back) = echo.recv_from(&mut bytes).unwrap();
                    echo.send_to(&bytes[..length], back).unwrap();
                }
            });
        });
        let mut times: Vec<f64> = from.inside(0, || {
            let one = |_| {
                let start = Instant::now();
                asking.send(&[7; 64]).unwrap();
                asking.recv(&mut [0; 64]).unwrap();
                start.elapsed().as_secs_f64() * 1e6
            };
            (0..rounds).map(one).collect()
        });
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

/// A socket that keeps what it is not asked for, and stamps what comes.
pub fn receiver(end: &End) -> UdpSocket {
    end.inside(1, || {
        let socket = UdpSocket::bind((end.address, 0)).unwrap();
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BYTES).unwrap();
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true).unwrap();
        socket
    })
}

/// A socket to send from.
pub fn sender(end: &End, to: SocketAddr) -> UdpSocket {
    end.inside(0, || {
        let socket = UdpSocket::bind((end.address, 0)).unwrap();
        socket.connect(to).unwrap();
        socket
    })
}

/// First eight bytes of the next datagram as a number, its length, and the kernel's wall time of its
/// arrival; `None` when none has come for so long as the socket waits.
pub fn receive(socket: &UdpSocket) -> Option<(u64, usize, i64)> {
    let mut bytes = [0; 2048];
    let mut space = nix::cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let fd = socket.as_raw_fd();
    let message = recvmsg::<()>(fd, &mut parts, Some(&mut space), MsgFlags::empty()).ok()?;
    let stamp = message.cmsgs().unwrap().find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp.num_nanoseconds()),
        _ => None,
    });
    let length = message.bytes;
    let number = u64::from_be_bytes(*bytes.first_chunk().unwrap());
    Some((number, length, stamp.unwrap()))
}

/// Wall time.
pub fn wall() -> i64 {
    clock_gettime(ClockId::CLOCK_REALTIME)
        .unwrap()
        .num_nanoseconds()
}
