//! What is read and changed in a packet's bytes, from its IP header on.

/// Length of the whole packet by its IP header; 0 where that cannot be read.
pub fn length(bytes: &[u8]) -> u64 {
    let word = |at: usize| bytes.get(at..at + 2).map(|two| [two[0], two[1]]);
    match bytes.first().map(|first| first >> 4) {
        Some(4) => word(2).map_or(0, |two| u64::from(u16::from_be_bytes(two))),
        // The IPv6 header does not count itself.
        Some(6) => word(4).map_or(0, |two| 40 + u64::from(u16::from_be_bytes(two))),
        _ => 0,
    }
}

/// Flips one bit behind the IP header, by a number modulo the bits there are; false where there is
/// none.
///
/// The IP header is left alone: a flip there would send the packet to somebody else, or be seen by
/// the router.
pub fn flip(bytes: &mut [u8], number: u64) -> bool {
    let header = match bytes.first() {
        Some(first) if first >> 4 == 4 => usize::from(first & 0xf) * 4,
        Some(first) if first >> 4 == 6 => 40,
        _ => return false,
    };
    let bits = bytes.len().saturating_sub(header) as u64 * 8;
    if bits == 0 {
        return false;
    }
    let bit = number % bits;
    bytes[header + (bit / 8) as usize] ^= 1 << (bit % 8);
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_those_of_whole_packets() {
        assert_eq!(length(&[0x45, 0, 5, 0xdc]), 1_500);
        assert_eq!(length(&[0x60, 0, 0, 0, 1, 0]), 296);
        assert_eq!(length(&[0x45, 0, 5]), 0);
        assert_eq!(length(&[]), 0);
    }

    proptest! {
        #[test]
        fn exactly_one_bit_behind_the_header_changes(
            payload in proptest::collection::vec(any::<u8>(), 1..100), number: u64,
        ) {
            let mut packet = vec![0x45; 20];
            packet.extend(payload);
            let before = packet.clone();
            prop_assert!(flip(&mut packet, number));
            prop_assert_eq!(&before[..20], &packet[..20]);
            let changed: u32 = before.iter().zip(&packet).map(|(a, b)| (a ^ b).count_ones()).sum();
            prop_assert_eq!(changed, 1);
        }

        #[test]
        fn arbitrary_bytes_are_survived(mut bytes: Vec<u8>, number: u64) {
            length(&bytes);
            flip(&mut bytes, number);
        }
    }
}
