//! Orders that must not pass for done: planted defects and senseless orders.

use shakedown_agents::netlink::{Message, Socket};
use shakedown_contracts::control::{CONTROL_VERSION, NetworkOrder, NetworkReport};
use shakedown_contracts::fault::LinkEffect;

use crate::Test;
use crate::agent::{Agent, NAMES, link, passes};
use crate::faults::{delay, drop_all, loss};

pub const TESTS: &[Test] = &[
    (
        "no_fault_is_verified_on_a_link_that_was_dead_before",
        dead_before,
    ),
    ("no_heal_is_verified_on_a_link_that_stays_dead", dead_after),
    (
        "an_order_that_names_one_wrong_link_does_nothing_at_all",
        wrong_links,
    ),
    (
        "an_id_that_is_in_effect_is_refused_and_the_first_fault_stays",
        twice,
    ),
    ("what_is_not_in_effect_cannot_be_healed", not_in_effect),
    ("another_version_is_refused", version),
    (
        "an_order_before_hello_ends_the_agent_with_the_reason",
        before_hello,
    ),
];

/// Switches an endpoint's interface off behind the agent's back.
fn unplug(agent: &Agent, name: &str) {
    agent.inside(name, || {
        let mut header = vec![0; 4];
        header.extend_from_slice(&nix::net::if_::if_nametoindex("eth0").unwrap().to_ne_bytes());
        header.extend_from_slice(&0_u32.to_ne_bytes());
        header.extend_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
        let message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, &header);
        let mut socket = Socket::open(libc::NETLINK_ROUTE).unwrap();
        socket.request("switch a link off", message).unwrap();
    });
}

fn dead_before() {
    let mut agent = Agent::new();
    unplug(&agent, "n2");
    let cases: [(&str, LinkEffect); 3] = [
        ("cut", drop_all()),
        ("slow", delay(20, 0)),
        ("lossy", loss(0.1)),
    ];
    for (name, effect) in cases {
        let links = [link("n1", "n3"), link("n1", "n2")];
        let reason = agent.try_inject(name, &links, effect).unwrap_err();
        assert!(!reason.is_empty());
        // What was half applied has been undone.
        let [n1, n3] = ["n1", "n3"].map(|name| agent.socket(name));
        assert!(passes(&n1, &n3), "after {name}: {reason}");
    }
}

fn dead_after() {
    let mut agent = Agent::new();
    agent.inject("cut", &[link("n1", "n2")], drop_all());
    agent.inject("slow", &[link("n3", "n2")], delay(5, 0));
    unplug(&agent, "n2");
    let reason = agent.try_heal("cut").unwrap_err();
    assert!(reason.contains("from n1 to n2"), "{reason}");
    let reason = agent.try_heal("slow").unwrap_err();
    assert!(reason.contains("from n3 to n2"), "{reason}");
}

fn wrong_links() {
    let mut agent = Agent::new();
    let good = link("n1", "n2");
    for (wrong, named) in [
        (vec![good.clone(), link("n1", "n9")], "n9"),
        (vec![good.clone(), link("n2", "n2")], "itself"),
        (vec![], "no link"),
    ] {
        for effect in [drop_all(), delay(20, 0), loss(0.5)] {
            let reason = agent.try_inject("wrong", &wrong, effect).unwrap_err();
            assert!(reason.contains(named), "{reason}");
        }
    }
    // A later change renders all effects again; none of the wrong orders' may be among them.
    agent.inject("other", &[link("n3", "n1")], drop_all());
    let [n1, n2, _] = NAMES.map(|name| agent.socket(name));
    assert!(passes(&n1, &n2));
}

fn twice() {
    let mut agent = Agent::new();
    let [n1, n2, n3] = NAMES.map(|name| agent.socket(name));
    agent.inject("cut", &[link("n1", "n2")], drop_all());
    let reason = agent
        .try_inject("cut", &[link("n1", "n3")], drop_all())
        .unwrap_err();
    assert!(reason.contains("already"), "{reason}");
    assert!(!passes(&n1, &n2) && passes(&n1, &n3));
    agent.heal("cut");
}

fn not_in_effect() {
    let mut agent = Agent::new();
    let reason = agent.try_heal("nothing").unwrap_err();
    assert!(reason.contains("nothing is not in effect"), "{reason}");
}

fn failure(agent: &mut Agent) -> String {
    match agent.report() {
        Some(NetworkReport::Failed { message }) => message,
        other => panic!("{other:?}"),
    }
}

fn version() {
    let mut agent = Agent::silent("agent");
    agent.hello(CONTROL_VERSION + 1);
    let message = failure(&mut agent);
    assert!(message.contains("version 2"), "{message}");
    assert!(!agent.process.wait().unwrap().success());
    assert!(!agent.ledger().exists());
}

fn before_hello() {
    let mut agent = Agent::silent("agent");
    agent.order(&NetworkOrder::Inject {
        id: shakedown_contracts::fault::FaultId {
            fault: "cut".to_owned(),
            occurrence: 0,
        },
        links: vec![link("n1", "n2")],
        effect: drop_all(),
        ports: Default::default(),
    });
    let message = failure(&mut agent);
    assert!(message.contains("hello"), "{message}");
    assert!(!agent.process.wait().unwrap().success());
}
