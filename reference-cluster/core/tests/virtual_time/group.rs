//! A group under test: its strategy, a client that remembers what it was told, faults drawn from a
//! seed, and what was lost by them.

use std::collections::{BTreeMap, BTreeSet};

use shakedown_contracts::strategy::{
    Acknowledge, Checkpoint, Detector, Election, Fencing, Fsync, LogOptions, Reads, RecoveryLog,
    Replication, Strategy,
};
use shakedown_contracts::units::{Bytes, Duration};
use shakedown_core::interface::{ClientReply, ClientRequest, RequestId};

use crate::world::World;

pub fn strategy(acknowledge: Acknowledge, fencing: Fencing) -> Strategy {
    Strategy {
        detector: Detector::FixedTimeout {
            heartbeat_interval: Duration::from_millis(50),
            timeout: Duration::from_millis(200),
            ack: true,
        },
        recovery_log: RecoveryLog::Redo(LogOptions {
            fsync: Fsync::Group,
            checkpoint: Checkpoint::Bytes(Bytes(8192)),
            ..LogOptions::default()
        }),
        replication: Replication::PrimaryBackup {
            acknowledge,
            fallback: None,
            fencing,
            election: Election::UpToDate,
            reads: Reads::ReadIndex,
            lease: None,
            drift_bound: None,
        },
        ..Strategy::default()
    }
}

/// A client that writes unique keys and one growing register, and remembers what it was told.
#[derive(Default)]
pub struct Client {
    pub puts: Vec<(RequestId, String, u64)>,
    pub reads: Vec<(RequestId, u64)>,
    pub writes: u64,
}

impl Client {
    pub fn put(&mut self, world: &mut World, node: u32, key: String) {
        self.writes += 1;
        let value = self.writes;
        let request = ClientRequest::Put {
            key: key.clone(),
            value,
        };
        self.puts.push((world.request(node, request), key, value));
    }

    /// Writes, and reads the register, which then has to hold at least what was acknowledged.
    pub fn turn(&mut self, world: &mut World, node: u32) {
        self.put(world, node, format!("k{}", self.writes));
        self.put(world, node, "x".to_owned());
        self.read_register(world, node);
    }

    /// Reads the register.
    pub fn read_register(&mut self, world: &mut World, node: u32) {
        let floor = self
            .acknowledged(world)
            .filter(|(key, _)| *key == "x")
            .map(|(_, v)| v)
            .max();
        let key = "x".to_owned();
        let id = world.request(node, ClientRequest::Get { key });
        self.reads.push((id, floor.unwrap_or(0)));
    }

    pub fn acknowledged<'a>(&'a self, world: &'a World) -> impl Iterator<Item = (&'a str, u64)> {
        let done = |id| matches!(world.replies.get(id), Some((_, _, ClientReply::Done(_))));
        let acknowledged = self.puts.iter().filter(move |(id, _, _)| done(id));
        acknowledged.map(|(_, key, value)| (key.as_str(), *value))
    }

    pub fn stale_reads(&self, world: &World) -> usize {
        let stale = |(id, floor): &&(RequestId, u64)| match world.replies.get(id) {
            Some((_, _, ClientReply::Value(answer))) => answer.value.unwrap_or(0) < *floor,
            _ => false,
        };
        self.reads.iter().filter(stale).count()
    }
}

pub fn read(world: &mut World, node: u32, key: &str) -> Option<u64> {
    let id = world.request(
        node,
        ClientRequest::Get {
            key: key.to_owned(),
        },
    );
    world.run_for(Duration::from_millis(50));
    match &world.replies[&id].2 {
        ClientReply::Value(answer) => answer.value,
        other => panic!("a healed group answers reads, not {other:?}"),
    }
}

/// Acknowledged unique keys that are not there after everything was healed.
pub fn lost(world: &mut World, client: &Client) -> usize {
    let primary = world.primary().expect("a healed group has a primary");
    let keys: Vec<String> = client
        .acknowledged(world)
        .filter(|(key, _)| *key != "x")
        .map(|(key, _)| key.to_owned())
        .collect();
    let ids: Vec<RequestId> = keys
        .into_iter()
        .map(|key| world.request(primary, ClientRequest::Get { key }))
        .collect();
    world.run_for(Duration::from_millis(200));
    let missing = |id: &&RequestId| match &world.replies[id].2 {
        ClientReply::Value(answer) => answer.value.is_none(),
        other => panic!("a healed group answers reads, not {other:?}"),
    };
    ids.iter().filter(missing).count()
}

/// Epochs in which two nodes acknowledged.
pub fn shared_epochs(world: &World) -> Vec<u64> {
    let mut nodes: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
    for (_, node, reply) in world.replies.values() {
        if let ClientReply::Done(answer) = reply {
            nodes.entry(answer.epoch).or_default().insert(*node);
        }
    }
    nodes
        .into_iter()
        .filter(|(_, nodes)| nodes.len() > 1)
        .map(|(epoch, _)| epoch)
        .collect()
}

/// Faults drawn from the seed for a second and a half, then one without.
pub fn chaos(seed: u64, strategy: Strategy) -> (World, Client) {
    let size = if seed.is_multiple_of(4) { 5 } else { 3 };
    chaos_in(World::new(size, strategy, seed))
}

/// The same in a given world.
pub fn chaos_in(mut world: World) -> (World, Client) {
    let size = world.machines.len() as u32;
    world.loss = 0.02;
    let mut client = Client::default();
    let mut down = BTreeSet::new();
    world.run_for(Duration::from_millis(300));
    for turn in 0..150 {
        let node = world.draw(u64::from(size)) as u32;
        if turn % 10 == 0 {
            match world.draw(6) {
                0 | 1 if down.len() * 2 + 2 <= size as usize && !down.contains(&node) => {
                    world.crash(node);
                    down.insert(node);
                }
                2 => world.isolate(node),
                3 if !down.contains(&node) => world.pause(node),
                4 => world.heal(),
                _ => {
                    for node in std::mem::take(&mut down) {
                        world.start(node);
                    }
                    (0..size).for_each(|node| world.resume(node));
                }
            }
        }
        let asked = if turn % 3 == 0 {
            Some(node)
        } else {
            world.primary()
        };
        client.turn(&mut world, asked.unwrap_or(node));
        world.run_for(Duration::from_millis(10));
    }
    world.heal();
    (0..size).for_each(|node| world.resume(node));
    down.into_iter().for_each(|node| world.start(node));
    world.run_for(Duration::from_millis(2_500));
    (world, client)
}
