//! Leases: a primary serves without asking, as long as nobody else can be primary.
//!
//! A backup that answers what a primary sent thereby promises not to help anybody else to a later
//! epoch for a while. The primary counts that while from when it *sent*, the backup from when it
//! *received*, which is later; so the primary's part always ends first, if both clocks run alike.
//! They do not: the backup waits lease × (1 + drift bound), which is enough as long as its clock
//! gains no more than that share on the primary's. With a bound of 0 % (wrong on purpose) a slow
//! clock lets a deposed primary answer with the past (Gray & Cheriton 1989, section 5, on clocks; Ongaro
//! 2014, section 6.4.1, on reads).
//!
//! Grants are kept in memory. A node that restarts has forgotten them and waits as if it had just
//! granted one. A node on an empty disk promises nothing anyway until it has caught up.
//!
//! Invariant: whoever becomes primary was promised by a majority, each member of which has waited
//! out its grant, and any majority of grants shares a member with it.

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::{Duration, Ratio};

use super::replica::{Position, Replica};
use crate::flaw::Flaw;
use crate::interface::Peer;
use shakedown_contracts::strategy::{Fencing, Reads};

const MILLION: u128 = 1_000_000;

/// What a lease is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// To the primary, from when it sent.
    pub length: Duration,
    /// To a backup, from when it received.
    pub wait: Duration,
}

impl Terms {
    /// A lease of `length` between clocks of which none gains more than `drift_bound` on another.
    pub fn new(length: Duration, drift_bound: Ratio) -> Self {
        // In whole parts per million, rounded up: the same on every machine, and never short.
        let parts = MILLION + (drift_bound.as_f64() * 1e6).ceil() as u128;
        let wait = (u128::from(length.as_nanos()) * parts).div_ceil(MILLION);
        Terms {
            length,
            wait: Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)),
        }
    }
}

/// Whom this node lets serve, and until when it helps nobody else.
#[derive(Debug, Default)]
pub(super) struct Grant {
    /// `None`: somebody, as far as a restarted node knows.
    holder: Option<Peer>,
    until: Moment,
}

impl Replica {
    /// As a restarted node: what it may have granted before still holds.
    pub(super) fn remember_no_grant(&mut self) {
        let several = self.setting.rules.voters.len() > 1;
        if let Some(terms) = self.setting.rules.lease.filter(|_| several) {
            self.grant = Grant {
                holder: None,
                until: self.now.after(terms.wait),
            };
        }
    }

    /// As a backup: a primary's message is about to be answered.
    pub(super) fn grant_lease(&mut self, holder: Peer) {
        if let Some(terms) = self.setting.rules.lease {
            self.grant = Grant {
                holder: Some(holder),
                until: self.now.after(terms.wait),
            };
        }
    }

    /// Until when this node must not become primary itself.
    pub(super) fn granted_until(&self) -> Moment {
        if self.has(Flaw::LeaseNotAwaited) {
            return Moment(0);
        }
        self.grant.until
    }

    /// True when a promise to `candidate` breaks no grant: the holder itself may always ask.
    pub(super) fn grant_allows(&self, candidate: Peer) -> bool {
        self.now >= self.granted_until() || self.grant.holder == Some(candidate)
    }

    /// As a primary: a majority answered what was sent less than a lease ago.
    fn lease_holds(&self) -> bool {
        let Some(terms) = self.setting.rules.lease else {
            return false;
        };
        let Position::Primary(leadership) = &self.position else {
            return false;
        };
        let rules = &self.setting.rules;
        let in_force = leadership.backups.iter().filter(|(peer, backup)| {
            let granted = backup.granted;
            let in_time = granted.is_some_and(|sent| self.now < sent.after(terms.length));
            in_time && rules.voters.contains(peer)
        });
        // A primary promises nobody, so it counts itself.
        let own = usize::from(rules.voters.contains(&self.setting.me));
        in_force.count() + own >= rules.majority()
    }

    /// True where `fencing = "lease"` lets a primary carry anything out.
    pub(super) fn may_serve(&self) -> bool {
        self.setting.rules.fencing != Fencing::Lease || self.lease_holds()
    }

    /// True where a read needs no lease, or there is one.
    pub(super) fn may_read(&self) -> bool {
        self.may_serve() && (self.setting.rules.reads != Reads::Lease || self.lease_holds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_waits_a_lease_and_the_drift_on_top_and_never_less() {
        let wait = |nanos, bound| {
            let terms = Terms::new(Duration::from_nanos(nanos), Ratio::new(bound).unwrap());
            terms.wait.as_nanos()
        };
        assert_eq!(wait(400_000_000, 0.01), 404_000_000);
        assert_eq!(wait(400_000_000, 0.0), 400_000_000);
        assert_eq!(wait(1, 0.01), 2);
        assert_eq!(wait(u64::MAX, 1.0), u64::MAX);
    }
}
