//! The player against hand-made agents in virtual time.

use shakedown_contracts::control::{NetworkOrder, NodeOrder, ProcessFault};
use shakedown_contracts::event::{Evidence, Role};
use shakedown_contracts::fault::{Crash, CutBehavior, FaultKind, PartitionShape, Selector};
use shakedown_contracts::plan::{
    ClientGroup, Fault, Injection as Entry, Phases, Plan, Preparations, Stage, Target, Workload,
    WorkloadKind,
};
use shakedown_contracts::strategy::Strategy;
use shakedown_contracts::time::Bracket;
use shakedown_contracts::units::Duration;

use super::*;
use crate::faults::view::tests::{cluster, record};

const BEGAN: Moment = Moment(1_000_000_000);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(millis: u64) -> Moment {
    BEGAN.after(ms(millis))
}

pub(crate) fn plan(faults: Vec<Fault>, schedule: Vec<Entry>) -> Plan {
    let groups = vec![ClientGroup {
        name: "c1".into(),
        beside: None,
        clients: 1,
    }];
    Plan {
        format: 1,
        name: "p".into(),
        experiment: "p".into(),
        variant: None,
        row: None,
        title: String::new(),
        source: String::new(),
        seed: 1,
        stage: Stage::Local,
        target: Target {
            system: "reference".into(),
            nodes: ["n1", "n2", "n3"].map(String::from).to_vec(),
            companions: Vec::new(),
            strategy: Strategy::default(),
            ready_timeout: ms(5_000),
        },
        workload: Workload {
            kind: WorkloadKind::Register {
                keys: 1,
                operations_per_key: None,
            },
            clients: 1,
            groups,
            rate: 1.0,
            mix: Default::default(),
            timeout: ms(1_000),
            final_reads: false,
        },
        phases: Phases {
            warm_up: ms(1),
            fault: ms(5_000),
            settle: ms(1),
            bin: ms(1),
        },
        faults,
        gates: Vec::new(),
        expect: None,
        trials: vec![Trial {
            index: 1,
            seed: 7,
            schedule,
        }],
        preparations: Preparations::default(),
        environment: Default::default(),
    }
}

fn fault(kind: FaultKind, nodes: Selector) -> Fault {
    Fault {
        name: "f".into(),
        kind,
        nodes,
    }
}

fn entry(start: Start, duration: Option<Duration>) -> Entry {
    Entry {
        fault: "f".into(),
        occurrence: 0,
        start,
        duration,
    }
}

fn player(fault: Fault, entry: Entry) -> Player {
    let plan = plan(vec![fault], vec![entry]);
    let mut player = Player::new(&plan, &plan.trials[0]);
    player.begin(BEGAN);
    player
}

fn primary_n1() -> View {
    cluster(3, &[("n1", 1)])
}

fn id() -> FaultId {
    FaultId {
        fault: "f".into(),
        occurrence: 0,
    }
}

fn evidence(observed: &str) -> Evidence {
    let observed = observed.to_owned();
    Evidence {
        mechanism: "m".into(),
        observed,
        achieved: Vec::new(),
    }
}

fn bracket(before: u64, after: u64) -> Bracket {
    Bracket {
        before: at(before),
        after: at(after),
    }
}

fn effective(before: u64, after: u64, observed: &str) -> FaultReport {
    FaultReport::Effective {
        id: id(),
        at: bracket(before, after),
        evidence: evidence(observed),
    }
}

fn healed(before: u64, after: u64) -> FaultReport {
    FaultReport::Healed {
        id: id(),
        at: bracket(before, after),
        evidence: evidence("gone"),
    }
}

fn unverified(reason: &str) -> FaultReport {
    FaultReport::Unverified {
        id: id(),
        reason: reason.into(),
    }
}

fn agent(node: &str) -> Process {
    Process::NodeAgent(node.into())
}

fn node_order(node: &str, order: NodeOrder) -> Action {
    Action::Order(Order::Node {
        node: node.into(),
        order,
    })
}

/// Names of the recorded events and of the orders' agents, in order.
fn summary(actions: &[Action]) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::Record(event) => event.name().to_owned(),
        Action::Order(Order::Network(NetworkOrder::Inject { .. })) => "cut".to_owned(),
        Action::Order(Order::Network(_)) => "uncut".to_owned(),
        Action::Order(Order::Node {
            node,
            order: NodeOrder::Inject { .. },
        }) => {
            format!("inject {node}")
        }
        Action::Order(Order::Node { node, .. }) => format!("heal {node}"),
    };
    actions.iter().map(word).collect()
}

fn reason_of(actions: &[Action]) -> String {
    let reasons = actions.iter().find_map(|action| match action {
        Action::Record(Event::FaultUnverified { reason, .. }) => Some(reason.clone()),
        _ => None,
    });
    reasons.expect("something was not verified")
}

