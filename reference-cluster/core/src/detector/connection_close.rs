//! Connection close: whoever is connected lives, whoever closes is gone.
//!
//! When a process ends, its kernel closes its connections, and the FIN or RST is here a round trip
//! later: no heartbeat is needed, and none could be faster. That is all there is to it. A host that
//! loses its power or its network closes nothing, so that its silence says nothing either: TCP keeps
//! an idle connection for ever, and one with data under way is *given up* by the own kernel, which
//! is no word from the peer. Only a keepalive ends that: after so long a silence a message is sent
//! that asks for nothing but the other kernel's acknowledgement (RFC 9293, section 3.8.4; Linux
//! waits two hours).
//!
//! So: suspected at once when the other end closes; `keepalive` after the last word when this end
//! gives up, unless a connection stands again by then; never while it stands, and never before
//! there was one. A stopped process is not suspected: its kernel keeps the connection.
//!
//! Invariant: without the end of a connection no opinion changes to suspicion.

use std::collections::BTreeSet;

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::Group;
use super::watch::{SelfPortrait, Sign, Watch, opinion};
use crate::flaw::{Flaw, Planted};
use crate::interface::{Ending, Output, Peer, Timer};
use crate::message::Message;
use crate::node::ConfigError;

/// What has become of the own connection to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    /// There was none yet.
    Awaited,
    Stands,
    Ended(Ending),
}

/// One peer as seen from here.
#[derive(Debug)]
struct Watched {
    peer: Peer,
    name: String,
    connection: Connection,
    /// Its last word: a connection made, or a message.
    heard: Moment,
    /// When its kernel was last made to speak.
    asked: Moment,
    suspected: bool,
}

impl Watched {
    /// From when on it is suspected; `None`: not as things stand.
    fn deadline(&self, keepalive: Duration) -> Option<Moment> {
        match self.connection {
            Connection::Awaited | Connection::Stands => None,
            Connection::Ended(Ending::Closed) => Some(Moment(0)),
            Connection::Ended(Ending::GivenUp) => Some(self.heard.after(keepalive)),
        }
    }

    /// When its kernel is to be made to speak.
    fn ask_at(&self, keepalive: Duration) -> Option<Moment> {
        let stands = self.connection == Connection::Stands;
        stands.then(|| self.heard.max(self.asked).after(keepalive))
    }
}

/// All peers by their connections.
#[derive(Debug)]
pub struct ConnectionClose {
    keepalive: Duration,
    peers: Vec<Watched>,
    timer_set: Option<Moment>,
    planted: Planted,
}

impl ConnectionClose {
    /// Watches the connections to all peers.
    pub fn new(keepalive: Duration, group: &Group) -> Result<Self, ConfigError> {
        if keepalive.is_zero() {
            return Err(ConfigError::Value {
                key: "detector.keepalive",
                value: keepalive.to_string(),
                hint: "give a time above zero; Linux waits 2h",
            });
        }
        let watched = group.peers().map(|(peer, name)| Watched {
            peer,
            name: name.to_owned(),
            connection: Connection::Awaited,
            heard: Moment(0),
            asked: Moment(0),
            suspected: false,
        });
        Ok(ConnectionClose {
            keepalive,
            peers: watched.collect(),
            timer_set: None,
            planted: group.planted,
        })
    }

    /// Makes the kernels of silent peers speak.
    fn ask(&mut self, now: Moment, out: &mut Vec<Output>) {
        for watched in &mut self.peers {
            let due = watched.ask_at(self.keepalive);
            if due.is_some_and(|due| now >= due) && !self.planted.has(Flaw::NeverKeepsAlive) {
                watched.asked = now;
                let message = Message::KeepAlive {};
                let to = watched.peer;
                out.push(Output::Send { to, message });
            }
        }
    }

    fn judge(&mut self, now: Moment, out: &mut Vec<Output>) -> bool {
        let mut changed = false;
        for watched in &mut self.peers {
            let deadline = watched.deadline(self.keepalive);
            let suspected = deadline.is_some_and(|deadline| now >= deadline);
            if suspected != watched.suspected {
                watched.suspected = suspected;
                changed = true;
                out.push(opinion(&watched.name, suspected));
            }
        }
        changed
    }

    fn set_timer(&mut self, now: Moment, out: &mut Vec<Output>) {
        let moments = self.peers.iter().flat_map(|watched| {
            let ask_at = watched.ask_at(self.keepalive);
            [watched.deadline(self.keepalive), ask_at]
        });
        let next = moments.flatten().filter(|at| *at > now).min();
        if let Some(at) = next
            && self.timer_set != next
        {
            let timer = Timer::Suspicion;
            out.push(Output::SetTimer { timer, at });
            self.timer_set = next;
        }
    }
}

impl Watch for ConnectionClose {
    fn start(&mut self, _now: Moment) {}

    /// What the peers' kernels said meanwhile is still there, so a stop harms nobody.
    fn notice_own_pause(&mut self, _now: Moment) -> Option<Duration> {
        None
    }

