//! The loop: one input after the other into the core, its outputs out, in order.
//!
//! Punctuality is what this file is about. A heartbeat sent late looks like a fault of the network,
//! one read late like a failure of the peer; so each turn serves timers and heartbeats first and
//! bounds everything else, and between any two inputs the timers are looked at again. The loop
//! waits only when nothing is left to do, and it awaits nothing else.
//!
//! Timers and heartbeats meet in one fine point: evidence of life that has already arrived must
//! count before anybody is suspected. So a turn fires every timer but `Suspicion`, takes in the
//! waiting heartbeats, then fires `Suspicion` too.
//!
//! Invariant: `now` is read after the input it belongs to was received.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;

use shakedown_contracts::event::Event;
use shakedown_contracts::time::Moment;
use shakedown_core::interface::{ClientReply, Input, Output, Peer, RequestId, Timer};
use shakedown_core::message::{Datagram, Message};
use shakedown_core::node::Node;
use tokio::sync::{mpsc, oneshot};

use crate::api::{self, OpenRequest};
use crate::clock;
use crate::config::{Config, peer_address};
use crate::disk::{self, Completed, Completion, Disk, Recovered, Treatment};
use crate::error::NodeError;
use crate::events::EventSink;
use crate::heartbeats::Heartbeats;
use crate::peers::{self, Link, PeerEvent};
use crate::recording::Recording;
use crate::sockets::{Bound, Endpoint};
use crate::timers::Timers;

/// Datagrams taken in one turn: more than all peers of a large group send in one interval.
const HEARTBEATS_PER_TURN: usize = 64;
/// Disk completions, peer messages and client requests taken in one turn, of each: some
/// milliseconds of work, a fraction of any heartbeat interval.
const INPUTS_PER_TURN: usize = 32;

/// Runs a node until `end` (then `Ok`) or until it cannot go on.
///
/// Ports first, then the disk, then the core's recovery, then listening: in this order each failure
/// leaves nothing behind, and `node.ready` is true when it is said.
pub async fn serve(
    config: Config,
    events: &EventSink,
    record: Option<&Path>,
    end: impl Future<Output = ()>,
) -> Result<(), NodeError> {
    let clients = Bound::new(Endpoint {
        address: (config.own_member().address, config.node.client_port).into(),
        purpose: "clients",
        key: "client_port",
    })?;
    let members = Bound::new(Endpoint {
        address: peer_address(config.own_member()),
        purpose: "peers",
        key: "peer_port",
    })?;
    let heartbeats = Heartbeats::bind(&config)?;
    let began = clock::now();
    let node = Node::new(&config.node).map_err(|error| NodeError::ConfigRefused {
        path: config.path.clone(),
        message: error.to_string(),
    })?;
    let log = config.node.strategy.recovery_log.options();
    let treatment = Treatment {
        hold_unsynced: config.node.hold_unsynced,
        on_fsync_error: log.map(|log| log.on_fsync_error).unwrap_or_default(),
    };
    let (disk, recovered) = disk::open(&config.node.data_directory, treatment)?;
    let recording = record.map(|path| Recording::begin(path, &config.node));
    let (peer_events, inbox) = peers::inbox();
    let (ask, requests) = api::queue();
    let mut driver = Driver {
        node,
        began,
        timers: Timers::new().map_err(NodeError::Runtime)?,
        heartbeats,
        disk,
        links: BTreeMap::new(),
        inbox,
        requests,
        replies: BTreeMap::new(),
        next_request: 0,
        events,
        recording: recording.transpose()?,
    };
    driver.recover(recovered)?;
    tokio::spawn(api::serve(clients.listen()?, config.node.name.clone(), ask));
    tokio::spawn(peers::accept(
        members.listen()?,
        config.clone(),
        peer_events.clone(),
    ));
    peers::dial(&config, &peer_events);
    events.note(clock::now(), Event::NodeReady {})?;
    tokio::select! {
        biased;
        () = end => Ok(()),
        ended = driver.run() => ended,
    }
}

struct Driver<'e> {
    node: Node,
    /// When reading the disk began.
    began: Moment,
    timers: Timers,
    heartbeats: Heartbeats,
    disk: Disk,
    links: BTreeMap<Peer, Link>,
    inbox: mpsc::Receiver<PeerEvent>,
    requests: mpsc::Receiver<OpenRequest>,
    /// Clients that wait. The core bounds how many requests it keeps open.
    replies: BTreeMap<RequestId, oneshot::Sender<ClientReply>>,
    next_request: u64,
    events: &'e EventSink,
    recording: Option<Recording>,
}

/// What ended a wait.
enum Woken {
    ToLook,
    Disk(Completion),
    Peer(PeerEvent),
    Request(OpenRequest),
}

