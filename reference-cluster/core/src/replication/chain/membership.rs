//! Who is in the next chain, and when there must be one.
//!
//! The first chain is in rank order. Whoever is suspected is left out of the next; whoever comes back
//! is brought up to date by the head outside of the chain, and joins at the tail once it has what the
//! tail has. When the head is suspected the next in the chain stands for it: its log is the longest.
//! Invariant: a chain has at least a majority of all members, its head included.
//! Source: van Renesse & Schneider 2004, section 3 (failure of the head, of the tail, of another;
//! extending a chain).

use std::collections::BTreeSet;

use shakedown_contracts::units::Duration;

use super::link::Link;
use super::server::{Chain, Position};
use crate::flaw::Flaw;
use crate::interface::Peer;
use crate::message::Heartbeat;

impl Chain {
    /// The last chain known, and behind it all others; by rank, where no chain is known.
    fn line(&self) -> Vec<Peer> {
        let chain = self.configuration.as_ref();
        let mut line = chain.map_or_else(Vec::new, |chain| chain.order.clone());
        let members = self.setting.members();
        line.extend(members.filter(|peer| chain.is_none_or(|chain| !chain.holds(*peer))));
        line
    }

    /// This member, and behind it everyone else of the last chain who is not suspected, then who has
    /// caught up since; where that is no majority, also who else has promised.
    pub(super) fn next_order(&self, promises: &BTreeSet<Peer>) -> Vec<Peer> {
        let me = self.setting.me;
        let chain = self.configuration.as_ref();
        let joins = |peer: &Peer| match &self.position {
            Position::Head(headship) => headship.joining.contains(peer),
            Position::Candidate(_) | Position::Follower => false,
        };
        let lives = |peer: &Peer| {
            let known = chain.is_none_or(|chain| chain.holds(*peer)) || joins(peer);
            *peer != me && known && !self.suspected.contains(peer)
        };
        let line = self.line();
        let mut order = vec![me];
        order.extend(line.iter().copied().filter(lives));
        for peer in line {
            let short = order.len() < self.setting.majority();
            if short && promises.contains(&peer) && !order.contains(&peer) {
                order.push(peer);
            }
        }
        order
    }

    /// As head: those outside of the chain that have all that the tail has.
    fn caught_up(&self, first: u64) -> BTreeSet<Peer> {
        let settled = self.committed >= first;
        let Some(chain) = self.standing().filter(|_| settled) else {
            return BTreeSet::new();
        };
        let joins = |(peer, link): (&Peer, &Link)| {
            let ready = link.held >= self.committed && !self.suspected.contains(peer);
            (!chain.holds(*peer) && ready).then_some(*peer)
        };
        self.links.iter().filter_map(joins).collect()
    }

    /// As head: has the chain changed when somebody in it is suspected, or somebody can join.
    pub(super) fn change_chain_if_due(&mut self) {
        let (Position::Head(headship), Some(chain)) = (&self.position, self.standing()) else {
            return;
        };
        if headship.change.is_some() {
            return;
        }
        let suspected = |peer: &Peer| self.suspected.contains(peer);
        let gone = chain.order.iter().any(suspected);
        let joining = self.caught_up(headship.first);
        let able = self.majority_is_live() || self.has(Flaw::TakesOverAlone);
        let same = !gone && joining.is_empty();
        if same || !able {
            return;
        }
        if let Position::Head(headship) = &mut self.position {
            headship.joining = joining;
        }
        self.begin_change();
    }

    /// True when enough members live for a chain.
    pub(super) fn majority_is_live(&self) -> bool {
        let members = self.setting.members();
        let live = members.filter(|peer| !self.suspected.contains(peer));
        live.count() >= self.setting.majority()
    }

    /// True when a head is known and not suspected; that the node itself is one counts.
    pub(super) fn head_is_live(&self) -> bool {
        self.head
            .is_some_and(|head| !self.suspected.contains(&head))
    }

    /// Decides when this member would stand, as things are.
    pub(super) fn plan_to_stand(&mut self) {
        self.stand_due = None;
        if !matches!(self.position, Position::Follower) {
            return;
        }
        if self.head_is_live() {
            return;
        }
        let (me, beat) = (self.setting.me, self.setting.beat);
        let before = self.line().into_iter().take_while(|peer| *peer != me);
        let live = |peer: &Peer| !self.suspected.contains(peer) && self.head != Some(*peer);
        let rank = before.filter(live).count() as u64;
        let new = self.log.term() == 0;
        let wait = match self.head {
            Some(_) => Duration::ZERO,
            None if rank == 0 && new => Duration::ZERO,
            None => self.setting.patience,
        };
        let mut due = self.now.after(wait).after(self.setting.beats(2 * rank));
        if rank > 0 {
            due = due.after(self.random.duration_up_to(beat));
        }
        self.stand_due = Some(due);
    }

    /// Stands when the moment has come.
    pub(super) fn stand_if_due(&mut self) {
        if self.stand_due.is_some_and(|due| self.now >= due) {
            self.stand(1);
        }
    }

    /// The detector's opinion has changed.
    pub(super) fn suspect(&mut self, suspected: BTreeSet<Peer>) {
        let was = self.head_is_live();
        self.suspected = suspected;
        let is = self.head_is_live();
        if is && matches!(&self.position, Position::Candidate(candidacy) if candidacy.trial) {
            self.position = Position::Follower;
        }
        if was != is || self.stand_due.is_some() {
            self.plan_to_stand();
        }
        self.stand_if_due();
        if self.stand_due.is_some() {
            self.set_tick();
        }
    }

    /// What a heartbeat says about its sender's role.
    pub(super) fn hear(&mut self, from: Peer, heartbeat: &Heartbeat) {
        let present = self.log.term();
        if heartbeat.epoch < present {
            return;
        }
        if heartbeat.primary && heartbeat.epoch > present {
            self.enter_epoch(heartbeat.epoch, None);
            self.follow(Some(from));
        } else if heartbeat.primary && !self.head_is_live() && self.head != Some(from) {
            self.follow(Some(from));
        } else if !heartbeat.primary && self.head == Some(from) {
            self.follow(None);
        }
    }
}
