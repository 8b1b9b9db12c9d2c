//! Packets doubled, altered, overtaken, lost in bursts and held to a rate: what the agent reports, and
//! what datagrams and streams of endpoints see.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Instant;

use shakedown_contracts::event::Evidence;
use shakedown_contracts::fault::{LinkEffect, Loss};
use shakedown_contracts::packet_fault::{GilbertElliott, PacketFault};
use shakedown_contracts::units::{Bytes, Duration, Ratio};

use crate::Test;
use crate::agent::{Agent, LIMIT, NAMES, link, target};
use crate::faults::{delay, exchange};

pub const TESTS: &[Test] = &[
    (
        "a_doubled_datagram_arrives_twice_and_a_stream_is_none_the_wiser",
        doubled,
    ),
    (
        "an_altered_datagram_is_dropped_by_its_checksum_and_a_stream_stays_whole",
        altered,
    ),
    ("packets_overtake_each_other_and_none_is_lost", reordered),
    ("losses_in_bursts_come_in_bursts", bursts),
    (
        "a_narrow_link_keeps_its_rate_and_the_way_back_is_wide",
        narrow,
    ),
    ("doubled_and_delayed_packets_are_both", doubled_and_delayed),
    (
        "a_reset_ends_live_connections_and_hinders_no_new_one",
        reset,
    ),
];

fn ratio(share: f64) -> Ratio {
    Ratio::new(share).unwrap()
}

fn duplicate(share: f64) -> LinkEffect {
    LinkEffect::Packets(PacketFault::Duplicate {
        duplicate: ratio(share),
        correlation: ratio(0.0),
    })
}

fn achieved(evidence: &Evidence) -> f64 {
    evidence.achieved[0].achieved
}

/// First bytes of all datagrams that wait in a socket, in order; the last is `end`.
fn received_until(socket: &UdpSocket, end: u8) -> Vec<u8> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&end) {
        let mut bytes = [0; 8];
        socket.recv_from(&mut bytes).unwrap();
        numbers.push(bytes[0]);
    }
    numbers
}

/// Sends bytes through a stream from n1 to n2 and back; whether they are the same, and how long the
/// way there took.
fn streams(agent: &Agent, count: usize) -> (bool, f64) {
    let listener = agent.inside("n2", || TcpListener::bind(target("n2", 0)).unwrap());
    let server = listener.local_addr().unwrap();
    let sent: Vec<u8> = (0..count).map(|number| (number * 7 % 251) as u8).collect();
    let echo = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = vec![0; count];
        let start = Instant::now();
        stream.read_exact(&mut bytes).unwrap();
        let took = start.elapsed().as_secs_f64();
        stream.write_all(&bytes).unwrap();
        took
    });
    let connect = || TcpStream::connect_timeout(&server, LIMIT.into()).unwrap();
    let mut stream = agent.inside("n1", connect);
    stream.write_all(&sent).unwrap();
    let mut back = vec![0; count];
    stream.read_exact(&mut back).unwrap();
    (back == sent, echo.join().unwrap())
}

fn doubled() {
    let mut agent = Agent::new();
    let [n1, n2, _] = NAMES.map(|name| agent.socket(name));
    let evidence = agent.inject("twice", &[link("n1", "n2")], duplicate(1.0));
    assert!(achieved(&evidence) > 99.0, "{evidence:?}");
    for number in 0..50_u8 {
        n1.send_to(&[number], n2.local_addr().unwrap()).unwrap();
    }
    let mut numbers = received_until(&n2, 49);
    n2.recv_from(&mut [0; 8]).unwrap();
    numbers.push(49);
    let twice: Vec<u8> = (0..50).flat_map(|number| [number, number]).collect();
    assert_eq!(numbers, twice);
    assert!(streams(&agent, 300_000).0);
    let healed = agent.heal("twice");
    assert_eq!(achieved(&healed), 0.0, "{healed:?}");

    let evidence = agent.inject("some", &[link("n1", "n2")], duplicate(0.3));
    // 600 probes: four standard errors are 7.5 %, and three packets.
    assert!((22.0..38.0).contains(&achieved(&evidence)), "{evidence:?}");
    agent.heal("some");
}

fn altered() {
    let mut agent = Agent::new();
    let [n1, n2, _] = NAMES.map(|name| agent.socket(name));
    let corrupt = LinkEffect::Packets(PacketFault::Corrupt {
        corrupt: ratio(0.2),
        correlation: ratio(0.0),
    });
    let evidence = agent.inject("alter", &[link("n1", "n2")], corrupt);
    assert!((13.0..27.0).contains(&achieved(&evidence)), "{evidence:?}");
    // Five standard errors of 1,000 draws are 6.3 %.
    let lost = 100.0 - exchange(&n1, &n2, 1_000) as f64 / 10.0;
    assert!((13.0..27.0).contains(&lost), "{lost} %");
    assert!(streams(&agent, 100_000).0, "what arrives is what was sent");
    agent.heal("alter");
    assert_eq!(exchange(&n1, &n2, 200), 200);
}

