//! What does not change while a server runs.

use shakedown_contracts::range::DurationRange;
use shakedown_contracts::strategy::{Raft as Options, Reads};
use shakedown_contracts::units::Duration;

use crate::flaw::{Flaw, Planted};
use crate::interface::Peer;
use crate::node::ConfigError;

/// Members, options, and a planted mistake.
#[derive(Debug)]
pub struct Setting {
    /// Names of all servers.
    pub names: Vec<String>,
    /// This one.
    pub me: Peer,
    /// Silence after which a server stands for election.
    pub election_timeout: DurationRange,
    /// Time between two heartbeats of a leader.
    pub heartbeat_interval: Duration,
    /// Ask before standing.
    pub pre_vote: bool,
    /// A leader without a majority steps down, a server that hears its leader votes for nobody.
    pub check_quorum: bool,
    /// How a read knows that its leader still is one.
    pub reads: Reads,
    /// In tests alone.
    pub planted: Planted,
}

impl Setting {
    /// Of server `me` of those named.
    ///
    /// # Errors
    /// Intervals with which no leader could stay one; reads that rest on a lease.
    pub fn new(
        options: &Options,
        names: Vec<String>,
        me: Peer,
        planted: Planted,
    ) -> Result<Self, ConfigError> {
        let Options {
            election_timeout,
            heartbeat_interval,
            pre_vote,
            check_quorum,
            reads,
        } = *options;
        if heartbeat_interval < Duration::from_millis(1) {
            return Err(ConfigError::Value {
                key: "replication.heartbeat_interval",
                value: heartbeat_interval.to_string(),
                hint: "give at least 1ms",
            });
        }
        if election_timeout.low() <= heartbeat_interval {
            return Err(ConfigError::Value {
                key: "replication.election_timeout",
                value: election_timeout.to_string(),
                hint: "give times longer than the heartbeat interval",
            });
        }
        if reads == Reads::Lease {
            return Err(ConfigError::Value {
                key: "replication.reads",
                value: "lease".to_owned(),
                hint: "raft has no leases; use \"read-index\" or \"local\"",
            });
        }
        Ok(Setting {
            names,
            me,
            election_timeout,
            heartbeat_interval,
            pre_vote,
            check_quorum,
            reads,
            planted,
        })
    }

    /// The smallest number of servers above half.
    pub fn majority(&self) -> usize {
        self.names.len() / 2 + 1
    }

    /// All servers but this one.
    pub fn others(&self) -> Vec<Peer> {
        let all = (0..self.names.len() as u32).map(Peer);
        all.filter(|peer| *peer != self.me).collect()
    }

    /// A server's name.
    pub fn name(&self, peer: Peer) -> String {
        let name = self.names.get(peer.0 as usize);
        name.cloned().unwrap_or_default()
    }

    /// True when the mistake is planted here.
    pub fn has(&self, flaw: Flaw) -> bool {
        self.planted.has(flaw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_with_which_no_leader_could_stay_one_are_refused() {
        let setting = |timeout: &str, interval: &str| {
            let options = Options {
                election_timeout: timeout.parse().unwrap(),
                heartbeat_interval: interval.parse().unwrap(),
                ..Options::default()
            };
            let names = vec!["n1".to_owned(), "n2".to_owned()];
            Setting::new(&options, names, Peer(1), Planted::default())
        };
        assert!(setting("150ms..300ms", "50ms").is_ok());
        assert!(setting("150ms..150ms", "149ms").is_ok());
        assert!(setting("50ms..300ms", "50ms").is_err());
        assert!(setting("150ms..300ms", "0ms").is_err());
    }

    #[test]
    fn reads_that_rest_on_a_lease_are_refused() {
        let setting = |reads: Reads| {
            let options = Options {
                reads,
                ..Options::default()
            };
            Setting::new(&options, vec!["n1".to_owned()], Peer(0), Planted::default())
        };
        assert!(setting(Reads::Local).is_ok());
        assert!(setting(Reads::ReadIndex).is_ok());
        assert!(setting(Reads::Lease).is_err());
    }

    #[test]
    fn a_majority_is_more_than_half() {
        let majority = |size: usize| {
            let names = vec![String::new(); size];
            let setting =
                Setting::new(&Options::default(), names, Peer(0), Planted::default()).unwrap();
            (setting.majority(), setting.others().len())
        };
        assert_eq!(
            [1, 2, 3, 4, 5].map(majority),
            [(1, 0), (2, 1), (2, 2), (3, 3), (3, 4)]
        );
    }
}