#[test]
fn a_kill_is_requested_at_its_moment_verified_and_healed_after_its_duration() {
    let kill = fault(
        FaultKind::Kill {
            crash: Crash::Process,
        },
        Selector::Primary,
    );
    let mut player = player(kill, entry(Start::At(ms(500)), Some(ms(2_000))));
    let view = primary_n1();
    assert_eq!(player.next_deadline(), Some(at(500)));
    assert!(player.tick(at(499), &view).is_empty());

    let actions = player.tick(at(500), &view);
    let inject = NodeOrder::Inject {
        id: id(),
        action: ProcessFault::Kill,
    };
    assert_eq!(actions[1], node_order("n1", inject));
    assert_eq!(summary(&actions), ["fault.requested", "inject n1"]);
    let actions = player.report(&agent("n1"), effective(500, 501, "dead"), at(501));
    assert_eq!(summary(&actions), ["fault.effective"]);

    // Counted from the planned moment, not from the report.
    assert_eq!(player.next_deadline(), Some(at(2_500)));
    let actions = player.tick(at(2_500), &view);
    assert_eq!(actions, [node_order("n1", NodeOrder::Heal { id: id() })]);
    assert!(!player.is_done());
    let actions = player.report(&agent("n1"), healed(2_500, 2_600), at(2_600));
    assert_eq!(summary(&actions), ["fault.healed"]);
    assert!(player.is_done());
}

#[test]
fn a_fault_on_several_nodes_is_one_event_with_the_bracket_over_all() {
    let pause = fault(FaultKind::Pause {}, Selector::Backups);
    let mut player = player(pause, entry(Start::At(ms(0)), None));
    let actions = player.tick(at(0), &primary_n1());
    assert_eq!(
        summary(&actions),
        ["fault.requested", "inject n2", "inject n3"]
    );
    assert!(
        player
            .report(&agent("n3"), effective(2, 9, "n3 stopped"), at(9))
            .is_empty()
    );
    let actions = player.report(&agent("n2"), effective(1, 5, "n2 stopped"), at(9));
    let [
        Action::Record(Event::FaultEffective {
            at,
            nodes,
            evidence,
            ..
        }),
    ] = &actions[..]
    else {
        panic!("{actions:?}");
    };
    assert_eq!(*at, bracket(1, 9));
    assert_eq!(nodes[..], ["n2", "n3"]);
    assert_eq!(evidence.observed, "n3 stopped; n2 stopped");
    assert_eq!(evidence.mechanism, "m");
}

#[test]
fn when_one_node_is_not_verified_the_others_are_healed_and_nothing_is_called_effective() {
    let pause = fault(FaultKind::Pause {}, Selector::Backups);
    let mut player = player(pause, entry(Start::At(ms(0)), None));
    player.tick(at(0), &primary_n1());
    player.report(&agent("n2"), effective(1, 5, "stopped"), at(5));
    let actions = player.report(&agent("n3"), unverified("still runs"), at(6));
    assert_eq!(summary(&actions), ["fault.unverified", "heal n2"]);
    assert_eq!(reason_of(&actions), "node-agent n3: still runs");
    let actions = player.report(&agent("n2"), healed(6, 7), at(7));
    assert!(actions.is_empty(), "{actions:?}");
    assert!(player.is_done());
}

#[test]
fn a_silent_agent_is_given_up_and_what_others_did_is_healed() {
    let pause = fault(FaultKind::Pause {}, Selector::Backups);
    let mut player = player(pause, entry(Start::At(ms(0)), None));
    player.tick(at(0), &primary_n1());
    player.report(&agent("n2"), effective(1, 5, "stopped"), at(5));
    let deadline = player.next_deadline().unwrap();
    let actions = player.tick(deadline, &primary_n1());
    assert_eq!(summary(&actions), ["fault.unverified", "heal n2"]);
    assert_eq!(reason_of(&actions), "no report from node-agent n3 in time");
    // A report that comes after all changes nothing.
    assert!(
        player
            .report(&agent("n3"), effective(1, 2, "late"), deadline)
            .is_empty()
    );
}

#[test]
fn a_crashed_host_loses_its_network_first_and_gets_it_back_before_its_node_starts() {
    let crash = fault(FaultKind::Kill { crash: Crash::Host }, Selector::Primary);
    let mut player = player(crash, entry(Start::At(ms(0)), Some(ms(100))));
    let view = primary_n1();
    assert_eq!(
        summary(&player.tick(at(0), &view)),
        ["fault.requested", "cut"]
    );
    let cut = player.report(&Process::NetworkAgent, effective(1, 2, "cut"), at(40));
    assert_eq!(summary(&cut), ["inject n1"]);
    assert!(player.host_is_down("n1") && !player.host_is_down("n2"));
    let killed = player.report(&agent("n1"), effective(40, 41, "dead"), at(41));
    let [
        Action::Record(Event::FaultEffective {
            at: t0, evidence, ..
        }),
    ] = &killed[..]
    else {
        panic!("{killed:?}");
    };
    // For everybody else the host is gone with its network.
    assert_eq!(*t0, bracket(1, 2));
    assert_eq!(evidence.observed, "cut; dead");
    assert_eq!(summary(&player.tick(at(100), &view)), ["uncut"]);
    let uncut = player.report(&Process::NetworkAgent, healed(100, 101), at(120));
    assert_eq!(summary(&uncut), ["heal n1"]);
    let actions = player.report(&agent("n1"), healed(120, 300), at(300));
    let [Action::Record(Event::FaultHealed { at: gone, .. })] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(*gone, bracket(100, 300));
    assert!(!player.host_is_down("n1"));
}

