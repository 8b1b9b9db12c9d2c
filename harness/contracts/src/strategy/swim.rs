//! Options of SWIM: how often a member asks, whom else it asks, how long a suspect may object.

use serde::{Deserialize, Serialize};

use crate::units::Duration;

/// Options of SWIM (Das, Gupta, Motivala 2002) with suspicion, and of Lifeguard (Dadgar, Phillips,
/// Currey 2018), whose three parts can each be switched. Names and defaults are those of
/// memberlist's LAN profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Swim {
    /// Time between two probes of a member; each probe asks one other, all of them in turn.
    pub probe_interval: Duration,
    /// Silence of the probed member after which others are asked to probe it. It is a suspect when
    /// none of them has heard it by the end of the interval.
    pub probe_timeout: Duration,
    /// Members that are asked to probe it.
    pub indirect_checks: u32,
    /// A suspect may object for so many probe intervals × log₁₀ of the group's size (at least 1);
    /// after that it is held for failed. 0: at once (wrong on purpose).
    pub suspicion_mult: u32,
    /// `dogpile`: a suspect that nobody else suspects may object for so many times as long.
    pub suspicion_max_timeout_mult: u32,
    /// `self_awareness`: a member that hears too little multiplies its interval and its timeout, up
    /// to this.
    pub awareness_max_multiplier: u32,
    /// Time between two rounds of gossip, of a member that has something to tell. What it tells
    /// travels on pings and acknowledgements too.
    pub gossip_interval: Duration,
    /// A claim is told so many times × ⌈log₁₀(size + 1)⌉ by each member.
    pub retransmit_mult: u32,
    /// Lifeguard's local health multiplier: who gets no answers doubts itself first.
    pub self_awareness: bool,
    /// Lifeguard's local health aware suspicion: time to object is long, and shrinks with each
    /// member that suspects the same one.
    pub dogpile: bool,
    /// Lifeguard's buddy system: the ping to a suspect says that it is one.
    pub buddy: bool,
}

impl Default for Swim {
    fn default() -> Self {
        Swim {
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            indirect_checks: 3,
            suspicion_mult: 4,
            suspicion_max_timeout_mult: 6,
            awareness_max_multiplier: 8,
            gossip_interval: Duration::from_millis(200),
            retransmit_mult: 4,
            self_awareness: true,
            dogpile: true,
            buddy: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Detector;
    use super::*;

    #[test]
    fn swim_gets_every_default_and_refuses_what_it_does_not_know() {
        let read = serde_json::from_str::<Detector>;
        let default = read(r#"{ "kind": "swim" }"#).unwrap();
        assert_eq!(default, Detector::Swim(Swim::default()));
        let json = serde_json::to_string(&default).unwrap();
        assert_eq!(read(&json).unwrap(), default);
        assert!(read(r#"{ "kind": "swim", "timeout": "1s" }"#).is_err());
    }
}
