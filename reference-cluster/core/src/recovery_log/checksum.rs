//! How altered bytes are noticed: a checksum over all that a record or checkpoint consists of.
//!
//! `crc32c` (Castagnoli's polynomial, in hardware on most machines) finds every change of up to 32
//! neighbouring bits. `none` is wrong on purpose: nothing tells a record from bytes that happen to
//! parse, so a flipped bit becomes a wrong value, or a tail whose blocks were written in part
//! becomes a mixture of two records, and nobody is told.
//!
//! Invariant: the bytes of both have the same layout; without a checksum its place holds zeros.

use shakedown_contracts::strategy::Checksum;

/// The checksum over `parts`, one after the other.
pub fn over(checksum: Checksum, parts: &[&[u8]]) -> [u8; 4] {
    let value = match checksum {
        Checksum::Crc32c => parts
            .iter()
            .fold(0, |sum, part| crc32c::crc32c_append(sum, part)),
        Checksum::None => 0,
    };
    value.to_be_bytes()
}

/// True when the stored checksum is that of `parts`, or nobody looks.
pub fn holds(checksum: Checksum, parts: &[&[u8]], stored: &[u8]) -> bool {
    match checksum {
        Checksum::Crc32c => over(checksum, parts) == stored,
        Checksum::None => true,
    }
}
