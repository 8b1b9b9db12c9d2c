//! Each fault alone: what the agent reports, and what sockets on the endpoints see.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};

use shakedown_contracts::fault::{CutBehavior, Delay, Distribution, LinkEffect, Loss};
use shakedown_contracts::units::{Duration, Ratio};

use crate::Test;
use crate::agent::{Agent, LIMIT, NAMES, link, one_way, passes, target};

pub const TESTS: &[Test] = &[
    ("every_endpoint_hears_every_other_and_itself", healthy),
    ("a_cut_of_one_direction_is_one_way", one_way_cut),
    ("a_refused_sender_is_told_at_once_however_often", refused),
    ("a_delay_of_20_ms_is_20_ms_one_way_and_gone_after", slow),
    ("jitter_is_measured_against_its_own_scatter", jitter),
    ("a_loss_of_30_percent_loses_30_percent", lossy),
    (
        "healing_a_delay_loses_no_packet_and_keeps_their_order",
        flush,
    ),
];

pub fn drop_all() -> LinkEffect {
    LinkEffect::Cut(CutBehavior::Drop)
}

pub fn delay(latency_ms: u64, jitter_ms: u64) -> LinkEffect {
    LinkEffect::Delay(Delay {
        latency: Duration::from_millis(latency_ms),
        jitter: Duration::from_millis(jitter_ms),
        correlation: Ratio::default(),
        distribution: Distribution::Uniform,
    })
}

pub fn loss(share: f64) -> LinkEffect {
    LinkEffect::Loss(Loss {
        loss: Ratio::new(share).unwrap(),
        correlation: Ratio::default(),
        bursts: None,
    })
}

fn healthy() {
    let agent = Agent::new();
    let sockets = NAMES.map(|name| agent.socket(name));
    for from in &sockets {
        for to in &sockets {
            assert!(passes(from, to));
        }
    }
    // Nothing but lo and eth0: a program sees an ordinary host.
    let links = agent.inside("n1", || {
        std::fs::read_to_string("/proc/thread-self/net/dev").unwrap()
    });
    let names: Vec<_> = links
        .lines()
        .skip(2)
        .filter_map(|l| l.split(':').next())
        .collect();
    let names: Vec<_> = names.iter().map(|name| name.trim()).collect();
    assert_eq!(names, ["lo", "eth0"]);
}

fn one_way_cut() {
    let mut agent = Agent::new();
    let [n1, n2, n3] = NAMES.map(|name| agent.socket(name));
    let evidence = agent.inject("cut", &[link("n1", "n2")], drop_all());
    assert!(evidence.observed.contains("3 probes"), "{evidence:?}");
    assert!(!passes(&n1, &n2), "the cut direction");
    assert!(passes(&n2, &n1), "the other direction");
    assert!(passes(&n1, &n3) && passes(&n3, &n1) && passes(&n3, &n2));
    agent.heal("cut");
    assert!(passes(&n1, &n2));
}

fn refused() {
    let mut agent = Agent::new();
    let socket = agent.socket("n1");
    let listener = agent.inside("n2", || TcpListener::bind(target("n2", 0)).unwrap());
    let server = listener.local_addr().unwrap();
    let reject = LinkEffect::Cut(CutBehavior::Reject);
    let evidence = agent.inject("reject", &[link("n1", "n2"), link("n1", "n3")], reject);
    assert!(
        evidence.observed.contains("senders were told"),
        "{evidence:?}"
    );

    // Far more than a kernel's usual limit of refusals in a row.
    socket.connect(target("n2", 9)).unwrap();
    for number in 0..50 {
        socket.send(b"?").unwrap();
        let error = socket.recv(&mut [0; 8]).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::ConnectionRefused,
            "answer {number}"
        );
    }
    let connect = || TcpStream::connect_timeout(&server, LIMIT.into()).map(drop);
    let error = agent.inside("n1", connect).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    agent.heal("reject");
    agent.inside("n1", connect).unwrap();
}

