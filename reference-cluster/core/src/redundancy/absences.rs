//! What other nodes lack, as far as this one knows, and what it keeps for them until they are back.
//!
//! Of each node and key the newest missing version is remembered, with a share of it (a hint) where
//! hints are kept. It is forgotten when the node says that it holds that version or a newer one.
//! Invariant: at most one hint a node and key.

use std::collections::BTreeMap;

use super::share::{Share, Version};
use crate::interface::Peer;

/// One thing that a node lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Absent {
    /// What is missing at least.
    pub version: Version,
    /// It, where it is kept here.
    pub hint: Option<Share>,
}

/// All that others lack.
#[derive(Debug, Default)]
pub(super) struct Absences {
    peers: BTreeMap<Peer, BTreeMap<String, Absent>>,
}

impl Absences {
    /// Takes note that a node lacks a version of a key.
    pub fn note(&mut self, peer: Peer, key: &str, version: Version, hint: Option<Share>) {
        let keys = self.peers.entry(peer).or_default();
        let absent = Absent { version, hint };
        match keys.get_mut(key) {
            Some(known) if known.version > version => {}
            Some(known) if known.version == version && absent.hint.is_none() => {}
            Some(known) => *known = absent,
            None => {
                keys.insert(key.to_owned(), absent);
            }
        }
    }

    /// A node holds this version of a key, or a newer one; true when a hint has served its purpose.
    pub fn arrived(&mut self, peer: Peer, key: &str, version: Version) -> bool {
        let Some(keys) = self.peers.get_mut(&peer) else {
            return false;
        };
        if keys.get(key).is_none_or(|absent| absent.version > version) {
            return false;
        }
        let absent = keys.remove(key);
        if keys.is_empty() {
            self.peers.remove(&peer);
        }
        absent.is_some_and(|absent| absent.hint.is_some())
    }

    /// True when nobody lacks anything.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Nodes that lack something.
    pub fn peers(&self) -> impl Iterator<Item = Peer> {
        self.peers.keys().copied()
    }

    /// Some of what a node lacks.
    pub fn some(&self, peer: Peer, limit: usize) -> Vec<(String, Absent)> {
        let keys = self.peers.get(&peer).into_iter().flatten();
        let some = keys.take(limit);
        some.map(|(key, absent)| (key.clone(), absent.clone()))
            .collect()
    }

    /// What is kept of a key for others.
    pub fn hints_of(&self, key: &str) -> impl Iterator<Item = &Share> {
        let absent = self.peers.values().filter_map(move |keys| keys.get(key));
        absent.filter_map(|absent| absent.hint.as_ref())
    }

    /// All hints.
    pub fn hints(&self) -> Vec<(Peer, String, Share)> {
        let mut hints = Vec::new();
        for (peer, keys) in &self.peers {
            for (key, absent) in keys {
                hints.extend(
                    absent
                        .hint
                        .iter()
                        .map(|hint| (*peer, key.clone(), hint.clone())),
                );
            }
        }
        hints
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::time::Moment;

    use super::*;

    fn version(counter: u64) -> Version {
        Version {
            counter,
            node: Peer(0),
            stamp: Moment(counter),
        }
    }

    #[test]
    fn an_absence_ends_with_its_version_or_a_newer_one_and_not_with_an_older() {
        let mut absences = Absences::default();
        let hint = Share::new("k", version(2), 0, vec![2]);
        absences.note(Peer(1), "k", version(2), Some(hint.clone()));
        absences.note(Peer(1), "k", version(1), None);
        absences.note(Peer(1), "k", version(2), None);
        assert_eq!(absences.hints(), [(Peer(1), "k".to_owned(), hint)]);
        assert!(!absences.arrived(Peer(1), "k", version(1)));
        assert!(!absences.arrived(Peer(2), "k", version(2)));
        assert!(absences.arrived(Peer(1), "k", version(3)));
        assert!(absences.is_empty());
    }
}
