//! Who votes, as the log says.
//!
//! The voters are part of what is replicated: a command names them, and a node goes by the newest
//! such command in its log, committed or not (Ongaro 2014, section 4.1). They change by one member
//! at a time: first the spare is added, then the lost node taken away. Any majority before such a
//! change and any after it share a member, so no two can decide behind each other's back; that is
//! why a swap takes two steps, and why none begins before the step before it, and an entry of the
//! primary's own epoch, is committed (the latter was missing from the thesis; Ongaro, raft-dev,
//! 2015).
//!
//! A node that was replaced while it was away does not have that in its log, and nobody sends it
//! any. It cannot win a majority by what it knows: whoever would have to promise has a log that goes
//! further. But it need not try: a primary tells it who votes, and what was committed further on is
//! as good as if it stood in its own log.
//!
//! Invariant: the configuration in force is the one at the highest position of those in this log and
//! those a primary has told as committed.

use crate::automation::message::Swap;
use crate::interface::Peer;
use crate::message::Entry;
use crate::store::{Command, Configuration};

/// The configurations that this node knows.
#[derive(Debug)]
pub(super) struct Membership {
    /// Before any change.
    first: Configuration,
    /// Of its log, by position: the newest committed one and all after it.
    logged: Vec<Configuration>,
    /// Committed, as a primary told.
    told: Option<Configuration>,
}

impl Membership {
    /// Of a group that begins with these.
    pub(super) fn new(voters: Vec<Peer>) -> Self {
        Membership {
            first: Configuration {
                position: 0,
                voters,
                swap: None,
            },
            logged: Vec::new(),
            told: None,
        }
    }

    /// Begins with what a state and the entries behind it say.
    pub(super) fn begin<'e>(
        &mut self,
        stored: Option<&Configuration>,
        entries: impl Iterator<Item = &'e Entry>,
    ) {
        self.logged = stored.into_iter().cloned().collect();
        entries.for_each(|entry| self.written(entry));
    }

    /// An entry was put into the log.
    pub(super) fn written(&mut self, entry: &Entry) {
        if let Command::Reconfigure { voters, swap } = &entry.command {
            self.logged.push(Configuration {
                position: entry.point.position,
                voters: voters.clone(),
                swap: Some(*swap),
            });
        }
    }

    /// The entry at `position` and all behind it were taken out of the log.
    pub(super) fn truncated_from(&mut self, position: u64) {
        self.logged.retain(|known| known.position < position);
    }

    /// Everything up to `position` is committed.
    pub(super) fn committed(&mut self, position: u64) {
        let newest = self
            .logged
            .iter()
            .rposition(|known| known.position <= position);
        self.logged.drain(..newest.unwrap_or(0));
    }

    /// A primary says what is committed.
    pub(super) fn told(&mut self, position: u64, voters: Vec<Peer>) {
        if position > self.present().position {
            self.told = Some(Configuration {
                position,
                voters,
                swap: None,
            });
        }
    }

    /// The configuration in force.
    pub(super) fn present(&self) -> &Configuration {
        let newest = self.logged.last().unwrap_or(&self.first);
        let told = self.told.as_ref();
        told.filter(|told| told.position > newest.position)
            .unwrap_or(newest)
    }

    /// The newest one that is committed.
    pub(super) fn settled(&self, committed: u64) -> &Configuration {
        let mut settled = self.logged.iter().rev();
        settled
            .find(|known| known.position <= committed)
            .unwrap_or(&self.first)
    }

    /// As many copies as there should be.
    pub(super) fn wanted(&self) -> usize {
        self.first.voters.len()
    }
}

impl Configuration {
    /// The swap whose second step is still to come.
    pub(super) fn unfinished(&self) -> Option<Swap> {
        self.swap.filter(|swap| self.voters.contains(&swap.lost))
    }

    /// Who votes once a spare is added.
    pub(super) fn with(&self, spare: Peer) -> Vec<Peer> {
        let mut voters = self.voters.clone();
        voters.push(spare);
        voters.sort();
        voters
    }

