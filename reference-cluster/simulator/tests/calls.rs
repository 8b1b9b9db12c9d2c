//! What clients hear.

#[expect(dead_code, reason = "other tests use more of it")]
mod group;

use group::{CLIENTS, Group, id, link, strategy};
use shakedown_contracts::fault::{CutBehavior, Delay, Distribution, LinkEffect};
use shakedown_contracts::strategy::{Acknowledge, Fencing};
use shakedown_contracts::units::{Duration, Ratio};
use shakedown_simulator::{CallAnswer, CallId, ClientRequest};

fn group() -> Group {
    Group::new(3, &strategy(Acknowledge::Majority, Fencing::Epoch), 1)
}

fn ask(group: &mut Group, node: &str) -> CallId {
    group.world.call(CLIENTS, node, ClientRequest::Status)
}

/// What a status call was told, and how long it took.
fn told(group: &mut Group, node: &str, within_ms: u64) -> Option<(CallAnswer, f64)> {
    let (call, asked) = (ask(group, node), group.world.now());
    group.run_millis(within_ms);
    let (at, answer) = group.answers.get(&call)?.clone();
    Some((answer, at.since(asked).as_millis_f64()))
}

fn is_reply(told: &Option<(CallAnswer, f64)>) -> bool {
    matches!(told, Some((CallAnswer::Reply(_), _)))
}

#[test]
fn a_call_takes_two_round_trips_and_the_next_one_on_the_same_connection_one() {
    let mut group = group();
    let (_, first) = told(&mut group, "n1", 10).unwrap();
    let (_, second) = told(&mut group, "n1", 10).unwrap();
    // At least 30 µs a way, 50 on average.
    assert!((0.12..0.6).contains(&first), "{first} ms");
    assert!((0.06..0.3).contains(&second), "{second} ms");
}

#[test]
fn a_dead_process_refuses_a_dead_host_is_silent_and_both_answer_when_they_are_back() {
    let mut group = group();
    group.world.kill("n1");
    let told_by_process = told(&mut group, "n1", 10);
    assert!(matches!(told_by_process, Some((CallAnswer::NotConnected(_), ms)) if ms < 0.3));
    group.world.crash("n2");
    assert_eq!(told(&mut group, "n2", 5_000), None);
    group.start_all();
    group.run_millis(50);
    for node in ["n1", "n2"] {
        assert!(is_reply(&told(&mut group, node, 10)), "{node}");
    }
}

#[test]
fn a_kill_breaks_open_calls_and_a_crash_leaves_them_waiting() {
    for (crash, hears) in [(false, true), (true, false)] {
        let mut group = group();
        // Cut off from its backups the primary keeps the request open.
        let links = group.links_of("n1");
        group.cut("isolated", &links);
        let call = group.put("n1", "k", 1);
        group.run_millis(50);
        assert!(!group.answers.contains_key(&call));
        if crash {
            group.world.crash("n1");
        } else {
            group.world.kill("n1");
        }
        group.run_millis(500);
        let answer = group.answers.get(&call);
        assert_eq!(matches!(answer, Some((_, CallAnswer::Broken(_)))), hears);
    }
}

#[test]
fn a_paused_node_is_silent_and_answers_afterwards_unless_the_client_hung_up() {
    let mut group = group();
    group.world.pause("n2");
    let (kept, cancelled) = (ask(&mut group, "n2"), ask(&mut group, "n2"));
    group.run_millis(100);
    group.world.cancel(cancelled);
    assert!(group.answers.is_empty());
    group.world.resume("n2");
    group.run_millis(10);
    assert_eq!(group.answers.keys().collect::<Vec<_>>(), [&kept]);
}

#[test]
fn over_a_dropping_cut_nothing_comes_until_it_is_healed_and_a_rejecting_one_answers_at_once() {
    let mut group = group();
    let both = [link(CLIENTS, "n1"), link("n1", CLIENTS)];
    for links in [&both[..1], &both[1..], &both[..]] {
        group.cut("drop", links);
        let call = ask(&mut group, "n1");
        group.run_millis(700);
        assert!(!group.answers.contains_key(&call), "{links:?}");
        group.heal("drop");
        // Connecting is tried again after 1 s, a request after 200, 400, 800 ms.
        group.run_millis(900);
        assert!(group.answers.contains_key(&call), "{links:?}");
    }
    let reject = LinkEffect::Cut(CutBehavior::Reject);
    let mut fresh = self::group();
    fresh.world.apply(&id("reject"), &both, reject);
    let told = told(&mut fresh, "n1", 10);
    assert!(
        matches!(told, Some((CallAnswer::NotConnected(_), ms)) if ms < 0.3),
        "{told:?}"
    );
}

#[test]
fn an_answer_that_a_cut_keeps_back_arrives_after_it_and_the_write_was_done() {
    let mut group = group();
    told(&mut group, "n1", 10);
    group.cut("answers", &[link("n1", CLIENTS)]);
    let call = group.put("n1", "k", 7);
    group.run_millis(300);
    assert!(!group.answers.contains_key(&call));
    group.heal("answers");
    group.run_millis(400);
    assert!(group.is_done(call));
}

#[test]
fn a_delay_is_paid_on_each_way_and_ends_with_its_fault() {
    let mut group = group();
    told(&mut group, "n1", 10);
    let both = [link(CLIENTS, "n1"), link("n1", CLIENTS)];
    let delay = LinkEffect::Delay(Delay {
        latency: Duration::from_millis(40),
        jitter: Duration::ZERO,
        correlation: Ratio::default(),
        distribution: Distribution::Uniform,
    });
    group.world.apply(&id("slow"), &both, delay);
    let (_, took) = told(&mut group, "n1", 200).unwrap();
    assert!((80.0..81.0).contains(&took), "{took} ms");
    // A request that is held goes on when the fault is healed.
    let (call, asked) = (ask(&mut group, "n1"), group.world.now());
    group.run_millis(5);
    group.world.withdraw(&id("slow"));
    group.run_millis(5);
    let took = group.answers[&call].0.since(asked).as_millis_f64();
    assert!((5.0..6.0).contains(&took), "{took} ms");
}
