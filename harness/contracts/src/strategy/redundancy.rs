//! Options of redundancy: how many nodes hold a value, and how many must answer for it.

use serde::{Deserialize, Serialize};

use crate::units::Duration;

/// How values are kept on several nodes without a primary. Present: any node serves any client,
/// reads and writes of single keys alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Redundancy {
    /// One node holds each key (the control group).
    None {},
    /// Whole copies on `n` nodes, of which some must answer (Dynamo 2007).
    Quorum(Quorum),
    /// `k` data and `m` parity shards on as many nodes, any `k` of which give the value back.
    Erasure(Erasure),
}

/// Options of `quorum`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quorum {
    /// Nodes that hold each key, the first of its ranking.
    pub n: u32,
    /// How many must answer a read, and the question for the newest version before a write.
    /// `r + w` up to `n` is wrong on purpose where reads must be fresh.
    pub r: u32,
    /// How many must hold a write before it is acknowledged.
    pub w: u32,
    /// True: nodes that are suspected are left out, and the next in the ranking stand in for them
    /// (wrong on purpose where reads must be fresh: two sides of a partition find quorums apart).
    pub sloppy: bool,
    /// True: what a node missed is kept for it elsewhere and handed over when it is back.
    pub hinted_handoff: bool,
    /// Nothing more is kept for a node that has been missing for so long.
    pub hint_window: Duration,
    /// What a read does for copies that are behind.
    pub read_repair: ReadRepair,
    /// How often a node compares its copies with those of another.
    pub anti_entropy: AntiEntropy,
    /// How long the node that was asked waits for the others.
    pub patience: Duration,
}

/// Default of `hint_window`: longer than any outage of a short trial. (Cassandra: three hours.)
const DEFAULT_HINT_WINDOW: Duration = Duration::from_secs(60);

/// Default of `patience`: well below the clients' second, so that they are told and try elsewhere.
const DEFAULT_PATIENCE: Duration = Duration::from_millis(300);

impl Default for Quorum {
    fn default() -> Self {
        Quorum {
            n: 3,
            r: 2,
            w: 2,
            sloppy: false,
            hinted_handoff: true,
            hint_window: DEFAULT_HINT_WINDOW,
            read_repair: ReadRepair::default(),
            anti_entropy: AntiEntropy::default(),
            patience: DEFAULT_PATIENCE,
        }
    }
}

/// Options of `erasure`. A write is acknowledged when every node of the key that is not suspected
/// holds its shard, and never fewer than `k` or half of them and one more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Erasure {
    /// Data shards: so many give the value back.
    pub k: u32,
    /// Parity shards: so many may be missing.
    pub m: u32,
    /// As in [`Quorum`].
    pub hinted_handoff: bool,
    /// As in [`Quorum`].
    pub hint_window: Duration,
    /// As in [`Quorum`].
    pub read_repair: ReadRepair,
    /// As in [`Quorum`].
    pub anti_entropy: AntiEntropy,
    /// As in [`Quorum`].
    pub patience: Duration,
}

impl Default for Erasure {
    fn default() -> Self {
        Erasure {
            k: 4,
            m: 2,
            hinted_handoff: true,
            hint_window: DEFAULT_HINT_WINDOW,
            read_repair: ReadRepair::default(),
            anti_entropy: AntiEntropy::default(),
            patience: DEFAULT_PATIENCE,
        }
    }
}

/// What a read does for copies that are behind the one it returns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadRepair {
    /// It brings them up to date before it answers, until a write quorum holds what it returns
    /// (Attiya, Bar-Noy & Dolev 1995): no later read can return anything older.
    #[default]
    Sync,
    /// It answers at once and brings them up to date then.
    Async,
    /// Nothing.
    None,
}

/// How often a node compares its copies with another's; written `"1s"` or `"none"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum AntiEntropy {
    /// Never.
    None,
    /// This long after the last time, with one node after the other.
    Every(Duration),
}

impl Default for AntiEntropy {
    /// Some rounds in a trial of some seconds.
    fn default() -> Self {
        AntiEntropy::Every(Duration::from_secs(1))
    }
}

impl From<AntiEntropy> for String {
    fn from(value: AntiEntropy) -> String {
        match value {
            AntiEntropy::None => "none".to_owned(),
            AntiEntropy::Every(interval) => interval.to_string(),
        }
    }
}

impl TryFrom<String> for AntiEntropy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "none" {
            return Ok(AntiEntropy::None);
        }
        text.parse()
            .map(AntiEntropy::Every)
            .map_err(|_| format!("{text:?} is no interval; write a time like \"1s\" or \"none\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_gets_every_default_and_refuses_what_it_does_not_know() {
        let read = |json: &str| serde_json::from_str::<Redundancy>(json);
        for (json, kind) in [
            (r#"{ "kind": "none" }"#, Redundancy::None {}),
            (
                r#"{ "kind": "quorum" }"#,
                Redundancy::Quorum(Quorum::default()),
            ),
            (
                r#"{ "kind": "erasure" }"#,
                Redundancy::Erasure(Erasure::default()),
            ),
        ] {
            assert_eq!(read(json).unwrap(), kind);
            let whole = serde_json::to_string(&kind).unwrap();
            assert_eq!(read(&whole).unwrap(), kind);
        }
        for wrong in [
            r#"{ "kind": "quorum", "k": 2 }"#,
            r#"{ "kind": "erasure", "sloppy": true }"#,
            r#"{ "kind": "quorum", "anti_entropy": "nevr" }"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
