//! Kill, pause and restart: in effect, healed, overlapping, refused.

use shakedown_agents::ledger;
use shakedown_agents::process::identity::ProcessIdentity;
use shakedown_agents::process::pidfd::PidFd;
use shakedown_agents::process::status::{PidNamespace, thread_states};
use shakedown_contracts::control::{FaultReport, NodeOrder, ProcessFault};
use shakedown_contracts::time::Bracket;
use shakedown_contracts::units::Duration;

use crate::Test;
use crate::agent::{Agent, LIMIT, id};

pub const TESTS: &[Test] = &[
    (
        "a_killed_node_is_gone_and_healed_when_the_next_one_is_ready",
        kill,
    ),
    ("a_kill_takes_children_and_grandchildren_along", kill_family),
    (
        "a_terminated_node_ends_in_its_own_way_and_one_that_ignores_it_runs_on_unverified",
        terminate,
    ),
    (
        "a_paused_node_has_no_running_thread_until_it_is_healed",
        pause,
    ),
    (
        "a_node_that_forks_without_end_is_stopped_and_continued_whole",
        pause_forker,
    ),
    (
        "a_killed_node_that_somebody_else_has_started_is_healed_as_it_is",
        started_by_another,
    ),
    (
        "a_restart_replaces_the_process_and_heals_by_readiness",
        restart,
    ),
    (
        "overlapping_pauses_hold_until_the_last_is_healed",
        overlapping_pauses,
    ),
    (
        "overlapping_kills_hold_until_the_last_is_healed",
        overlapping_kills,
    ),
    (
        "a_kill_works_on_a_paused_node_and_ends_its_pause",
        kill_paused,
    ),
    (
        "a_pause_whose_node_died_by_itself_is_unverified",
        paused_node_dies,
    ),
    (
        "a_start_that_never_gets_ready_is_unverified_and_orders_go_on_meanwhile",
        never_ready,
    ),
    (
        "a_fault_stands_in_the_ledger_until_it_is_healed",
        ledger_entries,
    ),
    (
        "a_node_whose_readiness_cannot_be_seen_is_not_killed",
        no_events,
    ),
];

fn effective(report: FaultReport) -> (Bracket, String) {
    match report {
        FaultReport::Effective { at, evidence, .. } => (at, evidence.observed),
        other => panic!("not effective: {other:?}"),
    }
}

fn healed(report: FaultReport) -> (Bracket, String) {
    match report {
        FaultReport::Healed { at, evidence, .. } => (at, evidence.observed),
        other => panic!("not healed: {other:?}"),
    }
}

fn unverified(report: FaultReport) -> String {
    match report {
        FaultReport::Unverified { reason, .. } => reason,
        other => panic!("not unverified: {other:?}"),
    }
}

/// Processes of the node's namespace but its init, which has no parent in it.
fn family(node: i32) -> Vec<ProcessIdentity> {
    PidNamespace::of(node).unwrap().members().unwrap()
}

fn kill() {
    let mut agent = Agent::new("plain");
    let first = agent.start_node();
    let before = shakedown_agents::clock::now();
    let (at, observed) = effective(agent.inject("k", ProcessFault::Kill));
    println!("  {observed}");
    assert!(at.before >= before && at.after >= at.before);
    assert!(
        thread_states(first).is_empty(),
        "nothing of it runs when it is reported"
    );
    assert_eq!(agent.exits(), [("signal 9".to_owned(), true)]);

    let (at, observed) = healed(agent.heal("k"));
    println!("  {observed}");
    let second = agent.started(2);
    assert_ne!(first, second);
    assert!(at.before < at.after);
    assert!(!thread_states(second).is_empty());
}

