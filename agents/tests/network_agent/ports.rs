//! Faults of some ports alone: what Python's sockets see at those ports, and at others.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use shakedown_contracts::fault::{CutBehavior, LinkEffect};
use shakedown_contracts::packet_fault::PacketFault;
use shakedown_contracts::ports::PROBE_PORT;
use shakedown_contracts::units::{Bytes, Duration, Ratio};

use crate::Test;
use crate::agent::{Agent, address, link, target};
use crate::faults::{delay, drop_all, loss};

pub const TESTS: &[Test] = &[
    (
        "a_cut_of_one_port_leaves_the_others_and_both_protocols_meet_it",
        cut,
    ),
    ("a_refusal_of_one_port_is_told_there_alone", refused),
    (
        "a_delay_of_two_ports_is_measured_on_both_and_on_no_other",
        slow,
    ),
    (
        "loss_of_one_port_takes_its_share_there_and_none_elsewhere",
        lossy,
    ),
    (
        "every_other_kind_meets_its_port_and_leaves_the_rest",
        other_kinds,
    ),
    ("a_reset_of_one_port_ends_its_connections_alone", reset),
    (
        "faults_of_ports_and_of_whole_links_overlap_and_heal_alone",
        overlap,
    ),
    (
        "a_cut_of_one_port_under_a_delay_loses_what_is_held_of_it",
        cut_under_delay,
    ),
    ("a_probe_comes_from_a_port_that_a_program_holds", taken),
    ("fragments_but_the_first_have_no_ports", fragments),
    ("the_port_of_the_probes_is_refused", probe_port),
];

/// Echoes datagrams and streams on the ports of its arguments; then says so.
const ECHO: &str = r"
import selectors, socket, sys
all = selectors.DefaultSelector()
for port in map(int, sys.argv[2:]):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((sys.argv[1], port))
    tcp = socket.socket()
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind((sys.argv[1], port))
    tcp.listen()
    all.register(udp, selectors.EVENT_READ, 'udp')
    all.register(tcp, selectors.EVENT_READ, 'tcp')
print('ready', flush=True)
while True:
    for key, _ in all.select():
        if key.data == 'udp':
            data, peer = key.fileobj.recvfrom(65536)
            key.fileobj.sendto(data, peer)
        elif key.data == 'tcp':
            all.register(key.fileobj.accept()[0], selectors.EVENT_READ, 'stream')
        else:
            data = b''
            try:
                data = key.fileobj.recv(65536)
                key.fileobj.sendall(data)
            except OSError:
                pass
            if not data:
                all.unregister(key.fileobj)
                key.fileobj.close()
";

/// Asks, a line an order: `udp PORT BYTES` or `tcp PORT BYTES`, answered by the milliseconds until
/// the echo was there or by the error's name; `open PORT` and `alive PORT`, of a stream that stays.
const ASK: &str = r"
import socket, sys, time
kept = {}
def exchange(kind, port, size):
    s = socket.socket(socket.AF_INET, kind)
    s.settimeout(0.4)
    begun = time.monotonic()
    s.connect((sys.argv[1], port))
    s.sendall(b'x' * size)
    left = size
    while left:
        got = len(s.recv(65536))
        if not got:
            raise EOFError
        left -= got
    s.close()
    return (time.monotonic() - begun) * 1000
def answer(word, port, rest):
    if word == 'open':
        kept[port] = socket.create_connection((sys.argv[1], port), 5)
        return 'open'
    if word == 'alive':
        kept[port].sendall(b'?')
        return kept[port].recv(1)
    kind = socket.SOCK_DGRAM if word == 'udp' else socket.SOCK_STREAM
    return exchange(kind, port, int(rest[0]))
