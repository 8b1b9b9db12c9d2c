//! Options of load balancing: which backend a request goes to, and which backends get none.

use serde::{Deserialize, Serialize};

/// How a balancer in front of the nodes spreads requests. Present: nodes are its backends, and clients speak to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Balancing {
    /// Each client keeps to one backend, and nobody looks whether it lives (the control group).
    None {},
}