#[test]
fn a_restart_is_healed_as_soon_as_it_is_effective() {
    let restart = fault(FaultKind::Restart {}, Selector::Names(vec!["n2".into()]));
    let mut player = player(restart, entry(Start::At(ms(0)), None));
    player.tick(at(0), &primary_n1());
    let actions = player.report(&agent("n2"), effective(0, 1, "gone"), at(1));
    assert_eq!(summary(&actions), ["fault.effective", "heal n2"]);
}

#[test]
fn a_triggered_fault_starts_at_the_first_event_of_its_kind_in_the_fault_phase() {
    let kill = fault(
        FaultKind::Kill {
            crash: Crash::Process,
        },
        Selector::Primary,
    );
    let entry = entry(Start::After("role.changed".into()), None);
    let plan = plan(vec![kill], vec![entry]);
    let mut player = Player::new(&plan, &plan.trials[0]);
    let event = Event::RoleChanged {
        role: Role::Primary,
        epoch: 2,
    };
    let mut view = primary_n1();
    assert!(
        player.observe(&event, at(0), &view).is_empty(),
        "before the fault phase"
    );
    player.begin(BEGAN);
    assert!(
        player
            .observe(&Event::NodeReady {}, at(1), &view)
            .is_empty()
    );
    view.observe("n3", &record("n3", event.clone()));
    let actions = player.observe(&event, at(2), &view);
    assert_eq!(summary(&actions), ["fault.requested", "inject n3"]);
    assert!(
        player.observe(&event, at(3), &view).is_empty(),
        "only the first one"
    );
}

#[test]
fn settling_heals_what_is_left_and_names_the_event_that_never_came() {
    let kill = fault(
        FaultKind::Kill {
            crash: Crash::Process,
        },
        Selector::Primary,
    );
    let mut waiting = player(kill.clone(), entry(Start::After("suspicion".into()), None));
    let actions = waiting.settle(at(5_000));
    assert_eq!(reason_of(&actions), "its event suspicion never came");
    assert!(waiting.is_done());

    let mut lasting = player(kill, entry(Start::At(ms(0)), None));
    lasting.tick(at(0), &primary_n1());
    lasting.report(&agent("n1"), effective(0, 1, "dead"), at(1));
    assert_eq!(lasting.next_deadline(), None);
    assert_eq!(summary(&lasting.settle(at(5_000))), ["heal n1"]);
    assert!(!lasting.is_done());
}

#[test]
fn a_fault_still_being_verified_when_settling_begins_is_healed_once_it_is() {
    let kind = FaultKind::Partition {
        shape: PartitionShape::Isolate,
        behavior: CutBehavior::Drop,
        ports: Default::default(),
    };
    let mut player = player(
        fault(kind, Selector::Primary),
        entry(Start::At(ms(4_990)), None),
    );
    player.tick(at(4_990), &primary_n1());
    assert!(player.settle(at(5_000)).is_empty());
    let actions = player.report(
        &Process::NetworkAgent,
        effective(4_990, 4_991, "cut"),
        at(5_100),
    );
    assert_eq!(summary(&actions), ["fault.effective", "uncut"]);
}

#[test]
fn an_ambiguous_primary_makes_the_fault_unverified_and_orders_nothing() {
    let kill = fault(
        FaultKind::Kill {
            crash: Crash::Process,
        },
        Selector::Primary,
    );
    let mut player = player(kill, entry(Start::At(ms(0)), None));
    let actions = player.tick(at(0), &cluster(3, &[("n1", 2), ("n2", 2)]));
    assert_eq!(summary(&actions), ["fault.unverified"]);
    assert!(reason_of(&actions).contains("n1 and n2"), "{actions:?}");
    assert!(player.is_done());
}

#[test]
fn a_trial_that_breaks_off_leaves_no_injection_unspoken_of() {
    let pause = fault(FaultKind::Pause {}, Selector::Primary);
    let mut player = player(pause, entry(Start::At(ms(0)), None));
    player.tick(at(0), &primary_n1());
    let actions = player.abandon("network-agent died");
    assert_eq!(reason_of(&actions), "network-agent died");
    assert!(player.abandon("again").is_empty());
}
