//! The proxy between real sockets and a program that is not ours.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is test code, which clippy sees only in #[test]"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command as Program, Stdio};
use std::time::{Duration, Instant};

use shakedown_agents::proxy::toxics::Settings;
use shakedown_agents::proxy::{Command, Done, Proxy, Stream, Toxic};
use shakedown_contracts::random::Random;

/// Far above what anything here takes; only a hang reaches it.
const LIMIT: Duration = Duration::from_secs(30);

/// A Python program that gives every byte back.
struct Echo {
    process: Child,
    address: SocketAddr,
}

impl Echo {
    fn start() -> Self {
        const PROGRAM: &str = "
import socketserver
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        try:
            while data := self.request.recv(65536): self.request.sendall(data)
        except ConnectionError: pass
socketserver.ThreadingTCPServer.daemon_threads = True
server = socketserver.ThreadingTCPServer(('127.0.0.1', 0), Echo)
print(server.server_address[1], flush=True)
server.serve_forever()
";
        let mut process = Program::new("python3")
            .args(["-c", PROGRAM])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Echo { process, address }
    }

    fn behind_proxy(seed: u64) -> (Self, Proxy) {
        let echo = Echo::start();
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), echo.address, seed).unwrap();
        (echo, proxy)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.listen()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn toxic(name: &str, stream: Stream, settings: Settings) -> Command {
    Command::Add(Toxic {
        name: name.to_owned(),
        stream,
        toxicity: 1.0,
        settings,
    })
}

fn removed(proxy: &Proxy, name: &str) -> Done {
    let name = name.to_owned();
    proxy
        .tell(Command::Remove { name })
        .unwrap()
        .removed
        .unwrap()
}

/// How long a byte takes to the server and back.
fn round_trip(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    began.elapsed()
}

#[test]
fn bytes_and_the_ends_of_both_directions_pass() {
    let (_echo, proxy) = Echo::behind_proxy(1);
    let mut stream = connect(&proxy);
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"hello");
    let until = Instant::now() + LIMIT;
    while proxy.tell(Command::Inspect).unwrap().connections > 0 {
        assert!(Instant::now() < until, "the connection is over");
    }
}

#[test]
fn a_latency_acts_on_a_connection_that_is_there_and_says_what_it_did() {
    let (_echo, proxy) = Echo::behind_proxy(1);
    let mut stream = connect(&proxy);
    round_trip(&mut stream);
    for way in [Stream::Upstream, Stream::Downstream] {
        let late = Settings::Latency {
            latency: 40,
            jitter: 0,
        };
        proxy.tell(toxic("late", way, late)).unwrap();
        assert!(round_trip(&mut stream) >= Duration::from_millis(40));
        let done = removed(&proxy, "late");
        assert_eq!((done.connections, done.passed_bytes), (1, 1));
        assert!(done.delay_mean_ms >= 40.0, "{done:?}");
    }
    let trips = (0..20).map(|_| round_trip(&mut stream));
    assert!(trips.min().unwrap() < Duration::from_millis(40), "healed");
}

#[test]
fn a_toxic_that_is_taken_away_lets_go_of_what_it_holds_at_once() {
    let (_echo, proxy) = Echo::behind_proxy(1);
    for settings in [
        Settings::Latency {
            latency: 3_600_000,
            jitter: 0,
        },
        Settings::Bandwidth { rate: 0 },
        Settings::Timeout { timeout: 0 },
    ] {
        let mut stream = connect(&proxy);
        round_trip(&mut stream);
        proxy
            .tell(toxic("held", Stream::Downstream, settings))
            .unwrap();
        stream.write_all(b"all of this").unwrap();
        let mut reader = stream.try_clone().unwrap();
        reader
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        reader.read(&mut [0; 64]).unwrap_err();
        removed(&proxy, "held");
        let mut all = [0; 11];
        reader.set_read_timeout(Some(LIMIT)).unwrap();
        reader.read_exact(&mut all).unwrap();
        assert_eq!(&all, b"all of this");
    }
}

#[test]
fn a_bandwidth_lets_as_much_pass_as_asked() {
    let (_echo, proxy) = Echo::behind_proxy(1);
    let rate = Settings::Bandwidth { rate: 2_000 };
    proxy.tell(toxic("slow", Stream::Upstream, rate)).unwrap();
    let mut stream = connect(&proxy);
    let sent = vec![7; 600_000];
    let began = Instant::now();
    let mut writer = stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut all = vec![0; 600_000];
    stream.read_exact(&mut all).unwrap();
    sending.join().unwrap();
    let seconds = began.elapsed().as_secs_f64();
    // Not faster than asked; how much slower depends on how busy the machine is.
    assert!(seconds >= 0.29, "{seconds}");
    assert_eq!(removed(&proxy, "slow").passed_bytes, 600_000);
}

