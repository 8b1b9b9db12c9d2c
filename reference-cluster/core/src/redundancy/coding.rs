//! How a value becomes shares: whole copies, or shards of a Reed–Solomon code.
//!
//! Invariant: one copy, or `k` shards of different places, give the value back.

use super::reed_solomon::Code;
use super::share::{Share, Version};

/// A register's value is a number of 64 bits.
const VALUE_BYTES: usize = 8;

/// How values are laid out over the nodes of a key.
#[derive(Debug, Clone)]
pub(super) enum Coding {
    /// Each node has the whole value.
    Copies,
    /// Each node has the shard of its place in the ranking.
    Shards(Code),
}

impl Coding {
    /// The share of a value for a place in the key's ranking.
    pub fn share(&self, key: &str, version: Version, place: usize, value: u64) -> Share {
        let bytes = value.to_be_bytes();
        match self {
            Coding::Copies => Share::new(key, version, 0, bytes.to_vec()),
            Coding::Shards(code) => {
                let shard = code.encode(&bytes).into_iter().nth(place);
                Share::new(key, version, place as u32, shard.unwrap_or_default())
            }
        }
    }

    /// The value, if these shares of one version are enough for it.
    pub fn value<'s>(&self, shares: impl Iterator<Item = &'s Share>) -> Option<u64> {
        let bytes = match self {
            Coding::Copies => shares.map(|share| share.bytes.clone()).next()?,
            Coding::Shards(code) => {
                let shards: Vec<_> = shares
                    .map(|share| (share.index as usize, share.bytes.as_slice()))
                    .collect();
                code.decode(&shards, VALUE_BYTES).ok()?
            }
        };
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::time::Moment;

    use super::*;
    use crate::interface::Peer;

    #[test]
    fn a_register_survives_both_codings() {
        let version = Version {
            counter: 1,
            node: Peer(0),
            stamp: Moment(1),
        };
        let shards = Coding::Shards(Code::new(4, 2).unwrap());
        for (coding, enough) in [(Coding::Copies, 1), (shards, 4)] {
            let value = 0x0123_4567_89ab_cdef;
            let shares: Vec<Share> = (0..6)
                .map(|place| coding.share("k", version, place, value))
                .collect();
            assert_eq!(coding.value(shares[6 - enough..].iter()), Some(value));
            assert_eq!(coding.value(shares[7 - enough..].iter()), None);
        }
    }
}
