//! A node may die at every disk operation, at every byte of it, and again while it recovers: what was
//! acknowledged is there afterwards.

mod session;

use std::collections::{BTreeMap, BTreeSet};

use session::{Files, Session};
use shakedown_contracts::strategy::{Checkpoint, Fsync, LogOptions, OnFsyncError, RecoveryLog};
use shakedown_contracts::units::Bytes;
use shakedown_core::flaw::Flaw;
use shakedown_core::interface::{ClientReply, ClientRequest, DiskOperation, Input};
use shakedown_core::recovery_log::record::{Record, decode_log, recover};
use shakedown_core::store::{Command, Store};

fn options(fsync: Fsync, checkpoint: u64) -> LogOptions {
    LogOptions {
        fsync,
        checkpoint: Checkpoint::Bytes(Bytes(checkpoint)),
        ..LogOptions::default()
    }
}

/// Files and the operation that comes next, at each point of a restart.
type Way = Vec<(Files, Option<DiskOperation>)>;

/// Values by key; values grow.
type Values = BTreeMap<String, u64>;

/// A node before one of its disk operations.
struct Point {
    files: Files,
    next: Option<DiskOperation>,
    acknowledged: Values,
}

/// A run of writes, three at a time so that some are in flight, with every point in it.
struct Run {
    points: Vec<Point>,
    issued: Values,
    commands: BTreeMap<u64, Command>,
    steals: bool,
}

fn acknowledged(session: &Session, asked: &BTreeMap<u64, (String, u64)>) -> Values {
    let mut values = Values::new();
    for (id, (key, value)) in asked {
        if let Some(ClientReply::Done(_)) = session.replies.get(id) {
            values.insert(key.clone(), *value);
        }
    }
    values
}

fn run(log: &RecoveryLog, flaw: Option<Flaw>) -> Run {
    let mut session = Session::start(log, Files::default(), flaw);
    session.serve();
    let mut made = Run {
        points: Vec::new(),
        issued: Values::new(),
        commands: BTreeMap::new(),
        steals: false,
    };
    let mut asked = BTreeMap::new();
    for turn in 0_u64.. {
        if turn >= 48 && session.queue.is_empty() {
            break;
        }
        if turn % 4 == 0 && turn < 48 {
            for value in 10 * turn..10 * turn + 3 {
                let key = format!("k{}", value % 2);
                made.issued.insert(key.clone(), value);
                let id = session.ask(ClientRequest::Put {
                    key: key.clone(),
                    value,
                });
                asked.insert(id, (key, value));
            }
        }
        made.points.push(Point {
            files: session.files.clone(),
            next: session
                .queue
                .front()
                .map(|(_, operation)| operation.clone()),
            acknowledged: acknowledged(&session, &asked),
        });
        if let Some((_, DiskOperation::Append { bytes })) = session.queue.front() {
            made.note(bytes);
        }
        session.carry_out_next();
    }
    assert!(asked.len() > 30 && acknowledged(&session, &asked) == made.issued);
    made
}

impl Run {
    fn note(&mut self, bytes: &[u8]) {
        for record in decode_log(Default::default(), bytes).expect("as written").0 {
            match record {
                Record::Entry(entry) => {
                    self.commands.insert(entry.point.position, entry.command);
                }
                Record::Before { .. } => self.steals = true,
                _ => {}
            }
        }
    }

    /// The state after the first `position` entries.
    fn state(&self, position: u64) -> Store {
        let mut store = Store::default();
        for (position, command) in self.commands.range(..=position) {
            store.apply(*position, command);
        }
        store
    }
}

/// A node that was started on these files and serves; every point on its way, or its last words.
fn restarted(
    log: &RecoveryLog,
    files: &Files,
    flaw: Option<Flaw>,
) -> Result<(Session, Way), String> {
    let mut session = Session::start(log, files.clone(), flaw);
    let mut way = Vec::new();
    session.serve();
    loop {
        let next = session
            .queue
            .front()
            .map(|(_, operation)| operation.clone());
        way.push((session.files.clone(), next));
        if let Some(words) = session.last_words.take() {
            return Err(words);
        }
        if !session.carry_out_next() {
            return Ok((session, way));
        }
    }
}

/// Nothing acknowledged is missing and nothing is there that was never asked for.
fn check(session: &mut Session, acknowledged: &Values, issued: &Values) -> Result<(), String> {
    for key in issued.keys() {
        let id = session.ask(ClientRequest::Get { key: key.clone() });
        while session.carry_out_next() {}
        let Some(ClientReply::Value(answer)) = session.replies.get(&id) else {
            return Err(format!(
                "{key} is not served: {:?}",
                session.replies.get(&id)
            ));
        };
        if answer.value < acknowledged.get(key).copied() || answer.value > issued.get(key).copied()
        {
            return Err(format!("{key} is {:?}", answer.value));
        }
    }
    Ok(())
}

