//! Who answers a read.
//!
//! The tail does, from its own state: what it has applied, all have. The head sends the read down the
//! chain; each node it passes is still in this chain, and a later chain has a head that was promised
//! by one of them, so none had been when the read was asked. The head says with it how far it has
//! answered writes, so that a tail that came back a moment ago does not answer with less.
//! `tail` skips those in between, as in the paper: right, if only the dead are suspected. `local`
//! answers at once wherever it was asked (wrong on purpose).
//! Invariant (through-chain): an answer is no older than any write that was acknowledged before the
//! read was asked.
//! Source: van Renesse & Schneider 2004, section 3 (query processing); on dropping the assumption of
//! fail-stop, Terrace & Freedman 2009 ("Object Storage on CRAQ"), section 2.2.

use shakedown_contracts::strategy::ChainReads;
use shakedown_contracts::time::Moment;

use super::message::ChainMessage;
use super::server::{Chain, Position};
use crate::flaw::Flaw;
use crate::interface::{ClientReply, ClientRequest, Output, Peer, RequestId};
use crate::replication::answers::Speaker;

/// A read that is not answered after so many beats is asked again.
const ASK_AGAIN_BEATS: u64 = 4;

/// As head: a read that the tail has not answered.
#[derive(Debug)]
pub(super) struct OpenRead {
    pub id: RequestId,
    request: ClientRequest,
    /// What the tail must have applied.
    index: u64,
    asked: Moment,
}

/// As tail: a read that is to be answered.
#[derive(Debug)]
pub(super) struct ReadHere {
    number: u64,
    index: u64,
    request: ClientRequest,
}

impl Chain {
    /// Takes a read as head.
    pub(super) fn read(&mut self, id: RequestId, request: ClientRequest) {
        if self.has(Flaw::ReadsUnconfirmed) {
            return self.read_locally(id, &request);
        }
        self.reads_asked += 1;
        let (number, committed, now) = (self.reads_asked, self.committed, self.now);
        let Position::Head(headship) = &mut self.position else {
            return;
        };
        let open = OpenRead {
            id,
            request,
            index: committed.max(headship.first),
            asked: now,
        };
        headship.reads.insert(number, open);
        self.ask_read(number);
    }

    /// Answers from what this node holds, whatever that is.
    pub(super) fn read_locally(&mut self, id: RequestId, request: &ClientRequest) {
        let reply = self.speaker().read(&self.store, request);
        self.out.push(Output::Reply { id, reply });
    }

    fn ask_read(&mut self, number: u64) {
        let now = self.now;
        let Position::Head(headship) = &mut self.position else {
            return;
        };
        let Some(open) = headship.reads.get_mut(&number) else {
            return;
        };
        open.asked = now;
        let (index, request) = (open.index, open.request.clone());
        self.send_read_on(number, (index, request));
    }

    /// `all`: also those that were asked a moment ago.
    pub(super) fn ask_reads_again(&mut self, all: bool) {
        let patience = self.setting.beats(ASK_AGAIN_BEATS);
        let Position::Head(headship) = &self.position else {
            return;
        };
        let now = self.now;
        let due = headship.reads.iter();
        let due = due.filter(|(_, open)| all || now.since(open.asked) >= patience);
        let numbers: Vec<u64> = due.map(|(number, _)| *number).collect();
        for number in numbers {
            self.ask_read(number);
        }
    }

    /// To the next in the chain, or directly to the tail; at the tail to those to be answered.
    fn send_read_on(&mut self, number: u64, (index, request): (u64, ClientRequest)) {
        let me = self.setting.me;
        let Some(chain) = self.standing() else {
            return;
        };
        let epoch = chain.epoch;
        let next = match self.setting.reads {
            ChainReads::Tail => chain.tail().filter(|tail| *tail != me),
            ChainReads::ThroughChain | ChainReads::Local => chain.successor(me),
        };
        if let Some(next) = next {
            let read = ChainMessage::Read {
                epoch,
                number,
                index,
                request,
            };
            return self.send(next, read);
        }
        let read = ReadHere {
            number,
            index,
            request,
        };
        self.reads_here.push_back(read);
    }

    /// Somebody before in the chain sends a read on.
    pub(super) fn on_read(
        &mut self,
        from: Peer,
        epoch: u64,
        number: u64,
        read: (u64, ClientRequest),
    ) {
        let present = self.log.term();
        if epoch < present {
            return self.send(from, ChainMessage::Stale { epoch: present });
        }
        let me = self.setting.me;
        let here = self.standing();
        // Whoever does not know its chain yet is asked again.
        if here.is_some_and(|chain| chain.epoch == epoch && chain.holds(me)) {
            self.send_read_on(number, read);
        }
    }

    /// Clients speak to the head: it is the one that answers, also with the words of the tail.
    fn speaker_of_chain(&self) -> Speaker {
        let speaker = self.speaker();
        Speaker {
            node: speaker.primary.clone().unwrap_or(speaker.node),
            ..speaker
        }
    }

    /// As tail: answers the reads that may be.
    pub(super) fn answer_reads(&mut self) {
        let Some(chain) = self.standing() else {
            return;
        };
        let (epoch, head) = (chain.epoch, self.head);
        let reads = std::mem::take(&mut self.reads_here);
        for read in reads {
            if read.index > self.committed && !self.has(Flaw::ReadsIgnoreIndex) {
                self.reads_here.push_back(read);
                continue;
            }
            let reply = self.speaker_of_chain().read(&self.store, &read.request);
            let number = read.number;
            match head {
                Some(head) if head != self.setting.me => {
                    let answer = ChainMessage::Answer {
                        epoch,
                        number,
                        reply,
                    };
                    self.send(head, answer);
                }
                _ => self.on_answer(epoch, number, reply),
            }
        }
    }

    /// The tail has answered.
    pub(super) fn on_answer(&mut self, epoch: u64, number: u64, reply: ClientReply) {
        let present = self.log.term();
        let Position::Head(headship) = &mut self.position else {
            return;
        };
        // One of an older chain was asked again in this one.
        if epoch == present
            && let Some(open) = headship.reads.remove(&number)
        {
            self.out.push(Output::Reply { id: open.id, reply });
        }
    }
}
