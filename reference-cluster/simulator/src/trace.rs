//! The hash of a run: over every input and output of every node with its moment, in order.
//!
//! Two runs with the same hash gave the same nodes the same inputs at the same moments. What is
//! frequent is hashed field by field, the rest by its `Debug` text. Words are folded in by the full
//! product of 64 bits by 64 (the mixing step of wyhash, Wang Yi 2019).

use std::fmt::{self, Write};

use shakedown_contracts::time::Moment;
use shakedown_core::detector::swim::packet::Probe;
use shakedown_core::interface::{ClientReply, ClientRequest, DiskOperation, Input, Output};
use shakedown_core::message::{Entry, Heartbeat, Message, Point};
use shakedown_core::store::Command;

const FIRST: u64 = 0x243f_6a88_85a3_08d3;
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash so far.
#[derive(Debug)]
pub(crate) struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Trace(FIRST)
    }
}

impl Trace {
    pub fn hash(&self) -> u64 {
        self.0
    }

    pub fn input(&mut self, now: Moment, node: u32, input: &Input) {
        self.number(now.0);
        self.number(u64::from(node));
        match input {
            Input::Start { checkpoints, log } => {
                self.number(1);
                checkpoints.iter().for_each(|bytes| self.bytes(bytes));
                self.bytes(log);
            }
            Input::Heartbeat { from, heartbeat } => {
                self.tagged(2, u64::from(from.0));
                self.heartbeat(heartbeat);
            }
            Input::Message { from, message } => {
                self.tagged(3, u64::from(from.0));
                self.message(message);
            }
            Input::Probe { from, probe } => {
                self.tagged(15, u64::from(from.0));
                self.probe(probe);
            }
            Input::Reconnected { peer } => self.tagged(4, u64::from(peer.0)),
            Input::Disconnected { peer, ending } => {
                self.tagged(17 + *ending as u64, u64::from(peer.0));
            }
            Input::Timer { timer } => self.tagged(5, *timer as u64),
            Input::DiskDone { token } => self.tagged(6, token.0),
            Input::DiskFailed { token } => self.tagged(31, token.0),
            Input::Request { id, request } => {
                self.tagged(7, id.0);
                self.request(request);
            }
        }
    }

    pub fn output(&mut self, output: &Output) {
        match output {
            Output::SendHeartbeat { to, heartbeat } => {
                self.tagged(8, u64::from(to.0));
                self.heartbeat(heartbeat);
            }
            Output::SendProbe { to, probe } => {
                self.tagged(16, u64::from(to.0));
                self.probe(probe);
            }
            Output::Send { to, message } => {
                self.tagged(9, u64::from(to.0));
                self.message(message);
            }
            Output::SetTimer { timer, at } => {
                self.tagged(10, *timer as u64);
                self.number(at.0);
            }
            Output::Disk { token, operation } => {
                self.tagged(11, token.0);
                self.operation(operation);
            }
            Output::Reply { id, reply } => {
                self.tagged(12, id.0);
                self.reply(reply);
            }
            Output::Note { event } => {
                self.number(13);
                self.text(event);
            }
            Output::Fatal { message } => {
                self.number(14);
                self.bytes(message.as_bytes());
            }
        }
    }

    fn heartbeat(&mut self, heartbeat: &Heartbeat) {
        let Heartbeat {
            ack,
            primary,
            incarnation,
            sequence,
            epoch,
            position,
            progress,
        } = *heartbeat;
        self.number(u64::from(ack) << 1 | u64::from(primary));
        self.number(incarnation);
        self.number(sequence);
        self.tagged(epoch, position);
        self.number(progress);
    }

    fn probe(&mut self, probe: &Probe) {
        self.bytes(&probe.encode());
    }

