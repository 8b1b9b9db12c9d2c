//! The supervisor: what should be so, what is so, and whom to ask for the difference.
//!
//! It is a control loop (the reconciliation of Kubernetes' controllers): at every tick it compares
//! and asks again for what is missing. A dead node is to be started: it notes
//! `supervisor.restart`, and whoever can start processes obeys. A node that is lost, that dies at
//! every start or that is slow is to be replaced by a spare: it asks the primary, as long as it
//! still wants that, and learns from the answers whether it is done. It writes nothing down: after
//! its own death it sees again what is wrong, and asks again.
//!
//! Invariants: it asks for one swap at a time, of a node that votes for one that does not; what it
//! asks of a live node by mistake does nothing (a start) or costs a copy's way (a swap), never data.
//! A node that a supervisor has not heard since its own start is dead to it only after ten times the
//! detector's patience, as to any other observer.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Drain;

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::node::{ApiError, ApiErrorKind, Status};
use shakedown_contracts::strategy::Supervisor as Options;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::message::{AutomationMessage, Swap};
use super::restarts::{Decision, Restarts};
use super::slowness::{Limits, Slowness};
use crate::detector::watch::SelfPortrait;
use crate::flaw::Planted;
use crate::interface::{ClientReply, ClientRequest, DiskToken, Output, Peer, RequestId, Timer};
use crate::message::{Heartbeat, Message, Point};
use crate::recovery_log::Found;
use crate::recovery_log::record::Recovered;
use crate::service::Service;

/// What does not change while a supervisor runs.
#[derive(Debug)]
pub struct Setting {
    /// Its own name.
    pub name: String,
    /// Names of the nodes, in rank order.
    pub nodes: Vec<String>,
    /// What it may do.
    pub options: Options,
    /// The step in which it looks and asks again.
    pub beat: Duration,
    /// Time between two heartbeats.
    pub interval: Duration,
    /// In tests alone.
    pub planted: Planted,
}

/// One node under its care.
#[derive(Debug)]
pub(super) struct Charge {
    pub restarts: Restarts,
    pub down_since: Option<Moment>,
    /// It has been heard since the supervisor began.
    pub heard: bool,
}

/// The machine.
#[derive(Debug)]
pub struct Supervisor {
    pub(super) setting: Setting,
    pub(super) now: Moment,
    /// Names its own heartbeats: their answers tell how long they took.
    incarnation: Moment,
    pub(super) out: Vec<Output>,
    pub(super) charges: BTreeMap<Peer, Charge>,
    pub(super) slowness: Option<Slowness>,
    /// Who leads, in the newest epoch that was heard of.
    pub(super) lead: Option<(u64, Peer)>,
    /// Who votes, and where the log says so; as told by a primary.
    pub(super) voters: BTreeSet<Peer>,
    told: Option<u64>,
    pub(super) swap: Option<Swap>,
    pub(super) ask_due: Moment,
}

impl Supervisor {
    /// Has not begun.
    pub fn new(setting: Setting) -> Self {
        let charge = |_| Charge {
            restarts: Restarts::new(&setting.options, setting.planted),
            down_since: None,
            heard: false,
        };
        let peers = (0..setting.nodes.len() as u32).map(Peer);
        let charges = peers.map(|peer| (peer, charge(peer))).collect();
        let slowness = setting.options.slow_for.map(|lasting| {
            Slowness::new(Limits {
                factor: setting.options.slow_factor,
                lasting,
                interval: setting.interval,
            })
        });
        Supervisor {
            setting,
            now: Moment(0),
            incarnation: Moment(0),
            out: Vec::new(),
            charges,
            slowness,
            lead: None,
            voters: BTreeSet::new(),
            told: None,
            swap: None,
            ask_due: Moment(0),
        }
    }

    pub(super) fn name(&self, peer: Peer) -> String {
        let name = self.setting.nodes.get(peer.0 as usize);
        name.cloned().unwrap_or_default()
    }

    pub(super) fn note(&mut self, event: Event) {
        self.out.push(Output::Note { event });
    }

    fn set_tick(&mut self) {
        let at = self.now.after(self.setting.beat);
        let timer = Timer::Replication;
        self.out.push(Output::SetTimer { timer, at });
    }

    fn restart_who_is_due(&mut self) {
        let now = self.now;
        let charges = self.charges.iter_mut();
        let decided: Vec<(Peer, Decision)> = charges
            .filter_map(|(peer, charge)| Some((*peer, charge.restarts.decide(now)?)))
            .collect();
        for (peer, decision) in decided {
            let node = self.name(peer);
            self.note(match decision {
                Decision::Start(attempt) => Event::SupervisorRestart { node, attempt },
                Decision::GiveUp(attempts) => Event::SupervisorGaveUp { node, attempts },
            });
        }
    }

