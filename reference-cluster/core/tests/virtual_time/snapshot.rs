//! A spread bank in virtual time: whatever dies, the money is all there, or as much of it as was
//! there at some moment; and that it is not where checkpoints do not belong together.

use shakedown_contracts::node::{
    AccountsAnswer, OpenAccountsRequest, ReadAccountsRequest, TransferRequest,
};
use shakedown_contracts::strategy::{Acknowledge, Fencing, Snapshot, Strategy};
use shakedown_contracts::units::Duration;
use shakedown_core::flaw::Flaw;
use shakedown_core::interface::{ClientReply, ClientRequest, RequestId};

use crate::world::World;

const ACCOUNTS: u64 = 8;
const BALANCE: i64 = 1_000;
const INTERVAL: Duration = Duration::from_millis(200);

fn bank(size: u32, snapshot: Snapshot, seed: u64, flaw: Option<Flaw>) -> World {
    let strategy = Strategy {
        snapshot: Some(snapshot),
        ..crate::group::strategy(Acknowledge::Majority, Fencing::Epoch)
    };
    let mut world = World::flawed(size, strategy, seed, flaw);
    world.run_for(Duration::from_millis(300));
    let accounts = keys().into_iter().map(|key| (key, BALANCE)).collect();
    let opened = world.request(
        0,
        ClientRequest::OpenAccounts(OpenAccountsRequest { accounts }),
    );
    world.run_for(Duration::from_millis(300));
    let reply = &world.replies[&opened].2;
    assert!(matches!(reply, ClientReply::Done(_)), "{reply:?}");
    world
}

fn keys() -> Vec<String> {
    (0..ACCOUNTS).map(|number| format!("a{number}")).collect()
}

fn coordinated() -> Snapshot {
    Snapshot::ChandyLamport { interval: INTERVAL }
}

/// A transfer between two accounts at any node.
fn transfer(world: &mut World, size: u32, id: u64) -> RequestId {
    let from = world.draw(ACCOUNTS);
    let to = (from + 1 + world.draw(ACCOUNTS - 1)) % ACCOUNTS;
    let amount = 1 + world.draw(20) as i64;
    let node = world.draw(u64::from(size)) as u32;
    let (from, to) = (format!("a{from}"), format!("a{to}"));
    let request = TransferRequest {
        id,
        from,
        to,
        amount,
    };
    world.request(node, ClientRequest::Transfer(request))
}

fn read(world: &mut World, node: u32) -> RequestId {
    let request = ReadAccountsRequest {
        keys: keys(),
        journal: None,
    };
    world.request(node, ClientRequest::ReadAccounts(request))
}

fn total(answer: &AccountsAnswer) -> i64 {
    answer.accounts.iter().map(|account| account.balance).sum()
}

/// Totals of all reads that were answered, those during the faults and the last.
struct Outcome {
    under_way: Vec<i64>,
    last: i64,
    acknowledged: usize,
    /// Accounts whose balance is not what their journal says.
    unjournalled: usize,
}

/// Transfers and reads at any node, while nodes die and connections break; then all is healed.
fn run(size: u32, snapshot: Snapshot, seed: u64, flaw: Option<Flaw>) -> Outcome {
    let mut world = bank(size, snapshot, seed, flaw);
    // So that there is money on its way whenever a snapshot is taken.
    world.delay.1 = Duration::from_millis(12);
    let (mut transfers, mut reads) = (Vec::new(), Vec::new());
    for turn in 0..300_u64 {
        transfers.push(transfer(&mut world, size, turn));
        if turn % 7 == 0 {
            let node = world.draw(u64::from(size)) as u32;
            reads.push(read(&mut world, node));
        }
        if turn % 60 == 40 {
            let node = world.draw(u64::from(size)) as u32;
            match world.draw(4) {
                0 => world.isolate(node),
                1 => world.kill(node),
                _ => world.crash(node),
            }
        }
        if turn % 60 == 55 {
            world.heal();
            let down = |node: &u32| world.machines[*node as usize].node.is_none();
            for node in (0..size).filter(down).collect::<Vec<_>>() {
                world.start(node);
            }
        }
        world.run_for(Duration::from_millis(5));
    }
    world.run_for(Duration::from_millis(1_500));
    let last = read(&mut world, 0);
    world.run_for(Duration::from_millis(200));
    let answer = |id: &RequestId| match world.replies.get(id) {
        Some((_, _, ClientReply::Accounts(answer))) => Some(answer.clone()),
        _ => None,
    };
    let last = answer(&last).expect("a healed bank answers");
    assert_eq!(last.accounts.len(), ACCOUNTS as usize);
    let wrong = last.accounts.iter().filter(|account| {
        let moved: i64 = account.journal.iter().map(|entry| entry.delta).sum();
        BALANCE + moved != account.balance
    });
    let done = |id: &&RequestId| {
        let reply = world.replies.get(id);
        matches!(reply, Some((_, _, ClientReply::Done(_))))
    };
    Outcome {
        under_way: reads
            .iter()
            .filter_map(answer)
            .map(|one| total(&one))
            .collect(),
        last: total(&last),
        acknowledged: transfers.iter().filter(done).count(),
        unjournalled: wrong.count(),
    }
}

const ALL: i64 = BALANCE * ACCOUNTS as i64;

#[test]
fn whatever_dies_every_read_sees_all_the_money() {
    let (mut acknowledged, mut reads) = (0, 0);
    for seed in 0..60 {
        let size = if seed % 3 == 0 { 5 } else { 3 };
        let outcome = run(size, coordinated(), seed, None);
        assert_eq!(outcome.last, ALL, "seed {seed}");
        assert_eq!(outcome.unjournalled, 0, "seed {seed}");
        let wrong = outcome.under_way.iter().find(|total| **total != ALL);
        assert_eq!(wrong, None, "seed {seed}");
        acknowledged += outcome.acknowledged;
        reads += outcome.under_way.len();
    }
    // The test would prove nothing if hardly anything was done or read.
    assert!(acknowledged > 6_000, "{acknowledged} transfers");
    assert!(reads > 900, "{reads} reads");
}

/// Seeds of ten under which the last total is wrong.
fn wrong_totals(snapshot: Snapshot, flaw: Option<Flaw>) -> usize {
    let wrong = |seed: &u64| run(3, snapshot, *seed, flaw).last != ALL;
    (0..10).filter(wrong).count()
}

#[test]
fn checkpoints_that_do_not_belong_together_make_or_lose_money_and_so_do_none() {
    let uncoordinated = Snapshot::Uncoordinated { interval: INTERVAL };
    assert!(wrong_totals(uncoordinated, None) > 7);
    assert!(wrong_totals(Snapshot::None {}, None) > 7);
}

#[test]
fn a_snapshot_without_the_channels_is_noticed() {
    assert!(wrong_totals(coordinated(), Some(Flaw::ChannelsNotRecorded)) > 1);
}

#[test]
fn recording_at_the_last_marker_is_noticed() {
    assert!(wrong_totals(coordinated(), Some(Flaw::RecordsAtLastMarker)) > 1);
}

#[test]
fn a_node_that_goes_back_alone_is_noticed() {
    assert!(wrong_totals(coordinated(), Some(Flaw::RollsBackAlone)) > 7);
}
