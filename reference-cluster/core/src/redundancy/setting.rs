//! How many nodes keep a key, how many must answer, and how many must hold a write.
//!
//! Where any `read` of the nodes of a key and any `write` of them have one in common, whoever reads
//! hears of every write that was acknowledged. With shards that is not enough: of a version heard
//! of there must also be `needed` shards to be had, so a reader passes a version over only when so
//! few nodes can hold it that it was never acknowledged (`operation`).
//!
//! For `k` + `m` shards: `write` is the larger of `k` and half and one more, which leaves `m` dead
//! nodes room in a code with `k` > `m`; `read` then is whatever meets it, and never fewer than `k`.

use shakedown_contracts::strategy::{AntiEntropy, Erasure, Quorum, ReadRepair, Redundancy};
use shakedown_contracts::units::Duration;

use super::coding::Coding;
use super::placement::ranking;
use super::reed_solomon::Code;
use crate::flaw::Planted;
use crate::interface::Peer;
use crate::node::ConfigError;

/// What does not change while a node runs.
#[derive(Debug)]
pub struct Setting {
    /// Names of all nodes.
    pub(super) names: Vec<String>,
    /// This one.
    pub(super) me: Peer,
    pub(super) coding: Coding,
    pub(super) terms: Terms,
    /// In tests alone.
    pub(super) planted: Planted,
}

/// The numbers of a strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// Nodes that keep a key.
    pub copies: usize,
    /// Answers that a read waits for.
    pub read: usize,
    /// Nodes that must hold a write.
    pub write: usize,
    /// Shares that give a value back.
    pub needed: usize,
    /// A write waits for every node that is not suspected.
    pub all_live: bool,
    /// Suspected nodes are stood in for.
    pub sloppy: bool,
    /// For how long something is kept for a missing node; `None`: not at all.
    pub handoff: Option<Duration>,
    pub read_repair: ReadRepair,
    /// Time between two comparisons.
    pub comparison: Option<Duration>,
    /// How long a coordinator waits.
    pub patience: Duration,
}

impl Setting {
    /// The setting of the options, for node `me` of `names`.
    ///
    /// # Errors
    /// When there are too few nodes, or numbers that cannot work.
    pub fn new(
        options: &Redundancy,
        names: Vec<String>,
        me: Peer,
        planted: Planted,
    ) -> Result<Self, ConfigError> {
        let (coding, terms) = match options {
            Redundancy::None {} => (Coding::Copies, quorum(&alone())),
            Redundancy::Quorum(options) => (Coding::Copies, quorum(options)),
            Redundancy::Erasure(options) => erasure(options)?,
        };
        let counts = [terms.read, terms.write];
        let impossible = counts
            .iter()
            .any(|count| *count == 0 || *count > terms.copies);
        if impossible || terms.copies > names.len() || terms.patience.is_zero() {
            return Err(ConfigError::Value {
                key: "redundancy",
                value: format!("{options:?} of {} nodes", names.len()),
                hint: "give at least n (or k + m) nodes, r and w from 1 to n, and some patience",
            });
        }
        Ok(Setting {
            names,
            me,
            coding,
            terms,
            planted,
        })
    }

    /// All nodes in the order in which they are to keep the key.
    pub(super) fn ranking(&self, key: &str) -> Vec<Peer> {
        ranking(&self.names, key)
    }

    /// The place of a node among those that keep the key.
    pub(super) fn place(&self, key: &str, node: Peer) -> Option<usize> {
        let ranking = self.ranking(key);
        let mut keep = ranking.iter().take(self.terms.copies);
        keep.position(|peer| *peer == node)
    }
}

/// One node keeps each key, and nothing is repaired: there is nothing to repair it from.
fn alone() -> Quorum {
    Quorum {
        n: 1,
        r: 1,
        w: 1,
        hinted_handoff: false,
        read_repair: ReadRepair::None,
        anti_entropy: AntiEntropy::None,
        ..Quorum::default()
    }
}

fn quorum(options: &Quorum) -> Terms {
    Terms {
        copies: options.n as usize,
        read: options.r as usize,
        write: options.w as usize,
        needed: 1,
        all_live: false,
        sloppy: options.sloppy,
        handoff: options.hinted_handoff.then_some(options.hint_window),
        read_repair: options.read_repair,
        comparison: interval(options.anti_entropy),
        patience: options.patience,
    }
}

fn erasure(options: &Erasure) -> Result<(Coding, Terms), ConfigError> {
    let (data, parity) = (options.k as usize, options.m as usize);
    let code = Code::new(data, parity).ok_or_else(|| ConfigError::Value {
        key: "redundancy.k",
        value: format!("{data} + {parity}"),
        hint: "give at least one data shard and at most 256 in all",
    })?;
    let copies = data + parity;
    let write = data.max(copies / 2 + 1);
    let terms = Terms {
        copies,
        read: data.max(copies - write + 1),
        write,
        needed: data,
        all_live: true,
        sloppy: false,
        handoff: options.hinted_handoff.then_some(options.hint_window),
        read_repair: options.read_repair,
        comparison: interval(options.anti_entropy),
        patience: options.patience,
    };
    Ok((Coding::Shards(code), terms))
}

fn interval(anti_entropy: AntiEntropy) -> Option<Duration> {
    match anti_entropy {
        AntiEntropy::None => None,
        AntiEntropy::Every(interval) => Some(interval),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(options: &Redundancy, nodes: usize) -> Result<Setting, ConfigError> {
        let names = (1..=nodes).map(|number| format!("n{number}")).collect();
        Setting::new(options, names, Peer(0), Planted::default())
    }

    #[test]
    fn every_code_reads_what_its_writes_left_and_survives_m_dead_where_k_is_larger() {
        for (k, m) in [(1, 0), (1, 2), (2, 1), (4, 2), (3, 3), (2, 4), (10, 4)] {
            let options = Redundancy::Erasure(Erasure {
                k,
                m,
                ..Erasure::default()
            });
            let terms = setting(&options, (k + m) as usize).unwrap().terms;
            assert!(terms.read + terms.write > terms.copies, "{k}+{m} meet");
            assert!(terms.read >= terms.needed && terms.write >= terms.needed);
            if k > m {
                let live = terms.copies - m as usize;
                assert!(
                    terms.read <= live && terms.write <= live,
                    "{k}+{m}: {terms:?}"
                );
            }
        }
    }

    #[test]
    fn numbers_that_cannot_work_are_refused() {
        let quorum = |n, r, w| {
            Redundancy::Quorum(Quorum {
                n,
                r,
                w,
                ..Quorum::default()
            })
        };
        assert!(setting(&quorum(3, 2, 2), 3).is_ok());
        for wrong in [quorum(3, 0, 2), quorum(3, 2, 4), quorum(4, 2, 2)] {
            assert!(setting(&wrong, 3).is_err(), "{wrong:?}");
        }
        assert!(setting(&Redundancy::Erasure(Erasure::default()), 5).is_err());
        assert!(setting(&Redundancy::None {}, 1).is_ok());
    }
}
