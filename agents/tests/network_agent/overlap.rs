//! Faults that overlap on one link: their union holds, and healing one leaves the others.

use shakedown_contracts::fault::{CutBehavior, LinkEffect};
use shakedown_contracts::units::Duration;

use crate::Test;
use crate::agent::{Agent, NAMES, link, one_way, passes};
use crate::faults::{delay, drop_all, loss};

pub const TESTS: &[Test] = &[
    (
        "under_delay_and_cut_healing_the_cut_leaves_the_delay",
        cut_healed_first,
    ),
    (
        "under_delay_and_cut_healing_the_delay_leaves_the_cut",
        delay_healed_first,
    ),
    ("two_cuts_of_one_link_hold_until_both_are_healed", two_cuts),
    ("two_delays_add_up_and_each_heals_alone", two_delays),
    (
        "delay_and_loss_hold_together_and_heal_alone",
        delay_and_loss,
    ),
    (
        "a_refusal_under_a_silent_cut_is_silent_until_that_is_healed",
        refusal_under_cut,
    ),
    ("a_cut_loses_the_packets_that_a_delay_holds", held_packets),
];

const LATE: Duration = Duration::from_micros(19_900);

fn cut_healed_first() {
    let mut agent = Agent::new();
    let [n1, n2, _] = NAMES.map(|name| agent.socket(name));
    let links = [link("n1", "n2")];
    agent.inject("slow", &links, delay(20, 0));
    let evidence = agent.inject("cut", &links, drop_all());
    assert!(
        evidence.observed.contains("slow acted before"),
        "{evidence:?}"
    );
    assert!(!passes(&n1, &n2));
    agent.heal("cut");
    assert!(one_way(&n1, &n2) >= LATE);
    agent.heal("slow");
    assert!((0..9).any(|_| one_way(&n1, &n2) < LATE));
}

fn delay_healed_first() {
    let mut agent = Agent::new();
    let [n1, n2, _] = NAMES.map(|name| agent.socket(name));
    let links = [link("n1", "n2")];
    agent.inject("cut", &links, drop_all());
    let evidence = agent.inject("slow", &links, delay(20, 0));
    assert!(evidence.observed.contains("show nothing"), "{evidence:?}");
    assert!(
        evidence.achieved.is_empty(),
        "nothing can have been measured"
    );
    agent.heal("slow");
    assert!(!passes(&n1, &n2));
    agent.heal("cut");
    assert!(passes(&n1, &n2));
}

fn two_cuts() {
    let mut agent = Agent::new();
    let [n1, n2, n3] = NAMES.map(|name| agent.socket(name));
    agent.inject("first", &[link("n1", "n2")], drop_all());
    agent.inject("second", &[link("n1", "n2"), link("n1", "n3")], drop_all());
    agent.heal("first");
    assert!(!passes(&n1, &n2) && !passes(&n1, &n3));
    agent.heal("second");
    assert!(passes(&n1, &n2) && passes(&n1, &n3));
}

fn two_delays() {
    let mut agent = Agent::new();
    let links = [link("n1", "n2")];
    agent.inject("first", &links, delay(10, 0));
    let both = agent.inject("second", &links, delay(20, 0));
    assert!(
        (29.9..32.0).contains(&both.achieved[0].achieved),
        "{both:?}"
    );
    let left = agent.heal("first");
    assert!(
        (19.9..22.0).contains(&left.achieved[0].achieved),
        "{left:?}"
    );
    let none = agent.heal("second");
    assert!(none.achieved[0].achieved < 2.0, "{none:?}");
}

fn delay_and_loss() {
    let mut agent = Agent::new();
    let links = [link("n1", "n2")];
    agent.inject("lossy", &links, loss(0.3));
    let slow = agent.inject("slow", &links, delay(20, 0));
    assert!(
        (19.9..22.0).contains(&slow.achieved[0].achieved),
        "{slow:?}"
    );
    let unlossy = agent.heal("lossy");
    assert_eq!(unlossy.achieved[0].achieved, 0.0, "{unlossy:?}");
    let [n1, n2, _] = NAMES.map(|name| agent.socket(name));
    assert!(one_way(&n1, &n2) >= LATE);
    agent.heal("slow");
}

fn refusal_under_cut() {
    let mut agent = Agent::new();
    let links = [link("n1", "n2")];
    let socket = agent.socket("n1");
    let other = agent.socket("n2");
    socket.connect(other.local_addr().unwrap()).unwrap();
    agent.inject("reject", &links, LinkEffect::Cut(CutBehavior::Reject));
    agent.inject("drop", &links, drop_all());
    let quick = std::time::Duration::from_millis(100);
    socket.set_read_timeout(Some(quick)).unwrap();
    let kind = |socket: &std::net::UdpSocket| {
        socket.send(b"?").unwrap();
        socket.recv(&mut [0; 8]).unwrap_err().kind()
    };
    assert_eq!(kind(&socket), std::io::ErrorKind::WouldBlock);
    agent.heal("drop");
    assert_eq!(kind(&socket), std::io::ErrorKind::ConnectionRefused);
    agent.heal("reject");
    assert!(passes(&other, &agent.socket("n1")));
}

fn held_packets() {
    let mut agent = Agent::new();
    let [n1, n2, _] = NAMES.map(|name| agent.socket(name));
    let links = [link("n1", "n2")];
    agent.inject("slow", &links, delay(500, 0));
    for _ in 0..20 {
        n1.send_to(b"held", n2.local_addr().unwrap()).unwrap();
    }
    let (at, _) = agent.try_inject("cut", &links, drop_all()).unwrap();
    agent.heal("cut");
    agent.heal("slow");
    n1.send_to(b"next", n2.local_addr().unwrap()).unwrap();
    let mut bytes = [0; 8];
    let (length, _) = n2.recv_from(&mut bytes).unwrap();
    // 20 sends take far less than the 500 ms for which they are held, or this proves nothing.
    assert_eq!(
        &bytes[..length],
        b"next",
        "a held packet outlived the cut at {at:?}"
    );
}