#[test]
fn a_reset_reaches_the_client_and_a_limit_ends_the_connection_after_its_bytes() {
    let (_echo, proxy) = Echo::behind_proxy(1);
    let mut stream = connect(&proxy);
    round_trip(&mut stream);
    let reset = Settings::ResetPeer { timeout: 10 };
    proxy
        .tell(toxic("reset", Stream::Downstream, reset))
        .unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    removed(&proxy, "reset");
    let limit = Settings::LimitData { bytes: 5 };
    proxy
        .tell(toxic("limit", Stream::Downstream, limit))
        .unwrap();
    let mut stream = connect(&proxy);
    stream.write_all(b"1234567890").unwrap();
    let mut all = Vec::new();
    // An orderly end, or a reset behind the bytes for what was not read.
    let _ = stream.read_to_end(&mut all);
    assert_eq!(all, b"12345");
}

#[test]
fn a_share_of_connections_meets_a_toxic_the_same_for_the_same_seed() {
    let met = |seed| {
        let (_echo, proxy) = Echo::behind_proxy(seed);
        let half = Toxic {
            name: "half".to_owned(),
            stream: Stream::Downstream,
            toxicity: 0.5,
            settings: Settings::Bandwidth { rate: 0 },
        };
        proxy.tell(Command::Add(half)).unwrap();
        let answers = |_| {
            let mut stream = connect(&proxy);
            stream.write_all(b"x").unwrap();
            stream
                .set_read_timeout(Some(Duration::from_millis(150)))
                .unwrap();
            stream.read(&mut [0]).is_ok()
        };
        (0..16).map(answers).collect::<Vec<bool>>()
    };
    let one = met(1);
    assert!(one.contains(&true) && one.contains(&false), "{one:?}");
    assert_eq!(one, met(1));
    assert_ne!(one, met(2));
}

#[test]
fn nothing_is_lost_or_reordered_while_toxics_come_and_go() {
    let (_echo, proxy) = Echo::behind_proxy(1);
    let mut stream = connect(&proxy);
    let mut random = Random::keyed(1, "test", "bytes");
    let sent: Vec<u8> = (0..8 << 20).map(|_| random.next_u64() as u8).collect();
    let mut writer = stream.try_clone().unwrap();
    let to_send = sent.clone();
    let sending = std::thread::spawn(move || {
        writer.write_all(&to_send).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all
    });
    let kinds = [
        Settings::Latency {
            latency: 3,
            jitter: 2,
        },
        Settings::Bandwidth { rate: 20_000 },
        Settings::Timeout { timeout: 0 },
        Settings::Slicer {
            average_size: 2_000,
            size_variation: 900,
            delay: 10,
        },
        Settings::SlowClose { delay: 5 },
    ];
    let mut there: Vec<String> = Vec::new();
    for number in 0.. {
        if reading.is_finished() {
            break;
        }
        let name = format!("t{number}");
        let way = match random.chance(0.5) {
            true => Stream::Upstream,
            false => Stream::Downstream,
        };
        let settings = random.pick(&kinds).unwrap().clone();
        proxy.tell(toxic(&name, way, settings)).unwrap();
        there.push(name);
        if there.len() > 3 || random.chance(0.5) {
            let gone = there.swap_remove(random.below(there.len() as u64) as usize);
            removed(&proxy, &gone);
        }
        std::thread::sleep(Duration::from_millis(random.below(4)));
        if number > 400 {
            there
                .drain(..)
                .for_each(|name| drop(removed(&proxy, &name)));
        }
    }
    sending.join().unwrap();
    assert!(reading.join().unwrap() == sent, "every byte in its place");
}

#[test]
fn a_proxy_that_is_down_refuses_and_comes_up_at_the_same_address() {
    let (_echo, proxy) = Echo::behind_proxy(1);
    let mut stream = connect(&proxy);
    round_trip(&mut stream);
    assert!(!proxy.tell(Command::Toggle).unwrap().enabled);
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "it has ended");
    TcpStream::connect(proxy.listen()).unwrap_err();
    assert!(proxy.tell(Command::Toggle).unwrap().enabled);
    round_trip(&mut connect(&proxy));
}

#[test]
fn commands_that_make_no_sense_change_nothing() {
    let (_echo, proxy) = Echo::behind_proxy(1);
    let late = || toxic("late", Stream::Upstream, Settings::SlowClose { delay: 1 });
    proxy.tell(late()).unwrap();
    let twice = proxy.tell(late()).unwrap_err().to_string();
    assert!(twice.contains("give another name"), "{twice}");
    let name = "laet".to_owned();
    let unknown = proxy
        .tell(Command::Remove { name })
        .unwrap_err()
        .to_string();
    assert_eq!(unknown, "there is no toxic `laet`; there are late");
    assert_eq!(proxy.tell(Command::Inspect).unwrap().toxics.len(), 1);
}