impl Driver<'_> {
    fn recover(&mut self, recovered: Recovered) -> Result<(), NodeError> {
        let Recovered { checkpoints, log } = recovered;
        self.step(Input::Start { checkpoints, log })
    }

    async fn run(&mut self) -> Result<(), NodeError> {
        loop {
            if self.turn()? {
                // Lets the connections' tasks move, after a look at the kernel.
                tokio::task::yield_now().await;
            } else {
                self.wait().await?;
            }
        }
    }

    /// Takes what is there, within limits; true when there may be more.
    fn turn(&mut self) -> Result<bool, NodeError> {
        let mut worked = self.fire(|timer| timer != Timer::Suspicion)?;
        for _ in 0..HEARTBEATS_PER_TURN {
            let Some(datagram) = self.heartbeats.try_receive() else {
                break;
            };
            worked = true;
            match datagram {
                Some((from, Datagram::Heartbeat(heartbeat))) => {
                    self.step(Input::Heartbeat { from, heartbeat })?;
                }
                Some((from, Datagram::Probe(probe))) => self.step(Input::Probe { from, probe })?,
                None => {}
            }
        }
        worked |= self.fire(|_| true)?;
        for _ in 0..INPUTS_PER_TURN {
            let mut idle = true;
            if let Some(completion) = self.disk.try_completed() {
                self.take_completion(completion)?;
                idle = false;
            }
            if let Ok(event) = self.inbox.try_recv() {
                self.take_peer_event(event)?;
                idle = false;
            }
            if let Ok(request) = self.requests.try_recv() {
                self.take_request(request)?;
                idle = false;
            }
            worked |= !idle;
            if idle || self.timers.any_due(clock::now()) {
                break;
            }
        }
        Ok(worked)
    }

    /// Waits for the next input; all the sources may be dropped and asked again.
    async fn wait(&mut self) -> Result<(), NodeError> {
        let woken = tokio::select! {
            biased;
            expired = self.timers.expired() => expired.map(|()| Woken::ToLook),
            readable = self.heartbeats.readable() => readable.map(|()| Woken::ToLook),
            completion = self.disk.completed() => Ok(Woken::Disk(completion)),
            Some(event) = self.inbox.recv() => Ok(Woken::Peer(event)),
            Some(request) = self.requests.recv() => Ok(Woken::Request(request)),
        };
        match woken.map_err(NodeError::Runtime)? {
            Woken::ToLook => Ok(()),
            Woken::Disk(completion) => self.take_completion(completion),
            Woken::Peer(event) => self.take_peer_event(event),
            Woken::Request(request) => self.take_request(request),
        }
    }

    /// Fires the wanted timers that are due, each once: one that sets itself to the past again
    /// waits for the next turn.
    fn fire(&mut self, wanted: impl Fn(Timer) -> bool) -> Result<bool, NodeError> {
        let due = self.timers.take_due(clock::now(), wanted);
        for timer in &due {
            self.step(Input::Timer { timer: *timer })?;
        }
        Ok(!due.is_empty())
    }

    fn take_completion(&mut self, completion: Completion) -> Result<(), NodeError> {
        self.step(match completion? {
            Completed::Done(token) => Input::DiskDone { token },
            Completed::Failed(token) => Input::DiskFailed { token },
        })
    }

    fn take_peer_event(&mut self, event: PeerEvent) -> Result<(), NodeError> {
        match event {
            PeerEvent::Message { from, message } => self.step(Input::Message { from, message }),
            PeerEvent::Connected { peer, link } => {
                self.links.insert(peer, link);
                self.step(Input::Reconnected { peer })
            }
            PeerEvent::Broken { peer, ending } => {
                self.links.remove(&peer);
                self.step(Input::Disconnected { peer, ending })
            }
        }
    }

    fn take_request(&mut self, open: OpenRequest) -> Result<(), NodeError> {
        if open.reply.is_closed() {
            return Ok(()); // The client hung up before the core saw its request: not done.
        }
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.replies.insert(id, open.reply);
        self.step(Input::Request {
            id,
            request: open.request,
        })
    }

    fn step(&mut self, input: Input) -> Result<(), NodeError> {
        let now = clock::now();
        let outputs = match &mut self.recording {
            None => self.node.step(now, input),
            Some(recording) => {
                let outputs = self.node.step(now, input.clone());
                recording.step(now, &input, &outputs)?;
                outputs
            }
        };
        for output in outputs {
            self.carry_out(output)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, output: Output) -> Result<(), NodeError> {
        match output {
            Output::SendHeartbeat { to, heartbeat } => self.heartbeats.send(to, &heartbeat),
            Output::SendProbe { to, probe } => self.heartbeats.send_probe(to, &probe),
            Output::Send { to, message } => self.send(to, &message),
            Output::SetTimer { timer, at } => self.timers.set(timer, at),
            Output::Disk { token, operation } => self.disk.submit(token, operation)?,
            Output::Reply { id, reply } => {
                if let Some(client) = self.replies.remove(&id) {
                    let _the_client_hung_up = client.send(reply);
                }
            }
            Output::Note { event } => self.note(event)?,
            Output::Fatal { message } => return Err(NodeError::Fatal(message)),
        }
        Ok(())
    }

    fn send(&mut self, to: Peer, message: &Message) {
        if let Some(link) = self.links.get(&to)
            && link.send(message).is_err()
        {
            // Its writer ends, dials again and reports both.
            self.links.remove(&to);
        }
    }

    fn note(&self, event: Event) -> Result<(), NodeError> {
        let now = clock::now();
        let event = match event {
            // The core has no clock of its own within a step.
            Event::RecoveryCompleted {
                records,
                bytes,
                undone,
                ..
            } => Event::RecoveryCompleted {
                records,
                bytes,
                undone,
                took: now.since(self.began),
            },
            other => other,
        };
        self.events.note(now, event)
    }
}