fn terminate() {
    const ORDERLY: &str = r#"
import os, signal, sys, time
def end(*_):
    print("orderly", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, end if not os.path.exists("stubborn") else signal.SIG_IGN)
open("stubborn", "w").close()
os.write(5, b'{"time":1,"event":"node.ready"}\n')
while True: time.sleep(60)
"#;
    let mut agent = Agent::with("plain", |program| {
        program.executable = "/usr/bin/env".into();
        program.arguments = ["python3", "-c", ORDERLY].map(str::to_owned).into();
    });
    agent.start_node();
    let (_, observed) = effective(agent.inject("t", ProcessFault::Terminate));
    assert!(observed.contains("exit code 3"), "{observed}");
    assert_eq!(agent.exits(), [("exit code 3".to_owned(), true)]);
    assert!(agent.log("node.log").contains("orderly"));
    healed(agent.heal("t"));

    // The second ignores it.
    let second = agent.started(2);
    let reason = unverified(agent.inject("again", ProcessFault::Terminate));
    assert!(reason.contains("lives"), "{reason}");
    assert!(!thread_states(second).is_empty());
}

fn kill_family() {
    let mut agent = Agent::new("family");
    let node = agent.start_node();
    let deadline = shakedown_agents::clock::now().after(LIMIT);
    // Init, node, child, grandchild; the last may still be on its way.
    while family(node).len() < 4 {
        assert!(
            shakedown_agents::clock::now() < deadline,
            "the family assembles"
        );
        std::thread::yield_now();
    }
    let members = family(node);
    effective(agent.inject("k", ProcessFault::Kill));
    for member in members {
        assert!(!member.is_alive(), "{member:?} outlived the kill");
    }
}

fn pause() {
    let mut agent = Agent::new("family");
    let node = agent.start_node();
    let (at, observed) = effective(agent.inject("p", ProcessFault::Pause));
    println!("  {:.3} ms: {observed}", at.width().as_millis_f64());
    let members = family(node);
    let init = members.iter().map(|member| member.pid).min().unwrap();
    for member in members.iter().filter(|member| member.pid != init) {
        let states = thread_states(member.pid);
        assert!(
            !states.is_empty() && states.iter().all(|state| *state == 'T'),
            "{states:?}"
        );
    }
    let (at, observed) = healed(agent.heal("p"));
    println!("  {:.3} ms: {observed}", at.width().as_millis_f64());
    for member in family(node) {
        assert!(!thread_states(member.pid).contains(&'T'));
    }
    assert!(agent.exits().is_empty(), "a pause ends nothing");
}

fn pause_forker() {
    let mut agent = Agent::new("forker");
    let node = agent.start_node();
    // One in a few stops lands between vfork and exec; twenty miss them all once in a million.
    for _ in 0..20 {
        let (at, observed) = effective(agent.inject("p", ProcessFault::Pause));
        let members = family(node);
        let init = members.iter().map(|member| member.pid).min().unwrap();
        for member in members.iter().filter(|member| member.pid != init) {
            assert!(
                thread_states(member.pid).iter().all(|state| *state == 'T'),
                "{observed}"
            );
        }
        assert!(at.width() < Duration::from_secs(2), "{}", at.width());
        healed(agent.heal("p"));
    }
}

fn restart() {
    let mut agent = Agent::new("plain");
    let first = agent.start_node();
    let (killed, _) = effective(agent.inject("r", ProcessFault::Restart));
    assert!(thread_states(first).is_empty());
    let (at, _) = healed(agent.heal("r"));
    assert!(
        at.before >= killed.after,
        "the new process starts after the old one's end"
    );
    assert_ne!(agent.started(2), first);
    assert_eq!(agent.exits().len(), 1);
}

fn overlapping_pauses() {
    let mut agent = Agent::new("plain");
    let node = agent.start_node();
    effective(agent.inject("p", ProcessFault::Pause));
    effective(agent.inject("q", ProcessFault::Pause));
    let (_, observed) = healed(agent.heal("p"));
    assert!(observed.contains("still stopped by q"), "{observed}");
    assert_eq!(thread_states(node), ['T']);
    healed(agent.heal("q"));
    assert_ne!(thread_states(node), ['T']);
    assert!(unverified(agent.heal("q")).contains("not in effect"));
}

