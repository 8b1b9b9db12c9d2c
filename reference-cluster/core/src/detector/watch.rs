//! Who sends heartbeats when, what counts as evidence of life, and whom this node suspects.
//!
//! Heartbeats go out on an absolute schedule from the start (no drift); every one is answered with
//! an ACK at once. Evidence is the ACK of one's own heartbeat (it proves both directions) or the
//! peer's heartbeat, as configured.
//!
//! **Own pause.** A node that was stopped wakes up to silence that nobody caused: its peers spoke,
//! it did not listen. When the heartbeat timer is found to be more than two intervals late, all
//! evidence is moved by the lateness, so that only time in which this node ran counts as silence.
//!
//! Invariant: a peer that was never heard is suspected only after ten times the nominal silence
//! since the start, because nodes start at different times.

use std::collections::BTreeSet;

use shakedown_contracts::event::Event;
use shakedown_contracts::strategy::Detector as Options;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::progress_probe::Prober;
use super::{Detector, Evidence, detector, rhythm};
use crate::flaw::{Flaw, Planted};
use crate::interface::{DiskToken, Output, Peer, Timer};
use crate::message::Heartbeat;
use crate::node::ConfigError;

/// Nominal silences that a peer has to be heard for the first time.
const FIRST_EVIDENCE_GRACE: u64 = 10;

/// What a heartbeat says about its sender besides that it lives.
#[derive(Debug, Clone, Copy)]
pub struct SelfPortrait {
    /// It acts as primary.
    pub primary: bool,
    /// The newest epoch it knows.
    pub epoch: u64,
    /// Position of its last entry.
    pub position: u64,
}

/// One peer as seen from here.
#[derive(Debug)]
struct Watched {
    peer: Peer,
    name: String,
    detector: Box<dyn Detector>,
    suspected: bool,
}

/// All peers as seen from here.
#[derive(Debug)]
pub struct Watch {
    peers: Vec<Watched>,
    interval: Option<Duration>,
    ack: bool,
    /// Where evidence of life is progress of the disk.
    prober: Option<Prober>,
    incarnation: u64,
    sequence: u64,
    heartbeat_due: Moment,
    first_evidence_due: Moment,
    timer_set: Option<Moment>,
    planted: Planted,
}

impl Watch {
    /// Watches `peers` with the configured detector.
    pub fn new(
        options: &Options,
        peers: Vec<(Peer, String)>,
        planted: Planted,
    ) -> Result<Self, ConfigError> {
        let rhythm = rhythm(options);
        if let Some((interval, _)) = rhythm
            && interval < Duration::from_millis(1)
        {
            return Err(ConfigError::Value {
                key: "detector.heartbeat_interval",
                value: interval.to_string(),
                hint: "give at least 1ms",
            });
        }
        let watched = peers.into_iter().map(|(peer, name)| {
            let detector = detector(options, planted)?;
            Ok(Watched {
                peer,
                name,
                detector,
                suspected: false,
            })
        });
        Ok(Watch {
            peers: watched.collect::<Result<_, _>>()?,
            interval: rhythm.map(|(interval, _)| interval),
            ack: rhythm.is_some_and(|(_, ack)| ack),
            prober: matches!(options, Options::ProgressProbe { .. }).then(Prober::default),
            incarnation: 0,
            sequence: 0,
            heartbeat_due: Moment(0),
            first_evidence_due: Moment(u64::MAX),
            timer_set: None,
            planted,
        })
    }

    /// Begins: the first heartbeat is due at once.
    pub fn start(&mut self, now: Moment) {
        self.incarnation = now.0;
        self.heartbeat_due = now;
        self.first_evidence_due = self.grace_from(now);
    }

    fn grace_from(&self, now: Moment) -> Moment {
        let nominal = self
            .peers
            .first()
            .map_or(0, |peer| peer.detector.nominal_silence().as_nanos());
        now.after(Duration::from_nanos(
            nominal.saturating_mul(FIRST_EVIDENCE_GRACE),
        ))
    }

    /// To be called first at every step: notices that this node itself was stopped. Returns how
    /// long, where it was.
    pub fn notice_own_pause(&mut self, now: Moment) -> Option<Duration> {
        let interval = self.interval?;
        let late = now.since(self.heartbeat_due);
        let patience = Duration::from_nanos(interval.as_nanos().saturating_mul(2));
        if late <= patience || self.planted.has(Flaw::OwnPauseUnnoticed) {
            return None;
        }
        for peer in &mut self.peers {
            peer.detector.shift(late);
        }
        self.first_evidence_due = self.first_evidence_due.after(late);
        Some(late)
    }

