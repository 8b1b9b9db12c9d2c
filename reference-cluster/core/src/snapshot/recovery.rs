//! How all nodes go back together.
//!
//! A node that starts knows nothing of what it did since its checkpoint. It opens an era: all others
//! stop, and say which checkpoint is their newest. When all have, everyone goes back to the oldest of
//! these (`chandy-lamport`: all have it, because no snapshot is begun before the one before is on
//! every disk) and goes on. Whatever was sent in an older era is not taken any more. Of two that
//! start at once the later era wins: an era carries its opener's rank, so no two are the same.
//! Under `uncoordinated` everyone goes back to the newest of its own, under `none` nobody goes back.
//! Invariant: nobody goes on in an era before all have stopped in it.
//! Source: Koo & Toueg 1987, "Checkpointing and Rollback-Recovery for Distributed Systems",
//! section 4 (all or none go back).

use std::collections::{BTreeMap, BTreeSet};

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::strategy::Snapshot as Options;

use super::checkpoint::Round;
use super::message::SpreadMessage;
use super::server::SpreadBank;
use crate::flaw::Flaw;
use crate::interface::Peer;

/// What the node that opened an era has to bring about.
#[derive(Debug)]
pub(super) struct Duty {
    newest: BTreeMap<Peer, u64>,
    /// Where all go back to, and the first number that no snapshot has had.
    order: Option<(u64, u64)>,
    resumed: BTreeSet<Peer>,
}

impl SpreadBank {
    /// Opens an era later than `known`.
    pub(super) fn open_era(&mut self, known: u64) {
        let nodes = self.setting.names.len().max(1) as u64;
        let era = (known / nodes + 1) * nodes + u64::from(self.setting.me.0);
        self.stop(era);
        let newest = BTreeMap::from([(self.setting.me, self.checkpoints.newest())]);
        self.duty = Some(Duty {
            newest,
            order: None,
            resumed: BTreeSet::new(),
        });
        self.press_on();
        self.order_when_all_are_ready();
    }

    /// Stops in an era; whoever waits is told so.
    fn stop(&mut self, era: u64) {
        self.era = era;
        self.duty = None;
        self.recordings.clear();
        self.channels.clear();
        if std::mem::take(&mut self.active) {
            self.note(Event::RoleChanged {
                role: Role::Backup,
                epoch: era,
            });
        }
        self.give_up_reads();
    }

    /// At every tick: says again what somebody has not answered.
    pub(super) fn press_on(&mut self) {
        let era = self.era;
        let Some(duty) = &self.duty else {
            return;
        };
        let others = self.setting.others().into_iter();
        let (silent, message) = match duty.order {
            None => {
                let silent = others.filter(|peer| !duty.newest.contains_key(peer));
                (silent.collect(), SpreadMessage::Recover { era })
            }
            Some((line, next)) => {
                let silent: Vec<Peer> =
                    others.filter(|peer| !duty.resumed.contains(peer)).collect();
                let accounts = self.directory.clone();
                let order = SpreadMessage::RollBack {
                    era,
                    line,
                    next,
                    accounts,
                };
                (silent, order)
            }
        };
        if silent.is_empty() && duty.order.is_some() {
            self.duty = None;
        }
        for peer in silent {
            self.send(peer, message.clone());
        }
    }

    /// Somebody opens an era.
    pub(super) fn on_recover(&mut self, from: Peer, era: u64) {
        let present = self.era;
        if era < present && self.opens() {
            // Of two that open one the later has it; the other need not open another.
            return self.send(from, SpreadMessage::Recover { era: present });
        }
        if era < present {
            return self.send(from, SpreadMessage::Newer { era: present });
        }
        if era > self.era {
            self.stop(era);
        }
        let newest = self.checkpoints.newest();
        let accounts = self.directory.clone();
        let ready = SpreadMessage::Ready {
            era,
            newest,
            accounts,
        };
        self.send(from, ready);
    }

    /// This node's era is not the newest.
    pub(super) fn on_newer(&mut self, era: u64) {
        if era > self.era && self.opens() {
            self.open_era(era);
        }
    }

    /// True while others have to stop for the era that this node opens.
    fn opens(&self) -> bool {
        self.duty.as_ref().is_some_and(|duty| duty.order.is_none())
    }

    /// Somebody has stopped.
    pub(super) fn on_ready(
        &mut self,
        from: Peer,
        era: u64,
        newest: u64,
        accounts: BTreeSet<String>,
    ) {
        let present = self.era;
        let Some(duty) = self.duty.as_mut().filter(|_| era == present) else {
            return;
        };
        duty.newest.insert(from, newest);
        self.directory.extend(accounts);
        self.order_when_all_are_ready();
    }

    fn order_when_all_are_ready(&mut self) {
        let nodes = self.setting.names.len();
        let Some(duty) = &mut self.duty else {
            return;
        };
        if duty.order.is_some() || duty.newest.len() < nodes {
            return;
        }
        let line = duty.newest.values().min().copied().unwrap_or(0);
        let next = duty.newest.values().max().copied().unwrap_or(0) + 1;
        duty.order = Some((line, next));
        self.go_back(line, next);
        self.press_on();
    }

    /// All have stopped, and are to go back.
    pub(super) fn on_roll_back(
        &mut self,
        from: Peer,
        (era, line, next): (u64, u64, u64),
        accounts: BTreeSet<String>,
    ) {
        if era < self.era {
            return self.send(from, SpreadMessage::Newer { era: self.era });
        }
        if era > self.era {
            self.stop(era);
        }
        if !self.active {
            self.directory.extend(accounts);
            self.go_back(line, next);
        }
        self.send(from, SpreadMessage::Resumed { era });
    }

    /// Somebody has gone back.
    pub(super) fn on_resumed(&mut self, from: Peer, era: u64) {
        let present = self.era;
        if let Some(duty) = self.duty.as_mut().filter(|_| era == present) {
            duty.resumed.insert(from);
        }
    }

    fn go_back(&mut self, line: u64, next: u64) {
        let alone = self.has(Flaw::RollsBackAlone) && !self.restarted;
        match self.setting.options {
            Options::ChandyLamport { .. } if !alone => {
                self.store = self.checkpoints.of(line).unwrap_or_default();
                self.checkpoints.keep_only(line);
            }
            Options::Uncoordinated { .. } => {
                let newest = self.checkpoints.newest();
                self.store = self.checkpoints.of(newest).unwrap_or_default();
            }
            Options::ChandyLamport { .. } | Options::None {} => {}
        }
        self.restarted = false;
        self.open_what_is_gone();
        self.next_number = next;
        self.round = Round::of(line);
        self.checkpoint_due = self.first_checkpoint(self.now);
        self.active = true;
        self.open_channels();
        self.note(Event::RoleChanged {
            role: Role::Peer,
            epoch: self.era,
        });
        if line > 0 && matches!(self.setting.options, Options::ChandyLamport { .. }) {
            self.write_checkpoints();
        }
    }

    /// Where nobody goes back to a time at which they were not opened yet, accounts exist all the same;
    /// what was in them is gone.
    fn open_what_is_gone(&mut self) {
        if matches!(self.setting.options, Options::ChandyLamport { .. }) {
            return;
        }
        for key in self.directory.clone() {
            if self.setting.owner(&key) == self.setting.me {
                self.store.open(&key, 0);
            }
        }
    }
}
