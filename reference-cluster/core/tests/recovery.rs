//! What a log gives back after every possible crash, and what it refuses.

use proptest::prelude::*;
use shakedown_contracts::strategy::Checksum;
use shakedown_core::interface::Peer;
use shakedown_core::message::{Entry, Point};
use shakedown_core::recovery_log::record::{
    CheckpointState, Record, RecoveryError, encode, encode_checkpoint, recover,
};
use shakedown_core::store::{Command, Store};

fn entry(epoch: u64, position: u64) -> Record {
    let command = Command::Put(format!("k{position}"), position * 10 + epoch);
    Record::Entry(Entry {
        point: Point { epoch, position },
        command,
    })
}

fn encoded(record: &Record) -> Vec<u8> {
    encode(Checksum::Crc32c, record)
}

/// Writes, a promise, and a tail that a later epoch replaced.
fn records() -> Vec<Record> {
    vec![
        entry(1, 1),
        entry(1, 2),
        entry(1, 3),
        Record::Promise {
            epoch: 2,
            to: Peer(1),
        },
        entry(2, 3),
        entry(2, 4),
        entry(2, 5),
    ]
}

/// The log after each of its first records, by the rule "this position and nothing behind it".
fn expected(records: &[Record]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for record in records {
        if let Record::Entry(entry) = record {
            entries.retain(|kept| kept.point.position < entry.point.position);
            entries.push(entry.clone());
        }
    }
    entries
}

#[test]
fn a_log_cut_at_any_byte_gives_back_a_prefix() {
    let records = records();
    let log: Vec<u8> = records.iter().flat_map(encoded).collect();
    let ends: Vec<usize> = (0..=records.len())
        .map(|n| records[..n].iter().map(|r| encoded(r).len()).sum())
        .collect();
    for cut in 0..=log.len() {
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        let recovered = recover(Checksum::Crc32c, &[], &log[..cut]).unwrap();
        assert_eq!(
            recovered.entries,
            expected(&records[..whole]),
            "cut at {cut}"
        );
        assert_eq!(recovered.log_bytes, ends[whole] as u64, "cut at {cut}");
        assert_eq!(recovered.records, whole as u64, "cut at {cut}");
        assert_eq!(
            recovered.promised,
            (whole > 3).then_some(Peer(1)),
            "cut at {cut}"
        );
    }
}

