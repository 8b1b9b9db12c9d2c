//! Options of distributed transactions: how accounts on several nodes change together.

use serde::{Deserialize, Serialize};

/// How a transfer between accounts of two nodes becomes atomic. Present: accounts are spread over all nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Transactions {
    /// Not at all: each side is written on its own (the control group).
    None {},
}
