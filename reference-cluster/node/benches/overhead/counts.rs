//! What operations cost: processor and bytes from the kernel, fsyncs and messages from recordings.

use std::fs;
use std::ops::{AddAssign, Sub};

use serde_json::Value;
use shakedown_contracts::strategy::Strategy;

use super::load::{CONNECTIONS, Operation};
use super::local_cluster::{Client, Cluster, wait_until};
use super::pairs::NODES;

/// Used by all members of a group together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Microseconds of processor time.
    pub processor_us: f64,
    /// Bytes given to the disk.
    pub written: f64,
}

impl Usage {
    /// So far, of the members, which run.
    pub fn of(cluster: &Cluster) -> Self {
        let mut usage = Usage::default();
        for pid in (0..cluster.members.len()).map(|member| cluster.pid(member)) {
            // Nanoseconds on the processor, of every thread that lives.
            for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
                let schedule = fs::read_to_string(thread.path().join("schedstat")).unwrap();
                let nanos = schedule.split(' ').next().unwrap().parse::<f64>().unwrap();
                usage.processor_us += nanos / 1e3;
            }
            let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
            let written = io
                .lines()
                .find_map(|line| line.strip_prefix("write_bytes: "));
            usage.written += written.unwrap().parse::<f64>().unwrap();
        }
        usage
    }
}

impl Sub for Usage {
    type Output = Usage;

    fn sub(self, before: Usage) -> Usage {
        Usage {
            processor_us: self.processor_us - before.processor_us,
            written: self.written - before.written,
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, more: Usage) {
        self.processor_us += more.processor_us;
        self.written += more.written;
    }
}

/// Of all members together, for one operation after the other, an operation.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Syncs of a disk.
    pub fsyncs: f64,
    /// Messages on connections.
    pub messages: f64,
}

impl Counts {
    /// Of a group of its own whose lives are recorded. What goes on without any operation is
    /// counted too: it is spread over as many operations as fit beside it.
    pub fn of(strategy: Strategy, operation: Operation, operations: usize) -> Self {
        let mut cluster = Cluster::prepare(NODES, strategy);
        cluster.record();
        cluster.start_all();
        let port = operation.prepare(&cluster);
        wait_until("every node serves", || {
            let serves = |node| cluster.ask(node, "GET", "/v1/status", &Value::Null).is_ok();
            (0..NODES).all(serves)
        });
        let before = Counts::so_far(&cluster);
        let mut client = Client::connect(port).unwrap();
        (0..operations).for_each(|number| operation.ask(&mut client, number % CONNECTIONS));
        let after = Counts::so_far(&cluster);
        Counts {
            fsyncs: (after.fsyncs - before.fsyncs) / operations as f64,
            messages: (after.messages - before.messages) / operations as f64,
        }
    }

    fn so_far(cluster: &Cluster) -> Self {
        let recorded = cluster.recordings().iter();
        let recorded: String = recorded
            .map(|life| fs::read_to_string(life).unwrap())
            .collect();
        let count = |what: &str| recorded.matches(what).count() as f64;
        Counts {
            fsyncs: count(r#""disk":"sync""#),
            messages: count(r#""output":"send","#),
        }
    }
}
