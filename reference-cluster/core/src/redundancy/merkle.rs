//! A tree of digests over the versions that a node holds: two nodes find in what they differ without
//! telling each other all of it.
//!
//! Keys fall into 256 leaves by their hash; the digest of a leaf is the sum of the hashes of its keys
//! and versions, that of a part the hash of its sixteen children's. Equal digests mean equal
//! contents (but for a chance of 2⁻⁶⁴), so that only parts which differ are followed down.
//! Invariant: a digest depends on what is held, not on when it came.
//!
//! Source: Merkle 1987; DeCandia et al. 2007, section 4.7.

use super::hash;
use super::share::Version;

const ARITY: u32 = 16;
const LEAVES: u32 = ARITY * ARITY;
/// Parts are numbered level by level: the root is 0, its children follow, then the leaves.
const FIRST_LEAF: u32 = 1 + ARITY;

/// The tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    digests: Vec<u64>,
}

/// What to do about digests that were compared.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Digests of the parts below those that differ, to be compared in turn.
    pub below: Vec<(u32, u64)>,
    /// Leaves that differ.
    pub leaves: Vec<u32>,
}

/// Number of the leaf that a key is in.
pub fn leaf_of(key: &str) -> u32 {
    FIRST_LEAF + (hash::of(&[b"leaf", key.as_bytes()]) % u64::from(LEAVES)) as u32
}

impl Tree {
    /// The tree over keys and the newest version of each.
    pub fn over<'k>(versions: impl Iterator<Item = (&'k str, Version)>) -> Tree {
        let mut digests = vec![0_u64; (FIRST_LEAF + LEAVES) as usize];
        for (key, version) in versions {
            let Version {
                counter,
                node,
                stamp,
            } = version;
            let numbers = [counter, u64::from(node.0), stamp.0].map(u64::to_be_bytes);
            let [counter, node, stamp] = &numbers;
            let digest = hash::of(&[key.as_bytes(), counter, node, stamp]);
            let leaf = &mut digests[leaf_of(key) as usize];
            *leaf = leaf.wrapping_add(digest);
        }
        for part in (0..FIRST_LEAF).rev() {
            let below: Vec<[u8; 8]> = children(part)
                .map(|child| digests[child as usize].to_be_bytes())
                .collect();
            let below: Vec<&[u8]> = below.iter().map(|digest| digest.as_slice()).collect();
            digests[part as usize] = hash::of(&below);
        }
        Tree { digests }
    }

    /// The digest of everything, with its number: how a comparison begins.
    pub fn root(&self) -> (u32, u64) {
        (0, self.digests[0])
    }

    /// Compares another's digests with this tree's.
    pub fn compare(&self, theirs: &[(u32, u64)]) -> Difference {
        let mut difference = Difference::default();
        for (part, digest) in theirs {
            let ours = self.digests.get(*part as usize);
            if ours.is_none_or(|ours| ours == digest) {
                continue;
            }
            if *part >= FIRST_LEAF {
                difference.leaves.push(*part);
            } else {
                let below = children(*part).map(|child| (child, self.digests[child as usize]));
                difference.below.extend(below);
            }
        }
        difference
    }
}

fn children(part: u32) -> std::ops::Range<u32> {
    let first = part * ARITY + 1;
    first..first + ARITY
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use shakedown_contracts::random::Random;
    use shakedown_contracts::time::Moment;

    use super::*;
    use crate::interface::Peer;

    type Versions = BTreeMap<String, Version>;

    fn tree(versions: &Versions) -> Tree {
        Tree::over(
            versions
                .iter()
                .map(|(key, version)| (key.as_str(), *version)),
        )
    }

    fn version(counter: u64) -> Version {
        Version {
            counter,
            node: Peer(1),
            stamp: Moment(counter),
        }
    }

    /// Compares two trees as two nodes would; the leaves they find, and the digests exchanged.
    fn exchange(one: &Tree, other: &Tree) -> (BTreeSet<u32>, usize) {
        let (mut leaves, mut told) = (BTreeSet::new(), 1);
        let mut digests = vec![one.root()];
        let mut turn = [other, one].into_iter().cycle();
        while !digests.is_empty() {
            let difference = turn.next().unwrap().compare(&digests);
            leaves.extend(difference.leaves);
            digests = difference.below;
            told += digests.len();
        }
        (leaves, told)
    }

    #[test]
    fn exactly_the_leaves_that_differ_are_found() {
        for seed in 0..50 {
            let mut random = Random::keyed(seed, "merkle", "");
            let keys = 1 + random.below(2_000);
            let ours: Versions = (0..keys)
                .map(|key| (format!("k{key}"), version(1 + random.below(9))))
                .collect();
            let mut theirs = ours.clone();
            let mut changed = BTreeSet::new();
            for _ in 0..random.below(4) {
                let key = format!("k{}", random.below(keys));
                changed.insert(leaf_of(&key));
                match random.below(2) {
                    0 => drop(theirs.remove(&key)),
                    _ => drop(theirs.insert(key, version(10 + random.below(9)))),
                }
            }
            let (leaves, told) = exchange(&tree(&ours), &tree(&theirs));
            assert_eq!(leaves, changed, "seed {seed}");
            // The root, its children, and the children of each of those that differ.
            let below = if changed.is_empty() {
                0
            } else {
                16 + 16 * changed.len()
            };
            assert!(
                told <= 1 + below,
                "seed {seed}: {told} digests for {changed:?}"
            );
        }
    }

    #[test]
    fn a_part_that_does_not_exist_is_passed_over() {
        let tree = tree(&Versions::new());
        assert_eq!(tree.compare(&[(9_999, 1)]), Difference::default());
    }
}
