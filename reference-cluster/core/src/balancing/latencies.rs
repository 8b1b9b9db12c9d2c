//! The latest latencies, and the quantile of them after which a request is hedged.
//!
//! The latencies are those of attempts whose answer came first. What a slow backend would have
//! needed is left out on purpose: it would raise the quantile until nothing is hedged any more.
//!
//! Source: Dean and Barroso, "The Tail at Scale" (2013): a second request after the 95th percentile
//! costs 5 % more load and takes the tail away.

use std::collections::VecDeque;

use shakedown_contracts::units::Duration;

/// How many are remembered.
const WINDOW: usize = 256;
/// With fewer nothing is hedged: the quantile would be one of them by chance.
const LEAST: usize = 20;
/// After so many new ones the quantile is worked out anew.
const RENEWED_AFTER: u32 = 16;

/// The window.
#[derive(Debug)]
pub(super) struct Latencies {
    quantile: f64,
    window: VecDeque<Duration>,
    fresh: u32,
    known: Option<Duration>,
}

impl Latencies {
    pub fn new(quantile: f64) -> Self {
        Latencies {
            quantile,
            window: VecDeque::with_capacity(WINDOW),
            fresh: 0,
            known: None,
        }
    }

    pub fn add(&mut self, latency: Duration) {
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(latency);
        self.fresh += 1;
        if self.window.len() >= LEAST && (self.known.is_none() || self.fresh >= RENEWED_AFTER) {
            self.fresh = 0;
            let mut sorted: Vec<Duration> = self.window.iter().copied().collect();
            sorted.sort();
            let rank = (self.quantile * sorted.len() as f64).ceil() as usize;
            self.known = sorted.get(rank.max(1) - 1).copied();
        }
    }

    /// After so long a request is hedged; `None` while too little is known.
    pub fn hedge_after(&self) -> Option<Duration> {
        self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_is_of_the_latest_and_of_no_fewer_than_twenty() {
        let mut latencies = Latencies::new(0.95);
        for millis in 1..=19 {
            latencies.add(Duration::from_millis(millis));
        }
        assert_eq!(latencies.hedge_after(), None);
        latencies.add(Duration::from_millis(20));
        assert_eq!(latencies.hedge_after(), Some(Duration::from_millis(19)));
        for _ in 0..WINDOW {
            latencies.add(Duration::from_millis(3));
        }
        assert_eq!(latencies.hedge_after(), Some(Duration::from_millis(3)));
    }
}
