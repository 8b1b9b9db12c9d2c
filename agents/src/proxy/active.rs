//! A toxic that is there: which connections meet it, and what it has done.

use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;

use super::connection::Connection;
use super::flow::Deed;
use super::toxics::{Settings, Stage, Tally};
use super::{Done, Toxic};
use crate::clock::now;

pub(super) struct Active {
    /// Toxics act in the order of their numbers.
    pub number: u64,
    pub toxic: Toxic,
    connections: u64,
    tally: Tally,
    items: u64,
    late_nanos: u64,
    late_most_nanos: u64,
    /// When the first bytes had come, and the last had passed.
    first: Option<Moment>,
    last: Moment,
}

impl Active {
    pub fn new(number: u64, toxic: Toxic) -> Self {
        Active {
            number,
            toxic,
            connections: 0,
            tally: Tally::default(),
            items: 0,
            late_nanos: 0,
            late_most_nanos: 0,
            first: None,
            last: Moment(0),
        }
    }

    /// Acts on a connection if the draw says so, the same for the same seed, name and connection.
    pub fn meet(&mut self, seed: u64, number: u64, connection: &mut Connection) {
        let flow = connection.flow(self.toxic.stream);
        let (meets, there) = (self.meets(seed, number), flow.has(self.number));
        match (meets, there) {
            (true, true) => flow.replace(self.number, self.stage(seed, number)),
            (true, false) => {
                self.connections += 1;
                flow.add(self.number, self.stage(seed, number));
            }
            (false, _) => drop(flow.remove(self.number)),
        }
    }

    /// Acts on a connection no longer.
    pub fn leave(&mut self, connection: &mut Connection) {
        let (bytes, ends) = connection.flow(self.toxic.stream).remove(self.number);
        self.tally.held_bytes += bytes as u64;
        self.tally.ends += ends as u64;
    }

    /// Has other numbers.
    pub fn change(&mut self, settings: Settings, toxicity: Option<f64>) {
        self.toxic.settings = settings;
        self.toxic.toxicity = toxicity.unwrap_or(self.toxic.toxicity);
    }

    pub fn count(&mut self, deed: Deed, present: Moment) {
        match deed {
            Deed::Passed(bytes, entered) => {
                let late = present.since(entered).as_nanos();
                self.tally.passed_bytes += bytes as u64;
                self.items += 1;
                self.late_nanos += late;
                self.late_most_nanos = self.late_most_nanos.max(late);
                self.first.get_or_insert(entered);
                self.last = present;
            }
            Deed::Ended => self.tally.ends += 1,
            Deed::Cut(held) => {
                self.tally.ended_connections += 1;
                self.tally.held_bytes += held as u64;
            }
        }
    }

    /// What it has done, and with what it holds on these connections.
    pub fn done<'a>(&self, connections: impl Iterator<Item = &'a mut Connection>) -> Done {
        let mut tally = self.tally;
        for connection in connections {
            let (bytes, ends) = connection.flow(self.toxic.stream).held(self.number);
            tally.held_bytes += bytes as u64;
            tally.ends += ends as u64;
        }
        let seconds = self
            .first
            .map_or(0.0, |first| self.last.since(first).as_secs_f64());
        let rate = tally.passed_bytes as f64 / seconds;
        Done {
            effect: match (self.toxic.settings.kind().seen)(&tally) {
                true => super::Effect::Seen,
                false => super::Effect::Unverified,
            },
            toxic: self.toxic.clone(),
            connections: self.connections,
            passed_bytes: tally.passed_bytes,
            held_bytes: tally.held_bytes,
            ended_connections: tally.ended_connections,
            bytes_a_second: (seconds > 0.0).then_some(rate),
            delay_mean_ms: (self.items > 0)
                .then(|| self.late_nanos as f64 / self.items as f64 / 1e6),
            delay_max_ms: (self.items > 0).then(|| self.late_most_nanos as f64 / 1e6),
        }
    }

    fn meets(&self, seed: u64, number: u64) -> bool {
        self.random(seed, number).chance(self.toxic.toxicity)
    }

    fn random(&self, seed: u64, number: u64) -> Random {
        Random::keyed(seed, "toxic", &self.toxic.name).numbered(number)
    }

    fn stage(&self, seed: u64, number: u64) -> Box<dyn Stage> {
        let mut random = self.random(seed, number);
        // The first is the draw of who meets it.
        random.next_u64();
        self.toxic.settings.stage(random, now())
    }
}