/// Dies everywhere, and again everywhere on the way back.
fn die_everywhere(log: &RecoveryLog, flaw: Option<Flaw>) -> Result<(usize, usize), String> {
    let made = run(log, flaw);
    let (mut deaths, mut again) = (BTreeSet::new(), BTreeSet::new());
    for point in &made.points {
        let coarse = point.files.after_death(point.next.as_ref(), true);
        for files in point.files.after_death(point.next.as_ref(), false) {
            if !deaths.insert((files.clone(), point.acknowledged.clone())) {
                continue;
            }
            if flaw.is_none() {
                let found = recover(Default::default(), &files.checkpoints, &files.log)
                    .map_err(|error| error.to_string())?;
                if let Some(checkpoint) = found.checkpoint {
                    let state = made.state(checkpoint.point.position);
                    assert_eq!(checkpoint.store, state, "only what was committed");
                }
            }
            let (mut session, way) = restarted(log, &files, flaw)?;
            check(&mut session, &point.acknowledged, &made.issued)?;
            for (files, next) in way.iter().filter(|_| coarse.contains(&files)) {
                for files in files.after_death(next.as_ref(), true) {
                    if again.insert((files.clone(), point.acknowledged.clone())) {
                        let (mut session, _) = restarted(log, &files, flaw)?;
                        check(&mut session, &point.acknowledged, &made.issued)?;
                    }
                }
            }
        }
    }
    assert!(flaw.is_some() || made.steals == matches!(log, RecoveryLog::UndoRedo(_)));
    Ok((deaths.len(), again.len()))
}

#[test]
fn a_redo_log_gives_back_what_was_acknowledged_wherever_its_node_dies_and_dies_again() {
    for fsync in [Fsync::Group, Fsync::PerOperation] {
        let log = RecoveryLog::Redo(options(fsync, 500));
        let (deaths, again) = die_everywhere(&log, None).unwrap();
        assert!(deaths > 1_000 && again > 100, "{deaths} and {again} deaths");
    }
}

#[test]
fn a_rollback_log_does_too_and_its_checkpoints_come_back_without_what_was_in_flight() {
    let log = RecoveryLog::UndoRedo(options(Fsync::Group, 500));
    let (deaths, again) = die_everywhere(&log, None).unwrap();
    assert!(deaths > 1_000 && again > 100, "{deaths} and {again} deaths");
}

#[test]
fn mistakes_in_either_log_show_at_some_death() {
    let redo = RecoveryLog::Redo(options(Fsync::Group, 500));
    for flaw in [
        Flaw::AcknowledgesBeforeSync,
        Flaw::ReplayStopsEarly,
        Flaw::TornTailKept,
        Flaw::CheckpointDropsRecord,
    ] {
        assert!(
            die_everywhere(&redo, Some(flaw)).is_err(),
            "{}",
            flaw.name()
        );
    }
    let undo_redo = RecoveryLog::UndoRedo(options(Fsync::Group, 500));
    let seen = die_everywhere(&undo_redo, Some(Flaw::StealsUnlogged)).unwrap_err();
    assert!(seen.contains("in flight"), "{seen}");
}

/// Writes whose first sync fails, once; what of the acknowledged a host that dies then has lost.
fn lost_after_a_failed_sync(on_fsync_error: OnFsyncError) -> Result<usize, String> {
    let mut options = options(Fsync::Group, 1 << 20);
    options.on_fsync_error = on_fsync_error;
    let log = RecoveryLog::Redo(options);
    let mut session = Session::start(&log, Files::default(), None);
    session.serve();
    while session.carry_out_next() {}
    let device = session.files.clone();
    let asked = (0..5).map(|value| {
        let key = format!("k{value}");
        let id = session.ask(ClientRequest::Put {
            key: key.clone(),
            value,
        });
        (id, (key, value))
    });
    let asked: BTreeMap<u64, (String, u64)> = asked.collect();
    // The first sync fails and gives the bytes up; the next finds nothing to write.
    let mut failed = false;
    while let Some((token, operation)) = session.queue.pop_front() {
        let fails = operation == DiskOperation::Sync && !std::mem::replace(&mut failed, true);
        session.step(match fails {
            true => Input::DiskFailed { token },
            false => Input::DiskDone { token },
        });
        if let Some(words) = session.last_words.take() {
            return Err(words);
        }
    }
    let promised = acknowledged(&session, &asked);
    let (mut session, _) = restarted(&log, &device, None)?;
    let lost = promised.keys().filter(|key| {
        let id = session.ask(ClientRequest::Get {
            key: (*key).clone(),
        });
        matches!(&session.replies[&id], ClientReply::Value(answer) if answer.value.is_none())
    });
    Ok(lost.count())
}

#[test]
fn a_failed_sync_ends_the_node_or_with_retry_loses_what_is_acknowledged_after_it() {
    let ended = lost_after_a_failed_sync(OnFsyncError::Panic).unwrap_err();
    assert!(ended.contains("a disk operation failed"), "{ended}");
    assert_eq!(lost_after_a_failed_sync(OnFsyncError::Retry), Ok(5));
}
