//! What is known of the other members, and which claim beats which (SWIM 2002, section 4.2).
//!
//! A claim is about one incarnation. *Alive* beats what is known of older ones; *suspect* and *dead*
//! beat *alive* of the same one too, and dead beats suspect. So whoever is accused needs a greater
//! incarnation to object, and an old accusation cannot beat the objection.
//!
//! Only what differs from a live member that never had to object is kept, so that a member of ten
//! thousand remembers as much as has happened.
//!
//! Invariant: the incarnation known of a member never becomes smaller.

use std::collections::BTreeMap;

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::packet::{Claim, Standing};
use super::setting::Setting;
use crate::flaw::Flaw;
use crate::interface::Peer;

/// What a claim made of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Nothing that was not known.
    Nothing,
    /// Something to tell; the member counts as before.
    Tell,
    /// It is dead now.
    Died,
    /// It is alive again.
    Revived,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    incarnation: u64,
    dead: bool,
}

/// A member that may still object.
#[derive(Debug)]
struct Suspicion {
    since: Moment,
    /// Whose probes it did not answer, the first and those that confirm.
    accusers: Vec<Peer>,
    until: Moment,
}

/// The other members.
#[derive(Debug, Default)]
pub struct Members {
    known: BTreeMap<Peer, Known>,
    suspicions: BTreeMap<Peer, Suspicion>,
}

impl Members {
    fn known(&self, member: Peer) -> Known {
        self.known.get(&member).copied().unwrap_or_default()
    }

    /// It is held for dead.
    pub fn is_dead(&self, member: Peer) -> bool {
        self.known(member).dead
    }

    /// All that are held for dead.
    pub fn dead(&self) -> impl Iterator<Item = Peer> {
        let dead = self.known.iter().filter(|(_, known)| known.dead);
        dead.map(|(member, _)| *member)
    }

    /// What its newest known incarnation is accused of here.
    pub fn accusation(&self, member: Peer) -> Option<Claim> {
        let known = self.known(member);
        let standing = match self.suspicions.get(&member) {
            _ if known.dead => Standing::Dead {},
            Some(suspicion) => Standing::Suspect {
                by: suspicion.accusers[0],
            },
            None => return None,
        };
        let incarnation = known.incarnation;
        Some(Claim {
            member,
            incarnation,
            standing,
        })
    }

    /// A claim about its newest known incarnation.
    pub fn claim(&self, member: Peer, standing: Standing) -> Claim {
        let incarnation = self.known(member).incarnation;
        Claim {
            member,
            incarnation,
            standing,
        }
    }

    /// Takes in a claim.
    pub fn learn(&mut self, now: Moment, claim: Claim, setting: &Setting) -> News {
        let known = self.known(claim.member);
        let stale = match claim.standing {
            Standing::Alive {} => claim.incarnation <= known.incarnation,
            Standing::Suspect { .. } | Standing::Dead {} => claim.incarnation < known.incarnation,
        };
        if stale && !setting.planted.has(Flaw::StaleClaimsBelieved) {
            return News::Nothing;
        }
        let dead = match claim.standing {
            Standing::Alive {} => false,
            Standing::Suspect { .. } => known.dead,
            Standing::Dead {} => true,
        };
        let incarnation = claim.incarnation;
        self.known.insert(claim.member, Known { incarnation, dead });
        match claim.standing {
            Standing::Suspect { by } if !dead => self.suspect(now, (claim.member, by), setting),
            Standing::Suspect { .. } => News::Nothing,
            Standing::Alive {} | Standing::Dead {} => {
                self.suspicions.remove(&claim.member);
                match (known.dead, dead) {
                    (false, true) => News::Died,
                    (true, false) => News::Revived,
                    (true, true) => News::Nothing,
                    (false, false) => News::Tell,
                }
            }
        }
    }

    fn suspect(&mut self, now: Moment, (member, by): (Peer, Peer), setting: &Setting) -> News {
        let suspicion = self.suspicions.entry(member).or_insert(Suspicion {
            since: now,
            accusers: Vec::new(),
            until: now,
        });
        let confirmations = setting.confirmations() as usize;
        if suspicion.accusers.contains(&by) || suspicion.accusers.len() > confirmations {
            return News::Nothing;
        }
        let confirmed = match setting.planted.has(Flaw::DogpileIgnored) {
            true => 0,
            false => suspicion.accusers.len() as u32,
        };
        suspicion.accusers.push(by);
        suspicion.until = suspicion.since.after(setting.suspicion(confirmed));
        News::Tell
    }

    /// Suspects whose time to object is over.
    pub fn expired(&self, now: Moment) -> Vec<Peer> {
        let over = self.suspicions.iter();
        let over = over.filter(|(_, suspicion)| suspicion.until <= now);
        over.map(|(member, _)| *member).collect()
    }

