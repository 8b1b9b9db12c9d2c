//! When is a write committed, and so may be acknowledged and applied?
//!
//! `async`: when the primary has it. `majority`: when more than half have it, so that any majority
//! that promises a later epoch contains one of them. `all`: when every node that counts has it;
//! a suspected one stops counting (it is evicted, so that its death stalls writes no longer than
//! detection takes) and counts again once it has caught up. `semi-sync`: when one backup besides
//! the primary has it, or, after a fallback (see `semi_sync`), the primary alone. Under epoch fencing `all` asks for
//! a majority besides, or a lonely primary could acknowledge what its successor never saw.
//!
//! Invariant (fencing = epoch): an entry of an older epoch is committed only through one of this
//! epoch (Ongaro & Ousterhout 2014, §5.4.2 and figure 8).

use shakedown_contracts::strategy::Acknowledge;

use super::Rules;

/// One voter's part in the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Position up to which it has the primary's log on disk.
    pub position: u64,
    /// Counted by `all`. The primary is counted as long as it votes.
    pub counted: bool,
}

/// Position that the backup that is furthest holds; a primary without backups waits for none.
pub fn held_by_a_backup(primary: Holder, backups: &[Holder]) -> u64 {
    let furthest = backups.iter().map(|holder| holder.position).max();
    furthest.unwrap_or(primary.position)
}

/// Position up to which the group has committed, given the primary and its backups. `alone`: a
/// semi-synchronous primary has given up waiting for a backup.
pub fn committed(rules: &Rules, primary: Holder, backups: &[Holder], alone: bool) -> u64 {
    let mut positions: Vec<u64> = backups.iter().map(|holder| holder.position).collect();
    let own = primary.counted.then_some(primary.position);
    positions.extend(own);
    positions.sort_unstable_by(|left, right| right.cmp(left));
    let by_majority = positions.get(rules.majority() - 1).copied().unwrap_or(0);
    match rules.acknowledge {
        Acknowledge::Async => primary.position,
        Acknowledge::SemiSync if alone => primary.position,
        Acknowledge::SemiSync => primary.position.min(held_by_a_backup(primary, backups)),
        Acknowledge::Majority => by_majority,
        Acknowledge::All => {
            let counted = backups.iter().filter(|holder| holder.counted);
            let by_all = counted
                .map(|holder| holder.position)
                .fold(own.unwrap_or(u64::MAX), u64::min);
            if rules.fenced() {
                by_all.min(by_majority)
            } else {
                by_all
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::strategy::{Election, Fencing, Reads};

    use super::*;
    use crate::interface::Peer;

    fn decide(
        acknowledge: Acknowledge,
        fencing: Fencing,
        own: u64,
        backups: &[(u64, bool)],
    ) -> u64 {
        let rules = Rules {
            voters: (0..=backups.len() as u32).map(Peer).collect(),
            fixed_primary: None,
            acknowledge,
            fallback: None,
            fencing,
            election: Election::UpToDate,
            reads: Reads::Local,
            lease: None,
        };
        let holder = |&(position, counted): &(u64, bool)| Holder { position, counted };
        let backups: Vec<Holder> = backups.iter().map(holder).collect();
        committed(
            &rules,
            Holder {
                position: own,
                counted: true,
            },
            &backups,
            false,
        )
    }

    #[test]
    fn a_majority_is_more_than_half_whoever_it_is() {
        let majority =
            |own, backups: &[_]| decide(Acknowledge::Majority, Fencing::Epoch, own, backups);
        assert_eq!(majority(9, &[(3, true), (5, true)]), 5);
        assert_eq!(majority(2, &[(3, true), (5, true)]), 3);
        assert_eq!(majority(9, &[(3, true)]), 3);
        assert_eq!(majority(9, &[(9, true), (1, true), (1, true)]), 1);
        assert_eq!(majority(9, &[]), 9);
    }

    #[test]
    fn all_waits_for_everyone_who_counts_and_for_a_majority_where_epochs_are_fenced() {
        let all = |fencing, backups: &[_]| decide(Acknowledge::All, fencing, 9, backups);
        assert_eq!(all(Fencing::Epoch, &[(3, true), (5, true)]), 3);
        assert_eq!(all(Fencing::Epoch, &[(3, false), (5, true)]), 5);
        assert_eq!(all(Fencing::Epoch, &[(3, false), (5, false)]), 5);
        assert_eq!(all(Fencing::None, &[(3, false), (5, false)]), 9);
    }

    #[test]
    fn semi_sync_waits_for_the_fastest_backup_and_for_the_primary_itself() {
        let semi_sync =
            |own, backups: &[_]| decide(Acknowledge::SemiSync, Fencing::Epoch, own, backups);
        assert_eq!(semi_sync(9, &[(3, true), (5, true), (1, true)]), 5);
        assert_eq!(semi_sync(2, &[(3, true), (5, true)]), 2);
        assert_eq!(semi_sync(9, &[(0, true), (0, false)]), 0);
        assert_eq!(semi_sync(9, &[]), 9);
    }

    #[test]
    fn async_waits_for_nobody() {
        assert_eq!(
            decide(
                Acknowledge::Async,
                Fencing::Epoch,
                9,
                &[(0, true), (0, true)]
            ),
            9
        );
    }
}
