//! Options of chain replication: who answers reads, and what that rests on.

use serde::{Deserialize, Serialize};

/// Options of chain replication (van Renesse & Schneider 2004).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chain {
    /// Who answers a read, and who is asked before.
    pub reads: ChainReads,
}

/// Who answers a read, and who is asked before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChainReads {
    /// The tail, when the question has come to it along the whole chain: each node it passes says
    /// with that that no newer chain is known to it.
    #[default]
    ThroughChain,
    /// The tail, asked by the head directly, as in the paper. Right where nobody is suspected who
    /// lives; a head and a tail that are cut off together answer with the past.
    Tail,
    /// Whichever node was asked, from what it holds (wrong on purpose: one that is not in the chain
    /// any more answers with the past).
    Local,
}

#[cfg(test)]
mod tests {
    use super::super::Replication;
    use super::*;

    #[test]
    fn a_chain_gets_its_default_and_refuses_what_it_does_not_know() {
        let read = serde_json::from_str::<Replication>;
        let default = read(r#"{ "kind": "chain" }"#).unwrap();
        assert_eq!(default, Replication::Chain(Chain::default()));
        let json = serde_json::to_string(&default).unwrap();
        assert_eq!(read(&json).unwrap(), default);
        assert!(read(r#"{ "kind": "chain", "reads": "lease" }"#).is_err());
        assert!(read(r#"{ "kind": "chain", "acknowledge": "all" }"#).is_err());
    }
}