    /// Sends the heartbeats that are due and sets the timer for the next.
    pub fn beat(&mut self, now: Moment, portrait: SelfPortrait, out: &mut Vec<Output>) {
        let Some(interval) = self.interval else {
            return;
        };
        if now < self.heartbeat_due {
            return;
        }
        // The newest point of the schedule that has come; those that were slept through are left
        // out, so that a sequence tells when its heartbeat was due.
        let missed = now.since(self.heartbeat_due).as_nanos() / interval.as_nanos();
        self.sequence += 1 + missed;
        if let Some(prober) = &mut self.prober {
            prober.probe(now, out);
        }
        let heartbeat = self.heartbeat(portrait, false, (self.incarnation, self.sequence));
        for watched in &self.peers {
            out.push(Output::SendHeartbeat {
                to: watched.peer,
                heartbeat,
            });
        }
        let step = interval.as_nanos().saturating_mul(missed + 1);
        self.heartbeat_due = self.heartbeat_due.after(Duration::from_nanos(step));
        out.push(Output::SetTimer {
            timer: Timer::Heartbeat,
            at: self.heartbeat_due,
        });
    }

    /// What this node says of itself, in a heartbeat of its own or in answer to another's.
    fn heartbeat(
        &self,
        portrait: SelfPortrait,
        ack: bool,
        (incarnation, sequence): (u64, u64),
    ) -> Heartbeat {
        Heartbeat {
            ack,
            primary: portrait.primary,
            incarnation,
            sequence,
            epoch: portrait.epoch,
            position: portrait.position,
            progress: self.prober.as_ref().map_or(0, Prober::passed),
        }
    }

    /// A disk operation is done; true when it was a probe of this node's own.
    pub fn disk_done(&mut self, token: DiskToken) -> bool {
        self.prober
            .as_mut()
            .is_some_and(|prober| prober.done(token))
    }

    /// A disk operation failed; true when it was a probe of this node's own.
    pub fn disk_failed(&mut self, token: DiskToken) -> bool {
        self.prober
            .as_mut()
            .is_some_and(|prober| prober.failed(token))
    }

    /// Takes a heartbeat or an ACK: answers it, and counts it as evidence where it is one.
    pub fn receive(
        &mut self,
        now: Moment,
        (from, heartbeat): (Peer, &Heartbeat),
        portrait: SelfPortrait,
        out: &mut Vec<Output>,
    ) {
        if !heartbeat.ack {
            let answered = (heartbeat.incarnation, heartbeat.sequence);
            let answer = self.heartbeat(portrait, true, answered);
            out.push(Output::SendHeartbeat {
                to: from,
                heartbeat: answer,
            });
        } else if heartbeat.incarnation != self.incarnation {
            return;
        }
        // Whoever asks is answered; only who is watched is judged.
        let Some(index) = self.peers.iter().position(|watched| watched.peer == from) else {
            return;
        };
        if heartbeat.ack == self.ack || self.planted.has(Flaw::AckNotRequired) {
            let at = self.counted_from(now, heartbeat);
            let watched = &mut self.peers[index];
            let evidence = Evidence {
                suspected: watched.suspected,
                incarnation: heartbeat.incarnation,
                sequence: heartbeat.sequence,
                progress: heartbeat.progress,
            };
            watched.detector.heard(at, evidence);
        }
    }

    /// Since when a heartbeat is evidence: since it came.
    fn counted_from(&self, now: Moment, heartbeat: &Heartbeat) -> Moment {
        let Some(interval) = self
            .interval
            .filter(|_| self.planted.has(Flaw::EvidenceFromSend))
        else {
            return now;
        };
        let since_start = interval.as_nanos().saturating_mul(heartbeat.sequence - 1);
        Moment(heartbeat.incarnation).after(Duration::from_nanos(since_start))
    }

    /// Compares every peer with `now`, reports what changed, and sets the timer for the next
    /// deadline. True when an opinion changed.
    pub fn judge(&mut self, now: Moment, out: &mut Vec<Output>) -> bool {
        let mut changed = false;
        let mut next: Option<Moment> = None;
        for watched in &mut self.peers {
            let unheard = self.interval.map(|_| self.first_evidence_due);
            let deadline = watched.detector.next_deadline().or(unheard);
            let stays = watched.suspected && self.planted.has(Flaw::SuspicionNeverWithdrawn);
            let suspected = stays || deadline.is_some_and(|deadline| now >= deadline);
            if suspected != watched.suspected {
                watched.suspected = suspected;
                changed = true;
                let subject = watched.name.clone();
                let event = if suspected {
                    Event::Suspicion { subject }
                } else {
                    Event::Trust { subject }
                };
                out.push(Output::Note { event });
            }
            if let Some(deadline) = deadline.filter(|_| !suspected) {
                next = Some(next.map_or(deadline, |next: Moment| next.min(deadline)));
            }
        }
        if let Some(at) = next
            && self.timer_set != Some(at)
        {
            out.push(Output::SetTimer {
                timer: Timer::Suspicion,
                at,
            });
            self.timer_set = Some(at);
        }
        changed
    }