    fn hear(
        &mut self,
        now: Moment,
        (from, sign): (Peer, Sign<'_>),
        _portrait: SelfPortrait,
        _out: &mut Vec<Output>,
    ) {
        let Some(watched) = self.peers.iter_mut().find(|watched| watched.peer == from) else {
            return;
        };
        match sign {
            Sign::Heartbeat(_) | Sign::Probe(_) => {}
            Sign::Message => watched.heard = now,
            Sign::Connected => {
                watched.heard = now;
                watched.connection = Connection::Stands;
            }
            Sign::Disconnected(Ending::GivenUp) if self.planted.has(Flaw::TimeoutsAreFarewells) => {
                watched.connection = Connection::Ended(Ending::Closed);
            }
            Sign::Disconnected(ending) => watched.connection = Connection::Ended(ending),
        }
    }

    fn act(&mut self, now: Moment, _portrait: SelfPortrait, out: &mut Vec<Output>) -> bool {
        self.ask(now, out);
        let changed = self.judge(now, out);
        self.set_timer(now, out);
        changed
    }

    fn suspected(&self) -> BTreeSet<Peer> {
        let suspected = self.peers.iter().filter(|watched| watched.suspected);
        suspected.map(|watched| watched.peer).collect()
    }

    /// Of a process that ends. What waits for a peer that says nothing must not wait for a
    /// keepalive.
    fn nominal_silence(&self) -> Duration {
        Duration::from_millis(500)
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
    const NOBODY: [u32; 0] = [];
    const KEEPALIVE: Duration = Duration::from_secs(10);

    fn at(millis: u64) -> Moment {
        Moment(1_000_000_000).after(Duration::from_millis(millis))
    }

    fn watch() -> ConnectionClose {
        let mut watch = ConnectionClose::new(KEEPALIVE, &Group::of_size(3)).unwrap();
        watch.start(at(0));
        watch
    }

    /// Hears of n2 at a moment; whom is suspected then, and what was sent.
    fn step(
        watch: &mut ConnectionClose,
        millis: u64,
        sign: Option<Sign<'_>>,
    ) -> (Vec<u32>, Vec<Peer>) {
        let mut out = Vec::new();
        if let Some(sign) = sign {
            watch.hear(at(millis), (Peer(1), sign), PORTRAIT, &mut out);
        }
        watch.act(at(millis), PORTRAIT, &mut out);
        let sent = out.iter().filter_map(|output| match output {
            Output::Send { to, .. } => Some(*to),
            _ => None,
        });
        let suspected = watch.suspected().into_iter().map(|peer| peer.0);
        (suspected.collect(), sent.collect())
    }

    #[test]
    fn a_closed_connection_is_a_farewell_and_a_new_one_takes_it_back() {
        let mut watch = watch();
        let closed = Some(Sign::Disconnected(Ending::Closed));
        assert_eq!(step(&mut watch, 1, Some(Sign::Connected)).0, NOBODY);
        assert_eq!(step(&mut watch, 5_000, closed).0, [1]);
        assert_eq!(step(&mut watch, 6_000, Some(Sign::Message)).0, [1]);
        assert_eq!(step(&mut watch, 7_000, Some(Sign::Connected)).0, NOBODY);
    }

    #[test]
    fn silence_is_no_farewell_while_the_connection_stands_but_the_peer_is_asked() {
        let mut watch = watch();
        step(&mut watch, 0, Some(Sign::Connected));
        assert_eq!(step(&mut watch, 9_999, None), (vec![], vec![]));
        assert_eq!(step(&mut watch, 10_000, None), (vec![], vec![Peer(1)]));
        // Not again at once, and not while it speaks by itself.
        assert_eq!(step(&mut watch, 10_001, None), (vec![], vec![]));
        step(&mut watch, 19_000, Some(Sign::Message));
        assert_eq!(step(&mut watch, 28_999, None), (vec![], vec![]));
        assert_eq!(step(&mut watch, 29_000, None), (vec![], vec![Peer(1)]));
    }

    #[test]
    fn a_connection_given_up_counts_as_silence_from_the_last_word_on() {
        let mut watch = watch();
        let given_up = || Some(Sign::Disconnected(Ending::GivenUp));
        step(&mut watch, 0, Some(Sign::Connected));
        step(&mut watch, 2_000, Some(Sign::Message));
        assert_eq!(step(&mut watch, 3_000, given_up()).0, NOBODY);
        assert_eq!(step(&mut watch, 11_999, None).0, NOBODY);
        assert_eq!(step(&mut watch, 12_000, None).0, [1]);
        // After a keepalive that was not acknowledged nothing is left to wait for.
        step(&mut watch, 13_000, Some(Sign::Connected));
        assert_eq!(step(&mut watch, 23_000, None).1, [Peer(1)]);
        assert_eq!(step(&mut watch, 24_000, given_up()).0, [1]);
    }

    #[test]
    fn a_peer_that_was_never_connected_is_not_suspected_and_no_keepalive_is_refused() {
        let mut watch = watch();
        assert_eq!(step(&mut watch, 1_000_000, None).0, NOBODY);
        assert!(ConnectionClose::new(Duration::ZERO, &Group::of_size(2)).is_err());
    }
}
