//! What goes wrong when a node looks names up; modes are those of Chaos Mesh's DNSChaos, and more.

use serde::{Deserialize, Serialize};

use crate::pattern::fits;
use crate::units::Duration;

/// Looking names up fails, or takes long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsFault {
    /// How.
    #[serde(flatten)]
    pub trouble: DnsTrouble,
    /// Of names that fit one of these patterns, in lower case; empty: of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

/// How an answer is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum DnsTrouble {
    /// The resolver says that it failed (SERVFAIL).
    Error {},
    /// It says that there is no such name.
    Nxdomain {},
    /// It gives an address drawn at random, at which nobody is.
    Random {},
    /// It says nothing.
    Timeout {},
    /// It answers later.
    Delay {
        /// By so much.
        latency: Duration,
    },
}

impl DnsFault {
    /// Whether it meets a name, in lower case and without a dot at its end.
    pub fn meets(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|pattern| fits(pattern, name))
    }
}

impl DnsTrouble {
    /// The mode as an experiment file has it.
    pub const fn name(&self) -> &'static str {
        match self {
            DnsTrouble::Error {} => "error",
            DnsTrouble::Nxdomain {} => "nxdomain",
            DnsTrouble::Random {} => "random",
            DnsTrouble::Timeout {} => "timeout",
            DnsTrouble::Delay { .. } => "delay",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultKind;
    use crate::host_fault::HostFault;

    #[test]
    fn it_stands_in_a_plan_like_any_other_fault_of_a_host() {
        let delay = DnsTrouble::Delay {
            latency: Duration::from_millis(5),
        };
        for (trouble, mode) in [(delay, "delay"), (DnsTrouble::Error {}, "error")] {
            let names = vec!["n2".to_owned(), "*.example".to_owned()];
            let kind = FaultKind::Host(HostFault::Dns(DnsFault { trouble, names }));
            let json = serde_json::to_value(&kind).unwrap();
            assert_eq!(
                (&json["kind"], &json["mode"]),
                (&"dns".into(), &mode.into())
            );
            assert_eq!(serde_json::from_value::<FaultKind>(json).unwrap(), kind);
        }
    }

    #[test]
    fn without_patterns_it_meets_every_name() {
        let fault = |names: &[&str]| DnsFault {
            trouble: DnsTrouble::Error {},
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert!(fault(&[]).meets("n1"));
        let some = fault(&["n2", "*.example"]);
        assert!(some.meets("n2") && some.meets("db.example"));
        assert!(!some.meets("n1") && !some.meets("example"));
    }
}
