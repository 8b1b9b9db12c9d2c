//! Who is slow, compared with the others?
//!
//! A node that limps is worse than one that is dead: nobody suspects it, and whoever waits for it
//! is slow too (fail-slow; Gunawi et al. 2018). Two measures tell, whichever is worse: how long its
//! answer to a heartbeat takes, and how long ago the primary held what the node holds now
//! (replication lag, in time). There is no absolute "slow": what counts is a multiple of the median
//! of the other voters, kept up for a while, and never less than what the rhythm of heartbeats can
//! resolve. A machine on which everything is slow accuses nobody.
//!
//! Invariant: with fewer than two others to compare with nobody is slow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use crate::interface::Peer;

/// Positions of the primary that are remembered; enough for some ten seconds of heartbeats.
const FRONT_MAX: usize = 512;
/// A measure that is older than so many intervals says nothing of now.
const FRESH_INTERVALS: u64 = 4;

/// When a node is slow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// So many times the median of the others.
    pub factor: u32,
    /// For so long.
    pub lasting: Duration,
    /// Time between two heartbeats.
    pub interval: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    at: Moment,
    took: Duration,
    slow_since: Option<Moment>,
}

/// What is measured of all nodes.
#[derive(Debug)]
pub(super) struct Slowness {
    limits: Limits,
    measured: BTreeMap<Peer, Measured>,
    /// When the primary was first seen to hold a position.
    front: VecDeque<(Moment, u64)>,
}

impl Slowness {
    /// Nothing is measured yet.
    pub(super) fn new(limits: Limits) -> Self {
        Slowness {
            limits,
            measured: BTreeMap::new(),
            front: VecDeque::new(),
        }
    }

    /// The primary holds this; of another primary than before, what was seen is void.
    pub(super) fn lead(&mut self, now: Moment, position: u64, anew: bool) {
        if anew {
            self.front.clear();
        }
        if self.front.back().is_none_or(|(_, last)| position > *last) {
            self.front.push_back((now, position));
        }
        if self.front.len() > FRONT_MAX {
            self.front.pop_front();
        }
    }

    /// The node answered after this time and holds this.
    pub(super) fn answered(
        &mut self,
        now: Moment,
        (peer, position): (Peer, u64),
        round_trip: Duration,
        voters: &BTreeSet<Peer>,
    ) {
        let ahead = self.front.iter().find(|(_, held)| *held > position);
        let lag = ahead.map_or(Duration::ZERO, |(since, _)| now.since(*since));
        // Who does not vote holds nothing yet, and lags behind nobody.
        let lag = if voters.contains(&peer) {
            lag
        } else {
            Duration::ZERO
        };
        let took = round_trip.max(lag);
        let slow = self.is_above(now, peer, took, voters);
        let since = self.measured.get(&peer).and_then(|last| last.slow_since);
        let slow_since = slow.then_some(since.unwrap_or(now));
        let measured = Measured {
            at: now,
            took,
            slow_since,
        };
        self.measured.insert(peer, measured);
    }

    /// Nothing is known of the node any more: it is out of reach, or new in its place.
    pub(super) fn forget(&mut self, peer: Peer) {
        self.measured.remove(&peer);
    }

    /// True when the node has been slow for long enough.
    pub(super) fn is_slow(&self, now: Moment, peer: Peer) -> bool {
        let since = self.measured.get(&peer).and_then(|last| last.slow_since);
        since.is_some_and(|since| now.since(since) >= self.limits.lasting)
    }

    fn is_above(&self, now: Moment, peer: Peer, took: Duration, voters: &BTreeSet<Peer>) -> bool {
        let times = |duration: Duration, times: u64| duration.as_nanos().saturating_mul(times);
        let interval = self.limits.interval;
        let fresh =
            |last: &Measured| now.since(last.at).as_nanos() <= times(interval, FRESH_INTERVALS);
        let others = self.measured.iter();
        let mut others: Vec<Duration> = others
            .filter(|(other, last)| **other != peer && voters.contains(other) && fresh(last))
            .map(|(_, last)| last.took)
            .collect();
        if others.len() < 2 {
            return false;
        }
        others.sort();
        // Of an even number the larger middle one: the doubt is the node's.
        let median = others[others.len() / 2];
        let least = times(interval, 2);
        took.as_nanos() > times(median, u64::from(self.limits.factor)).max(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: u64 = 50;

    fn at(millis: u64) -> Moment {
        Moment(1_000_000_000).after(Duration::from_millis(millis))
    }

    /// All answer every 50 ms, each after its time in milliseconds; who is slow at the end.
    fn slow_after(millis: u64, took: [u64; 3]) -> Vec<u32> {
        let mut slowness = Slowness::new(Limits {
            factor: 5,
            lasting: Duration::from_secs(1),
            interval: Duration::from_millis(INTERVAL),
        });
        let voters: BTreeSet<Peer> = (0..3).map(Peer).collect();
        for now in (0..=millis).step_by(INTERVAL as usize) {
            for (peer, took) in (0..).map(Peer).zip(took) {
                let took = Duration::from_millis(took);
                slowness.answered(at(now), (peer, 0), took, &voters);
            }
        }
        let slow = (0..3).filter(|peer| slowness.is_slow(at(millis), Peer(*peer)));
        slow.collect()
    }

    #[test]
    fn slow_is_who_is_far_above_the_others_for_long_enough() {
        assert_eq!(slow_after(2_000, [1, 1, 200]), [2]);
        assert_eq!(slow_after(2_000, [150, 1, 1]), [0]);
        assert_eq!(slow_after(900, [1, 1, 200]), [0_u32; 0], "not for long");
        assert_eq!(
            slow_after(2_000, [1, 1, 90]),
            [0_u32; 0],
            "within two beats"
        );
        assert_eq!(slow_after(2_000, [90, 80, 300]), [0_u32; 0], "all are slow");
        assert_eq!(slow_after(2_000, [600, 1, 600]), [0_u32; 0], "two are");
    }

    #[test]
    fn who_lags_behind_the_primary_is_slow_however_soon_it_answers() {
        let mut slowness = Slowness::new(Limits {
            factor: 5,
            lasting: Duration::from_secs(1),
            interval: Duration::from_millis(INTERVAL),
        });
        let voters: BTreeSet<Peer> = (0..3).map(Peer).collect();
        for now in (0..3_000_u64).step_by(INTERVAL as usize) {
            // An entry every 5 ms; the last node is 300 ms behind, and so is a spare.
            let position = now / 5;
            slowness.lead(at(now), position, false);
            let soon = Duration::from_millis(1);
            for (peer, held) in [
                (0, position),
                (1, position),
                (2, position.saturating_sub(60)),
            ] {
                slowness.answered(at(now), (Peer(peer), held), soon, &voters);
            }
            slowness.answered(at(now), (Peer(3), 0), soon, &voters);
        }
        let slow: Vec<u32> = (0..4)
            .filter(|peer| slowness.is_slow(at(3_000), Peer(*peer)))
            .collect();
        assert_eq!(slow, [2]);
    }
}