fn slow() {
    let mut agent = Agent::new();
    let [n1, n2, _] = NAMES.map(|name| agent.socket(name));
    let evidence = agent.inject("slow", &[link("n1", "n2")], delay(20, 0));
    let latency = &evidence.achieved[0];
    assert_eq!((latency.requested, latency.unit.as_str()), (20.0, "ms"));
    assert!((19.9..22.0).contains(&latency.achieved), "{evidence:?}");
    let mut there: Vec<_> = (0..9).map(|_| one_way(&n1, &n2)).collect();
    there.sort();
    // No packet may be early; the median of nine is late by more than 10 ms only if the machine
    // stops this process for that long five times.
    assert!(there[0] >= Duration::from_micros(19_900), "{there:?}");
    assert!(there[4] < Duration::from_millis(30), "{there:?}");
    let mut back: Vec<_> = (0..9).map(|_| one_way(&n2, &n1)).collect();
    back.sort();
    assert!(back[4] < Duration::from_millis(10), "{back:?}");
    let healed = agent.heal("slow");
    assert!(healed.achieved[0].achieved < 2.0, "{healed:?}");
    let mut after: Vec<_> = (0..9).map(|_| one_way(&n1, &n2)).collect();
    after.sort();
    assert!(after[4] < Duration::from_millis(10), "{after:?}");
}

fn jitter() {
    let mut agent = Agent::new();
    let links = [link("n1", "n2"), link("n2", "n1")];
    let evidence = agent.inject("slow", &links, delay(30, 10));
    assert_eq!(evidence.achieved[0].requested, 30.0);
    let [n1, n2, _] = NAMES.map(|name| agent.socket(name));
    let times: Vec<_> = (0..20).map(|_| one_way(&n1, &n2)).collect();
    assert!(
        times
            .iter()
            .all(|time| *time >= Duration::from_micros(19_900)),
        "{times:?}"
    );
    // Twenty uniform draws over 20 ms lie within 5 ms of each other once in 10¹¹.
    let spread = times
        .iter()
        .max()
        .unwrap()
        .saturating_sub(*times.iter().min().unwrap());
    assert!(spread > Duration::from_millis(5), "{times:?}");
    agent.heal("slow");
}

fn lossy() {
    let mut agent = Agent::new();
    let [n1, n2, _] = NAMES.map(|name| agent.socket(name));
    let evidence = agent.inject("lossy", &[link("n1", "n2")], loss(0.3));
    let share = &evidence.achieved[0];
    // 600 probes: four standard errors are 7.5 %, and three packets.
    assert!((22.0..38.0).contains(&share.achieved), "{evidence:?}");
    const SENT: usize = 1_000;
    let arrived = exchange(&n1, &n2, SENT);
    // Five standard errors of 1,000 draws are 7.2 %.
    let lost = 100.0 * (SENT - arrived) as f64 / SENT as f64;
    assert!((22.8..37.2).contains(&lost), "{lost} %");
    assert_eq!(exchange(&n2, &n1, 200), 200, "the other direction");
    agent.heal("lossy");
    assert_eq!(exchange(&n1, &n2, 200), 200);
}

/// How many of so many datagrams arrive; sent in small groups, so that no buffer is ever full.
pub fn exchange(from: &std::net::UdpSocket, to: &std::net::UdpSocket, count: usize) -> usize {
    let quick = std::time::Duration::from_millis(20);
    let mut arrived = 0;
    for _ in 0..count / 50 {
        for _ in 0..50 {
            from.send_to(b"?", to.local_addr().unwrap()).unwrap();
        }
        to.set_read_timeout(Some(quick)).unwrap();
        let mut group = 0;
        while group < 50 && to.recv_from(&mut [0; 8]).is_ok() {
            group += 1;
        }
        arrived += group;
    }
    to.set_read_timeout(Some(LIMIT.into())).unwrap();
    arrived
}

fn flush() {
    let mut agent = Agent::new();
    let [n1, n2, _] = NAMES.map(|name| agent.socket(name));
    // Held for half a second at least: far longer than it takes to send them and to heal.
    agent.inject("slow", &[link("n1", "n2")], delay(600, 100));
    for number in 0..100_u8 {
        n1.send_to(&[number], n2.local_addr().unwrap()).unwrap();
    }
    agent.heal("slow");
    let mut numbers = Vec::new();
    for _ in 0..100 {
        let mut byte = [0];
        n2.recv_from(&mut byte).unwrap();
        numbers.push(byte[0]);
    }
    assert!(numbers.into_iter().eq(0..100), "each once and in order");
}
