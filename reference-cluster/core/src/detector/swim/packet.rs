//! SWIM's datagrams: an errand about one member, with claims about others on its back.
//!
//! Piggybacking is what makes the gossip nearly free: claims travel on pings and acknowledgements
//! that are sent anyway (SWIM 2002, section 4.1). A datagram stays within 512 bytes, so that it is
//! never fragmented: losing a fragment would lose the errand with the gossip.
//!
//! Invariant: a datagram with a flipped bit does not decode.

use serde::{Deserialize, Serialize};

use crate::detector::watch::SelfPortrait;
use crate::interface::Peer;
use crate::message::Heartbeat;

/// Claims on one datagram.
pub const CLAIMS_MAX: usize = 24;
/// First byte of an encoded probe; heartbeats have others.
pub const PROBE: u8 = 3;

const HEAD_BYTES: usize = 32;
const CLAIM_BYTES: usize = 17;
const CHECKSUM_BYTES: usize = 4;

/// One datagram of SWIM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What its sender says of itself.
    pub sender: SelfPortrait,
    /// The probe that the errand belongs to, by the number that its prober gave it.
    pub sequence: u64,
    /// What it is about.
    pub errand: Errand,
    /// Gossip, at most [`CLAIMS_MAX`].
    pub claims: Vec<Claim>,
}

/// What a datagram is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "errand", rename_all = "kebab-case")]
pub enum Errand {
    /// Do you live?
    Ping {},
    /// The probed member lives.
    Ack {},
    /// Ping this member for me (the paper's `ping-req`).
    PingFor {
        /// Whom.
        target: Peer,
    },
    /// I pinged it for you and heard nothing (Lifeguard's `nack`).
    Nack {},
    /// Only the claims.
    Gossip {},
}

/// What the members tell each other about one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// About whom.
    pub member: Peer,
    /// The newest incarnation of it that the claimant knew: the claim is about no newer one.
    pub incarnation: u64,
    /// How it stands.
    pub standing: Standing,
}

/// How a member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum Standing {
    /// It says itself that it lives.
    Alive {},
    /// It did not answer a probe, and has time to object.
    Suspect {
        /// Whose probe.
        by: Peer,
    },
    /// It did not object (the paper's `confirm`).
    Dead {},
}

impl Probe {
    /// What it says of its sender, as a heartbeat would. Nobody measures round trips by it: it is of
    /// no incarnation.
    pub fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            ack: self.errand == (Errand::Ack {}),
            primary: self.sender.primary,
            incarnation: 0,
            sequence: self.sequence,
            epoch: self.sender.epoch,
            position: self.sender.position,
            progress: 0,
        }
    }

    /// As bytes of a datagram.
    pub fn encode(&self) -> Vec<u8> {
        let claims = &self.claims[..self.claims.len().min(CLAIMS_MAX)];
        let (errand, target) = match self.errand {
            Errand::Ping {} => (0, Peer(0)),
            Errand::Ack {} => (1, Peer(0)),
            Errand::PingFor { target } => (2, target),
            Errand::Nack {} => (3, Peer(0)),
            Errand::Gossip {} => (4, Peer(0)),
        };
        let mut bytes = Vec::with_capacity(HEAD_BYTES + CLAIM_BYTES * claims.len() + 4);
        let primary = u8::from(self.sender.primary);
        bytes.extend([PROBE, primary, errand, claims.len() as u8]);
        for number in [self.sequence, self.sender.epoch, self.sender.position] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(target.0.to_be_bytes());
        for claim in claims {
            let (standing, by) = match claim.standing {
                Standing::Alive {} => (0_u8, Peer(0)),
                Standing::Suspect { by } => (1, by),
                Standing::Dead {} => (2, Peer(0)),
            };
            bytes.push(standing);
            bytes.extend(claim.member.0.to_be_bytes());
            bytes.extend(by.0.to_be_bytes());
            bytes.extend(claim.incarnation.to_be_bytes());
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend(checksum.to_be_bytes());
        bytes
    }

    /// From the bytes of a datagram; `None` for anything else or anything damaged.
    pub fn decode(bytes: &[u8]) -> Option<Probe> {
        let (checked, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
        if crc32c::crc32c(checked) != u32::from_be_bytes(*checksum) {
            return None;
        }
        let (head, claims) = checked.split_first_chunk::<HEAD_BYTES>()?;
        let (claims, rest) = claims.as_chunks::<CLAIM_BYTES>();
        let whole = rest.is_empty() && claims.len() == usize::from(head[3]);
        if head[0] != PROBE || !whole || claims.len() > CLAIMS_MAX {
            return None;
        }
        let target = Peer(number(&head[28..])? as u32);
        let errand = match head[2] {
            0 => Errand::Ping {},
            1 => Errand::Ack {},
            2 => Errand::PingFor { target },
            3 => Errand::Nack {},
            4 => Errand::Gossip {},
            _ => return None,
        };
        let sender = SelfPortrait {
            primary: head[1] == 1,
            epoch: number(&head[12..20])?,
            position: number(&head[20..28])?,
        };
        Some(Probe {
            sender,
            sequence: number(&head[4..12])?,
            errand,
            claims: claims.iter().map(read_claim).collect::<Option<_>>()?,
        })
    }
}

fn read_claim(bytes: &[u8; CLAIM_BYTES]) -> Option<Claim> {
    let by = Peer(number(&bytes[5..9])? as u32);
    let standing = match bytes[0] {
        0 => Standing::Alive {},
        1 => Standing::Suspect { by },
        2 => Standing::Dead {},
        _ => return None,
    };
    Some(Claim {
        member: Peer(number(&bytes[1..5])? as u32),
        incarnation: number(&bytes[9..])?,
        standing,
    })
}

/// A number of four or eight bytes.
fn number(bytes: &[u8]) -> Option<u64> {
    match bytes.len() {
        4 => Some(u64::from(u32::from_be_bytes(bytes.try_into().ok()?))),
        8 => Some(u64::from_be_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(errand: Errand, claims: usize) -> Probe {
        let standings = [
            Standing::Alive {},
            Standing::Suspect { by: Peer(u32::MAX) },
            Standing::Dead {},
        ];
        let claim = |number: usize| Claim {
            member: Peer(number as u32 * 1_000_003),
            incarnation: u64::MAX - number as u64,
            standing: standings[number % 3],
        };
        Probe {
            sender: SelfPortrait {
                primary: claims.is_multiple_of(2),
                epoch: 3,
                position: u64::MAX,
            },
            sequence: 1 << 40,
            errand,
            claims: (0..claims).map(claim).collect(),
        }
    }

    #[test]
    fn every_errand_with_any_number_of_claims_survives_its_encoding_in_512_bytes() {
        let target = Peer(77);
        for errand in [
            Errand::Ping {},
            Errand::Ack {},
            Errand::PingFor { target },
            Errand::Nack {},
            Errand::Gossip {},
        ] {
            for claims in 0..=CLAIMS_MAX {
                let probe = probe(errand, claims);
                let bytes = probe.encode();
                assert!(bytes.len() <= 512, "{} bytes", bytes.len());
                assert_eq!(Probe::decode(&bytes), Some(probe));
                assert_eq!(Probe::decode(&bytes[1..]), None);
            }
        }
    }

    #[test]
    fn a_probe_with_any_flipped_bit_is_not_believed() {
        let good = probe(Errand::Ping {}, 3).encode();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Probe::decode(&bytes), None, "bit {bit}");
        }
    }
}
