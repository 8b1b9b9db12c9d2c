//! Both ends of the connections between nodes, on loopback.

use std::path::Path;
use std::time::Duration;

use shakedown_contracts::frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::two_members;
use crate::sockets::{Bound, Endpoint};

/// Longest wait for anything, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

async fn next(inbox: &mut mpsc::Receiver<PeerEvent>) -> PeerEvent {
    tokio::time::timeout(PATIENCE, inbox.recv())
        .await
        .expect("in time")
        .expect("open")
}

async fn connected(inbox: &mut mpsc::Receiver<PeerEvent>) -> Link {
    match next(inbox).await {
        PeerEvent::Connected { link, .. } => link,
        other => panic!("{other:?}"),
    }
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn round(round: u64) -> Message {
    Message::Confirm { epoch: 1, round }
}

/// Starts `n1` as the receiver; its port and what it hears.
async fn receiver() -> (u16, mpsc::Receiver<PeerEvent>) {
    let (listener, port) = listener().await;
    let (events, inbox) = inbox();
    tokio::spawn(accept(
        listener,
        two_members([port, 1], Path::new("/"), 0),
        events,
    ));
    (port, inbox)
}

async fn greet(port: u16, name: &str, to: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let hello = Hello {
        name: name.to_owned(),
        to: to.to_owned(),
    };
    stream
        .write_all(&frame::encode(&hello).unwrap())
        .await
        .unwrap();
    stream
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0])).await;
    matches!(read.expect("in time"), Ok(0) | Err(_))
}

#[tokio::test(flavor = "current_thread")]
async fn messages_arrive_in_the_order_sent() {
    let (port, mut heard) = receiver().await;
    let (events, mut inbox) = inbox();
    dial(&two_members([port, 2], Path::new("/"), 1), &events);
    let link = connected(&mut inbox).await;
    for number in 0..1000 {
        link.send(&round(number)).unwrap();
    }
    for number in 0..1000 {
        match next(&mut heard).await {
            PeerEvent::Message { from, message } => {
                assert_eq!((from, message), (Peer(1), round(number)));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_broken_connection_is_reported_and_dialled_again() {
    let (listener, port) = listener().await;
    let (events, mut inbox) = inbox();
    dial(&two_members([port, 2], Path::new("/"), 1), &events);
    for _ in 0..3 {
        let (accepted, _) = listener.accept().await.unwrap();
        let _link = connected(&mut inbox).await;
        drop(accepted);
        assert!(matches!(
            next(&mut inbox).await,
            PeerEvent::Broken {
                peer: Peer(0),
                ending: Ending::Closed
            }
        ));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_peer_that_starts_later_is_reached() {
    let address = ([127, 0, 0, 1], 0).into();
    let later = Bound::new(Endpoint {
        address,
        purpose: "peers",
        key: "peer_port",
    })
    .unwrap();
    let port = later.local_port();
    let (events, mut inbox) = inbox();
    dial(&two_members([port, 2], Path::new("/"), 1), &events);
    // A port that is held and not listened on refuses; the dialling task runs while this one waits.
    TcpStream::connect(("127.0.0.1", port)).await.unwrap_err();
    let listener = later.listen().unwrap();
    listener.accept().await.unwrap();
    connected(&mut inbox).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_dropped_link_ends_its_connection() {
    let (listener, port) = listener().await;
    let (events, mut inbox) = inbox();
    dial(&two_members([port, 2], Path::new("/"), 1), &events);
    let (mut accepted, _) = listener.accept().await.unwrap();
    drop(connected(&mut inbox).await);
    let mut greeting = Vec::new();
    tokio::time::timeout(PATIENCE, accepted.read_to_end(&mut greeting))
        .await
        .unwrap()
        .unwrap();
    assert!(!greeting.is_empty());
    assert!(matches!(
        next(&mut inbox).await,
        PeerEvent::Broken {
            peer: Peer(0),
            ending: Ending::GivenUp
        }
    ));
}

#[tokio::test(flavor = "current_thread")]
async fn whoever_is_no_member_or_errs_about_the_address_is_disconnected() {
    let (port, mut heard) = receiver().await;
    for (name, to) in [("n9", "n1"), ("n2", "n9"), ("n1", "n1")] {
        assert!(
            is_closed(&mut greet(port, name, to).await).await,
            "{name} to {to}"
        );
    }
    let mut noise = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    noise.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(is_closed(&mut noise).await);
    assert!(heard.try_recv().is_err());
}

#[tokio::test(flavor = "current_thread")]
async fn a_newer_connection_of_a_peer_ends_the_older() {
    let (port, mut heard) = receiver().await;
    let mut older = greet(port, "n2", "n1").await;
    older
        .write_all(&frame::encode(&round(1)).unwrap())
        .await
        .unwrap();
    assert!(matches!(next(&mut heard).await, PeerEvent::Message { .. }));
    let mut newer = greet(port, "n2", "n1").await;
    assert!(is_closed(&mut older).await);
    newer
        .write_all(&frame::encode(&round(2)).unwrap())
        .await
        .unwrap();
    assert!(
        matches!(next(&mut heard).await, PeerEvent::Message { message, .. }
        if message == round(2))
    );
}
