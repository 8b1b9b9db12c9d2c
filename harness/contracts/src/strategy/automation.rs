//! Options of automation: who restarts and replaces nodes without a human.

use serde::{Deserialize, Serialize};

use crate::range::DurationRange;
use crate::units::Duration;

/// Who acts when a node dies, stays away or gets slow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Automation {
    /// Nobody: a dead node stays dead (the control group).
    None {},
    /// A process of its own watches the nodes, has dead ones started again and lost ones replaced.
    Supervisor(Supervisor),
}

impl Automation {
    /// Nodes that stand by, of the last ones.
    pub fn spares(&self) -> u32 {
        match self {
            Automation::None {} => 0,
            Automation::Supervisor(supervisor) => supervisor.spares,
        }
    }
}

/// Options of the supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Supervisor {
    /// Wait before a dead node is started again: the low end before the first attempt, twice as
    /// long before each that follows, at most the high end.
    pub backoff: DurationRange,
    /// So many attempts in a row that did not last, and the supervisor gives the node up.
    pub crash_loop_limit: u32,
    /// A node that has lived for so long since it came back has come back: attempts are counted
    /// anew.
    pub stable_after: Duration,
    /// So many of the last nodes stand by: they hold nothing and vote for nothing until one of them
    /// takes the place of a lost node. 0: nobody is replaced.
    pub spares: u32,
    /// A node that is out of reach for so long is lost, and replaced by a spare.
    pub replace_after: Duration,
    /// A node that is slow for so long is replaced by a spare. `None`: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_for: Option<Duration>,
    /// Slow is who takes so many times as long as the median of the others.
    pub slow_factor: u32,
}

impl Default for Supervisor {
    /// Fits trials of some seconds; Kubernetes backs off from 10 s to 5 min, systemd gives up after
    /// five starts in 10 s.
    fn default() -> Self {
        Supervisor {
            backoff: DurationRange::between(Duration::from_millis(200), Duration::from_secs(10)),
            crash_loop_limit: 5,
            stable_after: Duration::from_secs(3),
            spares: 0,
            replace_after: Duration::from_secs(1),
            slow_for: None,
            slow_factor: 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_gets_every_default_and_refuses_what_it_does_not_know() {
        let read = serde_json::from_str::<Automation>;
        let default = read(r#"{ "kind": "supervisor" }"#).unwrap();
        assert_eq!(default, Automation::Supervisor(Supervisor::default()));
        let json = serde_json::to_string(&default).unwrap();
        assert_eq!(read(&json).unwrap(), default);
        assert!(read(r#"{ "kind": "supervisor", "sparse": 1 }"#).is_err());
        assert!(read(r#"{ "kind": "none", "spares": 1 }"#).is_err());
    }
}
