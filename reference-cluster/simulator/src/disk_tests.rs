//! What every death leaves of every operation.

use super::*;

fn disk(seed: u64, hold_unsynced: bool) -> Disk {
    Disk::new(hold_unsynced, Random::keyed(seed, "disk", "n1"))
}

fn append(text: &[u8]) -> DiskOperation {
    DiskOperation::Append {
        bytes: text.to_vec(),
    }
}

/// Carries out everything that waits.
fn run(disk: &mut Disk, operations: Vec<DiskOperation>) -> Vec<u64> {
    for (token, operation) in (0..).zip(operations) {
        disk.submit(DiskToken(token), operation);
    }
    let mut tokens = Vec::new();
    while disk.begin(&DiskModel::default(), Moment(0)).is_some() {
        disk.finish(Moment(0), |token| tokens.push(token.0));
    }
    tokens
}

#[test]
fn operations_complete_in_order_and_appends_that_wait_together_as_one() {
    let mut disk = disk(1, false);
    let tokens = run(
        &mut disk,
        vec![
            append(b"a"),
            append(b"b"),
            DiskOperation::Sync,
            append(b"c"),
        ],
    );
    assert_eq!(tokens, [0, 1, 2, 3]);
    disk.submit(DiskToken(7), append(b"d"));
    disk.submit(DiskToken(8), append(b"e"));
    assert!(disk.begin(&DiskModel::default(), Moment(0)).is_some());
    assert!(
        disk.begin(&DiskModel::default(), Moment(0)).is_none(),
        "one at a time"
    );
    let mut tokens = Vec::new();
    disk.finish(Moment(0), |token| tokens.push(token.0));
    assert_eq!(tokens, [7, 8]);
    assert_eq!(disk.content().1, b"abcde");
}

#[test]
fn a_kill_loses_nothing_appended_unless_it_was_held_back() {
    for (hold_unsynced, left) in [(false, b"abc".as_slice()), (true, b"ab".as_slice())] {
        let mut disk = disk(1, hold_unsynced);
        run(
            &mut disk,
            vec![append(b"ab"), DiskOperation::Sync, append(b"c")],
        );
        disk.kill(Moment(0));
        assert_eq!(disk.content().1, left);
    }
}

#[test]
fn a_host_crash_leaves_what_was_synced_and_some_prefix_of_the_rest() {
    let synced = [7_u8; 700];
    let unsynced: Vec<u8> = (0..2_000).map(|n| (n % 251) as u8).collect();
    let whole: Vec<u8> = synced.iter().chain(&unsynced).copied().collect();
    let (mut lengths, mut torn) = (std::collections::BTreeSet::new(), 0);
    for seed in 0..300 {
        let mut disk = disk(seed, false);
        run(
            &mut disk,
            vec![append(&synced), DiskOperation::Sync, append(&unsynced)],
        );
        disk.crash(Unsynced::Torn, Moment(0));
        let log = disk.content().1;
        assert!(
            log.starts_with(&synced),
            "seed {seed}: synced bytes changed"
        );
        let differs = log.iter().zip(&whole).position(|(left, was)| left != was);
        if let Some(at) = differs {
            torn += 1;
            // Only the sector in which the log ends may be damaged.
            assert!(
                at / SECTOR_BYTES == (log.len() - 1) / SECTOR_BYTES,
                "seed {seed}"
            );
        }
        lengths.insert(log.len());
    }
    assert!(lengths.len() > 200, "prefixes of {} lengths", lengths.len());
    // Two of three draws tear; some of those change nothing that was not the same before.
    assert!((150..=220).contains(&torn), "{torn} torn");
}

#[test]
fn a_crash_can_be_told_to_leave_nothing_or_only_whole_bytes() {
    for seed in 0..50 {
        for (unsynced, most) in [(Unsynced::Lost, 2), (Unsynced::Prefix, 6)] {
            let mut disk = disk(seed, false);
            run(
                &mut disk,
                vec![append(b"ab"), DiskOperation::Sync, append(b"cdef")],
            );
            disk.crash(unsynced, Moment(0));
            let log = disk.content().1;
            assert!(b"abcdef".starts_with(&log) && (2..=most).contains(&log.len()));
        }
    }
}

/// What is there after a death in the middle of a second checkpoint, over many seeds.
fn after_an_interrupted_checkpoint() -> std::collections::BTreeSet<(Vec<Vec<u8>>, Vec<u8>)> {
    let checkpoint = |state: u8, log: &[u8]| DiskOperation::Checkpoint {
        bytes: vec![state],
        log: log.to_vec(),
    };
    let left = |seed| {
        let mut disk = disk(seed, false);
        run(
            &mut disk,
            vec![
                append(b"a"),
                checkpoint(1, b""),
                append(b"b"),
                DiskOperation::Sync,
            ],
        );
        disk.submit(DiskToken(9), checkpoint(2, b"c"));
        assert!(disk.begin(&DiskModel::default(), Moment(0)).is_some());
        disk.crash(Unsynced::Torn, Moment(0));
        disk.content()
    };
    (0..200).map(left).collect()
}

#[test]
fn a_checkpoint_is_there_or_not_and_the_log_before_it_goes_only_afterwards() {
    let old = (vec![vec![1]], b"b".to_vec());
    // The folder has the second rename and not the first.
    let without_the_previous = (vec![vec![2]], b"b".to_vec());
    let new_with_the_old_log = (vec![vec![2], vec![1]], b"b".to_vec());
    let new = (vec![vec![2], vec![1]], b"c".to_vec());
    let states = [old, without_the_previous, new_with_the_old_log, new];
    let expected = states.into_iter().collect();
    assert_eq!(after_an_interrupted_checkpoint(), expected);
}

#[test]
fn a_truncation_cuts_held_bytes_first_and_is_durable() {
    let mut disk = disk(1, true);
    run(
        &mut disk,
        vec![
            append(b"abc"),
            DiskOperation::Sync,
            append(b"de"),
            DiskOperation::TruncateLog { length: 4 },
        ],
    );
    disk.kill(Moment(0));
    assert_eq!(disk.content().1, b"abcd");
}

#[test]
fn a_checkpoint_costs_its_syncs_and_its_bytes() {
    let model = DiskModel {
        sync_jitter: Duration::ZERO,
        ..DiskModel::default()
    };
    let mut disk = disk(1, false);
    let bytes = vec![0; 2 << 20];
    let log = Vec::new();
    disk.submit(DiskToken(1), DiskOperation::Checkpoint { bytes, log });
    let took = disk.begin(&model, Moment(0));
    assert_eq!(took, Some(Duration::from_micros(4 * 400 + 2_000)));
}