for line in sys.stdin:
    word, port, *rest = line.split()
    try:
        print(answer(word, int(port), rest), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
";

/// A Python program inside an endpoint's namespace.
struct Python {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Python {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Python {
    fn start(agent: &Agent, name: &str, code: &str, arguments: &[String]) -> Self {
        let mut child = agent.inside(name, || {
            Command::new("python3")
                .args(["-c", code])
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        });
        Python {
            orders: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn ask(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").unwrap();
        self.line()
    }

    /// Milliseconds until the echo; panics on an error.
    fn millis(&mut self, order: &str) -> f64 {
        let answer = self.ask(order);
        answer
            .parse()
            .unwrap_or_else(|_| panic!("{order}: {answer}"))
    }

    /// The quickest of five: an answer of a busy machine is late, never early.
    fn quickest(&mut self, order: &str) -> f64 {
        (0..5)
            .map(|_| self.millis(order))
            .fold(f64::INFINITY, f64::min)
    }
}

/// n2 echoes on 6379, 6380 and 80; n1 asks.
fn conversation(agent: &Agent) -> (Python, Python) {
    let arguments = [
        address("n2").to_string(),
        "6379".into(),
        "6380".into(),
        "80".into(),
    ];
    let mut echo = Python::start(agent, "n2", ECHO, &arguments);
    assert_eq!(echo.line(), "ready");
    let asker = Python::start(agent, "n1", ASK, &arguments[..1]);
    (echo, asker)
}

fn ratio(share: f64) -> Ratio {
    Ratio::new(share).unwrap()
}

fn cut() {
    let mut agent = Agent::new();
    let (_echo, mut asker) = conversation(&agent);
    let evidence = agent.inject_at("cut", &[link("n1", "n2")], drop_all(), &[6379]);
    assert!(evidence.observed.contains("port 6379:"), "{evidence:?}");
    assert!(
        evidence.observed.contains("other ports: probes arrived"),
        "{evidence:?}"
    );
    for word in ["udp", "tcp"] {
        assert_eq!(asker.ask(&format!("{word} 6379 10")), "TimeoutError");
        asker.millis(&format!("{word} 6380 10"));
    }
    agent.heal("cut");
    asker.millis("udp 6379 10");
    asker.millis("tcp 6379 10");

    // The other direction: what comes back has the port as its source.
    agent.inject_at("back", &[link("n2", "n1")], drop_all(), &[6379]);
    assert_eq!(asker.ask("udp 6379 10"), "TimeoutError");
    asker.millis("udp 6380 10");
    agent.heal("back");
    asker.millis("udp 6379 10");
}

fn refused() {
    let mut agent = Agent::new();
    let (_echo, mut asker) = conversation(&agent);
    let reject = LinkEffect::Cut(CutBehavior::Reject);
    let evidence = agent.inject_at("no", &[link("n1", "n2")], reject, &[6379]);
    assert!(
        evidence.observed.contains("senders were told"),
        "{evidence:?}"
    );
    for word in ["udp", "tcp"] {
        assert_eq!(
            asker.ask(&format!("{word} 6379 10")),
            "ConnectionRefusedError"
        );
        asker.millis(&format!("{word} 6380 10"));
    }
    agent.heal("no");
    asker.millis("udp 6379 10");
    asker.millis("tcp 6379 10");
}

fn slow() {
    let mut agent = Agent::new();
    let (_echo, mut asker) = conversation(&agent);
    for (fault, jitter) in [("late", 0), ("jittered", 5)] {
        let effect = delay(40, jitter);
        let evidence = agent.inject_at(fault, &[link("n1", "n2")], effect, &[6379, 80]);
        let latency = &evidence.achieved[0];
        assert!((latency.requested - 40.0).abs() < 1e-9, "{evidence:?}");
        assert!((35.0..50.0).contains(&latency.achieved), "{evidence:?}");
        for port in [6379, 80] {
            assert!(asker.millis(&format!("udp {port} 10")) >= 34.9);
            // The handshake and the bytes, and none of the acknowledgements is waited for.
            assert!(asker.millis(&format!("tcp {port} 200000")) >= 69.9);
        }
        assert!(asker.quickest("udp 6380 10") < 30.0);
        assert!(asker.quickest("tcp 6380 10") < 30.0);
        let healed = agent.heal(fault);
        assert!(healed.achieved[0].achieved < 2.0, "{healed:?}");
        assert!(asker.quickest("udp 6379 10") < 30.0);
    }
}

fn lossy() {
    let mut agent = Agent::new();
    let (_echo, mut asker) = conversation(&agent);
    let evidence = agent.inject_at("lossy", &[link("n1", "n2")], loss(1.0), &[6379]);
    assert_eq!(evidence.achieved[0].achieved, 100.0, "{evidence:?}");
    assert!(
        evidence.observed.contains("other ports: 0 of"),
        "{evidence:?}"
    );
    assert_eq!(asker.ask("udp 6379 10"), "TimeoutError");
    for _ in 0..50 {
        asker.millis("udp 6380 10");
    }
    agent.heal("lossy");
    asker.millis("udp 6379 10");
    let some = agent.inject_at("some", &[link("n1", "n2")], loss(0.3), &[6379]);
    // 600 probes: four standard errors are 7.5 %, and three packets.
    assert!(
        (22.0..38.0).contains(&some.achieved[0].achieved),
        "{some:?}"
    );
    agent.heal("some");
}

fn other_kinds() {
    let mut agent = Agent::new();
    let (_echo, mut asker) = conversation(&agent);
    let links = [link("n1", "n2")];
    let corrupt = PacketFault::Corrupt {
        corrupt: ratio(1.0),
        correlation: ratio(0.0),
    };
    let evidence = agent.inject_at("alter", &links, LinkEffect::Packets(corrupt), &[6379]);
    assert!(evidence.achieved[0].achieved > 90.0, "{evidence:?}");
    assert_eq!(asker.ask("udp 6379 10"), "TimeoutError");
    asker.millis("udp 6380 10");
    agent.heal("alter");

    let twice = PacketFault::Duplicate {
        duplicate: ratio(1.0),
        correlation: ratio(0.0),
    };
    let evidence = agent.inject_at("twice", &links, LinkEffect::Packets(twice), &[6379]);
    assert!(evidence.achieved[0].achieved > 99.0, "{evidence:?}");
    assert!(
        evidence.observed.contains("other ports: 0 of 600"),
        "{evidence:?}"
    );
    agent.heal("twice");

    let reorder = PacketFault::Reorder {
        latency: Duration::from_millis(60),
        reorder: ratio(0.25),
        correlation: ratio(0.0),
        gap: 1_000,
    };
    let evidence = agent.inject_at("over", &links, LinkEffect::Packets(reorder), &[6379]);
    assert!(evidence.achieved[0].achieved > 50.0, "{evidence:?}");
    assert!(asker.millis("udp 6379 10") >= 59.9);
    assert!(asker.quickest("udp 6380 10") < 30.0);
    agent.heal("over");

    let narrow = PacketFault::Bandwidth {
        rate: "8mbit".parse().unwrap(),
        buffer: Bytes(3_000),
        limit: Bytes(1_000_000),
    };
    let evidence = agent.inject_at("narrow", &links, LinkEffect::Packets(narrow), &[6379]);
    let rate = &evidence.achieved[0];
    assert!((7_600.0..8_400.0).contains(&rate.achieved), "{evidence:?}");
    // 200 kB at 1 MB a second.
    assert!(asker.millis("tcp 6379 200000") > 180.0);
    assert!(asker.quickest("tcp 6380 200000") < 100.0);
    agent.heal("narrow");
    assert!(asker.quickest("tcp 6379 200000") < 100.0);
}

fn reset() {
    let mut agent = Agent::new();
    let (_echo, mut asker) = conversation(&agent);
    for port in [6379, 6380] {
        assert_eq!(asker.ask(&format!("open {port}")), "open");
    }
    let links = [link("n1", "n2")];
    let evidence = agent.inject_at("reset", &links, LinkEffect::Reset, &[6379]);
    assert_eq!(evidence.achieved[0].achieved, 1.0, "{evidence:?}");
    assert!(
        evidence.observed.contains("1 of 1 of other ports live on"),
        "{evidence:?}"
    );
    assert_eq!(asker.ask("alive 6379"), "ConnectionAbortedError");
    assert_eq!(asker.ask("alive 6380"), "b'?'");
    agent.heal("reset");
    let none = agent.try_inject_at("again", &links, LinkEffect::Reset, &[6379]);
    assert!(none.unwrap_err().contains("ports 6379"));
}

fn overlap() {
    let mut agent = Agent::new();
    let (_echo, mut asker) = conversation(&agent);
    let links = [link("n1", "n2")];
    agent.inject("whole", &links, delay(20, 0));
    let both = agent.inject_at("port", &links, delay(30, 0), &[6379]);
    assert!((both.achieved[0].requested - 50.0).abs() < 1e-9, "{both:?}");
    assert!(asker.millis("udp 6379 10") >= 49.9);
    let other = asker.quickest("udp 6380 10");
    assert!((19.9..45.0).contains(&other), "{other}");

    let cut = agent.inject_at("cut", &links, drop_all(), &[6380]);
    assert!(cut.observed.contains("whole acted before") || cut.observed.contains("port, whole"));
    assert_eq!(asker.ask("udp 6380 10"), "TimeoutError");
    assert!(asker.millis("udp 6379 10") >= 49.9);
    agent.heal("whole");
    assert_eq!(asker.ask("udp 6380 10"), "TimeoutError");
    let port = asker.quickest("udp 6379 10");
    assert!((29.9..49.0).contains(&port), "{port}");
    agent.heal("port");
    agent.heal("cut");
    assert!(asker.quickest("udp 6380 10") < 15.0);

    // A whole cut hides what is done to a port, and says so.
    agent.inject("all", &links, drop_all());
    let hidden = agent.inject_at("port", &links, delay(30, 0), &[6379]);
    assert!(hidden.observed.contains("show nothing"), "{hidden:?}");
    agent.heal("all");
    assert!(asker.millis("udp 6379 10") >= 29.9);
    agent.heal("port");
}

fn cut_under_delay() {
    let mut agent = Agent::new();
    let (_echo, mut asker) = conversation(&agent);
    let links = [link("n1", "n2")];
    agent.inject("slow", &links, delay(5, 0));
    let refuse = LinkEffect::Cut(CutBehavior::Reject);
    agent.inject_at("cut", &links, refuse, &[6379]);
    assert_eq!(asker.ask("udp 6379 10"), "ConnectionRefusedError");
    assert!(asker.millis("udp 6380 10") >= 4.9);
    agent.heal("cut");
    assert!(asker.millis("udp 6379 10") >= 4.9);
    agent.heal("slow");
}

/// The program's socket neither hinders the probes nor is told of them.
fn taken() {
    let mut agent = Agent::new();
    let held = agent.inside("n1", || {
        std::net::UdpSocket::bind(target("n1", 6379)).unwrap()
    });
    let listener = agent.inside("n1", || TcpListener::bind(target("n1", 6379)).unwrap());
    let reject = LinkEffect::Cut(CutBehavior::Reject);
    agent.inject_at("no", &[link("n1", "n2")], reject, &[6379]);
    agent.heal("no");
    held.set_nonblocking(true).unwrap();
    let error = held.recv(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    drop(listener);
}

/// A datagram of several packets: the first is lost, so the whole never arrives; the others were let
/// through, as the receiver's kernel counts.
fn fragments() {
    let mut agent = Agent::new();
    let (_echo, mut asker) = conversation(&agent);
    let received = |agent: &Agent| -> u64 {
        let table = agent.inside("n2", || {
            std::fs::read_to_string("/proc/thread-self/net/snmp")
        });
        let table = table.unwrap();
        let mut rows = table.lines().filter(|line| line.starts_with("Ip:"));
        let (names, values) = (rows.next().unwrap(), rows.next().unwrap());
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        let (_, count) = pairs.find(|(name, _)| *name == "ReasmReqds").unwrap();
        count.parse().unwrap()
    };
    assert!(asker.millis("udp 6379 4000") < 400.0);
    agent.inject_at("cut", &[link("n1", "n2")], drop_all(), &[6379]);
    let before = received(&agent);
    assert_eq!(asker.ask("udp 6379 4000"), "TimeoutError");
    // 4,000 bytes are three packets of 1,500.
    assert_eq!(received(&agent) - before, 2);
    agent.heal("cut");
}

fn probe_port() {
    let mut agent = Agent::new();
    let links = [link("n1", "n2")];
    for effect in [drop_all(), delay(5, 0), LinkEffect::Reset] {
        let reason = agent
            .try_inject_at("probes", &links, effect, &[80, PROBE_PORT])
            .unwrap_err();
        assert!(reason.contains("7009"), "{reason}");
    }
}
