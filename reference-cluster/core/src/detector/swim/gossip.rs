//! What a member has to tell: the newest claim about each member, so many times each.
//!
//! Told least comes first, so that a new claim is on its way at once. After λ·log n tellings by
//! everybody who heard it a claim has reached all but a vanishing share (SWIM 2002, section 4.1).
//!
//! Invariant: there is at most one claim about a member; a newer one takes its place and its count
//! begins anew.

use std::collections::BTreeMap;

use super::packet::{CLAIMS_MAX, Claim};
use crate::interface::Peer;

/// The claims that are still to be told.
#[derive(Debug)]
pub struct Gossip {
    /// By member: the claim and how often it was told.
    claims: BTreeMap<Peer, (Claim, u32)>,
    tellings_max: u32,
}

impl Gossip {
    /// Nothing to tell yet; each claim so many times.
    pub fn new(tellings_max: u32) -> Self {
        Gossip {
            claims: BTreeMap::new(),
            tellings_max,
        }
    }

    /// Something to tell.
    pub fn spread(&mut self, claim: Claim) {
        self.claims.insert(claim.member, (claim, 0));
    }

    /// Nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// Claims for one datagram: `first`, then those that were told least.
    pub fn tell(&mut self, first: &[Claim]) -> Vec<Claim> {
        let mut claims = first.to_vec();
        let said = |member: Peer| first.iter().any(|claim| claim.member == member);
        let mut order: Vec<(u32, Peer)> = self
            .claims
            .iter()
            .filter(|(member, _)| !said(**member))
            .map(|(member, (_, told))| (*told, *member))
            .collect();
        order.sort_unstable();
        for (_, member) in order {
            if claims.len() >= CLAIMS_MAX {
                break;
            }
            claims.extend(self.tell_of(member));
        }
        claims
    }

    fn tell_of(&mut self, member: Peer) -> Option<Claim> {
        let (claim, told) = self.claims.get_mut(&member)?;
        let claim = *claim;
        *told += 1;
        if *told >= self.tellings_max {
            self.claims.remove(&member);
        }
        Some(claim)
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::Standing;
    use super::*;

    fn claim(member: u32, incarnation: u64) -> Claim {
        Claim {
            member: Peer(member),
            incarnation,
            standing: Standing::Dead {},
        }
    }

    #[test]
    fn a_claim_is_told_so_many_times_and_no_more() {
        let mut gossip = Gossip::new(3);
        gossip.spread(claim(1, 0));
        for _ in 0..3 {
            assert_eq!(gossip.tell(&[]), [claim(1, 0)]);
        }
        assert!(gossip.is_empty());
        assert_eq!(gossip.tell(&[]), []);
        assert_eq!(gossip.tell(&[claim(2, 7)]), [claim(2, 7)]);
    }

    #[test]
    fn a_newer_claim_takes_the_place_of_the_older_and_what_was_told_least_comes_first() {
        let mut gossip = Gossip::new(3);
        gossip.spread(claim(1, 0));
        gossip.tell(&[]);
        gossip.spread(claim(1, 1));
        gossip.spread(claim(2, 0));
        gossip.tell(&[]);
        gossip.spread(claim(3, 0));
        assert_eq!(gossip.tell(&[]), [claim(3, 0), claim(1, 1), claim(2, 0)]);
        // What is said anyway is not said twice.
        assert_eq!(
            gossip.tell(&[claim(1, 9)]),
            [claim(1, 9), claim(3, 0), claim(2, 0)]
        );
    }

    #[test]
    fn a_datagram_has_its_room_and_everything_is_told_in_the_end() {
        let mut gossip = Gossip::new(1);
        let all: Vec<Claim> = (0..60).map(|member| claim(member, 0)).collect();
        all.iter().for_each(|claim| gossip.spread(*claim));
        let mut told = Vec::new();
        while !gossip.is_empty() {
            let claims = gossip.tell(&[]);
            assert!(claims.len() <= CLAIMS_MAX);
            told.extend(claims);
        }
        assert_eq!(told, all);
    }
}
