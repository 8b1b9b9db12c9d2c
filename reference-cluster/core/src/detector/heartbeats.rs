//! All-to-all heartbeats: who sends them when, what counts as evidence of life, and whom this node
//! suspects. From which silence on is the business of a [`Detector`] for each peer.
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

use shakedown_contracts::strategy::Detector as Options;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::progress_probe::Prober;
use super::watch::{SelfPortrait, Sign, Watch, opinion};
use super::{Detector, Evidence, Group, detector, rhythm};
use crate::flaw::{Flaw, Planted};
use crate::interface::{DiskToken, Output, Peer, Timer};
use crate::message::Heartbeat;
use crate::node::ConfigError;

/// Nominal silences that a peer has to be heard for the first time.
const FIRST_EVIDENCE_GRACE: u64 = 10;

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
pub struct Heartbeats {
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

impl Heartbeats {
    /// Watches all peers with the configured detector.
    pub fn new(options: &Options, group: &Group) -> Result<Self, ConfigError> {
        let planted = group.planted;
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
        let watched = group.peers().map(|(peer, name)| {
            let detector = detector(options, planted)?;
            Ok(Watched {
                peer,
                name: name.to_owned(),
                detector,
                suspected: false,
            })
        });
        Ok(Heartbeats {
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

    fn grace_from(&self, now: Moment) -> Moment {
        let nominal = self
            .peers
            .first()
            .map_or(0, |peer| peer.detector.nominal_silence().as_nanos());
        now.after(Duration::from_nanos(
            nominal.saturating_mul(FIRST_EVIDENCE_GRACE),
        ))
    }

    /// Sends the heartbeats that are due and sets the timer for the next.
    fn beat(&mut self, now: Moment, portrait: SelfPortrait, out: &mut Vec<Output>) {
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

    /// Takes a heartbeat or an ACK: answers it, and counts it as evidence where it is one.
    fn receive(
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
    fn judge(&mut self, now: Moment, out: &mut Vec<Output>) -> bool {
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
                out.push(opinion(&watched.name, suspected));
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
}

impl Watch for Heartbeats {
    fn start(&mut self, now: Moment) {
        self.incarnation = now.0;
        self.heartbeat_due = now;
        self.first_evidence_due = self.grace_from(now);
    }

    fn notice_own_pause(&mut self, now: Moment) -> Option<Duration> {
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

    fn hear(
        &mut self,
        now: Moment,
        (from, sign): (Peer, Sign<'_>),
        portrait: SelfPortrait,
        out: &mut Vec<Output>,
    ) {
        if let Sign::Heartbeat(heartbeat) = sign {
            self.receive(now, (from, heartbeat), portrait, out);
        }
    }

    fn disk_done(&mut self, token: DiskToken) -> bool {
        self.prober
            .as_mut()
            .is_some_and(|prober| prober.done(token))
    }

    fn disk_failed(&mut self, token: DiskToken) -> bool {
        self.prober
            .as_mut()
            .is_some_and(|prober| prober.failed(token))
    }

    fn act(&mut self, now: Moment, portrait: SelfPortrait, out: &mut Vec<Output>) -> bool {
        self.beat(now, portrait, out);
        self.judge(now, out)
    }

    fn suspected(&self) -> BTreeSet<Peer> {
        self.peers
            .iter()
            .filter(|watched| watched.suspected)
            .map(|watched| watched.peer)
            .collect()
    }

    fn nominal_silence(&self) -> Duration {
        let first = self.peers.first();
        first.map_or(Duration::ZERO, |watched| watched.detector.nominal_silence())
    }
}

#[cfg(test)]
mod tests;
