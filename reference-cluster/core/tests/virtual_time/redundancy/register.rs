//! Clients of registers, and whether what they saw can be put in one order.
//!
//! Values are unique, so each read names its write. A write and its reads are a cluster; the zone of
//! a cluster lies between the first end of any of its operations and the last beginning. Where an
//! operation ends before another begins, the zone is forward: the value was certainly there from its
//! low to its high end. Where all overlap it is backward: there is room for all of them within it.
//! A history is linearizable when no two forward zones overlap and no backward zone lies in a
//! forward one (Gibbons & Korach 1997, theorem 4.3).

use std::collections::BTreeMap;

use shakedown_contracts::node::ApiErrorKind;
use shakedown_contracts::time::Moment;
use shakedown_core::interface::{ClientReply, ClientRequest, RequestId};

use crate::world::World;

struct Call {
    id: RequestId,
    key: String,
    /// The value of a write.
    writes: Option<u64>,
    invoked: Moment,
}

#[derive(Default)]
pub struct Clients {
    calls: Vec<Call>,
    written: u64,
}

/// All operations on one value of one key.
struct Cluster {
    write_begins: Moment,
    first_end: Moment,
    last_begin: Moment,
    read: bool,
}

impl Clients {
    pub fn put(&mut self, world: &mut World, node: u32, key: &str) -> u64 {
        self.written += 1;
        let value = self.written;
        let key = key.to_owned();
        let request = ClientRequest::Put { key, value };
        self.call(world, node, request, Some(value));
        value
    }

    pub fn get(&mut self, world: &mut World, node: u32, key: &str) -> RequestId {
        let key = key.to_owned();
        self.call(world, node, ClientRequest::Get { key }, None)
    }

    fn call(
        &mut self,
        world: &mut World,
        node: u32,
        request: ClientRequest,
        writes: Option<u64>,
    ) -> RequestId {
        let (ClientRequest::Put { key, .. } | ClientRequest::Get { key }) = &request else {
            panic!("{request:?} is nothing that a register does");
        };
        let key = key.clone();
        let invoked = world.now;
        let id = world.request(node, request);
        self.calls.push(Call {
            id,
            key,
            writes,
            invoked,
        });
        id
    }

    /// Reads and writes that succeeded.
    pub fn successes(&self, world: &World) -> usize {
        let done = |call: &&Call| {
            let reply = world.replies.get(&call.id).map(|(_, _, reply)| reply);
            matches!(reply, Some(ClientReply::Done(_) | ClientReply::Value(_)))
        };
        self.calls.iter().filter(done).count()
    }

    /// What cannot be put in one order.
    pub fn violations(&self, world: &World) -> Vec<String> {
        let mut keys: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
        for call in &self.calls {
            keys.entry(&call.key).or_default().push(call);
        }
        let mut violations = Vec::new();
        for (key, calls) in keys {
            match clusters(world, &calls) {
                Ok(clusters) => violations.extend(overlaps(key, &clusters)),
                Err(violation) => violations.push(format!("{key}: {violation}")),
            }
        }
        violations
    }
}

fn clusters(world: &World, calls: &[&Call]) -> Result<BTreeMap<Option<u64>, Cluster>, String> {
    let mut clusters: BTreeMap<Option<u64>, Cluster> = BTreeMap::new();
    let initial = Cluster {
        write_begins: Moment(0),
        first_end: Moment(0),
        last_begin: Moment(0),
        read: true,
    };
    clusters.insert(None, initial);
    for call in calls {
        let Some(value) = call.writes else {
            continue;
        };
        let first_end = match world.replies.get(&call.id) {
            Some((at, _, ClientReply::Done(_))) => *at,
            Some((_, _, ClientReply::Error(error)))
                if error.error != ApiErrorKind::Indeterminate =>
            {
                continue; // Certainly not done: whoever reads it reads what nobody wrote.
            }
            _ => Moment(u64::MAX),
        };
        let cluster = Cluster {
            write_begins: call.invoked,
            first_end,
            last_begin: call.invoked,
            read: first_end < Moment(u64::MAX),
        };
        clusters.insert(Some(value), cluster);
    }
    for call in calls.iter().filter(|call| call.writes.is_none()) {
        let Some((end, _, ClientReply::Value(answer))) = world.replies.get(&call.id) else {
            continue;
        };
        let value = answer.value;
        let Some(cluster) = clusters.get_mut(&value) else {
            return Err(format!("{value:?} was read and nobody wrote it"));
        };
        if *end < cluster.write_begins {
            return Err(format!("{value:?} was read before it was written"));
        }
        cluster.first_end = cluster.first_end.min(*end);
        cluster.last_begin = cluster.last_begin.max(call.invoked);
        cluster.read = true;
    }
    clusters.retain(|_, cluster| cluster.read);
    Ok(clusters)
}

fn overlaps(key: &str, clusters: &BTreeMap<Option<u64>, Cluster>) -> Vec<String> {
    let zones = clusters.iter();
    let zones: Vec<(Option<u64>, bool, Moment, Moment)> = zones
        .map(|(value, cluster)| {
            let (end, begin) = (cluster.first_end, cluster.last_begin);
            (*value, end < begin, end.min(begin), end.max(begin))
        })
        .collect();
    let mut violations = Vec::new();
    for (value, forward, low, high) in &zones {
        for (other, other_forward, other_low, other_high) in &zones {
            let clash = match (forward, other_forward) {
                (true, true) => value < other && low < other_high && other_low < high,
                (true, false) => low < other_low && other_high < high,
                _ => false,
            };
            if clash {
                violations.push(format!("{key}: {other:?} lies in the time of {value:?}"));
            }
        }
    }
    violations
}
