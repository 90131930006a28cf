//! Checksums of the Internet protocols, two bytes at a time.
//!
//! Spec: RFC 1071, RFC 8200 §8.1.

const ICMPV6: u8 = 58;

/// The sum of the big-endian words of `parts`, each of an even length but for the last.
pub(crate) fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

/// The sum over an IPv4 header: 0xffff when its checksum is right.
pub(crate) fn ipv4(packet: &[u8]) -> u16 {
    sum(&[&packet[..header_len(packet)]])
}

pub(crate) fn header_len(packet: &[u8]) -> usize {
    usize::from(packet[0] & 15) * 4
}

/// The sum over what is behind an IPv6 header without extensions, with the pseudo-header of `next`.
pub(crate) fn ipv6(packet: &[u8], next: u8) -> u16 {
    let [high, low] = u16::try_from(packet.len() - 40).unwrap().to_be_bytes();
    sum(&[&packet[8..40], &[high, low, 0, next], &packet[40..]])
}

/// Writes right lengths and checksums into a packet of ICMP that starts with the header of IP, as
/// far as they are there.
pub(crate) fn mend(packet: &mut [u8]) {
    match packet.first().map(|first| first >> 4) {
        Some(4)
            if packet.len() >= 20
                && header_len(packet) >= 20
                && packet.len() >= header_len(packet) + 4 =>
        {
            let (start, len) = (header_len(packet), u16::try_from(packet.len()).unwrap());
            packet[2..4].copy_from_slice(&len.to_be_bytes());
            packet[10..12].fill(0);
            let header = !ipv4(packet);
            packet[10..12].copy_from_slice(&header.to_be_bytes());
            packet[start + 2..start + 4].fill(0);
            let message = !sum(&[&packet[start..]]);
            packet[start + 2..start + 4].copy_from_slice(&message.to_be_bytes());
        }
        Some(6) if packet.len() >= 44 => {
            let len = u16::try_from(packet.len() - 40).unwrap();
            packet[4..6].copy_from_slice(&len.to_be_bytes());
            packet[42..44].fill(0);
            let message = !ipv6(packet, ICMPV6);
            packet[42..44].copy_from_slice(&message.to_be_bytes());
        }
        _ => {}
    }
}
