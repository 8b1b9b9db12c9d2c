//! The node as a [`Service`]: what each input is given to, and how a step ends.
//!
//! Invariant: a step ends with nothing left that could be said: queues are empty but for what waits
//! for the disk, for others, or for its time.

use std::collections::BTreeSet;
use std::vec::Drain;

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::node::Status;
use shakedown_contracts::time::Moment;

use super::keeper::Keeper;
use super::notes::{Memory, ReadBack};
use crate::detector::watch::SelfPortrait;
use crate::flaw::Flaw;
use crate::interface::{ClientRequest, DiskToken, Output, Peer, RequestId};
use crate::message::{Heartbeat, Message, Point};
use crate::recovery_log::Found;
use crate::recovery_log::record::{CheckpointState, Recovered};
use crate::service::Service;
use crate::store::Store;

impl Service for Keeper {
    fn at(&mut self, now: Moment) {
        self.now = now;
    }

    fn start(&mut self, recovered: Recovered, found: Option<Found>) {
        let durable_with = self
            .log
            .start(self.now, found.unwrap_or_default(), &mut self.out);
        let checkpoint = recovered.checkpoint.map(|checkpoint| checkpoint.service);
        let checkpoint = checkpoint.unwrap_or_default();
        let believe = self.has(Flaw::DamageBelieved);
        match ReadBack::of(&checkpoint, &recovered.service, durable_with, believe) {
            Ok(back) => {
                self.holdings = back.holdings;
                self.absences = back.absences;
            }
            Err(error) => {
                let message = format!(
                    "what the log holds is no note of this strategy ({error}); restore the folder \
                     from another node or empty it"
                );
                return self.out.push(Output::Fatal { message });
            }
        }
        if self.setting.terms.needed == 1 {
            self.holdings.keep_newest_alone();
        }
        let damaged: Vec<String> = self.holdings.damaged().cloned().collect();
        for key in damaged {
            self.note(Event::CopyDamaged { key });
        }
        self.note(Event::RoleChanged {
            role: Role::Peer,
            epoch: 0,
        });
        self.reach_due = self.now.after(self.setting.terms.patience);
        self.plan_comparison();
    }

    fn message(&mut self, from: Peer, message: Message) {
        if let Message::Redundancy(message) = message {
            self.handle(from, message);
        }
    }

    fn reconnected(&mut self, peer: Peer) {
        self.say_again(peer);
        self.reach_due = self.now;
    }

    fn heard(&mut self, _from: Peer, _heartbeat: &Heartbeat) {}

    fn suspicion_changed(&mut self, suspected: BTreeSet<Peer>) {
        let since = |peer: Peer| self.suspected.get(&peer).copied().unwrap_or(self.now);
        let suspected = suspected.into_iter().map(|peer| (peer, since(peer)));
        self.suspected = suspected.collect();
        self.reach_due = self.now;
        self.targets_changed();
    }

    fn tick(&mut self) {
        self.armed = None;
        self.expire();
        self.reach_out();
        self.compare_if_due();
    }

    fn sync_due(&mut self) {
        self.log.sync_due(self.now, &mut self.out);
    }

    fn checkpoint_if_due(&mut self, timer: bool) {
        let due = self.log.checkpoint_due(self.now, timer, &mut self.out);
        if !due || !self.unsaved {
            return;
        }
        self.unsaved = false;
        let memory = Memory {
            kept: self.holdings.all(),
            damaged: self.holdings.damaged().cloned().collect(),
            hints: self.absences.hints(),
        };
        let state = CheckpointState {
            service: serde_json::to_string(&memory)
                .expect("what is held has no part that JSON lacks"),
            ..CheckpointState::new(Point::default(), Store::default())
        };
        self.log.checkpoint(self.now, &state, &[], &mut self.out);
    }

    fn disk_done(&mut self, token: DiskToken) {
        self.log.disk_done(self.now, token, &mut self.out);
    }

    fn disk_failed(&mut self, token: DiskToken) {
        self.log.disk_failed(token, &mut self.out);
    }

    fn request(&mut self, id: RequestId, request: ClientRequest) {
        self.take(id, request);
    }

    fn settle(&mut self) {
        self.flow();
        self.note_degradation();
        self.checkpoint_if_due(false);
        self.arm();
    }

    fn take_outputs(&mut self) -> Drain<'_, Output> {
        self.out.drain(..)
    }

    fn portrait(&self) -> SelfPortrait {
        SelfPortrait {
            primary: false,
            epoch: 0,
            position: self.holdings.len() as u64,
        }
    }

    fn status(&self) -> Status {
        let keys = self.holdings.len() as u64;
        Status {
            node: self.name(self.setting.me),
            role: Role::Peer,
            epoch: 0,
            primary: None,
            position: keys,
            committed: keys,
        }
    }

    fn point(&self, _position: u64) -> Option<Point> {
        None
    }
}
