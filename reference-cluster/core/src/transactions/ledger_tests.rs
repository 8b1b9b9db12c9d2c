use super::*;

fn part(transfer: u64, key: &str, delta: i64) -> Part {
    Part {
        transfer,
        participants: vec![Peer(0), Peer(1)],
        changes: vec![Change {
            key: key.to_owned(),
            delta,
        }],
    }
}

fn notes() -> Vec<Note> {
    let id = |began| TransactionId::new(began, Peer(1));
    vec![
        Note::Opened(vec![("a".to_owned(), 100)]),
        Note::Prepared {
            id: id(5),
            part: part(7, "a", -30),
            position: 6,
        },
        Note::Decided {
            id: id(5),
            decision: Decision::Commit { position: 9 },
        },
        Note::Prepared {
            id: id(10),
            part: part(8, "a", -1),
            position: 11,
        },
        Note::Accepted {
            id: id(10),
            ballot: Ballot::default(),
            opinions: vec![Opinion {
                participant: Peer(1),
                position: Some(11),
            }],
        },
    ]
}

fn ledger(notes: &[Note]) -> Ledger {
    let mut ledger = Ledger::default();
    notes.iter().for_each(|note| ledger.take(note));
    ledger
}

#[test]
fn a_ledger_survives_json_and_a_line_that_comes_twice() {
    let whole = ledger(&notes());
    let json = serde_json::to_string(&whole).unwrap();
    let mut read: Ledger = serde_json::from_str(&json).unwrap();
    assert_eq!(read, whole);
    for (number, note) in (1..).zip(notes()) {
        let text = serde_json::to_string(&Line { number, note }).unwrap();
        read.replay(&serde_json::from_str(&text).unwrap()).unwrap();
    }
    assert_eq!(read, whole);
    let note = Note::SagaEnded(TransactionId::default());
    let line = |number| Line {
        number,
        note: note.clone(),
    };
    assert_eq!(read.replay(&line(7)), Err(6));
    assert_eq!(read.replay(&line(6)), Ok(()));
}

#[test]
fn a_promise_changes_nothing_until_it_is_decided() {
    let before = ledger(&notes()[..2]);
    assert_eq!(before.accounts.total(), 100);
    let after = ledger(&notes());
    assert_eq!((after.accounts.total(), after.newest), (70, 11));
    assert!(after.is_done(7, &part(7, "a", -30).changes));
    assert!(!after.is_done(8, &part(8, "a", -1).changes));
    assert_eq!(after.prepared.len(), 1);
}