    fn message(&mut self, message: &Message) {
        match message {
            Message::Append {
                epoch,
                previous,
                entries,
                committed,
                sent,
            } => {
                self.tagged(20, *epoch);
                self.number(sent.0);
                self.point(*previous);
                self.number(*committed);
                self.number(entries.len() as u64);
                entries.iter().for_each(|entry| self.entry(entry));
            }
            Message::Appended {
                epoch,
                position,
                sent,
            } => {
                self.tagged(21, *epoch);
                self.number(*position);
                self.number(sent.map_or(0, |sent| sent.0));
            }
            other => {
                self.number(22);
                self.text(other);
            }
        }
    }

    fn point(&mut self, point: Point) {
        self.number(point.epoch);
        self.number(point.position);
    }

    fn entry(&mut self, entry: &Entry) {
        self.point(entry.point);
        match &entry.command {
            Command::Put(key, value) => {
                self.tagged(30, *value);
                self.bytes(key.as_bytes());
            }
            Command::Transfer(transfer) => {
                self.tagged(31, transfer.id);
                self.bytes(transfer.from.as_bytes());
                self.bytes(transfer.to.as_bytes());
                self.number(transfer.amount as u64);
            }
            other => {
                self.number(32);
                self.text(other);
            }
        }
    }

    fn operation(&mut self, operation: &DiskOperation) {
        match operation {
            DiskOperation::Append { bytes } => {
                self.number(40);
                self.bytes(bytes);
            }
            DiskOperation::Probe { position } => self.tagged(44, *position),
            DiskOperation::Sync => self.number(41),
            DiskOperation::TruncateLog { length } => self.tagged(42, *length),
            DiskOperation::Checkpoint { bytes, log } => {
                self.number(43);
                self.bytes(bytes);
                self.bytes(log);
            }
        }
    }

    fn request(&mut self, request: &ClientRequest) {
        match request {
            ClientRequest::Put { key, value } => {
                self.tagged(50, *value);
                self.bytes(key.as_bytes());
            }
            ClientRequest::Get { key } => {
                self.number(51);
                self.bytes(key.as_bytes());
            }
            other => {
                self.number(52);
                self.text(other);
            }
        }
    }

    fn reply(&mut self, reply: &ClientReply) {
        match reply {
            ClientReply::Done(answer) => {
                self.tagged(60, answer.epoch);
                self.bytes(answer.node.as_bytes());
            }
            ClientReply::Value(answer) => {
                self.tagged(61, answer.epoch);
                self.tagged(u64::from(answer.value.is_some()), answer.value.unwrap_or(0));
                self.bytes(answer.node.as_bytes());
            }
            other => {
                self.number(62);
                self.text(other);
            }
        }
    }

    fn text(&mut self, value: &impl fmt::Debug) {
        write!(self, "{value:?}").expect("a hash takes any text");
    }

    fn tagged(&mut self, tag: u64, value: u64) {
        self.number(tag.rotate_right(8) ^ value);
    }

    fn number(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number).wrapping_mul(u128::from(FACTOR));
        // The number is added again, so that a product of zero does not forget it.
        self.0 = (product as u64) ^ ((product >> 64) as u64) ^ number.rotate_left(32);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        words
            .iter()
            .for_each(|word| self.number(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.number(u64::from_le_bytes(last));
    }
}

impl Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use shakedown_core::interface::Timer;

    use super::*;

    fn hash(inputs: &[(u64, Timer)]) -> u64 {
        let mut trace = Trace::default();
        for (at, timer) in inputs {
            let input = Input::Timer { timer: *timer };
            trace.input(Moment(*at), 0, &input);
        }
        trace.hash()
    }

    #[test]
    fn moment_order_and_kind_of_an_input_all_count() {
        let one = [(1, Timer::Heartbeat), (2, Timer::Sync)];
        assert_eq!(hash(&one), hash(&one));
        for other in [
            [(1, Timer::Heartbeat), (3, Timer::Sync)],
            [(1, Timer::Heartbeat), (2, Timer::Checkpoint)],
            [(2, Timer::Sync), (1, Timer::Heartbeat)],
        ] {
            assert_ne!(hash(&one), hash(&other));
        }
    }
}