fn overlapping_kills() {
    let mut agent = Agent::new("plain");
    agent.start_node();
    effective(agent.inject("k", ProcessFault::Kill));
    let (_, observed) = effective(agent.inject("l", ProcessFault::Kill));
    assert!(observed.contains("dead already"), "{observed}");
    assert!(unverified(agent.inject("r", ProcessFault::Restart)).contains("held dead by k"));
    assert!(unverified(agent.inject("p", ProcessFault::Pause)).contains("dead"));
    let (_, observed) = healed(agent.heal("k"));
    assert!(observed.contains("still dead by l"), "{observed}");
    healed(agent.heal("l"));
    assert_eq!(agent.exits().len(), 1, "one process died, once");
    agent.started(2);
}

fn kill_paused() {
    let mut agent = Agent::new("plain");
    let node = agent.start_node();
    effective(agent.inject("p", ProcessFault::Pause));
    effective(agent.inject("k", ProcessFault::Kill));
    assert!(thread_states(node).is_empty());
    let (_, observed) = healed(agent.heal("p"));
    assert!(observed.contains("another fault killed"), "{observed}");
    healed(agent.heal("k"));
}

fn paused_node_dies() {
    let mut agent = Agent::new("plain");
    let node = agent.start_node();
    effective(agent.inject("p", ProcessFault::Pause));
    PidFd::open(node)
        .unwrap()
        .signal(nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    agent.until("node.exited", |report| {
        matches!(report, shakedown_contracts::control::NodeReport::Agent(_)).then_some(())
    });
    assert_eq!(agent.exits(), [("signal 9".to_owned(), false)]);
    let reason = unverified(agent.heal("p"));
    assert!(
        reason.contains("ended by itself while paused: signal 9"),
        "{reason}"
    );
}

fn never_ready() {
    // Short, since it is waited for in full; the first start is held by the test's own limit.
    let limit = Duration::from_millis(300);
    let mut agent = Agent::with("once", |program| program.ready_timeout = limit);
    agent.start_node();
    effective(agent.inject("k", ProcessFault::Kill));
    agent.order(&NodeOrder::Heal { id: id("k") });
    let (_, observed) = effective(agent.inject("p", ProcessFault::Pause));
    assert!(
        observed.contains("in state T"),
        "an order is obeyed while a heal is under way"
    );
    let reason = unverified(agent.fault_report());
    assert!(reason.contains("not ready within 300ms"), "{reason}");
}

fn started_by_another() {
    let mut agent = Agent::new("plain");
    let first = agent.start_node();
    // It runs: an order to start it changes nothing.
    agent.order(&NodeOrder::Start);
    effective(agent.inject("k", ProcessFault::Kill));
    assert_eq!(agent.exits().len(), 1);
    agent.order(&NodeOrder::Start);
    let second = agent.started(2);
    assert_ne!(first, second);
    let (at, observed) = healed(agent.heal("k"));
    assert!(
        at.before <= at.after && observed.contains("generation 2"),
        "{observed}"
    );
    assert!(!thread_states(second).is_empty(), "the same one runs on");
    assert_eq!(agent.exits().len(), 1);
}

fn ledger_entries() {
    let mut agent = Agent::new("plain");
    let node = agent.start_node();
    let contents = ledger::read(&agent.ledger()).unwrap();
    assert_eq!(
        contents.header.unwrap().harness_process.pid,
        std::process::id() as i32
    );
    assert!(contents.processes.iter().any(|process| process.pid == node));
    effective(agent.inject("p", ProcessFault::Pause));
    let open = ledger::read(&agent.ledger()).unwrap().open_faults;
    assert_eq!(
        open.iter().map(|open| &open.id).collect::<Vec<_>>(),
        [&id("p")]
    );
    healed(agent.heal("p"));
    assert_eq!(ledger::read(&agent.ledger()).unwrap().open_faults, []);
}

fn no_events() {
    let mut agent = Agent::with("idle", |program| {
        program.executable = "/bin/sleep".into();
        program.arguments = vec!["1000".into()];
        program.events_descriptor = None;
    });
    agent.order(&NodeOrder::Start);
    let node = agent.started(1);
    let reason = unverified(agent.inject("k", ProcessFault::Kill));
    assert!(reason.contains("no events descriptor"), "{reason}");
    assert!(!thread_states(node).is_empty(), "it still runs");
    effective(agent.inject("p", ProcessFault::Pause));
    healed(agent.heal("p"));
}
