//! What is read and changed in a packet's bytes, from its IP header on.

use std::net::{Ipv4Addr, SocketAddrV4};

use shakedown_contracts::ports::PacketPorts;

/// IPv4 header without options.
const HEADER_BYTES: usize = 20;
const UDP_HEADER_BYTES: usize = 8;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Of the word with flags and fragment offset.
const FRAGMENT_OFFSET: u16 = 0x1fff;

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

/// Ports of a packet of TCP or UDP; `None` for other protocols, for all fragments but a first, and
/// where too few bytes are there.
pub fn ports(bytes: &[u8]) -> Option<PacketPorts> {
    let first = *bytes.first()?;
    let word = |at: usize| {
        let two = bytes.get(at..at + 2)?;
        Some(u16::from_be_bytes([two[0], two[1]]))
    };
    let offset = word(6)? & FRAGMENT_OFFSET;
    let carried = matches!(*bytes.get(9)?, TCP | UDP);
    let header = usize::from(first & 0xf) * 4;
    let readable = first >> 4 == 4 && header >= HEADER_BYTES && carried && offset == 0;
    readable.then_some((word(header)?, word(header + 2)?))
}

/// A datagram from its IP header on, without UDP checksum.
pub fn datagram(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    const HOPS: u8 = 64;
    const WHOLE: u16 = 0x4000;
    let udp_bytes = (UDP_HEADER_BYTES + payload.len()) as u16;
    let mut bytes = vec![0x45, 0];
    bytes.extend((HEADER_BYTES as u16 + udp_bytes).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(WHOLE.to_be_bytes());
    // The kernel fills in the checksum.
    bytes.extend([HOPS, UDP, 0, 0]);
    bytes.extend(from.ip().octets());
    bytes.extend(to.ip().octets());
    for word in [from.port(), to.port(), udp_bytes, 0] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(payload);
    bytes
}

/// Of a message that a datagram was refused (ICMP port unreachable): who had sent that and to whom.
pub fn refused(bytes: &[u8]) -> Option<(SocketAddrV4, SocketAddrV4)> {
    const ICMP: u8 = 1;
    const PORT_UNREACHABLE: [u8; 2] = [3, 3];
    const ICMP_HEADER_BYTES: usize = 8;
    let header = usize::from(*bytes.first()? & 0xf) * 4;
    let told = bytes.get(header..header + 2)?;
    if *bytes.get(9)? != ICMP || told != PORT_UNREACHABLE {
        return None;
    }
    let quoted = bytes.get(header + ICMP_HEADER_BYTES..)?;
    let (from, to) = ports(quoted)?;
    let address = |at: usize| Some(Ipv4Addr::from(*quoted.get(at..at + 4)?.first_chunk::<4>()?));
    Some((
        SocketAddrV4::new(address(12)?, from),
        SocketAddrV4::new(address(16)?, to),
    ))
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

    #[test]
    fn a_datagram_has_its_ports_and_what_is_no_first_fragment_of_tcp_or_udp_has_none() {
        let [from, to] = [5, 6].map(|last| Ipv4Addr::new(10, 0, 0, last));
        let [from, to] = [SocketAddrV4::new(from, 6379), SocketAddrV4::new(to, 7009)];
        let packet = datagram(from, to, b"payload");
        assert_eq!(length(&packet), packet.len() as u64);
        assert_eq!(ports(&packet), Some((6379, 7009)));
        let with = |at: usize, byte: u8| {
            let mut other = packet.clone();
            other[at] = byte;
            ports(&other)
        };
        assert_eq!(with(9, TCP), Some((6379, 7009)));
        assert_eq!(with(9, 1), None, "ICMP");
        assert_eq!(with(6, 0x20), Some((6379, 7009)), "a first fragment");
        assert_eq!(with(7, 1), None, "a later fragment");
        assert_eq!(with(0, 0x46), Some((15, 0)), "options are passed over");
        assert_eq!(with(0, 0x65), None, "IPv6");
        assert_eq!(with(0, 0x44), None, "a header too short");
        assert_eq!(ports(&packet[..23]), None, "too few bytes");

        let mut told = datagram(to, from, &[]);
        told.truncate(HEADER_BYTES);
        told[9] = 1;
        told.extend([3, 3, 0, 0, 0, 0, 0, 0]);
        told.extend(&packet);
        assert_eq!(refused(&told), Some((from, to)));
        told[HEADER_BYTES + 1] = 4;
        assert_eq!(refused(&told), None, "another reason");
        assert_eq!(refused(&packet), None, "no answer at all");
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
            ports(&bytes);
            refused(&bytes);
            flip(&mut bytes, number);
        }
    }
}
