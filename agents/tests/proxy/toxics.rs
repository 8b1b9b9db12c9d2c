//! What each toxic does to real connections, and what it says that it did.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use shakedown_agents::proxy::{Command, Effect, Stream, Toxic};
use shakedown_contracts::random::Random;

use crate::support::*;

#[test]
fn bytes_and_the_ends_of_both_directions_pass() {
    let (_echo, proxy) = Server::behind_proxy(1);
    let mut stream = connect(&proxy);
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"hello");
    wait_until("the connection is over", || {
        inspect(&proxy).connections == 0
    });
}

#[test]
fn a_latency_acts_on_a_connection_that_is_there_and_says_what_it_did() {
    let (_echo, proxy) = Server::behind_proxy(1);
    let mut stream = connect(&proxy);
    round_trip(&mut stream);
    for way in [Stream::Upstream, Stream::Downstream] {
        add(&proxy, "late", way, "latency latency=40");
        assert!(round_trip(&mut stream) >= Duration::from_millis(40));
        let done = remove(&proxy, "late");
        assert_eq!((done.connections, done.passed_bytes), (1, 1));
        assert_eq!(done.effect, Effect::Seen);
        // Never early; how much later depends on how busy the machine is.
        assert!(done.delay_mean_ms.unwrap() >= 40.0, "{done:?}");
    }
    let trips = (0..20).map(|_| round_trip(&mut stream));
    assert!(trips.min().unwrap() < Duration::from_millis(40), "healed");
}

#[test]
fn toxics_of_one_stream_add_up() {
    let (_echo, proxy) = Server::behind_proxy(1);
    let mut stream = connect(&proxy);
    add(&proxy, "one", Stream::Downstream, "latency latency=30");
    add(&proxy, "other", Stream::Downstream, "latency latency=30");
    assert!(round_trip(&mut stream) >= Duration::from_millis(60));
    for name in ["one", "other"] {
        let done = remove(&proxy, name);
        assert!(done.delay_mean_ms.unwrap() >= 30.0, "{done:?}");
    }
    // 2000 bytes at 100 kB/s, the last of which then waits for 30 ms.
    add(&proxy, "narrow", Stream::Downstream, "bandwidth rate=100");
    add(&proxy, "late", Stream::Downstream, "latency latency=30");
    let began = Instant::now();
    stream.write_all(&[7; 2_000]).unwrap();
    stream.read_exact(&mut [0; 2_000]).unwrap();
    // The first of ten pieces passes at once.
    let least = Duration::from_millis(18 + 30);
    assert!(began.elapsed() >= least, "{:?}", began.elapsed());
}

#[test]
fn a_bandwidth_lets_as_much_pass_as_asked_and_says_so() {
    let (_echo, proxy) = Server::behind_proxy(1);
    add(&proxy, "slow", Stream::Upstream, "bandwidth rate=2000");
    let mut stream = connect(&proxy);
    let sent = vec![7; 600_000];
    let began = Instant::now();
    let mut writer = stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut all = vec![0; 600_000];
    stream.read_exact(&mut all).unwrap();
    sending.join().unwrap();
    let seconds = began.elapsed().as_secs_f64();
    // Not faster than asked, but for the first piece; how much slower depends on how busy the machine is.
    assert!(seconds >= 0.29, "{seconds}");
    let done = remove(&proxy, "slow");
    assert_eq!(done.passed_bytes, 600_000);
    let rate = done.bytes_a_second.unwrap();
    assert!(rate <= 2_020_000.0, "{rate}");
    assert!(rate >= 600_000.0 / seconds * 0.98, "{rate} in {seconds} s");
}

