//! Options of redundancy: how many nodes hold a value, and how many must answer for it.

use serde::{Deserialize, Serialize};

/// How values are kept on several nodes without a primary. Present: any node serves any client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Redundancy {
    /// One node holds each key (the control group).
    None {},
}
