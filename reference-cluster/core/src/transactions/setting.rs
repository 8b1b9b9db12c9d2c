//! What does not change while a node runs: members, options, and who holds which account.
//!
//! An account is held by the node that its name's CRC32C falls to, so that every node knows it
//! without asking.

use shakedown_contracts::strategy::{
    Concurrency, InDoubt, TransactionKind, Transactions as Options,
};
use shakedown_contracts::units::Duration;

use super::clock::NODES_MAX;
use crate::flaw::{Flaw, Planted};
use crate::interface::Peer;
use crate::node::ConfigError;

/// Members, options, and a planted mistake.
#[derive(Debug)]
pub struct Setting {
    /// Names of all nodes.
    pub names: Vec<String>,
    /// This one.
    pub me: Peer,
    /// The protocol.
    pub kind: TransactionKind,
    /// How transactions keep apart, where they do.
    pub concurrency: Concurrency,
    /// How long answers are waited for.
    pub prepare_timeout: Duration,
    /// Pause before anything is said again.
    pub retry: Duration,
    /// How long a lock outlives silence.
    pub lock_ttl: Duration,
    /// How long a coordinator holds a decision back.
    pub hold: Duration,
    /// A participant in doubt asks the others too.
    pub cooperative: bool,
    /// A participant in doubt aborts by itself after `lock_ttl`.
    pub heuristic: bool,
    /// A compensation is carried out once.
    pub idempotent: bool,
    /// In tests alone.
    pub planted: Planted,
}

impl Setting {
    /// Of node `me` of those named.
    ///
    /// # Errors
    /// Times with which nothing could ever be decided; more nodes than names of transactions know.
    pub fn new(
        options: &Options,
        names: Vec<String>,
        me: Peer,
        planted: Planted,
    ) -> Result<Self, ConfigError> {
        let hold = options.hold_before_decision.unwrap_or(Duration::ZERO);
        check(options, hold, names.len())?;
        let defaults = Options::of(options.kind);
        let retry = options.decision_retry.or(defaults.decision_retry);
        let lock_ttl = options.lock_ttl.or(defaults.lock_ttl);
        Ok(Setting {
            names,
            me,
            kind: options.kind,
            concurrency: options.concurrency.unwrap_or_default(),
            prepare_timeout: options.prepare_timeout,
            retry: retry.unwrap_or(options.prepare_timeout),
            lock_ttl: lock_ttl.unwrap_or(options.prepare_timeout),
            hold,
            cooperative: options.cooperative_termination.unwrap_or(false),
            heuristic: options.in_doubt == Some(InDoubt::HeuristicAbort),
            idempotent: options.idempotent.unwrap_or(true),
            planted,
        })
    }

    /// All nodes.
    pub fn all(&self) -> impl Iterator<Item = Peer> + use<> {
        (0..self.names.len() as u32).map(Peer)
    }

    /// How long a participant that promised waits before it asks: longer than a coordinator that
    /// lives waits for votes and holds its decision back.
    pub fn patience(&self) -> Duration {
        let decided = self.prepare_timeout.saturating_add(self.hold);
        decided.saturating_add(self.retry)
    }

    /// The smallest number of nodes above half.
    pub fn majority(&self) -> usize {
        self.names.len() / 2 + 1
    }

    /// Who holds an account.
    pub fn owner(&self, key: &str) -> Peer {
        let count = self.names.len().max(1) as u32;
        Peer(crc32c::crc32c(key.as_bytes()) % count)
    }

    /// A node's name.
    pub fn name(&self, peer: Peer) -> String {
        let name = self.names.get(peer.0 as usize);
        name.cloned().unwrap_or_default()
    }

    /// True when the mistake is planted here.
    pub fn has(&self, flaw: Flaw) -> bool {
        self.planted.has(flaw)
    }
}

fn check(options: &Options, hold: Duration, nodes: usize) -> Result<(), ConfigError> {
    let refused = |key, value: String, hint| Err(ConfigError::Value { key, value, hint });
    let millisecond = Duration::from_millis(1);
    if options.prepare_timeout < millisecond {
        let value = options.prepare_timeout.to_string();
        return refused("transactions.prepare_timeout", value, "give at least 1ms");
    }
    if let Some(retry) = options.decision_retry.filter(|retry| *retry < millisecond) {
        let value = retry.to_string();
        return refused("transactions.decision_retry", value, "give at least 1ms");
    }
    if hold >= options.prepare_timeout {
        let hint = "participants would take the coordinator for gone; stay below prepare_timeout";
        return refused("transactions.hold_before_decision", hold.to_string(), hint);
    }
    if nodes > NODES_MAX {
        return refused(
            "members",
            nodes.to_string(),
            "transactions take at most 64 nodes",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(options: &Options, nodes: usize) -> Result<Setting, ConfigError> {
        let names = (1..=nodes).map(|number| format!("n{number}")).collect();
        Setting::new(options, names, Peer(0), Planted::default())
    }

    #[test]
    fn accounts_are_spread_evenly() {
        let options = Options::of(TransactionKind::TwoPhaseCommit);
        for (nodes, keys, least) in [(3, 10, 2), (3, 40, 8), (3, 200, 50), (5, 200, 25)] {
            let setting = setting(&options, nodes).unwrap();
            let mut held = vec![0; nodes];
            for key in 0..keys {
                held[setting.owner(&format!("a{key}")).0 as usize] += 1;
            }
            assert!(held.iter().all(|held| *held >= least), "{keys}: {held:?}");
        }
    }

    #[test]
    fn times_with_which_nothing_is_ever_decided_are_refused() {
        let options = |timeout: &str, hold: &str| Options {
            prepare_timeout: timeout.parse().unwrap(),
            hold_before_decision: Some(hold.parse().unwrap()),
            ..Options::of(TransactionKind::PaxosCommit)
        };
        assert!(setting(&options("500ms", "300ms"), 3).is_ok());
        assert!(setting(&options("300ms", "300ms"), 3).is_err());
        assert!(setting(&options("0ms", "0ms"), 3).is_err());
        assert!(setting(&options("500ms", "0ms"), 65).is_err());
    }
}