    /// Whom this node holds for failed.
    pub fn suspected(&self) -> BTreeSet<Peer> {
        self.peers
            .iter()
            .filter(|watched| watched.suspected)
            .map(|watched| watched.peer)
            .collect()
    }

    /// Silence after which a peer would be suspected, before anything is known about its rhythm.
    pub fn nominal_silence(&self) -> Duration {
        let first = self.peers.first();
        first.map_or(Duration::ZERO, |watched| watched.detector.nominal_silence())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTRAIT: SelfPortrait = SelfPortrait {
        primary: false,
        epoch: 1,
        position: 0,
    };

    fn at(millis: u64) -> Moment {
        Moment(1_000_000_000).after(Duration::from_millis(millis))
    }

    fn watch(ack: bool) -> Watch {
        let options = Options::FixedTimeout {
            heartbeat_interval: Duration::from_millis(50),
            timeout: Duration::from_millis(400),
            ack,
        };
        let mut watch =
            Watch::new(&options, vec![(Peer(1), "n2".into())], Planted::default()).unwrap();
        watch.start(at(0));
        watch
    }

    fn hear(watch: &mut Watch, millis: u64, ack: bool) {
        let heartbeat = Heartbeat {
            ack,
            primary: false,
            incarnation: at(0).0,
            sequence: 1,
            epoch: 0,
            position: 0,
            progress: 0,
        };
        watch.receive(at(millis), (Peer(1), &heartbeat), PORTRAIT, &mut Vec::new());
    }

    #[test]
    fn heartbeats_keep_their_schedule_however_late_the_timer_is() {
        let mut watch = watch(true);
        let mut due = Vec::new();
        for millis in [0, 57, 100, 163, 420] {
            let mut out = Vec::new();
            watch.beat(at(millis), PORTRAIT, &mut out);
            due.extend(out.into_iter().filter_map(|output| match output {
                Output::SetTimer { at: due, .. } => Some(due),
                _ => None,
            }));
        }
        assert_eq!(due, [at(50), at(100), at(150), at(200), at(450)]);
    }

    #[test]
    fn a_sequence_is_the_point_of_the_schedule_that_its_heartbeat_stands_for() {
        let mut watch = watch(true);
        let mut sequences = Vec::new();
        // Due at 0, 50, 100 … ms; from 200 to 350 ms were slept through.
        for millis in [0, 57, 100, 163, 420, 450] {
            let mut out = Vec::new();
            watch.beat(at(millis), PORTRAIT, &mut out);
            sequences.extend(out.into_iter().filter_map(|output| match output {
                Output::SendHeartbeat { heartbeat, .. } => Some(heartbeat.sequence),
                _ => None,
            }));
        }
        assert_eq!(sequences, [1, 2, 3, 4, 9, 10]);
    }

    #[test]
    fn only_the_configured_evidence_counts() {
        for (configured, heard, suspected) in [
            (true, true, false),
            (true, false, true),
            (false, false, false),
            (false, true, true),
        ] {
            let mut watch = watch(configured);
            hear(&mut watch, 0, configured);
            hear(&mut watch, 300, heard);
            watch.judge(at(450), &mut Vec::new());
            assert_eq!(
                !watch.suspected().is_empty(),
                suspected,
                "{configured} {heard}"
            );
        }
    }

    #[test]
    fn a_peer_that_was_never_heard_gets_ten_timeouts() {
        let mut watch = watch(true);
        assert!(!watch.judge(at(3_999), &mut Vec::new()));
        assert!(watch.judge(at(4_000), &mut Vec::new()));
        hear(&mut watch, 4_100, true);
        let mut out = Vec::new();
        assert!(watch.judge(at(4_100), &mut out));
        assert!(out.contains(&Output::Note {
            event: Event::Trust {
                subject: "n2".into()
            }
        }));
    }

    #[test]
    fn silence_that_was_slept_through_is_no_evidence_against_a_peer() {
        let mut watch = watch(true);
        watch.beat(at(0), PORTRAIT, &mut Vec::new());
        hear(&mut watch, 1, true);
        // Stopped at 40 ms, continued at 10 s.
        assert!(watch.notice_own_pause(at(10_000)).is_some());
        watch.beat(at(10_000), PORTRAIT, &mut Vec::new());
        assert!(!watch.judge(at(10_000), &mut Vec::new()));
        // A peer that then stays silent is suspected all the same.
        for millis in (10_050..10_400).step_by(50) {
            assert!(watch.notice_own_pause(at(millis)).is_none());
            watch.beat(at(millis), PORTRAIT, &mut Vec::new());
        }
        assert!(watch.judge(at(10_400), &mut Vec::new()));
    }

    #[test]
    fn without_the_own_pause_rule_the_same_silence_would_be_held_against_the_peer() {
        let mut watch = watch(true);
        hear(&mut watch, 1, true);
        assert!(watch.judge(at(10_000), &mut Vec::new()));
    }
}