#[test]
fn records_are_written_as_they_always_were() {
    let payload = |record: &Record| String::from_utf8(encoded(record)[24..].to_vec()).unwrap();
    let promise = Record::Promise {
        epoch: 2,
        to: Peer(1),
    };
    assert_eq!(payload(&entry(1, 3)), r#"{"entry":{"put":["k3",31]}}"#);
    assert_eq!(payload(&promise), r#"{"promise":1}"#);
    assert_eq!(payload(&Record::Term(2)), r#""term""#);
}

#[test]
fn a_term_ends_the_promise_of_an_older_one_and_leaves_that_of_its_own() {
    let promise = |epoch| Record::Promise { epoch, to: Peer(1) };
    for (records, expected) in [
        (vec![promise(2), Record::Term(3)], (3, None)),
        (vec![Record::Term(3), promise(3)], (3, Some(Peer(1)))),
        (vec![promise(3), Record::Term(3)], (3, Some(Peer(1)))),
        (vec![entry(4, 1), Record::Term(3)], (4, None)),
    ] {
        let log: Vec<u8> = records.iter().flat_map(encoded).collect();
        let recovered = recover(Checksum::Crc32c, &[], &log).unwrap();
        assert_eq!((recovered.epoch, recovered.promised), expected);
    }
}

#[test]
fn a_flipped_bit_before_the_last_record_is_refused() {
    let records = records();
    let log: Vec<u8> = records.iter().flat_map(encoded).collect();
    let last = encoded(&records[6]).len();
    for bit in 0..(log.len() - last) * 8 {
        let mut damaged = log.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = recover(Checksum::Crc32c, &[], &damaged).unwrap_err();
        assert!(
            matches!(error, RecoveryError::Damaged { .. }),
            "bit {bit}: {error}"
        );
    }
}

#[test]
fn a_checkpoint_stands_for_the_log_before_it_and_the_one_before_stands_in() {
    let store = Store::default();
    let state = |epoch, position| {
        let point = Point { epoch, position };
        encode_checkpoint(
            Checksum::Crc32c,
            &CheckpointState::new(point, store.clone()),
        )
    };
    // The log from before the checkpoint is still there: the host died between the two renames.
    let old: Vec<u8> = records().iter().flat_map(encoded).collect();
    let recovered = recover(Checksum::Crc32c, &[state(2, 4)], &old).unwrap();
    assert_eq!(recovered.entries, expected(&records())[4..]);
    // Half a log: the replaced tail of epoch 1 must not come back behind a checkpoint of epoch 2.
    let half: Vec<u8> = records()[..5].iter().flat_map(encoded).collect();
    assert_eq!(
        recover(Checksum::Crc32c, &[state(2, 3)], &half)
            .unwrap()
            .entries,
        []
    );
    // The newest is unreadable and the log begins after it: entries are missing.
    let new: Vec<u8> = [entry(2, 5)].iter().flat_map(encoded).collect();
    let mut damaged = state(2, 4);
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(
        recover(Checksum::Crc32c, &[damaged.clone(), state(1, 2)], &new),
        Err(RecoveryError::Gap { last: 2, found: 5 })
    );
    assert_eq!(
        recover(Checksum::Crc32c, &[damaged.clone(), state(1, 2)], &old)
            .unwrap()
            .entries
            .len(),
        3
    );
    assert_eq!(
        recover(Checksum::Crc32c, &[damaged], &old),
        Err(RecoveryError::Checkpoints { count: 1 })
    );
}

/// How many single flipped bits give back entries that were never written, without a word.
fn believed_flips(checksum: Checksum) -> usize {
    let records = records();
    let log: Vec<u8> = records.iter().flat_map(|r| encode(checksum, r)).collect();
    let written: Vec<_> = (0..=records.len())
        .map(|n| expected(&records[..n]))
        .collect();
    let believed = |bit: &usize| {
        let mut damaged = log.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        recover(checksum, &[], &damaged).is_ok_and(|found| !written.contains(&found.entries))
    };
    (0..log.len() * 8).filter(believed).count()
}

#[test]
fn no_flipped_bit_is_believed_with_a_checksum_and_many_are_without() {
    assert_eq!(believed_flips(Checksum::Crc32c), 0);
    // Each of six entries holds digits, letters and numbers whose every change parses.
    assert!(believed_flips(Checksum::None) > 100);
}

#[test]
fn without_a_checksum_damage_in_the_middle_silently_ends_the_log() {
    let records = records();
    let log: Vec<u8> = records
        .iter()
        .flat_map(|r| encode(Checksum::None, r))
        .collect();
    let mut damaged = log.clone();
    damaged[0] = 0xff; // A length that cannot be.
    let recovered = recover(Checksum::None, &[], &damaged).unwrap();
    assert_eq!((recovered.records, recovered.entries), (0, Vec::new()));
}

#[test]
fn a_tail_written_in_part_over_old_bytes_is_cut_with_a_checksum_and_believed_without() {
    for (checksum, believed) in [(Checksum::Crc32c, false), (Checksum::None, true)] {
        let whole: Vec<u8> = encode(checksum, &entry(1, 1));
        let (old, new) = (
            encode(checksum, &entry(1, 2)),
            encode(checksum, &entry(2, 2)),
        );
        // The block with the end of the payload never reached the disk and still has what was
        // there: the value 21 instead of 22.
        let torn = [&whole[..], &new[..new.len() - 4], &old[old.len() - 4..]].concat();
        let recovered = recover(checksum, &[], &torn).unwrap();
        let point = Point {
            epoch: 2,
            position: 2,
        };
        let mixture = Entry {
            point,
            command: Command::Put("k2".to_owned(), 21),
        };
        assert_eq!(
            recovered.entries.contains(&mixture),
            believed,
            "{checksum:?}"
        );
        assert_eq!(recovered.entries.len(), 1 + usize::from(believed));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = recover(Checksum::Crc32c, std::slice::from_ref(&bytes), &bytes);
        let recovered = recover(Checksum::Crc32c, &[], &bytes).unwrap();
        prop_assert_eq!(recovered.entries, []);
    }
}
