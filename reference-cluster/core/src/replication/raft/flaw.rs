//! Mistakes that an implementation of Raft can make, to be planted in tests.
//!
//! A check counts only after it has noticed what it is there for. No option of an experiment leads
//! here: a server has a flaw only when a test builds it with one.

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// A vote is not written down: after a restart the server may vote again in the same term.
    ForgetsVote,
    /// Entries of older terms are committed by counting who has them, and a new leader appends no
    /// entry of its own (figure 8 of the paper). The second belongs to the first: with an entry of
    /// the new term in the same message the mistake would stay hidden.
    CommitsOldTerms,
    /// What is written counts as durable before the disk has said so.
    AcknowledgesBeforeSync,
    /// A vote goes to whoever asks first, however old its log.
    IgnoresLogs,
}
