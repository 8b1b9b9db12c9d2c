//! A retry budget: retries may be a share of the requests, not a multiple.
//!
//! When backends are slow because they have too much to do, each retry is more to do. Without a
//! bound the load grows with the trouble and keeps it going after its cause is gone (a metastable
//! failure); with one, retries add at most the share.
//!
//! Invariant: a retry is granted only while those under way are fewer than the greater of the
//! share of the open requests and [`RETRIES_ALWAYS`]. Source: Envoy's `retry_budget`
//! (`budget_percent` 20, `min_retry_concurrency` 3).

use shakedown_contracts::strategy::{RETRIES_ALWAYS, Retry};

/// Counts the retries under way: those that wait for their turn and those that are sent.
#[derive(Debug)]
pub(super) struct Budget {
    retry: Retry,
    share: f64,
    under_way: u32,
}

impl Budget {
    pub fn new(retry: Retry, share: f64) -> Self {
        Budget {
            retry,
            share,
            under_way: 0,
        }
    }

    /// Whether one more may begin beside so many open requests.
    pub fn take(&mut self, open: usize) -> bool {
        let granted = match self.retry {
            Retry::None => false,
            Retry::Unlimited => true,
            Retry::Budget => self.under_way < self.limit(open),
        };
        self.under_way += u32::from(granted);
        granted
    }

    /// One has ended.
    pub fn give_back(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Retries under way.
    #[cfg(test)]
    pub fn under_way(&self) -> u32 {
        self.under_way
    }

    /// Most retries beside so many open requests.
    pub fn limit(&self, open: usize) -> u32 {
        ((self.share * open as f64) as u32).max(RETRIES_ALWAYS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_grants_a_share_of_the_open_requests_and_never_less_than_three() {
        let mut budget = Budget::new(Retry::Budget, 0.2);
        for (open, most) in [(0, 3), (10, 3), (15, 3), (20, 4), (100, 20)] {
            while budget.take(open) {}
            assert_eq!(budget.under_way(), most, "{open} open");
            for _ in 0..most {
                budget.give_back();
            }
        }
    }

    #[test]
    fn without_retries_none_is_granted_and_without_a_limit_every_one() {
        assert!(!Budget::new(Retry::None, 0.2).take(1_000));
        let mut unlimited = Budget::new(Retry::Unlimited, 0.2);
        assert!((0..10_000).all(|_| unlimited.take(1)));
    }
}