    /// When the next suspect's time to object is over.
    pub fn next_expiry(&self) -> Option<Moment> {
        let until = self.suspicions.values().map(|suspicion| suspicion.until);
        until.min()
    }

    /// This member itself was stopped for so long: nobody could object meanwhile.
    pub fn shift(&mut self, slept: Duration) {
        for suspicion in self.suspicions.values_mut() {
            suspicion.since = suspicion.since.after(slept);
            suspicion.until = suspicion.until.after(slept);
        }
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::strategy::Swim as Options;

    use super::*;
    use crate::detector::Group;
    use crate::flaw::Planted;

    const ALIVE: Standing = Standing::Alive {};
    const DEAD: Standing = Standing::Dead {};
    const MEMBER: Peer = Peer(1);

    fn suspect(by: u32) -> Standing {
        Standing::Suspect { by: Peer(by) }
    }

    fn setting() -> Setting {
        Setting::new(&Options::default(), &Group::of_size(10)).unwrap()
    }

    /// What a member is after some claims, each a standing of an incarnation, and the last news.
    fn after(claims: &[(Standing, u64)]) -> (Members, News) {
        let mut members = Members::default();
        let mut news = News::Nothing;
        for (standing, incarnation) in claims {
            let claim = Claim {
                member: MEMBER,
                incarnation: *incarnation,
                standing: *standing,
            };
            news = members.learn(Moment(0), claim, &setting());
        }
        (members, news)
    }

    #[test]
    fn a_claim_beats_what_is_known_as_in_section_4_2_of_the_paper() {
        let cases: [(&[(Standing, u64)], News); 11] = [
            // Alive needs a greater incarnation, whatever it meets.
            (&[(ALIVE, 0)], News::Nothing),
            (&[(suspect(2), 0), (ALIVE, 0)], News::Nothing),
            (&[(suspect(2), 0), (ALIVE, 1)], News::Tell),
            (&[(DEAD, 3), (ALIVE, 3)], News::Nothing),
            (&[(DEAD, 3), (ALIVE, 4)], News::Revived),
            // Suspect and dead beat alive of the same incarnation, and no newer one.
            (&[(ALIVE, 5), (suspect(2), 5)], News::Tell),
            (&[(ALIVE, 5), (suspect(2), 4)], News::Nothing),
            (&[(ALIVE, 5), (DEAD, 4)], News::Nothing),
            // Dead beats suspect, suspect never dead.
            (&[(suspect(2), 0), (DEAD, 0)], News::Died),
            (&[(DEAD, 0), (suspect(2), 7)], News::Nothing),
            (&[(DEAD, 0), (DEAD, 7)], News::Nothing),
        ];
        for (claims, expected) in cases {
            assert_eq!(after(claims).1, expected, "{claims:?}");
        }
    }

    #[test]
    fn where_stale_claims_are_believed_a_refuted_accusation_kills() {
        let mut setting = setting();
        setting.planted = Planted::from(Some(Flaw::StaleClaimsBelieved));
        let (mut members, _) = after(&[(ALIVE, 5)]);
        let claim = Claim {
            member: MEMBER,
            incarnation: 4,
            standing: DEAD,
        };
        assert_eq!(members.learn(Moment(0), claim, &setting), News::Died);
    }

    #[test]
    fn an_accuser_counts_once_and_enough_of_them_are_enough() {
        let until = |claims: &[(Standing, u64)]| after(claims).0.next_expiry().unwrap().0;
        let seconds = |seconds: u64| seconds * 1_000_000_000;
        // 4 s at least, six times as long at first; two confirmations of others make it the least.
        assert_eq!(until(&[(suspect(2), 0)]), seconds(24));
        assert_eq!(until(&[(suspect(2), 0), (suspect(2), 0)]), seconds(24));
        let twice = until(&[(suspect(2), 0), (suspect(3), 0)]);
        assert!((seconds(11)..seconds(12)).contains(&twice), "{twice}");
        let all = [(suspect(2), 0), (suspect(3), 0), (suspect(4), 0)];
        assert_eq!(until(&all), seconds(4));
        let more = [all[0], all[1], all[2], (suspect(5), 0)];
        assert_eq!(after(&more).1, News::Nothing);
    }

    #[test]
    fn an_accusation_names_the_newest_incarnation_and_dies_with_an_objection() {
        let (members, _) = after(&[(suspect(2), 3), (suspect(2), 5)]);
        let accusation = members.accusation(MEMBER).unwrap();
        assert_eq!(
            (accusation.incarnation, accusation.standing),
            (5, suspect(2))
        );
        let (members, _) = after(&[(suspect(2), 3), (ALIVE, 4)]);
        assert_eq!(members.accusation(MEMBER), None);
        assert_eq!(members.next_expiry(), None);
    }
}