    /// Who votes once a node is taken away.
    pub(super) fn without(&self, lost: Peer) -> Vec<Peer> {
        let mut voters = self.voters.clone();
        voters.retain(|voter| *voter != lost);
        voters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Point;

    const SWAP: Swap = Swap {
        lost: Peer(2),
        spare: Peer(3),
    };

    fn peers(numbers: &[u32]) -> Vec<Peer> {
        numbers.iter().copied().map(Peer).collect()
    }

    fn entry(position: u64, numbers: &[u32]) -> Entry {
        Entry {
            point: Point { epoch: 1, position },
            command: Command::Reconfigure {
                voters: peers(numbers),
                swap: SWAP,
            },
        }
    }

    #[test]
    fn what_stands_last_in_the_log_is_in_force_and_what_is_cut_off_is_not() {
        let mut membership = Membership::new(peers(&[0, 1, 2]));
        membership.written(&entry(5, &[0, 1, 2, 3]));
        membership.written(&entry(9, &[0, 1, 3]));
        assert_eq!(membership.present().voters, peers(&[0, 1, 3]));
        assert_eq!(membership.settled(4).voters, peers(&[0, 1, 2]));
        assert_eq!(membership.settled(8).unfinished(), Some(SWAP));
        membership.truncated_from(9);
        assert_eq!(membership.present().voters, peers(&[0, 1, 2, 3]));
        membership.truncated_from(3);
        assert_eq!(membership.present().voters, peers(&[0, 1, 2]));
    }

    #[test]
    fn what_is_committed_is_kept_and_what_is_older_is_not() {
        let mut membership = Membership::new(peers(&[0, 1, 2]));
        membership.written(&entry(5, &[0, 1, 2, 3]));
        membership.written(&entry(9, &[0, 1, 3]));
        membership.committed(7);
        assert_eq!(membership.settled(7).voters, peers(&[0, 1, 2, 3]));
        membership.committed(12);
        assert_eq!(membership.logged.len(), 1);
        assert_eq!(membership.settled(12).unfinished(), None);
    }

    #[test]
    fn what_a_primary_tells_counts_until_the_log_goes_further() {
        let mut membership = Membership::new(peers(&[0, 1, 2]));
        membership.told(9, peers(&[0, 1, 3]));
        membership.told(5, peers(&[0, 1, 2, 3]));
        assert_eq!(membership.present().voters, peers(&[0, 1, 3]));
        membership.written(&entry(5, &[0, 1, 2, 3]));
        assert_eq!(membership.present().voters, peers(&[0, 1, 3]));
        membership.written(&entry(20, &[0, 1, 2, 3]));
        assert_eq!(membership.present().voters, peers(&[0, 1, 2, 3]));
    }

    #[test]
    fn majorities_on_both_sides_of_each_step_share_a_member() {
        let first = Membership::new(peers(&[0, 1, 2, 5, 6]));
        let second = first.present().with(Peer(3));
        let between = Configuration {
            position: 1,
            voters: second.clone(),
            swap: Some(SWAP),
        };
        let third = between.without(Peer(2));
        for (before, after) in [(&first.present().voters, &second), (&second, &third)] {
            for (one, other) in majorities(before)
                .iter()
                .flat_map(|one| majorities(after).into_iter().map(move |other| (one, other)))
            {
                let shared = one.iter().any(|peer| other.contains(peer));
                assert!(shared, "{one:?} of {before:?}, {other:?} of {after:?}");
            }
        }
        // In one step some would not.
        let swapped = majorities(&peers(&[0, 1, 3, 5, 6]));
        let apart = |one: &Vec<Peer>| {
            let mut others = swapped.iter();
            others.any(|other| !one.iter().any(|peer| other.contains(peer)))
        };
        assert!(majorities(&first.present().voters).iter().any(apart));
    }

    fn majorities(voters: &[Peer]) -> Vec<Vec<Peer>> {
        let sets = 0_u32..1 << voters.len();
        let of = |set: u32| {
            let chosen = voters.iter().enumerate();
            let chosen = chosen.filter(move |(index, _)| set & (1 << index) != 0);
            chosen.map(|(_, peer)| *peer).collect::<Vec<_>>()
        };
        sets.map(of)
            .filter(|chosen| chosen.len() > voters.len() / 2)
            .collect()
    }
}
