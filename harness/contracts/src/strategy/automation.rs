//! Options of automation: who restarts and replaces nodes without a human.

use serde::{Deserialize, Serialize};

/// Who acts when a node dies, stays away or gets slow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Automation {
    /// Nobody: a dead node stays dead (the control group).
    None {},
}
