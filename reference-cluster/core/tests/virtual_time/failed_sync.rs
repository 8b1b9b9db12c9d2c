//! A sync that fails under `on_fsync_error = "retry"`: whichever machine waits for syncs, it goes on.

use std::collections::BTreeMap;

use shakedown_contracts::node::{
    CasRequest, Member, NODE_CONFIG_FORMAT, NodeConfig, OpenAccountsRequest,
};
use shakedown_contracts::strategy::{
    Detector, LogOptions, OnFsyncError, Quorum, Raft, RecoveryLog, Redundancy, Replication,
    Strategy,
};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use shakedown_core::interface::{
    ClientReply, ClientRequest, DiskOperation, Input, Output, RequestId, Timer,
};
use shakedown_core::node::Node;

/// Longer than any election of one.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(100);

/// A node alone, whose disk does everything at once.
struct Alone {
    node: Node,
    now: Moment,
    timers: BTreeMap<Timer, Moment>,
    /// The next sync after this is set fails.
    fails_next: bool,
    failed: u32,
    done: bool,
}

impl Alone {
    fn new(strategy: Strategy) -> Self {
        let member = Member {
            name: "n1".to_owned(),
            address: [127, 0, 0, 1].into(),
            peer_port: 7001,
            heartbeat_port: 7002,
            kind: Default::default(),
        };
        let config = NodeConfig {
            format: NODE_CONFIG_FORMAT,
            name: member.name.clone(),
            members: vec![member],
            data_directory: "nowhere".into(),
            strategy,
            seed: 1,
            hold_unsynced: false,
            client_port: 7000,
        };
        let mut alone = Alone {
            node: Node::new(&config).expect("the config is sound"),
            now: Moment(1_000_000_000),
            timers: BTreeMap::new(),
            fails_next: false,
            failed: 0,
            done: false,
        };
        alone.step(Input::Start {
            checkpoints: Vec::new(),
            log: Vec::new(),
        });
        alone
    }

    fn step(&mut self, input: Input) {
        for output in self.node.step(self.now, input) {
            match output {
                Output::SetTimer { timer, at } => {
                    self.timers.insert(timer, at);
                }
                Output::Disk { token, operation } => {
                    let fails = self.fails_next && operation == DiskOperation::Sync;
                    self.fails_next &= !fails;
                    self.failed += u32::from(fails);
                    self.step(match fails {
                        true => Input::DiskFailed { token },
                        false => Input::DiskDone { token },
                    });
                }
                Output::Reply {
                    reply: ClientReply::Done(_),
                    ..
                } => self.done = true,
                Output::Fatal { message } => panic!("{message}"),
                _ => {}
            }
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now.after(time);
        while let Some((timer, at)) = self.timers.iter().min_by_key(|(_, at)| **at)
            && *at <= end
        {
            let timer = *timer;
            self.now = self.now.max(*at);
            self.timers.remove(&timer);
            self.step(Input::Timer { timer });
        }
        self.now = end;
    }
}

/// Whether a write is acknowledged, of which a sync failed once.
fn acknowledges(name: &str, strategy: Strategy, request: &ClientRequest) -> bool {
    let mut alone = Alone::new(Strategy {
        detector: Detector::None {},
        recovery_log: RecoveryLog::Redo(LogOptions {
            on_fsync_error: OnFsyncError::Retry,
            ..LogOptions::default()
        }),
        ..strategy
    });
    alone.run_for(PATIENCE);
    alone.fails_next = true;
    let end = alone.now.after(PATIENCE);
    let mut id = 0;
    while !alone.done && alone.now < end {
        let request = request.clone();
        alone.step(Input::Request {
            id: RequestId(id),
            request,
        });
        id += 1;
        alone.run_for(RETRY);
    }
    assert_eq!(alone.failed, 1, "{name}: a sync was asked for and failed");
    alone.done
}

#[test]
fn every_machine_with_a_log_goes_on_after_a_failed_sync() {
    let put = ClientRequest::Put {
        key: "k".to_owned(),
        value: 1,
    };
    let cas = ClientRequest::Cas {
        key: "k".to_owned(),
        cas: CasRequest {
            expected: None,
            new: 1,
        },
    };
    let open = ClientRequest::OpenAccounts(OpenAccountsRequest {
        accounts: vec![("a".to_owned(), 10), ("b".to_owned(), 10)],
    });
    let replication = |replication| Strategy {
        replication,
        ..Strategy::default()
    };
    let one = Redundancy::Quorum(Quorum {
        n: 1,
        r: 1,
        w: 1,
        ..Quorum::default()
    });
    let two_phases = r#"{ "kind": "two-phase-commit", "prepare_timeout": "500ms", "decision_retry": "100ms", "concurrency": "two-phase-locking" }"#;
    let without = replication(Replication::None {});
    let cases = [
        ("primary-backup", replication(Replication::default()), &cas),
        (
            "raft",
            replication(Replication::Raft(Raft::default())),
            &put,
        ),
        (
            "redundancy",
            Strategy {
                redundancy: Some(one),
                ..without.clone()
            },
            &put,
        ),
        (
            "transactions",
            Strategy {
                transactions: Some(serde_json::from_str(two_phases).unwrap()),
                ..without
            },
            &open,
        ),
    ];
    for (name, strategy, request) in cases {
        assert!(acknowledges(name, strategy, request), "{name}");
    }
}
