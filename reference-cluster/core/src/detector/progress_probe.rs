//! Progress probe: suspect when nothing passes through the peer's disk any more.
//!
//! A heartbeat proves that a process runs and the network carries, not that the node can do its
//! work: with a hung disk it goes on for ever, while every write stalls (a gray failure: Huang et
//! al. 2017). So each node sends probes through its own disk, a write and a sync in the same queue
//! as its log, one at a time, and says in every heartbeat and ACK which was the last to come back.
//! Its observers count only *new* progress as a sign of life.
//!
//! Suspicion comes `timeout` after the last new progress was heard of. The last probe to pass was
//! issued at most an interval before the hang or crash, and is heard of at most an interval after
//! it passed: so it is noticed within `[timeout − interval, timeout + interval]`, plus the delays.
//!
//! Invariant: probes are numbered by the moment of their issue, so that numbers grow over a restart
//! of the observed node too, and a datagram that was overtaken is no progress.

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::{Detector, Evidence};
use crate::flaw::{Flaw, Planted};
use crate::interface::{DiskOperation, DiskToken, Output};
use crate::node::ConfigError;

/// Tells the tokens of probes from those of the log, which count from 1.
const PROBE_TOKEN: u64 = 1 << 63;

/// The observed side: this node's own probes.
#[derive(Debug, Default)]
pub struct Prober {
    issued: u64,
    /// Token and number of the probe under way; the next waits for it, so that a hung disk does
    /// not fill the queue.
    under_way: Option<(DiskToken, u64)>,
    passed: u64,
}

impl Prober {
    /// Sends the next probe through the disk, unless one is under way.
    pub fn probe(&mut self, now: Moment, out: &mut Vec<Output>) {
        if self.under_way.is_some() {
            return;
        }
        self.issued += 1;
        let token = DiskToken(PROBE_TOKEN | self.issued);
        let position = now.0;
        self.under_way = Some((token, position));
        let operation = DiskOperation::Probe { position };
        out.push(Output::Disk { token, operation });
    }

    /// A disk operation is done; true when it was a probe.
    pub fn done(&mut self, token: DiskToken) -> bool {
        match self.under_way {
            Some((probe, position)) if probe == token => {
                self.passed = position;
                self.under_way = None;
                true
            }
            _ => false,
        }
    }

    /// A disk operation failed; true when it was a probe. The next one may pass.
    pub fn failed(&mut self, token: DiskToken) -> bool {
        let own = self.under_way.is_some_and(|(probe, _)| probe == token);
        if own {
            self.under_way = None;
        }
        own
    }

    /// The newest probe that came back; 0 for none.
    pub fn passed(&self) -> u64 {
        self.passed
    }
}

/// The observer's side: suspects `timeout` after the last new progress.
#[derive(Debug)]
pub struct ProgressProbe {
    timeout: Duration,
    progress: u64,
    last: Option<Moment>,
    planted: Planted,
}

impl ProgressProbe {
    /// Of one peer.
    pub fn new(timeout: Duration, planted: Planted) -> Result<Self, ConfigError> {
        if timeout.is_zero() {
            return Err(ConfigError::Value {
                key: "detector.timeout",
                value: timeout.to_string(),
                hint: "give a time longer than the probe interval and a slow sync",
            });
        }
        Ok(ProgressProbe {
            timeout,
            progress: 0,
            last: None,
            planted,
        })
    }
}

impl Detector for ProgressProbe {
    fn heard(&mut self, now: Moment, evidence: Evidence) {
        if evidence.progress > self.progress || self.planted.has(Flaw::ProgressAssumed) {
            self.progress = evidence.progress;
            self.last = self.last.max(Some(now));
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        self.last.map(|last| last.after(self.timeout))
    }

    fn shift(&mut self, slept: Duration) {
        self.last = self.last.map(|last| last.after(slept));
    }

    fn nominal_silence(&self) -> Duration {
        self.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(detector: &mut ProgressProbe, now: u64, progress: u64) {
        let evidence = Evidence {
            progress,
            ..Evidence::beat(1)
        };
        detector.heard(Moment(now), evidence);
    }

    #[test]
    fn only_new_progress_counts_however_often_it_is_said() {
        let mut detector =
            ProgressProbe::new(Duration::from_nanos(100), Planted::default()).unwrap();
        hear(&mut detector, 1_000, 0);
        assert_eq!(detector.next_deadline(), None);
        hear(&mut detector, 1_010, 7);
        hear(&mut detector, 1_090, 7);
        hear(&mut detector, 1_095, 6);
        assert_eq!(detector.next_deadline(), Some(Moment(1_110)));
        hear(&mut detector, 1_105, 8);
        assert_eq!(detector.next_deadline(), Some(Moment(1_205)));
        assert!(ProgressProbe::new(Duration::ZERO, Planted::default()).is_err());
    }

    #[test]
    fn one_probe_is_under_way_at_a_time_and_only_its_own_completion_counts() {
        let mut prober = Prober::default();
        let mut out = Vec::new();
        prober.probe(Moment(5), &mut out);
        prober.probe(Moment(6), &mut out);
        assert_eq!(out.len(), 1);
        assert!(!prober.done(DiskToken(1)), "a token of the log");
        assert_eq!(prober.passed(), 0);
        let Output::Disk { token, .. } = out[0] else {
            panic!("a probe is a disk operation");
        };
        assert!(prober.done(token));
        assert_eq!(prober.passed(), 5);
        assert!(!prober.done(token), "done twice");
        prober.probe(Moment(7), &mut out);
        let Some(Output::Disk { token, .. }) = out.get(1).cloned() else {
            panic!("the next probe");
        };
        assert!(!prober.failed(DiskToken(1)) && prober.failed(token));
        assert_eq!(prober.passed(), 5, "a probe that failed proves nothing");
        prober.probe(Moment(8), &mut out);
        assert_eq!(out.len(), 3);
    }
}
