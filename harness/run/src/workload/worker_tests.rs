//! The whole worker over pipes, against scripted nodes on real sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{PipeReader, PipeWriter, Write};
use std::thread::JoinHandle;

use shakedown_contracts::control::{ClientOrder, ClientReport};
use shakedown_contracts::frame::{Decoder, encode};
use shakedown_contracts::history::{Operation, OperationRecord, RecordKind};
use shakedown_contracts::plan::{Workload, WorkloadKind};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::WorkloadError;
use super::fake_cluster::{FakeCluster, Manner};
use super::pipes::read_message;
use super::share::tests::workload;
use super::worker::{Assignment, serve};
use crate::clock::now;

/// A running worker, seen from the harness.
struct Harness {
    orders: PipeWriter,
    reports: PipeReader,
    decoder: Decoder,
    worker: JoinHandle<Result<(), WorkloadError>>,
    history: Vec<OperationRecord>,
}

impl Harness {
    fn start(cluster: &FakeCluster, workload: Workload) -> Harness {
        let assignment = Assignment {
            group: "c1".to_owned(),
            workload,
            nodes: cluster.endpoints(),
            port: cluster.port,
            seed: 7,
        };
        let (order_reader, orders) = std::io::pipe().unwrap();
        let (reports, report_writer) = std::io::pipe().unwrap();
        let worker = std::thread::spawn(move || {
            serve(assignment, order_reader, Decoder::default(), report_writer)
        });
        let (decoder, history) = (Decoder::default(), Vec::new());
        let mut harness = Harness {
            orders,
            reports,
            decoder,
            worker,
            history,
        };
        assert!(matches!(harness.report(), ClientReport::Ready { .. }));
        harness
    }

    fn order(&mut self, order: &ClientOrder) {
        self.orders.write_all(&encode(order).unwrap()).unwrap();
    }

    fn offer(&mut self) {
        self.order(&ClientOrder::Start { at: now() });
    }

    /// The next report; records are added to the history on the way.
    fn report(&mut self) -> ClientReport {
        let report = read_message(&mut self.reports, &mut self.decoder).unwrap();
        let report = report.expect("the worker ended before its report");
        if let ClientReport::Operations { records } = &report {
            self.history.extend(records.iter().cloned());
        }
        report
    }

    /// Reads reports until the history holds such a record; hanging here is a failed test.
    fn until(&mut self, wanted: impl Fn(&OperationRecord) -> bool) -> OperationRecord {
        let mut seen = 0;
        loop {
            if let Some(found) = self.history[seen..].iter().find(|record| wanted(record)) {
                return found.clone();
            }
            seen = self.history.len();
            let report = self.report();
            assert!(
                matches!(report, ClientReport::Operations { .. }),
                "{report:?}"
            );
        }
    }

    /// Reads reports until `stopped`; the largest lateness.
    fn until_stopped(&mut self) -> Duration {
        loop {
            match self.report() {
                ClientReport::Operations { .. } => {}
                ClientReport::Stopped {
                    pacing_lateness_max,
                } => return pacing_lateness_max,
                other => panic!("{other:?} instead of stopped"),
            }
        }
    }

    fn prepare(&mut self) {
        self.order(&ClientOrder::Prepare {
            timeout: Duration::from_secs(20),
        });
        assert_eq!(self.report(), ClientReport::Prepared);
    }

    fn stop(&mut self) {
        self.order(&ClientOrder::Stop);
        self.until_stopped();
    }

    /// Ends the worker; the history, checked to be one, of what was sent: arrivals that waited for
    /// a client until the stop depend on how busy the machine is, and are checked here.
    fn shut_down(mut self) -> Vec<OperationRecord> {
        self.order(&ClientOrder::Shutdown);
        while let Ok(Some(report)) = read_message(&mut self.reports, &mut self.decoder) {
            let ClientReport::Operations { records } = report else {
                panic!("{report:?}")
            };
            self.history.extend(records);
        }
        self.worker.join().unwrap().unwrap();
        assert_sound(&self.history);
        let (sent, unsent): (Vec<_>, Vec<_>) = self
            .history
            .into_iter()
            .partition(|record| record.process < 1 << 40);
        let not_offered = |error: &str| error.starts_with("not offered: ");
        assert!(unsent.iter().all(|record| match record.kind {
            RecordKind::Invoke => true,
            RecordKind::Fail => record.error.as_deref().is_some_and(not_offered),
            _ => false,
        }));
        sent
    }
}