    /// Who leads, by what a heartbeat says; true when it is another than before.
    fn follow(&mut self, from: Peer, heartbeat: &Heartbeat) -> bool {
        let newest = self.lead.map_or(0, |(epoch, _)| epoch);
        if heartbeat.primary && heartbeat.epoch >= newest {
            let lead = Some((heartbeat.epoch, from));
            let changed = self.lead != lead;
            self.lead = lead;
            if changed {
                self.ask_due = self.now;
            }
            return changed;
        }
        false
    }

    fn measure(&mut self, from: Peer, heartbeat: &Heartbeat, leads_anew: bool) {
        let Some(slowness) = &mut self.slowness else {
            return;
        };
        if self.lead.is_some_and(|(_, primary)| primary == from) {
            slowness.lead(self.now, heartbeat.position, leads_anew);
        }
        let answers = heartbeat.ack && heartbeat.incarnation == self.incarnation.0;
        if answers && heartbeat.sequence > 0 {
            let nanos = self.setting.interval.as_nanos();
            let since = nanos.saturating_mul(heartbeat.sequence - 1);
            let due = self.incarnation.after(Duration::from_nanos(since));
            let round_trip = self.now.since(due);
            let held = (from, heartbeat.position);
            slowness.answered(self.now, held, round_trip, &self.voters);
        }
    }
}

impl Service for Supervisor {
    fn at(&mut self, now: Moment) {
        self.now = now;
    }

    fn start(&mut self, _recovered: Recovered, _found: Option<Found>) {
        self.incarnation = self.now;
        self.note(Event::RoleChanged {
            role: Role::Supervisor,
            epoch: 0,
        });
        self.set_tick();
    }

    fn message(&mut self, _from: Peer, message: Message) {
        let Message::Automation(AutomationMessage::Voters {
            position, voters, ..
        }) = message
        else {
            return;
        };
        // What is committed at a later position is newer, whoever tells it.
        if self.told.is_none_or(|told| position >= told) {
            let voters: BTreeSet<Peer> = voters.into_iter().collect();
            let gone: Vec<Peer> = self.voters.difference(&voters).copied().collect();
            if let Some(slowness) = &mut self.slowness {
                gone.into_iter().for_each(|peer| slowness.forget(peer));
            }
            self.told = Some(position);
            self.voters = voters;
        }
    }

    fn reconnected(&mut self, _peer: Peer) {
        self.ask_due = self.now;
    }

    fn heard(&mut self, from: Peer, heartbeat: &Heartbeat) {
        let leads_anew = self.follow(from, heartbeat);
        if let Some(charge) = self.charges.get_mut(&from) {
            charge.heard = true;
        }
        self.measure(from, heartbeat, leads_anew);
    }

    fn suspicion_changed(&mut self, suspected: BTreeSet<Peer>) {
        for (peer, charge) in &mut self.charges {
            match (suspected.contains(peer), charge.down_since) {
                (true, None) => {
                    charge.down_since = Some(self.now);
                    charge.restarts.down(self.now);
                    if let Some(slowness) = &mut self.slowness {
                        slowness.forget(*peer);
                    }
                }
                (false, Some(_)) => {
                    charge.down_since = None;
                    charge.restarts.up(self.now);
                }
                _ => {}
            }
        }
    }

    fn tick(&mut self) {
        self.restart_who_is_due();
        self.ask_for_what_is_wanted();
        self.set_tick();
    }

    fn sync_due(&mut self) {}

    fn checkpoint_if_due(&mut self, _timer: bool) {}

    fn disk_done(&mut self, _token: DiskToken) {}

    fn disk_failed(&mut self, _token: DiskToken) {}

    fn request(&mut self, id: RequestId, request: ClientRequest) {
        let status = self.status();
        let reply = match request {
            ClientRequest::Status => ClientReply::Status(status),
            _ => ClientReply::Error(ApiError {
                error: ApiErrorKind::NotPrimary,
                message: "a supervisor holds no data; ask the primary".to_owned(),
                node: status.node,
                epoch: status.epoch,
                primary: status.primary,
            }),
        };
        self.out.push(Output::Reply { id, reply });
    }

    fn settle(&mut self) {}

    fn take_outputs(&mut self) -> Drain<'_, Output> {
        self.out.drain(..)
    }

    fn portrait(&self) -> SelfPortrait {
        SelfPortrait {
            primary: false,
            epoch: 0,
            position: 0,
        }
    }

    fn status(&self) -> Status {
        Status {
            node: self.setting.name.clone(),
            role: Role::Supervisor,
            epoch: self.lead.map_or(0, |(epoch, _)| epoch),
            primary: self.lead.map(|(_, primary)| self.name(primary)),
            position: 0,
            committed: 0,
        }
    }

    fn point(&self, _position: u64) -> Option<Point> {
        None
    }
}
