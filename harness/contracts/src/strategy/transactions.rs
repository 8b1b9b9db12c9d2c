//! Options of distributed transactions: how accounts on several nodes change together.

use serde::{Deserialize, Serialize};

use crate::units::Duration;

/// How a transfer between accounts of two nodes becomes atomic. Present: every account is on one of
/// the nodes alone, and any node carries out any client's request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transactions {
    /// The protocol.
    pub kind: TransactionKind,
    /// How long whoever waits for an answer of another node waits: a coordinator for votes, a read
    /// for accounts. A participant waits for the decision so long and `hold_before_decision` and
    /// `decision_retry` before it asks, or until its detector suspects the coordinator.
    pub prepare_timeout: Duration,
    /// Pause before what was not answered is asked or said again. Not with `none`, which says
    /// everything once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_retry: Option<Duration>,
    /// How transactions that meet at an account keep apart. Not with `none` and `saga`, which do
    /// not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// How long a lock outlives the silence of whom it is for: that of a read, and under
    /// `in_doubt = "heuristic-abort"` that of a participant in doubt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_ttl: Option<Duration>,
    /// A window for tests: a coordinator that has every YES waits so long before it decides, so that
    /// a fault can meet it there. Below `prepare_timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_before_decision: Option<Duration>,
    /// With `two-phase-commit`: a participant in doubt asks the others too, not the coordinator
    /// alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooperative_termination: Option<bool>,
    /// With `two-phase-commit`: what a participant does while nobody tells it the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_doubt: Option<InDoubt>,
    /// With `saga`: a compensation is carried out once, however often it is asked for. `false` is
    /// wrong on purpose: a repeated one refunds again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
}

impl Transactions {
    /// The protocol with the defaults of everything that has a meaning in it.
    pub fn of(kind: TransactionKind) -> Self {
        let atomic = kind.is_atomic();
        let two_phase = kind == TransactionKind::TwoPhaseCommit;
        Transactions {
            kind,
            prepare_timeout: Duration::from_millis(500),
            decision_retry: (kind != TransactionKind::None).then_some(Duration::from_millis(100)),
            concurrency: atomic.then(Concurrency::default),
            lock_ttl: atomic.then_some(Duration::from_secs(1)),
            hold_before_decision: None,
            cooperative_termination: two_phase.then_some(false),
            in_doubt: two_phase.then(InDoubt::default),
            idempotent: (kind == TransactionKind::Saga).then_some(true),
        }
    }
}

/// The protocol by which several nodes change together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransactionKind {
    /// None: each side is written on its own, once (the control group).
    None,
    /// The coordinator asks all, then decides (presumed abort). Blocks while it is gone.
    TwoPhaseCommit,
    /// With a phase between the votes and the decision, so that participants can end without the
    /// coordinator. Right only where nothing but crashes happens: a partition splits the decision.
    ThreePhaseCommit,
    /// The votes are kept by a majority of the nodes, so that any node can end what a dead one
    /// began.
    PaxosCommit,
    /// Steps that are each done for good, and undone by compensations where a later one fails.
    Saga,
}

impl TransactionKind {
    /// True where a transaction is meant to be done whole or not at all, and seen so.
    pub const fn is_atomic(self) -> bool {
        match self {
            TransactionKind::None | TransactionKind::Saga => false,
            TransactionKind::TwoPhaseCommit
            | TransactionKind::ThreePhaseCommit
            | TransactionKind::PaxosCommit => true,
        }
    }
}

/// How transactions that meet at an account keep apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Concurrency {
    /// Locks on all accounts until the decision; the older waits, the younger gives up (wait-die).
    #[default]
    TwoPhaseLocking,
    /// Reads see a past moment of all accounts and lock none; of two writers the first wins.
    Snapshot,
}

/// What a participant does that voted YES and is not told the decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InDoubt {
    /// It keeps its promise, and its locks, until it is told.
    #[default]
    Block,
    /// It gives up after `lock_ttl` (wrong on purpose: the others may have committed).
    HeuristicAbort,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_the_options_that_mean_something_in_it_and_survives_json() {
        for kind in [
            TransactionKind::None,
            TransactionKind::TwoPhaseCommit,
            TransactionKind::ThreePhaseCommit,
            TransactionKind::PaxosCommit,
            TransactionKind::Saga,
        ] {
            let options = Transactions::of(kind);
            assert_eq!(options.concurrency.is_some(), kind.is_atomic());
            let json = serde_json::to_string(&options).unwrap();
            assert_eq!(
                serde_json::from_str::<Transactions>(&json).unwrap(),
                options
            );
        }
        let unknown = r#"{ "kind": "saga", "prepare_timeout": "1s", "fast": true }"#;
        assert!(serde_json::from_str::<Transactions>(unknown).is_err());
    }
}
