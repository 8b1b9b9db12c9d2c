//! Toxics can be taken away in any state, at once and without loss.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use shakedown_agents::proxy::Stream;
use shakedown_contracts::random::Random;

use crate::support::*;

/// Of every kind, with numbers that end no connection.
const HARMLESS: [&str; 9] = [
    "latency latency=3 jitter=2",
    "bandwidth rate=20000",
    "bandwidth",
    "timeout",
    "timeout timeout=1000000",
    "slicer average_size=2000 size_variation=900 delay=10",
    "slow_close delay=5",
    "reset_peer timeout=1000000",
    "limit_data bytes=1000000000",
];
/// Removals whose time is taken; the median is what counts on a machine that does other things, too.
const TRIES: usize = 21;

#[test]
fn what_a_toxic_holds_arrives_within_a_millisecond_of_its_removal() {
    let (_echo, proxy) = Server::behind_proxy(1);
    for text in [
        "latency latency=3600000",
        "bandwidth",
        "timeout",
        "slicer average_size=1 delay=4000000000",
    ] {
        let mut times = Vec::new();
        for _ in 0..TRIES {
            let mut stream = connect(&proxy);
            round_trip(&mut stream);
            add(&proxy, "held", Stream::Downstream, text);
            stream.write_all(b"all of this").unwrap();
            let holds = || inspect(&proxy).toxics[0].held_bytes >= 10;
            wait_until("it holds them", holds);
            let began = Instant::now();
            let done = remove(&proxy, "held");
            let mut all = [0; 11];
            stream.read_exact(&mut all).unwrap();
            times.push(began.elapsed());
            assert_eq!(&all, b"all of this");
            assert!(done.held_bytes >= 10, "{done:?}");
        }
        times.sort();
        let median = times[TRIES / 2];
        assert!(median <= Duration::from_millis(1), "{text}: {median:?}");
    }
}

#[test]
fn a_toxic_is_removed_at_once_when_the_receiver_has_gone() {
    let (echo, proxy) = Server::behind_proxy(1);
    let mut times = Vec::new();
    for _ in 0..TRIES {
        add(&proxy, "narrow", Stream::Upstream, "bandwidth rate=1");
        let mut stream = connect(&proxy);
        stream.write_all(&[7; 100_000]).unwrap();
        let holds = || inspect(&proxy).toxics[0].held_bytes > 50_000;
        wait_until("it holds them", holds);
        drop(stream);
        let began = Instant::now();
        remove(&proxy, "narrow");
        times.push(began.elapsed());
        wait_until("all is over", || inspect(&proxy).connections == 0);
    }
    times.sort();
    assert!(times[TRIES / 2] <= Duration::from_millis(1), "{times:?}");
    // And when it has died.
    add(&proxy, "narrow", Stream::Upstream, "bandwidth rate=1");
    let mut stream = connect(&proxy);
    stream.write_all(&[7; 100_000]).unwrap();
    let holds = || inspect(&proxy).toxics[0].held_bytes > 50_000;
    wait_until("it holds them", holds);
    drop(echo);
    let began = Instant::now();
    remove(&proxy, "narrow");
    assert!(began.elapsed() < Duration::from_secs(1), "it does not hang");
    // An end or a reset, but soon.
    let _ = stream.read(&mut [0]);
    wait_until("all is over", || inspect(&proxy).connections == 0);
}

/// Changes of toxics while bytes are on their way.
const CHANGES: u64 = 300;

#[test]
fn nothing_is_lost_or_reordered_while_toxics_come_and_go() {
    let (_echo, proxy) = Server::behind_proxy(1);
    let mut stream = connect(&proxy);
    let mut writer = stream.try_clone().unwrap();
    let (to_send, pieces) = std::sync::mpsc::channel::<Vec<u8>>();
    // It may have to wait for a toxic to go.
    let sending = std::thread::spawn(move || {
        pieces
            .iter()
            .for_each(|piece| writer.write_all(&piece).unwrap());
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all
    });
    let mut random = Random::keyed(1, "test", "bytes");
    let (mut sent, mut there, mut met) = (Vec::new(), Vec::new(), 0);
    for number in 0..CHANGES {
        let length = random.below(60_000);
        let piece: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
        sent.extend_from_slice(&piece);
        to_send.send(piece).unwrap();
        let way = match random.chance(0.5) {
            true => Stream::Upstream,
            false => Stream::Downstream,
        };
        let name = format!("t{number}");
        add(&proxy, &name, way, random.pick(&HARMLESS).unwrap());
        there.push(name);
        if there.len() > 3 || random.chance(0.5) {
            let gone = there.swap_remove(random.below(there.len() as u64) as usize);
            let done = remove(&proxy, &gone);
            met += usize::from(done.passed_bytes + done.held_bytes > 0);
        }
        std::thread::sleep(Duration::from_millis(random.below(3)));
    }
    drop(to_send);
    there.iter().for_each(|name| drop(remove(&proxy, name)));
    sending.join().unwrap();
    assert!(reading.join().unwrap() == sent, "every byte in its place");
    assert!(met > 50, "toxics met bytes on their way: {met}");
}
