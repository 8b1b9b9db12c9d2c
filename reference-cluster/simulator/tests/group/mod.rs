//! A group of nodes with one group of clients, and a record of all that happened.

use std::collections::{BTreeMap, BTreeSet};

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::fault::{CutBehavior, FaultId, Link, LinkEffect};
use shakedown_contracts::node::{Member, NODE_CONFIG_FORMAT, NodeConfig};
use shakedown_contracts::strategy::{
    Acknowledge, Checkpoint, Detector, Election, Fencing, Fsync, LogOptions, Reads, RecoveryLog,
    Replication, Strategy,
};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use shakedown_simulator::{
    CallAnswer, CallId, ClientReply, ClientRequest, Happening, Setup, World,
};

pub const CLIENTS: &str = "c1";
/// Clients that read back: they have no connection from before a crash that they would find broken.
const READERS: &str = "c2";
pub const HEARTBEAT: Duration = Duration::from_millis(50);
pub const TIMEOUT: Duration = Duration::from_millis(200);

pub fn strategy(acknowledge: Acknowledge, fencing: Fencing) -> Strategy {
    Strategy {
        detector: Detector::FixedTimeout {
            heartbeat_interval: HEARTBEAT,
            timeout: TIMEOUT,
            ack: true,
        },
        recovery_log: log(Fsync::Group),
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

pub fn log(fsync: Fsync) -> RecoveryLog {
    RecoveryLog::Redo(LogOptions {
        fsync,
        checkpoint: Checkpoint::Bytes(shakedown_contracts::units::Bytes(8192)),
        ..LogOptions::default()
    })
}

pub fn setup(size: u32, strategy: &Strategy, seed: u64) -> Setup {
    let member = |number: u32| Member {
        name: format!("n{number}"),
        address: [127, 0, 0, 1].into(),
        peer_port: 7001,
        heartbeat_port: 7002,
        kind: Default::default(),
    };
    let members: Vec<Member> = (1..=size).map(member).collect();
    let config = |member: &Member| NodeConfig {
        format: NODE_CONFIG_FORMAT,
        name: member.name.clone(),
        members: members.clone(),
        data_directory: "data".into(),
        strategy: strategy.clone(),
        seed,
        hold_unsynced: false,
        client_port: 7000,
    };
    let nodes = members.iter().map(config).collect();
    Setup::new(nodes, vec![CLIENTS.to_owned(), READERS.to_owned()], seed)
}

pub struct Group {
    pub world: World,
    pub names: Vec<String>,
    pub events: Vec<(Moment, String, Event)>,
    pub answers: BTreeMap<CallId, (Moment, CallAnswer)>,
}

impl Group {
    /// Of started nodes, half a second later.
    pub fn new(size: u32, strategy: &Strategy, seed: u64) -> Group {
        Group::of(setup(size, strategy, seed))
    }

    pub fn of(setup: Setup) -> Group {
        let names: Vec<String> = setup.nodes.iter().map(|node| node.name.clone()).collect();
        let mut group = Group {
            world: World::new(setup).expect("the strategies are valid"),
            names,
            events: Vec::new(),
            answers: BTreeMap::new(),
        };
        group.start_all();
        group.run_for(Duration::from_millis(500));
        group
    }

    pub fn start_all(&mut self) {
        self.names.iter().for_each(|name| self.world.start(name));
    }

    pub fn run_for(&mut self, duration: Duration) {
        let end = self.world.now().after(duration);
        loop {
            for happening in self.world.take_happenings() {
                match happening {
                    Happening::Event { node, time, event } => {
                        self.events.push((time, node, event));
                    }
                    // Asked for where it matters.
                    Happening::Disturbed { .. } => {}
                    Happening::Answer { call, time, answer } => {
                        let twice = self.answers.insert(call, (time, answer));
                        assert_eq!(twice, None, "{call:?} is answered twice");
                    }
                }
            }
            if self.world.now() == end {
                return;
            }
            self.world.run_until(end);
        }
    }

    pub fn run_millis(&mut self, millis: u64) {
        self.run_for(Duration::from_millis(millis));
    }

    pub fn put(&mut self, node: &str, key: &str, value: u64) -> CallId {
        let key = key.to_owned();
        let request = ClientRequest::Put { key, value };
        self.world.call(CLIENTS, node, request)
    }

    pub fn is_done(&self, call: CallId) -> bool {
        let answer = self.answers.get(&call).map(|(_, answer)| answer);
        matches!(answer, Some(CallAnswer::Reply(ClientReply::Done(_))))
    }

    fn value(&self, call: CallId) -> Option<u64> {
        match &self.answers[&call].1 {
            CallAnswer::Reply(ClientReply::Value(answer)) => answer.value,
            other => panic!("a read was told {other:?}"),
        }
    }

    /// Nodes that act as primary.
    pub fn primaries(&self) -> Vec<&str> {
        let names = self.names.iter().map(String::as_str);
        names
            .filter(|name| {
                let status = self.world.status(name);
                status.is_some_and(|status| status.role == Role::Primary)
            })
            .collect()
    }

    /// The one of the newest epoch.
    pub fn primary(&self) -> Option<String> {
        let epoch = |name: &&str| self.world.status(name).map(|status| status.epoch);
        let newest = self.primaries().into_iter().max_by_key(epoch);
        newest.map(str::to_owned)
    }

    /// Reads keys back from the primary: how many are not there.
    pub fn missing<'k>(&mut self, keys: impl IntoIterator<Item = &'k str>) -> usize {
        let primary = self.primary().expect("a group that is whole has a primary");
        let reads: Vec<CallId> = keys
            .into_iter()
            .map(|key| {
                let key = key.to_owned();
                self.world
                    .call(READERS, &primary, ClientRequest::Get { key })
            })
            .collect();
        self.run_millis(300);
        let missing = |read: &&CallId| self.value(**read).is_none();
        reads.iter().filter(missing).count()
    }

    pub fn moments(&self, name: &str, since: Moment) -> Vec<(Moment, &str)> {
        let events = self.events.iter();
        events
            .filter(|(at, _, event)| *at >= since && event.name() == name)
            .map(|(at, node, _)| (*at, node.as_str()))
            .collect()
    }

    pub fn cut(&mut self, fault: &str, links: &[Link]) {
        let effect = LinkEffect::Cut(CutBehavior::Drop);
        self.world.apply(&id(fault), links, effect);
    }

    pub fn heal(&mut self, fault: &str) {
        self.world.withdraw(&id(fault));
    }

    /// All links between a node and the other nodes.
    pub fn links_of(&self, node: &str) -> Vec<Link> {
        let others = self.names.iter().filter(|name| *name != node);
        others
            .flat_map(|other| [link(node, other), link(other, node)])
            .collect()
    }
}

pub fn id(fault: &str) -> FaultId {
    FaultId {
        fault: fault.to_owned(),
        occurrence: 0,
    }
}

pub fn link(from: &str, to: &str) -> Link {
    Link {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

/// Clients' writes of unique keys, and which were acknowledged.
#[derive(Default)]
pub struct Writes(Vec<(CallId, String)>);

impl Writes {
    pub fn put(&mut self, group: &mut Group, node: &str) {
        let number = self.0.len() as u64;
        let key = format!("k{number}");
        self.0.push((group.put(node, &key, number), key));
    }

    pub fn acknowledged(&self, group: &Group) -> BTreeSet<String> {
        let done = self.0.iter().filter(|(call, _)| group.is_done(*call));
        done.map(|(_, key)| key.clone()).collect()
    }

    /// Acknowledged and not there any more.
    pub fn lost(&self, group: &mut Group) -> usize {
        let acknowledged = self.acknowledged(group);
        group.missing(acknowledged.iter().map(String::as_str))
    }
}
