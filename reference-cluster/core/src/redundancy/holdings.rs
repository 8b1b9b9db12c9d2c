//! What this node keeps: the newest copy of each key, or the shards of its latest versions.
//!
//! A shard of an older version goes only when a newer one is known to be complete: until then it may
//! be one of the few that give the older value back. A whole copy goes with the next one.
//! Invariants: the newest version of a key never gets older; a damaged key answers nobody.

use std::collections::{BTreeMap, BTreeSet};

use super::share::{Share, Version};
use crate::recovery_log::Ticket;

/// One key.
#[derive(Debug, Default)]
struct Holding {
    shares: BTreeMap<Version, (Share, Ticket)>,
    /// Older versions than this are of no use.
    complete: Option<Version>,
}

/// All keys kept here.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    keys: BTreeMap<String, Holding>,
    damaged: BTreeSet<String>,
}

impl Holdings {
    /// How many keys are kept.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Keeps a share beside older ones.
    pub fn keep(&mut self, key: &str, share: Share, ticket: Ticket) {
        let holding = self.keys.entry(key.to_owned()).or_default();
        holding.shares.insert(share.version, (share, ticket));
    }

    /// Whole copies: whatever is older than this version goes. Shards: this version is complete.
    pub fn retire(&mut self, key: &str, before: Version) {
        let holding = self.keys.entry(key.to_owned()).or_default();
        holding.complete = holding.complete.max(Some(before));
        holding.shares.retain(|version, _| *version >= before);
    }

    /// For a planted mistake: this version alone stays, also where it is older.
    pub fn replace(&mut self, key: &str, version: Version) {
        if let Some(holding) = self.keys.get_mut(key) {
            holding.shares.retain(|kept, _| *kept == version);
        }
    }

    /// Whole copies: of each key the newest alone stays.
    pub fn keep_newest_alone(&mut self) {
        for holding in self.keys.values_mut() {
            let newest = holding.shares.last_key_value().map(|(version, _)| *version);
            holding.shares.retain(|version, _| Some(*version) == newest);
        }
    }

    /// True when the version is news, or would be one of several kept.
    pub fn wants(&self, key: &str, version: Version, several: bool) -> bool {
        let Some(holding) = self.keys.get(key) else {
            return true;
        };
        match several {
            true => {
                holding.complete.is_none_or(|complete| version > complete)
                    && !holding.shares.contains_key(&version)
            }
            false => holding.shares.keys().all(|kept| *kept < version),
        }
    }

    /// Newest version kept of the key.
    pub fn newest(&self, key: &str) -> Option<Version> {
        let (version, _) = self.keys.get(key)?.shares.last_key_value()?;
        Some(*version)
    }

    /// The version of the key that is known to be complete.
    pub fn complete(&self, key: &str) -> Option<Version> {
        self.keys.get(key)?.complete
    }

    /// All shares kept of the key, oldest first, and the ticket with which they are durable; `None`
    /// when the key is damaged.
    pub fn read(&self, key: &str) -> Option<(Vec<Share>, Ticket)> {
        if self.damaged.contains(key) {
            return None;
        }
        let shares = self.keys.get(key).map(|holding| holding.shares.values());
        let shares = shares.into_iter().flatten();
        let ticket = shares.clone().map(|(_, ticket)| *ticket).max();
        let shares = shares.map(|(share, _)| share.clone()).collect();
        Some((shares, ticket.unwrap_or_default()))
    }

    /// The ticket with which what is kept of the key is durable.
    pub fn durable_with(&self, key: &str) -> Ticket {
        let holding = self.keys.get(key);
        let shares = holding.iter().flat_map(|holding| holding.shares.values());
        shares.map(|(_, ticket)| *ticket).max().unwrap_or_default()
    }

    /// Keys with their newest versions, without the damaged ones.
    pub fn versions(&self) -> impl Iterator<Item = (&str, Version)> {
        let sound = self
            .keys
            .iter()
            .filter(|(key, _)| !self.damaged.contains(*key));
        sound.filter_map(|(key, holding)| {
            let (version, _) = holding.shares.last_key_value()?;
            Some((key.as_str(), *version))
        })
    }

    /// Marks a key whose copy is not to be believed.
    pub fn damage(&mut self, key: &str) {
        self.damaged.insert(key.to_owned());
    }

    /// Others have given the key back.
    pub fn repaired(&mut self, key: &str) {
        self.damaged.remove(key);
    }

    /// True when the key's copy is not to be believed.
    pub fn is_damaged(&self, key: &str) -> bool {
        self.damaged.contains(key)
    }

    /// Keys whose copies are not to be believed.
    pub fn damaged(&self) -> impl Iterator<Item = &String> {
        self.damaged.iter()
    }

    /// All shares, key by key, and which version is known to be complete.
    pub fn all(&self) -> Vec<(String, Vec<Share>, Option<Version>)> {
        let whole = |(key, holding): (&String, &Holding)| {
            let shares = holding.shares.values();
            let shares = shares.map(|(share, _)| share.clone()).collect();
            (key.clone(), shares, holding.complete)
        };
        self.keys.iter().map(whole).collect()
    }
}