/// Ordered in time, processes do one operation at a time, and none goes on after `info`.
fn assert_sound(history: &[OperationRecord]) {
    assert!(
        history.is_sorted_by_key(|record| record.time),
        "records out of order"
    );
    let mut open = BTreeMap::<u64, Moment>::new();
    let mut retired = BTreeSet::new();
    for record in history {
        if record.kind == RecordKind::Invoke {
            assert!(
                !retired.contains(&record.process),
                "used after info: {record:?}"
            );
            assert!(
                open.insert(record.process, record.time).is_none(),
                "two open: {record:?}"
            );
            let due = record.due.unwrap_or(record.time);
            assert!(due <= record.time, "offered before it was due: {record:?}");
        } else {
            assert!(
                open.remove(&record.process).is_some(),
                "never invoked: {record:?}"
            );
            if record.kind == RecordKind::Info {
                retired.insert(record.process);
            }
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

/// An answer that proves something never ends as `info`: only no answer at all does, which on a
/// busy machine can happen to an attempt that the timeout or a newer primary cut short.
fn assert_open_only_without_answer(history: &[OperationRecord]) {
    for record in history
        .iter()
        .filter(|record| record.kind == RecordKind::Info)
    {
        let error = record.error.as_deref().unwrap_or_default();
        let cut = error == "timeout: no answer" || error.starts_with("primary changed while");
        assert!(cut && record.node.is_none(), "{record:?}");
    }
}

fn of_kind(kind: RecordKind) -> impl Fn(&OperationRecord) -> bool {
    move |record| record.kind == kind
}

fn writes_only(clients: &[u32], timeout: Duration) -> Workload {
    let mix = [("write".to_owned(), 1.0)].into();
    Workload {
        mix,
        timeout,
        ..workload(clients)
    }
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn operations_are_done_recorded_with_their_node_and_read_back_at_the_end() {
    let cluster = FakeCluster::start(3);
    let mut harness = Harness::start(&cluster, workload(&[3, 2]));
    harness.prepare();
    assert!(cluster.change(|script| script.registers.contains_key("warm-up")));
    harness.offer();
    harness.until(|record| {
        matches!(record.operation, Operation::Cas(_)) && record.kind == RecordKind::Ok
    });
    // Planted: a lone group on an idle machine never loses a race by itself.
    cluster.change(|script| script.rival = true);
    harness.until(of_kind(RecordKind::Fail));
    harness.stop();
    harness.order(&ClientOrder::FinalReads { timeout: LONG });
    harness.until_stopped();
    let history = harness.shut_down();
    let load = history.partition_point(|record| !record.final_read);
    let completions: Vec<_> = history
        .iter()
        .filter(|r| r.kind != RecordKind::Invoke)
        .collect();
    assert!(
        completions
            .iter()
            .all(|r| r.node.as_deref() == Some("n1") && r.epoch == Some(1))
    );
    let failed = history
        .iter()
        .filter(|record| record.kind == RecordKind::Fail);
    for record in failed {
        assert!(matches!(record.operation, Operation::Cas(_)), "{record:?}");
        assert_eq!(record.error.as_deref(), Some("409: scripted mismatch"));
    }
    assert!(
        history[..load]
            .iter()
            .all(|record| !record.final_read && record.process < 3)
    );
    let registers = cluster.change(|script| script.registers.clone());
    for record in &history[load..] {
        let Operation::Read(read) = &record.operation else {
            panic!("{record:?}")
        };
        assert!(record.final_read);
        if record.kind == RecordKind::Ok {
            assert_eq!(read.value, registers.get(&read.key).copied());
        }
    }
    let read_back = history[load..]
        .iter()
        .filter(|record| record.kind == RecordKind::Ok)
        .count();
    assert!(read_back >= 4, "{read_back} of at least 4 keys");
}

#[test]
fn a_backup_names_the_primary_and_the_operation_is_done_there() {
    let cluster = FakeCluster::start(3);
    let mut harness = Harness::start(&cluster, writes_only(&[2], LONG));
    harness.prepare();
    // The role moves without a break: the worker still takes n1 for primary, which refuses.
    cluster.change(|script| script.primary = (2, 2));
    harness.offer();
    let done = harness.until(of_kind(RecordKind::Ok));
    assert_eq!((done.node.as_deref(), done.epoch), (Some("n3"), Some(2)));
    harness.stop();
    let history = harness.shut_down();
    assert!(
        history.iter().all(|record| record.kind != RecordKind::Fail),
        "421 is no result"
    );
    assert_open_only_without_answer(&history);
}

#[test]
fn operations_at_a_hanging_primary_end_as_info_once_another_is_primary_and_the_next_succeed() {
    let cluster = FakeCluster::start(3);
    let mut harness = Harness::start(&cluster, writes_only(&[2], LONG));
    harness.prepare();
    cluster.change(|script| script.manners[0] = Manner::Hang);
    harness.offer();
    cluster.wait_until(|script| script.unanswered == 2);
    let changed = now();
    cluster.change(|script| script.primary = (1, 2));
    let given_up = harness.until(of_kind(RecordKind::Info));
    let done = harness.until(of_kind(RecordKind::Ok));
    harness.stop();
    let history = harness.shut_down();
    let error = "primary changed while pending: epoch 1 to 2";
    assert_eq!(given_up.error.as_deref(), Some(error));
    assert_eq!((done.node.as_deref(), done.epoch), (Some("n2"), Some(2)));
    // Without rediscovery both would come after the operations' timeout of 30 s.
    assert!(done.time.since(changed) < Duration::from_secs(15));
    let retired: BTreeSet<_> = history
        .iter()
        .filter(|r| r.kind == RecordKind::Info)
        .map(|r| r.process)
        .collect();
    assert_eq!(retired, BTreeSet::from([0, 1]));
    assert!(
        history.iter().any(|record| record.process >= 2),
        "clients go on under new ids"
    );
}

#[test]
fn a_dropped_connection_and_an_indeterminate_answer_are_info_and_never_fail() {
    for manner in [Manner::Drop, Manner::Error(504), Manner::Error(500)] {
        let cluster = FakeCluster::start(1);
        let mut harness = Harness::start(&cluster, writes_only(&[2], LONG));
        harness.prepare();
        cluster.change(|script| script.manners[0] = manner);
        harness.offer();
        harness.until(of_kind(RecordKind::Info));
        harness.stop();
        let history = harness.shut_down();
        assert!(
            history
                .iter()
                .all(|r| matches!(r.kind, RecordKind::Invoke | RecordKind::Info))
        );
    }
}

#[test]
fn an_unavailable_primary_is_asked_again_until_it_serves_and_fails_at_the_timeout() {
    let cluster = FakeCluster::start(1);
    let mut harness = Harness::start(&cluster, writes_only(&[2], Duration::from_millis(300)));
    harness.prepare();
    cluster.change(|script| script.manners[0] = Manner::Error(503));
    harness.offer();
    let failed = harness.until(of_kind(RecordKind::Fail));
    assert_eq!(
        failed.error.as_deref(),
        Some("timeout: 503: scripted unavailable")
    );
    cluster.change(|script| script.manners[0] = Manner::Serve);
    harness.until(of_kind(RecordKind::Ok));
    harness.stop();
    assert_open_only_without_answer(&harness.shut_down());
}

#[test]
fn a_node_that_is_down_certainly_did_nothing_and_another_is_asked() {
    let cluster = FakeCluster::start(2);
    let mut harness = Harness::start(&cluster, writes_only(&[2], Duration::from_millis(300)));
    harness.prepare();
    // n1 and n2 name n3, which refuses connections.
    cluster.change(|script| script.primary = (2, 2));
    harness.offer();
    let refused = |record: &OperationRecord| {
        record
            .error
            .as_deref()
            .is_some_and(|error| error.contains("refused"))
    };
    assert_eq!(harness.until(refused).kind, RecordKind::Fail);
    cluster.change(|script| script.primary = (1, 3));
    let done = harness.until(of_kind(RecordKind::Ok));
    assert_eq!((done.node.as_deref(), done.epoch), (Some("n2"), Some(3)));
    harness.stop();
    assert_open_only_without_answer(&harness.shut_down());
}

#[test]
fn stop_waits_for_open_operations_and_records_those_never_offered() {
    let cluster = FakeCluster::start(1);
    let mut harness = Harness::start(&cluster, writes_only(&[1], Duration::from_millis(400)));
    harness.prepare();
    cluster.change(|script| script.manners[0] = Manner::Hang);
    // A second's 400 arrivals are due at once: the only client takes one, the others wait.
    harness.order(&ClientOrder::Start {
        at: now().before(Duration::from_secs(1)),
    });
    cluster.wait_until(|script| script.unanswered == 1);
    let stopped = now();
    harness.order(&ClientOrder::Stop);
    assert!(
        harness.until_stopped() >= Duration::from_millis(900),
        "lateness is reported"
    );
    let waited = |record: &&OperationRecord| record.kind == RecordKind::Fail;
    assert!(harness.history.iter().filter(waited).count() > 300);
    let history = harness.shut_down();
    let mut given_up = history
        .iter()
        .filter(|record| record.kind == RecordKind::Info);
    assert!(
        given_up.next_back().is_some_and(|last| last.time > stopped),
        "stop did not wait"
    );
}

#[test]
fn arrivals_beyond_ten_seconds_of_waiting_are_recorded_as_not_offered() {
    let cluster = FakeCluster::start(1);
    let mut harness = Harness::start(&cluster, writes_only(&[1], LONG));
    harness.prepare();
    cluster.change(|script| script.manners[0] = Manner::Hang);
    harness.order(&ClientOrder::Start {
        at: now().before(Duration::from_secs(11)),
    });
    let busy = harness.until(of_kind(RecordKind::Fail));
    assert_eq!(busy.error.as_deref(), Some("not offered: all clients busy"));
    assert!(busy.process >= 1 << 40);
}

#[test]
fn preparation_without_a_primary_fails_with_the_reason() {
    let cluster = FakeCluster::start(2);
    cluster.change(|script| script.primary = (9, 1));
    let mut harness = Harness::start(&cluster, workload(&[1]));
    harness.order(&ClientOrder::Prepare {
        timeout: Duration::from_millis(200),
    });
    let ClientReport::Failed { message } = harness.report() else {
        panic!("prepared")
    };
    assert!(
        message.contains("no node claims to be primary"),
        "{message}"
    );
    assert!(harness.worker.join().unwrap().is_err());
}

#[test]
fn the_bank_moves_money_and_its_last_snapshot_asks_for_the_whole_journal() {
    let cluster = FakeCluster::start(1);
    let mut bank = workload(&[2, 2]);
    bank.kind = WorkloadKind::Bank {
        keys: 3,
        initial_balance: 10,
        transfer_max: 5,
    };
    bank.mix = [("read".to_owned(), 0.5), ("transfer".to_owned(), 0.5)].into();
    let mut harness = Harness::start(&cluster, bank);
    harness.prepare();
    harness.offer();
    for wanted in ["read-all", "transfer"] {
        harness.until(|record| {
            let transfer = matches!(record.operation, Operation::Transfer(_));
            record.kind == RecordKind::Ok && transfer == (wanted == "transfer")
        });
    }
    harness.stop();
    harness.order(&ClientOrder::FinalReads { timeout: LONG });
    harness.until_stopped();
    let history = harness.shut_down();
    let last = history.last().unwrap();
    let Operation::ReadAll(Some(accounts)) = &last.operation else {
        panic!("{last:?}")
    };
    assert!(last.final_read && accounts.len() == 3);
    assert!(accounts.iter().all(|account| account.journal_complete));
    let under_load = history.iter().find_map(|record| match &record.operation {
        Operation::ReadAll(Some(accounts)) => Some(accounts[0].journal_complete),
        _ => None,
    });
    assert_eq!(under_load, Some(false));
    let done = history.iter().filter(|record| {
        record.kind == RecordKind::Ok && matches!(record.operation, Operation::Transfer(_))
    });
    assert_eq!(
        done.count(),
        cluster.change(|script| script.transfers.len())
    );
}

#[test]
fn the_end_of_the_orders_ends_the_worker_at_once_even_under_load() {
    let cluster = FakeCluster::start(1);
    let mut harness = Harness::start(&cluster, writes_only(&[2], LONG));
    harness.prepare();
    cluster.change(|script| script.manners[0] = Manner::Hang);
    harness.offer();
    cluster.wait_until(|script| script.unanswered == 2);
    let closed = now();
    drop(harness.orders);
    harness.worker.join().unwrap().unwrap();
    // Waiting for the open operations would take their timeout of 30 s.
    assert!(now().since(closed) < Duration::from_secs(15));
}
