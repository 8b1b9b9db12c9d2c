//! What a proxy can be told, and what it says.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use shakedown_agents::proxy::{Command, Effect, Stream, Toxic};

use crate::support::*;

#[test]
fn a_proxy_that_is_down_refuses_and_comes_up_at_the_same_address() {
    let (_echo, proxy) = Server::behind_proxy(1);
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
    let (_echo, proxy) = Server::behind_proxy(1);
    let late = || Command::Add(toxic("late", Stream::Upstream, "slow_close delay=1"));
    proxy.tell(late()).unwrap();
    let twice = proxy.tell(late()).unwrap_err().to_string();
    assert!(twice.contains("give another name"), "{twice}");
    let name = "laet".to_owned();
    let error = proxy.tell(Command::Remove { name }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no toxic `laet`; there are late"
    );
    assert_eq!(inspect(&proxy).toxics.len(), 1);
}

#[test]
fn other_numbers_and_another_share_act_at_once_on_what_is_there() {
    let (_echo, proxy) = Server::behind_proxy(1);
    let mut stream = connect(&proxy);
    add(
        &proxy,
        "late",
        Stream::Downstream,
        "latency latency=3600000",
    );
    stream.write_all(b"x").unwrap();
    wait_until("it holds it", || inspect(&proxy).toxics[0].held_bytes == 1);
    let update = |text, toxicity| Command::Update {
        name: "late".to_owned(),
        settings: settings(text),
        toxicity,
    };
    // What is held waits for 20 ms from when it came.
    proxy.tell(update("latency latency=20", None)).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    assert!(round_trip(&mut stream) >= Duration::from_millis(20));
    proxy.tell(update("latency latency=20", Some(0.0))).unwrap();
    let trips = (0..20).map(|_| round_trip(&mut stream));
    assert!(
        trips.min().unwrap() < Duration::from_millis(20),
        "nobody meets it"
    );
    let report = proxy.tell(update("latency latency=20", Some(1.0))).unwrap();
    assert_eq!(report.concerned.unwrap().toxic.toxicity, 1.0);
    assert!(round_trip(&mut stream) >= Duration::from_millis(20));
}

#[test]
fn a_toxic_that_nothing_has_met_is_unverified() {
    let (_echo, proxy) = Server::behind_proxy(1);
    let mut stream = connect(&proxy);
    for text in [
        "latency latency=1",
        "bandwidth rate=1",
        "slow_close delay=1",
        "timeout",
        "slicer average_size=1",
    ] {
        add(&proxy, "idle", Stream::Upstream, text);
        let done = remove(&proxy, "idle");
        assert_eq!(
            (done.connections, done.effect),
            (1, Effect::Unverified),
            "{text}"
        );
    }
    let nobody = Toxic {
        toxicity: 0.0,
        ..toxic("nobody", Stream::Upstream, "timeout")
    };
    proxy.tell(Command::Add(nobody)).unwrap();
    round_trip(&mut stream);
    let done = remove(&proxy, "nobody");
    assert_eq!((done.connections, done.effect), (0, Effect::Unverified));
}

#[test]
fn clients_of_a_server_that_is_not_there_are_told_and_counted() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let proxy = proxy_to(nobody, 1);
    let mut stream = connect(&proxy);
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "it has ended");
    let report = inspect(&proxy);
    assert_eq!((report.accepted, report.unreachable), (1, 1));
}

#[test]
fn many_connections_at_a_time_each_keep_their_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = proxy_to(listener.local_addr().unwrap(), 1);
    add(
        &proxy,
        "late",
        Stream::Upstream,
        "latency latency=5 jitter=5",
    );
    let pairs = (0..300).map(|number: u32| {
        let mut client = connect(&proxy);
        client.write_all(&number.to_le_bytes()).unwrap();
        (client, listener.accept().unwrap().0)
    });
    for (number, (_client, mut server)) in pairs.collect::<Vec<_>>().into_iter().enumerate() {
        let mut bytes = [0; 4];
        server.set_read_timeout(Some(LIMIT)).unwrap();
        server.read_exact(&mut bytes).unwrap();
        assert_eq!(u32::from_le_bytes(bytes) as usize, number);
    }
    assert_eq!(remove(&proxy, "late").passed_bytes, 1_200);
}
