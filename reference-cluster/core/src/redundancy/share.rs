//! What one node keeps of one version of a key: a whole copy, or a shard of it.
//!
//! Versions put all writes of a key in one order. A writer asks a read quorum for the newest and
//! takes the next counter; where two writers take the same, the node decides, and where one node
//! takes it twice (it died in between, or has two writes under way) the moment. Invariant: no two
//! writes have the same version.
//!
//! The checksum is over everything a share says, its key included, so that bytes which changed on a
//! disk are never passed on.

use serde::{Deserialize, Serialize};
use shakedown_contracts::time::Moment;

use crate::interface::Peer;

/// Which write a value is of. The greater one is the newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// One more than the newest that the writer found.
    pub counter: u64,
    /// The node that coordinated the write.
    pub node: Peer,
    /// When it did; different for each write of a node.
    pub stamp: Moment,
}

/// What a node keeps of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Of which version.
    pub version: Version,
    /// Which shard this is; 0 where shares are whole copies.
    pub index: u32,
    /// The value or the shard.
    pub bytes: Vec<u8>,
    /// CRC32C over key and all of the above.
    pub checksum: u32,
}

impl Share {
    /// A sound share.
    pub fn new(key: &str, version: Version, index: u32, bytes: Vec<u8>) -> Share {
        let mut share = Share {
            version,
            index,
            bytes,
            checksum: 0,
        };
        share.checksum = share.computed(key);
        share
    }

    /// True when nothing has changed since it was made for that key.
    pub fn is_sound(&self, key: &str) -> bool {
        self.checksum == self.computed(key)
    }

    fn computed(&self, key: &str) -> u32 {
        let Version {
            counter,
            node,
            stamp,
        } = self.version;
        let numbers = [counter, u64::from(node.0), stamp.0, u64::from(self.index)];
        let sum = crc32c::crc32c(key.as_bytes());
        let sum = numbers.iter().fold(sum, |sum, number| {
            crc32c::crc32c_append(sum, &number.to_be_bytes())
        });
        crc32c::crc32c_append(sum, &self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(counter: u64, node: u32, stamp: u64) -> Version {
        Version {
            counter,
            node: Peer(node),
            stamp: Moment(stamp),
        }
    }

    #[test]
    fn the_counter_comes_first_then_the_node_then_the_moment() {
        let ordered = [
            version(1, 2, 9),
            version(2, 0, 5),
            version(2, 0, 6),
            version(2, 1, 1),
        ];
        assert!(ordered.is_sorted());
    }

    #[test]
    fn any_change_is_noticed() {
        let share = Share::new("k", version(3, 1, 7), 2, vec![1, 2, 3]);
        assert!(share.is_sound("k"));
        assert!(!share.is_sound("l"));
        let changed = [
            Share {
                index: 3,
                ..share.clone()
            },
            Share {
                version: version(2, 1, 7),
                ..share.clone()
            },
            Share {
                bytes: vec![1, 2, 2],
                ..share.clone()
            },
            Share {
                checksum: share.checksum ^ 1,
                ..share
            },
        ];
        assert!(changed.iter().all(|share| !share.is_sound("k")));
    }
}
