//! Faults of disks and clocks: how they begin, how they are seen, how they end.
//!
//! Invariant: what [`World::effect`] says was measured in the world; before anything was seen it
//! says nothing.

use std::collections::BTreeMap;

use shakedown_contracts::event::Achieved;
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::host_fault::{Damage, HostFault};
use shakedown_contracts::random::Random;
use shakedown_contracts::units::Duration;

use crate::agenda::Due;
use crate::happening::Happening;
use crate::troubles::HostEffect;
use crate::world::World;

/// After this time a clock is looked at, to see at what rate it runs.
const CLOCK_WATCHED: Duration = Duration::from_millis(10);

/// What was damaged, by fault.
pub(crate) type Damages = BTreeMap<FaultId, HostEffect>;

impl World {
    /// Lays a fault on a node's host. It says so by [`Happening::Disturbed`] as soon as it was seen to
    /// do something.
    ///
    /// # Errors
    /// Why there is nothing it could do.
    ///
    /// # Panics
    /// Like all faults, when there is no such node.
    pub fn disturb(&mut self, node: &str, id: &FaultId, fault: &HostFault) -> Result<(), String> {
        let number = self.node(node);
        match fault {
            HostFault::DiskCorrupt { damage, .. } => return self.corrupt(number, id, *damage),
            HostFault::ClockRate { .. } => {
                self.with_clock(number, |clock, now| clock.begin(id, fault, now));
                let due = Due::ClockReading {
                    node: number,
                    id: id.clone(),
                };
                self.agenda.plan(self.now.after(CLOCK_WATCHED), due);
            }
            HostFault::ClockBump { .. } => {
                self.with_clock(number, |clock, now| clock.begin(id, fault, now));
                self.disturbed(number, id);
            }
            HostFault::FileDescriptors { .. }
            | HostFault::DiskLoseUnsynced { .. }
            | HostFault::ClockStrobe { .. }
            | HostFault::Memory { .. }
            | HostFault::Dns(_)
            | HostFault::Cpu { .. } => {
                return Err("only real processes can meet it".to_owned());
            }
            HostFault::DiskHang {}
            | HostFault::DiskLatency { .. }
            | HostFault::DiskFault { .. }
            | HostFault::DiskFull {} => {
                let random = self.drawn_for(number, id);
                let (now, machine) = (self.now, &mut self.machines[number as usize]);
                machine.disk.troubles.begin(id, fault, random, now);
                self.tell_troubles(number);
            }
        }
        Ok(())
    }

    /// Takes a fault away; what it had done by then. Damage stays.
    pub fn mend(&mut self, node: &str, id: &FaultId) -> Option<HostEffect> {
        let number = self.node(node);
        let effect = self.effect(node, id);
        self.with_clock(number, |clock, now| clock.end(id, now));
        let machine = &mut self.machines[number as usize];
        machine.damages.remove(id);
        machine.disk.troubles.end(id);
        if machine.disk.goes_on(self.now) {
            let generation = machine.generation;
            let due = Due::Disk {
                node: number,
                generation,
            };
            self.agenda.plan(self.now, due);
        }
        effect
    }

    /// What a fault has done so far; `None` before anything was seen.
    pub fn effect(&self, node: &str, id: &FaultId) -> Option<HostEffect> {
        let machine = &self.machines[self.node(node) as usize];
        let damage = machine.damages.get(id).cloned();
        damage
            .or_else(|| machine.disk.troubles.effect(id))
            .or_else(|| machine.clock.effect(id))
    }

    fn drawn_for(&self, number: u32, id: &FaultId) -> Random {
        let name = &self.names[number as usize];
        Random::keyed(self.seed, "host fault", &format!("{id} on {name}"))
    }

    fn corrupt(&mut self, number: u32, id: &FaultId, damage: Damage) -> Result<(), String> {
        let mut random = self.drawn_for(number, id);
        let name = &self.names[number as usize];
        let machine = &mut self.machines[number as usize];
        let damaged = machine.disk.corrupt(damage, &mut random);
        let (sector, bits) = damaged.ok_or_else(|| {
            format!("the log of {name} has no two whole synced sectors, none could be damaged")
        })?;
        let effect = HostEffect {
            since: self.now,
            observed: format!("{bits} bits of sector {sector} of the log read back altered"),
            achieved: Vec::<Achieved>::new(),
        };
        machine.damages.insert(id.clone(), effect);
        self.disturbed(number, id);
        Ok(())
    }

    /// Alters a clock; the timers that hang on it move.
    fn with_clock(
        &mut self,
        number: u32,
        alter: impl FnOnce(&mut crate::clock::Clock, shakedown_contracts::time::Moment),
    ) {
        let now = self.now;
        let machine = &mut self.machines[number as usize];
        alter(&mut machine.clock, now);
        let clock = &machine.clock;
        let moved = machine.timers.move_all(|shown| clock.when(shown).max(now));
        for (timer, at) in moved {
            let due = Due::Timer {
                node: number,
                timer,
            };
            self.agenda.plan(at, due);
        }
    }

    pub(crate) fn clock_is_read(&mut self, number: u32, id: &FaultId) {
        let now = self.now;
        self.machines[number as usize].clock.take_reading(id, now);
        self.disturbed(number, id);
    }

    /// Tells of what operations have met for the first time.
    pub(crate) fn tell_troubles(&mut self, number: u32) {
        let fresh = self.machines[number as usize].disk.troubles.take_fresh();
        for id in fresh {
            self.disturbed(number, &id);
        }
    }

    fn disturbed(&mut self, number: u32, id: &FaultId) {
        let node = self.names[number as usize].clone();
        if self.effect(&node, id).is_some() {
            self.happenings.push(Happening::Disturbed {
                node,
                id: id.clone(),
            });
        }
    }
}