fn reordered() {
    let mut agent = Agent::new();
    let [n1, n2, _] = NAMES.map(|name| agent.socket(name));
    let reorder = LinkEffect::Packets(PacketFault::Reorder {
        latency: Duration::from_millis(300),
        reorder: ratio(0.25),
        correlation: ratio(0.0),
        gap: 1,
    });
    let evidence = agent.inject("overtake", &[link("n1", "n2")], reorder);
    assert!(evidence.observed.contains("sent later"), "{evidence:?}");
    for number in 0..100_u8 {
        n1.send_to(&[number], n2.local_addr().unwrap()).unwrap();
    }
    let mut numbers = Vec::new();
    for _ in 0..100 {
        let mut bytes = [0; 8];
        n2.recv_from(&mut bytes).unwrap();
        numbers.push(bytes[0]);
    }
    assert!(!numbers.is_sorted());
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), 100);
    let healed = agent.heal("overtake");
    assert!(!healed.observed.contains("sent later"), "{healed:?}");
}

fn bursts() {
    let mut agent = Agent::new();
    let bursts = GilbertElliott {
        p: ratio(0.05),
        r: ratio(0.25),
        bad_loss: ratio(1.0),
        good_loss: ratio(0.0),
    };
    let loss = LinkEffect::Loss(Loss {
        loss: ratio(bursts.share()),
        correlation: ratio(0.0),
        bursts: Some(bursts),
    });
    let [n1, n2, _] = NAMES.map(|name| agent.socket(name));
    let evidence = agent.inject("bursts", &[link("n1", "n2")], loss);
    let asked = evidence.achieved[0].requested;
    assert!((asked - 16.7).abs() < 0.1, "{evidence:?}");
    // Bursts last four packets in the mean: of 250, hardly ever is none longer than two.
    let mut arrived = vec![false; 250];
    for number in 0..250_u8 {
        n1.send_to(&[number], n2.local_addr().unwrap()).unwrap();
    }
    let quick = std::time::Duration::from_millis(100);
    n2.set_read_timeout(Some(quick)).unwrap();
    let mut bytes = [0; 8];
    while n2.recv_from(&mut bytes).is_ok() {
        arrived[usize::from(bytes[0])] = true;
    }
    let longest = arrived.split(|arrived| *arrived).map(<[bool]>::len).max();
    assert!(longest > Some(2), "{arrived:?}");
    agent.heal("bursts");
}

fn narrow() {
    let mut agent = Agent::new();
    let narrow = LinkEffect::Packets(PacketFault::Bandwidth {
        rate: "8mbit".parse().unwrap(),
        buffer: Bytes(16 << 10),
        limit: Bytes(400_000),
    });
    let evidence = agent.inject("narrow", &[link("n1", "n2")], narrow);
    let rate = &evidence.achieved[0];
    assert_eq!((rate.requested, rate.unit.as_str()), (8_000.0, "kbit/s"));
    assert!((7_000.0..8_450.0).contains(&rate.achieved), "{evidence:?}");
    // A byte a microsecond, and headers.
    let (whole, took) = streams(&agent, 500_000);
    assert!(whole);
    assert!(took > 0.48, "500,000 bytes took {took} s");
    agent.heal("narrow");
    let (_, took) = streams(&agent, 500_000);
    assert!(took < 0.4, "500,000 bytes took {took} s after the heal");
}

fn doubled_and_delayed() {
    let mut agent = Agent::new();
    let links = [link("n1", "n2")];
    agent.inject("slow", &links, delay(20, 0));
    let evidence = agent.inject("twice", &links, duplicate(0.5));
    assert!((40.0..60.0).contains(&achieved(&evidence)), "{evidence:?}");
    let healed = agent.heal("slow");
    assert!(achieved(&healed) < 2.0, "{healed:?}");
    let healed = agent.heal("twice");
    assert_eq!(achieved(&healed), 0.0, "{healed:?}");
}

fn reset() {
    let mut agent = Agent::new();
    let listener = agent.inside("n2", || TcpListener::bind(target("n2", 0)).unwrap());
    let server = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&server, LIMIT.into()).unwrap();
    let [mut n1, mut n3] = ["n1", "n3"].map(|name| agent.inside(name, connect));
    let ends = [listener.accept().unwrap(), listener.accept().unwrap()];
    let [mut to_n1, mut to_n3] = ends.map(|(stream, _)| stream);
    if to_n1.peer_addr().unwrap() != n1.local_addr().unwrap() {
        std::mem::swap(&mut to_n1, &mut to_n3);
    }
    let evidence = agent.inject("reset", &[link("n1", "n2")], LinkEffect::Reset);
    assert_eq!(achieved(&evidence), 1.0, "{evidence:?}");
    let error = n1.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    let error = to_n1.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    // The other client's lives.
    n3.write_all(b"?").unwrap();
    to_n3.read_exact(&mut [0; 1]).unwrap();
    agent.heal("reset");
    agent.inside("n1", connect);
    listener.accept().unwrap();

    // n2 and n3 have spoken, but n1 and n3 never did: where nothing lives, nothing was done.
    let nothing = agent.try_inject("again", &[link("n3", "n1")], LinkEffect::Reset);
    assert!(
        nothing
            .unwrap_err()
            .contains("no TCP connection lived on n3→n1")
    );
}
