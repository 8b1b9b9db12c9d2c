//! Groups of three real node processes on loopback: the client API, takeover, restart.
//!
//! This file is test runner and node in one: it starts itself again as a node.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is test code, which clippy sees only in #[test]"
)]

mod local_cluster;

use std::panic::catch_unwind;
use std::process::ExitCode;

use local_cluster::{Client, Cluster, value, wait_until};
use serde_json::{Value, json};
use shakedown_contracts::strategy::{
    Acknowledge, Detector, Election, Fencing, Fsync, LogOptions, Raft, Reads, RecoveryLog,
    Replication, Strategy,
};
use shakedown_contracts::units::Duration;
use shakedown_node::Replayed;

fn main() -> ExitCode {
    if let Some(config) = local_cluster::config_of_node_process() {
        return local_cluster::node_process(&config);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let asked_for = |name: &str| filter.is_none_or(|filter| name.contains(filter.as_str()));
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| asked_for(name)) {
        let passed = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += u32::from(!passed);
    }
    println!("{failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

const TESTS: &[(&str, fn())] = &[
    (
        "every_request_of_the_api_is_answered_as_the_contract_says",
        every_request_of_the_api_is_answered_as_the_contract_says,
    ),
    (
        "a_backup_names_the_primary_instead_of_answering",
        a_backup_names_the_primary_instead_of_answering,
    ),
    (
        "what_is_not_understood_is_answered_with_an_api_error",
        what_is_not_understood_is_answered_with_an_api_error,
    ),
    (
        "after_the_primary_is_killed_another_serves_what_was_acknowledged",
        after_the_primary_is_killed_another_serves_what_was_acknowledged,
    ),
    (
        "with_probes_and_leases_a_group_serves_and_takes_over_on_a_real_disk",
        with_probes_and_leases_a_group_serves_and_takes_over_on_a_real_disk,
    ),
    (
        "a_raft_group_elects_another_leader_and_forgets_nothing",
        a_raft_group_elects_another_leader_and_forgets_nothing,
    ),
    (
        "a_whole_group_that_was_killed_recovers_from_its_logs",
        a_whole_group_that_was_killed_recovers_from_its_logs,
    ),
    (
        "holding_unsynced_bytes_turns_a_kill_into_the_loss_of_what_was_not_synced",
        holding_unsynced_bytes_turns_a_kill_into_the_loss_of_what_was_not_synced,
    ),
    (
        "a_recorded_life_replays_to_the_same_outputs",
        a_recorded_life_replays_to_the_same_outputs,
    ),
    (
        "a_node_starts_before_its_peers_and_ends_cleanly_when_asked",
        a_node_starts_before_its_peers_and_ends_cleanly_when_asked,
    ),
    (
        "a_second_node_on_the_same_ports_says_which_and_what_to_do",
        a_second_node_on_the_same_ports_says_which_and_what_to_do,
    ),
    (
        "a_failed_write_ends_the_process_with_a_message",
        a_failed_write_ends_the_process_with_a_message,
    ),
];

fn alone() -> Strategy {
    Strategy {
        replication: Replication::None {},
        ..Strategy::default()
    }
}

fn every_request_of_the_api_is_answered_as_the_contract_says() {
    let cluster = Cluster::start(3, Strategy::default());
    let (answer, primary) = cluster.ask_primary("PUT", "/v1/keys/a%20b", &value(1));
    assert_eq!(answer["node"], format!("n{}", primary + 1));
    let ask = |method, path, body: Value| cluster.ask(primary, method, path, &body).unwrap();

    let (code, read) = ask("GET", "/v1/keys/a%20b", Value::Null);
    assert_eq!((code, &read["value"]), (200, &json!(1)));
    assert_eq!(
        ask("GET", "/v1/keys/absent", Value::Null).1["value"],
        Value::Null
    );

    let cas = "/v1/keys/a%20b/cas";
    assert_eq!(ask("POST", cas, json!({ "expected": 1, "new": 2 })).0, 200);
    let (code, refused) = ask("POST", cas, json!({ "expected": 1, "new": 3 }));
    assert_eq!((code, &refused["error"]), (409, &json!("mismatch")));
    assert_eq!(
        ask("GET", "/v1/keys/a%20b", Value::Null).1["value"],
        json!(2)
    );

    assert_eq!(
        ask(
            "POST",
            "/v1/accounts",
            json!({ "accounts": [["x", 10], ["y", 0]] })
        )
        .0,
        200
    );
    let transfer = |id, amount| json!({ "id": id, "from": "x", "to": "y", "amount": amount });
    assert_eq!(ask("POST", "/v1/transfer", transfer(1, 7)).0, 200);
    let (code, refused) = ask("POST", "/v1/transfer", transfer(2, 7));
    assert_eq!(
        (code, &refused["error"]),
        (409, &json!("insufficient-funds"))
    );
    let (_, accounts) = ask(
        "POST",
        "/v1/accounts/read",
        json!({ "keys": ["y", "x", "z"] }),
    );
    let balances: Vec<_> = accounts["accounts"].as_array().unwrap().iter().collect();
    assert_eq!(balances.len(), 2);
    assert_eq!(
        (&balances[0]["key"], &balances[0]["balance"]),
        (&json!("y"), &json!(7))
    );
    assert_eq!(
        (&balances[1]["key"], &balances[1]["balance"]),
        (&json!("x"), &json!(3))
    );

    let (code, status) = ask("GET", "/v1/status", Value::Null);
    assert_eq!((code, &status["role"]), (200, &json!("primary")));
}

fn a_backup_names_the_primary_instead_of_answering() {
    let cluster = Cluster::start(3, Strategy::default());
    let (_, primary) = cluster.ask_primary("PUT", "/v1/keys/k", &value(1));
    let backup = (primary + 1) % 3;
    let hint = cluster.members[primary].name.clone();
    wait_until("the backup knows its primary", || {
        let (code, error) = cluster.ask(backup, "PUT", "/v1/keys/k", &value(2)).unwrap();
        assert_eq!((code, &error["error"]), (421, &json!("not-primary")));
        error["primary"] == hint
    });
}

fn what_is_not_understood_is_answered_with_an_api_error() {
    let cluster = Cluster::start(1, alone());
    cluster.ask_primary("PUT", "/v1/keys/k", &value(1));
    let mut client = Client::connect(cluster.client_ports[0]).unwrap();
    let large = "x".repeat((1 << 20) + 1);
    let long_key = format!("/v1/keys/{}", "k".repeat(2000));
    let cases = [
        (400, "PUT", "/v1/keys/k", "no json"),
        (400, "PUT", "/v1/keys/k", r#"{"value":-1}"#),
        (400, "PUT", "/v1/keys/k", r#"{"value":1,"ttl":2}"#),
        (400, "POST", "/v1/keys/k/cas", r#"{"expected":1}"#),
        (400, "PUT", long_key.as_str(), r#"{"value":1}"#),
        (400, "PUT", "/v1/keys/%ff", r#"{"value":1}"#),
        (404, "GET", "/v2/status", ""),
        (405, "DELETE", "/v1/keys/k", ""),
        (400, "POST", "/v1/transfer", large.as_str()),
    ];
    for (expected, method, path, body) in cases {
        let (code, error) = client.ask_raw(method, path, body).unwrap();
        assert_eq!(
            (code, &error["error"]),
            (expected, &json!("bad-request")),
            "{method} {path}"
        );
        assert_eq!(error["node"], "n1");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    assert_eq!(
        cluster.ask(0, "GET", "/v1/keys/k", &Value::Null).unwrap().1["value"],
        1
    );
}

fn after_the_primary_is_killed_another_serves_what_was_acknowledged() {
    let mut cluster = Cluster::start(3, Strategy::default());
    let (_, first) = cluster.ask_primary("PUT", "/v1/keys/k0", &value(0));
    let mut client = Client::connect(cluster.client_ports[first]).unwrap();
    for key in 1..100 {
        let (code, _) = client
            .ask("PUT", &format!("/v1/keys/k{key}"), &value(key))
            .unwrap();
        assert_eq!(code, 200);
    }
    cluster.kill(first);
    let (answer, second) = cluster.ask_primary("PUT", "/v1/keys/after", &value(1));
    assert_ne!(first, second);
    assert!(answer["epoch"].as_u64() > Some(1), "{answer}");
    let mut client = Client::connect(cluster.client_ports[second]).unwrap();
    for key in 0..100 {
        let (code, read) = client
            .ask("GET", &format!("/v1/keys/k{key}"), &Value::Null)
            .unwrap();
        assert_eq!((code, &read["value"]), (200, &json!(key)));
    }
    let events = cluster.events(second);
    let position = |name: &str| events.iter().position(|event| event["event"] == name);
    assert!(position("node.ready") < position("suspicion"), "{events:?}");
    assert!(
        position("suspicion") < position("takeover.started"),
        "{events:?}"
    );

    // The killed node comes back as a backup and is brought up to date.
    cluster.start_node(first);
    let committed = |node: usize| {
        let (_, status) = cluster.ask(node, "GET", "/v1/status", &Value::Null).ok()?;
        status["committed"].as_u64()
    };
    wait_until("the old primary has caught up", || {
        committed(first).is_some() && committed(first) == committed(second)
    });
    let (_, status) = cluster
        .ask(first, "GET", "/v1/status", &Value::Null)
        .unwrap();
    assert_eq!(status["role"], "backup");
}

fn with_probes_and_leases_a_group_serves_and_takes_over_on_a_real_disk() {
    let strategy = Strategy {
        detector: Detector::ProgressProbe {
            probe_interval: Duration::from_millis(50),
            timeout: Duration::from_secs(1),
        },
        replication: Replication::PrimaryBackup {
            acknowledge: Acknowledge::Majority,
            fallback: None,
            fencing: Fencing::Lease,
            election: Election::UpToDate,
            reads: Reads::Lease,
            lease: None,
            drift_bound: None,
        },
        ..Strategy::default()
    };
    let mut cluster = Cluster::start(3, strategy);
    let (_, first) = cluster.ask_primary("PUT", "/v1/keys/k", &value(7));
    wait_until("a probe has passed through the disk", || {
        std::fs::metadata(cluster.data(first).join("probe")).is_ok_and(|probe| probe.len() == 8)
    });
    cluster.kill(first);
    // Only progress is a sign of life here, so that this needs probes that come back.
    let (read, second) = cluster.ask_primary("GET", "/v1/keys/k", &Value::Null);
    assert_ne!(first, second);
    assert_eq!(read["value"], 7);
}

fn a_raft_group_elects_another_leader_and_forgets_nothing() {
    let raft = Strategy {
        replication: Replication::Raft(Raft::default()),
        ..Strategy::default()
    };
    let mut cluster = Cluster::start(3, raft);
    let (answer, first) = cluster.ask_primary("PUT", "/v1/keys/k", &value(1));
    cluster.kill(first);
    let (later, second) = cluster.ask_primary("PUT", "/v1/keys/l", &value(2));
    assert_ne!(first, second);
    assert!(later["epoch"].as_u64() > answer["epoch"].as_u64());
    cluster.start_node(first);
    let hint = cluster.members[second].name.clone();
    wait_until("the old leader follows the new one", || {
        let asked = cluster.ask(first, "GET", "/v1/keys/k", &Value::Null);
        asked.is_ok_and(|(code, error)| code == 421 && error["primary"] == hint)
    });
    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.start_node(node));
    for (key, expected) in [("k", 1), ("l", 2)] {
        let path = format!("/v1/keys/{key}");
        assert_eq!(
            cluster.ask_primary("GET", &path, &Value::Null).0["value"],
            expected
        );
    }
}

fn a_whole_group_that_was_killed_recovers_from_its_logs() {
    let mut cluster = Cluster::start(3, Strategy::default());
    for key in 0..20 {
        cluster.ask_primary("PUT", &format!("/v1/keys/k{key}"), &value(key));
    }
    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.start_node(node));
    for key in 0..20 {
        let (read, _) = cluster.ask_primary("GET", &format!("/v1/keys/k{key}"), &Value::Null);
        assert_eq!(read["value"], key);
    }
    let recovered: Vec<Value> = (0..3).flat_map(|node| cluster.events(node)).collect();
    let recovered: Vec<_> = recovered
        .iter()
        .filter(|event| event["event"] == "recovery.completed")
        .collect();
    assert_eq!(recovered.len(), 3);
    assert!(
        recovered.iter().all(|event| event["took"] != "0s"),
        "{recovered:?}"
    );
}

fn holding_unsynced_bytes_turns_a_kill_into_the_loss_of_what_was_not_synced() {
    for (hold_unsynced, expected) in [(true, Value::Null), (false, json!(1))] {
        let recovery_log = RecoveryLog::Redo(LogOptions {
            fsync: Fsync::Never,
            ..LogOptions::default()
        });
        let mut cluster = Cluster::prepare(
            1,
            Strategy {
                recovery_log,
                ..alone()
            },
        );
        if hold_unsynced {
            cluster.hold_unsynced();
        }
        cluster.start_node(0);
        cluster.ask_primary("PUT", "/v1/keys/k", &value(1));
        // The acknowledgement does not wait for the disk here. Whether a held append has been
        // carried out cannot be seen from outside; the file layer's own test covers that it has.
        wait_until("the append is carried out", || {
            cluster.ask_primary("PUT", "/v1/keys/k", &value(1));
            let log = std::fs::read(cluster.data(0).join("log")).unwrap();
            // The log begins with a promise and the epoch's first entry.
            hold_unsynced || log.windows(5).any(|bytes| bytes == b"\"put\"")
        });
        cluster.kill(0);
        cluster.start_node(0);
        let (read, _) = cluster.ask_primary("GET", "/v1/keys/k", &Value::Null);
        assert_eq!(read["value"], expected, "hold_unsynced = {hold_unsynced}");
    }
}

fn a_recorded_life_replays_to_the_same_outputs() {
    for replication in [Replication::default(), Replication::Raft(Raft::default())] {
        let mut cluster = Cluster::prepare(
            3,
            Strategy {
                replication,
                ..Strategy::default()
            },
        );
        cluster.record();
        (0..3).for_each(|node| cluster.start_node(node));
        let (_, first) = cluster.ask_primary("PUT", "/v1/keys/k", &value(1));
        cluster.kill(first);
        cluster.ask_primary("PUT", "/v1/keys/k", &value(2));
        cluster.start_node(first);
        wait_until("the killed node has caught up", || {
            let (_, status) = cluster
                .ask(first, "GET", "/v1/status", &Value::Null)
                .unwrap_or_default();
            status["committed"].as_u64() >= Some(2)
        });
        (0..3).for_each(|node| cluster.kill(node));
        let lives = cluster.recordings();
        assert_eq!(lives.len(), 4, "one node lived twice");
        for life in lives {
            match shakedown_node::replay(life).unwrap() {
                Replayed::Identical { steps } => assert!(steps > 10, "{steps} steps"),
                Replayed::Different { step, what } => panic!("step {step}: {what}"),
            }
        }
    }
}

fn a_node_starts_before_its_peers_and_ends_cleanly_when_asked() {
    let mut cluster = Cluster::prepare(3, Strategy::default());
    cluster.start_node(2);
    wait_until("it answers", || {
        cluster.ask(2, "GET", "/v1/status", &Value::Null).is_ok()
    });
    assert!(
        cluster
            .events(2)
            .iter()
            .any(|event| event["event"] == "node.ready")
    );
    let status = cluster.terminate(2);
    assert_eq!(status.code(), Some(0));
}

fn a_second_node_on_the_same_ports_says_which_and_what_to_do() {
    let mut cluster = Cluster::start(1, alone());
    cluster.ask_primary("PUT", "/v1/keys/k", &value(1));
    let mut second = Cluster::prepare(1, alone());
    second.client_ports.clone_from(&cluster.client_ports);
    second.start_node(0);
    assert_eq!(second.wait_for_end(0).code(), Some(1));
    let output = second.output(0);
    let address = format!("127.0.0.1:{}", cluster.client_ports[0]);
    assert!(
        output.contains(&address) && output.contains("client_port"),
        "{output}"
    );
    assert_eq!(cluster.terminate(0).code(), Some(0));
}

fn a_failed_write_ends_the_process_with_a_message() {
    let mut cluster = Cluster::prepare(1, alone());
    // Files of at most 64 KiB (the unit is 512 bytes), and an error instead of a signal beyond.
    let mut shell = std::process::Command::new("sh");
    let limited = r#"trap "" XFSZ; ulimit -f 128; exec "$0" "$@""#;
    shell
        .arg("-c")
        .arg(limited)
        .arg(std::env::current_exe().unwrap());
    cluster.start_with(0, shell);
    cluster.ask_primary("PUT", "/v1/keys/k", &value(1));
    let mut client = Client::connect(cluster.client_ports[0]).unwrap();
    let key = "k".repeat(1000);
    let refused = (0..200).find(|number| {
        client
            .ask("PUT", &format!("/v1/keys/{key}"), &value(*number))
            .is_err()
    });
    assert!(refused.is_some(), "200 records of 1 kB fit into 64 KiB");
    assert_eq!(cluster.wait_for_end(0).code(), Some(1));
    let output = cluster.output(0);
    let log = cluster.data(0).join("log");
    assert!(
        output.contains(&format!("cannot write {}", log.display())),
        "{output}"
    );
    assert!(output.contains("File too large"), "{output}");
}