#[test]
fn whoever_sends_into_a_narrow_line_has_to_wait() {
    let (_echo, proxy) = Server::behind_proxy(1);
    add(&proxy, "narrow", Stream::Upstream, "bandwidth rate=1");
    let mut stream = connect(&proxy);
    stream
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut sent = 0;
    let error = loop {
        match stream.write(&[7; 1 << 16]) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
        // Far above what the kernel's buffers of two sockets take.
        assert!(sent < 48 << 20, "it takes everything");
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_reset_reaches_both_ends_of_an_idle_connection() {
    let (_echo, proxy) = Server::behind_proxy(1);
    let mut stream = connect(&proxy);
    round_trip(&mut stream);
    add(&proxy, "reset", Stream::Downstream, "reset_peer timeout=10");
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let done = remove(&proxy, "reset");
    assert_eq!((done.ended_connections, done.effect), (1, Effect::Seen));
    round_trip(&mut connect(&proxy));
}

#[test]
fn a_limit_ends_the_connection_after_exactly_its_bytes_even_for_a_slow_reader() {
    let (_echo, proxy) = Server::behind_proxy(1);
    add(&proxy, "held", Stream::Downstream, "timeout");
    add(
        &proxy,
        "limit",
        Stream::Downstream,
        "limit_data bytes=19000000",
    );
    let mut stream = connect(&proxy);
    let mut writer = stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || writer.write_all(&vec![7; 22_000_000]).unwrap());
    let holds = || inspect(&proxy).toxics[0].held_bytes == 22_000_000;
    wait_until("all are held", holds);
    sending.join().unwrap();
    // More than the kernel's buffers take, and nobody reads.
    remove(&proxy, "held");
    let ended = || inspect(&proxy).toxics[0].ended_connections == 1;
    wait_until("the limit is reached", ended);
    assert_eq!(inspect(&proxy).connections, 1, "it has yet to deliver");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 19_000_000);
}

#[test]
fn a_timeout_ends_the_connection_and_nothing_has_passed() {
    let (_echo, proxy) = Server::behind_proxy(1);
    add(&proxy, "gone", Stream::Downstream, "timeout timeout=60");
    let began = Instant::now();
    let mut stream = connect(&proxy);
    stream.write_all(b"x").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    assert!(began.elapsed() >= Duration::from_millis(60));
    let done = remove(&proxy, "gone");
    assert_eq!((done.passed_bytes, done.held_bytes), (0, 1));
    assert_eq!(done.ended_connections, 1);
}

#[test]
fn a_slow_close_delays_the_end_alone_and_a_slicer_stretches_what_passes() {
    let (_echo, proxy) = Server::behind_proxy(1);
    add(&proxy, "slow", Stream::Downstream, "slow_close delay=60");
    let pieces = "slicer average_size=100 size_variation=10 delay=2000";
    add(&proxy, "slices", Stream::Downstream, pieces);
    let mut stream = connect(&proxy);
    let began = Instant::now();
    stream.write_all(&[7; 1_000]).unwrap();
    stream.read_exact(&mut [0; 1_000]).unwrap();
    // At most 110 bytes a piece: ten pieces, nine pauses.
    assert!(began.elapsed() >= Duration::from_millis(18));
    stream.shutdown(Shutdown::Write).unwrap();
    let began = Instant::now();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(began.elapsed() >= Duration::from_millis(60));
    assert_eq!(remove(&proxy, "slow").effect, Effect::Seen);
}

#[test]
fn a_share_of_connections_meets_a_toxic_the_same_for_the_same_seed() {
    let met = |seed| {
        let (_echo, proxy) = Server::behind_proxy(seed);
        let half = Toxic {
            toxicity: 0.5,
            ..toxic("half", Stream::Downstream, "timeout timeout=1")
        };
        proxy.tell(Command::Add(half)).unwrap();
        let answers = |_| {
            let mut stream = connect(&proxy);
            // The write fails where the end was faster.
            let _ = stream.write_all(b"x");
            matches!(stream.read(&mut [0]), Ok(1))
        };
        (0..16).map(answers).collect::<Vec<bool>>()
    };
    let one = met(1);
    assert!(one.contains(&true) && one.contains(&false), "{one:?}");
    assert_eq!(one, met(1));
    assert_ne!(one, met(2));
}

#[test]
fn a_file_arrives_whole_through_slices_and_jitter() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::keyed(1, "test", "file");
    let bytes: Vec<u8> = (0..3 << 20).map(|_| random.next_u64() as u8).collect();
    std::fs::write(folder.path().join("file"), &bytes).unwrap();
    let server = Server::files(folder.path());
    let proxy = proxy_to(server.address, 1);
    let pieces = "slicer average_size=1000 size_variation=900";
    add(&proxy, "slices", Stream::Downstream, pieces);
    add(
        &proxy,
        "late",
        Stream::Downstream,
        "latency latency=5 jitter=5",
    );
    let mut stream = connect(&proxy);
    stream.write_all(b"GET /file HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.0 200"));
    assert!(answer.ends_with(&bytes), "every byte in its place");
}
