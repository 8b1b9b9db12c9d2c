//! What holds at every moment of a group with terms, whatever the faults: figure 3 of the Raft paper.
//!
//! The ledger looks at every node after every step and at every message with entries. It remembers
//! who led which term, what was committed at which position, and which entry stood before which.

use std::collections::BTreeMap;

use shakedown_contracts::event::Role;
use shakedown_core::interface::Output;
use shakedown_core::message::{Entry, Message, Point};
use shakedown_core::node::Node;
use shakedown_core::replication::chain::message::ChainMessage;
use shakedown_core::replication::raft::message::RaftMessage;
use shakedown_core::store::Command;

/// A committed entry, and the newest term known to the node that committed it first.
struct Committed {
    point: Point,
    term: u64,
}

#[derive(Default)]
pub struct Ledger {
    leaders: BTreeMap<u64, u32>,
    committed: BTreeMap<u64, Committed>,
    /// What stood before an entry, and what it does.
    entries: BTreeMap<Point, (Point, Command)>,
    /// Position up to which a node's commits were looked at.
    seen: BTreeMap<u32, u64>,
    pub violations: Vec<String>,
    /// Whole states sent.
    pub snapshots: usize,
}

impl Ledger {
    pub fn observe(&mut self, index: u32, node: &Node, outputs: &[Output]) {
        let status = node.status();
        if status.role == Role::Primary {
            self.leads(index, node, status.epoch);
        }
        self.commits(index, node, (status.committed, status.epoch));
        for output in outputs {
            let Output::Send { message, .. } = output else {
                continue;
            };
            match message {
                Message::Raft(RaftMessage::Append {
                    previous, entries, ..
                })
                | Message::Chain(ChainMessage::Append {
                    previous, entries, ..
                }) => self.sends(*previous, entries),
                Message::Raft(RaftMessage::Snapshot { .. })
                | Message::Chain(ChainMessage::Snapshot { .. }) => self.snapshots += 1,
                _ => {}
            }
        }
    }

    /// One leader a term, and it has everything that was committed before.
    fn leads(&mut self, index: u32, node: &Node, term: u64) {
        match self.leaders.get(&term) {
            Some(leader) if *leader == index => return,
            Some(leader) => {
                let violation = format!("n{index} and n{leader} lead term {term}");
                return self.violations.push(violation);
            }
            None => self.leaders.insert(term, index),
        };
        let status = node.status();
        let before = self.committed.iter().filter(|(_, kept)| kept.term < term);
        for (position, kept) in before {
            let has = match node.point(*position) {
                Some(point) => point == kept.point,
                None => *position <= status.committed,
            };
            if !has {
                self.violations.push(format!(
                    "n{index} leads term {term} without {:?}",
                    kept.point
                ));
                return;
            }
        }
    }

    /// No two nodes commit different entries at a position.
    fn commits(&mut self, index: u32, node: &Node, (committed, term): (u64, u64)) {
        let seen = self.seen.entry(index).or_default();
        // Less than before: it was started anew, and commits again.
        for position in (*seen).min(committed) + 1..=committed {
            let Some(point) = node.point(position) else {
                continue;
            };
            let kept = self
                .committed
                .entry(position)
                .or_insert(Committed { point, term });
            if kept.point != point {
                let violation = format!("n{index} commits {point:?}, not {:?}", kept.point);
                self.violations.push(violation);
            }
        }
        *seen = committed;
    }

    /// An entry is the same wherever it stands, and so is everything before it.
    fn sends(&mut self, mut previous: Point, entries: &[Entry]) {
        for Entry { point, command } in entries {
            let kept = self
                .entries
                .entry(*point)
                .or_insert_with(|| (previous, command.clone()));
            if *kept != (previous, command.clone()) {
                self.violations.push(format!("{point:?} is two entries"));
            }
            previous = *point;
        }
    }

    /// Logs as they are now: two that agree at a point agree before it.
    pub fn compare_logs<'a>(&mut self, nodes: impl Iterator<Item = &'a Node>) {
        let mut before: BTreeMap<Point, Point> = BTreeMap::new();
        for node in nodes {
            for position in 1..=node.status().position {
                if let Some(point) = node.point(position)
                    && let Some(previous) = node.point(position - 1)
                    && *before.entry(point).or_insert(previous) != previous
                {
                    self.violations
                        .push(format!("{point:?} stands behind two entries"));
                }
            }
        }
    }
}
