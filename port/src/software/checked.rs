//! Metadata that is passed on to somebody who believes it.

use super::headers::{HEADERS_MAX, Headers, Ip};
use super::segments::{CHECKSUM_AT, SEGMENT_MIN};
use super::tag::is_behind_type;
use super::{BadOffload, Checksum, Offload, Segmentation};

/// Checks what `offload` says of a packet of `len` bytes against the packet, of which `read` copies
/// the first bytes and says how many, and returns it with the length that the headers really have.
/// The packet must be in private memory.
///
/// # Errors
/// [`BadOffload`]: the packet is not what it is said to be.
pub(crate) fn checked(
    offload: Offload,
    len: usize,
    read: impl FnOnce(&mut [u8]) -> usize,
) -> Result<Offload, BadOffload> {
    if let Checksum::Partial { start, offset } = offload.checksum {
        let inside = usize::from(start) + usize::from(offset) + 2 <= len;
        if !inside || !is_behind_type(start) {
            return Err(BadOffload::ChecksumOutside { start, offset, len });
        }
    }
    let (version, segment_size) = match offload.segmentation {
        Segmentation::None => return Ok(offload),
        Segmentation::Tcp4 { segment_size, .. } => (Ip::V4, segment_size),
        Segmentation::Tcp6 { segment_size, .. } => (Ip::V6, segment_size),
    };
    if segment_size < SEGMENT_MIN {
        return Err(BadOffload::SegmentTooShort { segment_size, min: SEGMENT_MIN });
    }
    let mut head = [0; HEADERS_MAX];
    let copied = read(&mut head);
    let headers = Headers::find(head.get(..copied).unwrap_or_default(), len, version)?;
    if !is_of_tcp(offload.checksum, headers.tcp) {
        return Err(BadOffload::NotTcp);
    }
    let header_len = u16::try_from(headers.len).map_err(|_| BadOffload::Truncated)?;
    Ok(Offload { segmentation: with_header_len(offload.segmentation, header_len), ..offload })
}

/// Whether the checksum that is to be computed is that of the TCP header at `tcp`.
fn is_of_tcp(checksum: Checksum, tcp: usize) -> bool {
    match checksum {
        Checksum::Partial { start, offset } => {
            (usize::from(start), usize::from(offset)) == (tcp, CHECKSUM_AT)
        }
        Checksum::Unknown | Checksum::Verified => false,
    }
}

fn with_header_len(segmentation: Segmentation, header_len: u16) -> Segmentation {
    match segmentation {
        Segmentation::None => Segmentation::None,
        Segmentation::Tcp4 { segment_size, ecn, .. } => {
            Segmentation::Tcp4 { header_len, segment_size, ecn }
        }
        Segmentation::Tcp6 { segment_size, ecn, .. } => {
            Segmentation::Tcp6 { header_len, segment_size, ecn }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethernet, IPv4 or IPv6 and TCP headers without options, and 100 bytes behind them.
    fn packet(version: Ip) -> Vec<u8> {
        let mut packet = vec![0; 12];
        let tcp = match version {
            Ip::V4 => {
                packet.extend([0x08, 0x00, 0x45, 0]);
                packet.extend(140u16.to_be_bytes());
                packet.extend([0, 0, 0, 0, 64, 6]);
                34
            }
            Ip::V6 => {
                packet.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                packet.extend(120u16.to_be_bytes());
                packet.extend([6, 64]);
                54
            }
        };
        packet.resize(tcp + 12, 0);
        packet.push(0x50);
        packet.resize(tcp + 120, 0);
        packet
    }

    fn tcp4(start: u16, offset: u16, segment_size: u16) -> Offload {
        let segmentation = Segmentation::Tcp4 { header_len: 9999, segment_size, ecn: true };
        Offload { checksum: Checksum::Partial { start, offset }, segmentation, vlan: None }
    }

    fn check(offload: Offload, packet: &[u8]) -> Result<Offload, BadOffload> {
        checked(offload, packet.len(), |head| {
            let len = head.len().min(packet.len());
            head[..len].copy_from_slice(&packet[..len]);
            len
        })
    }

    #[test]
    fn headers_have_their_real_length_whatever_was_said() {
        let good = check(tcp4(34, 16, 50), &packet(Ip::V4)).unwrap();
        let segmentation = Segmentation::Tcp4 { header_len: 54, segment_size: 50, ecn: true };
        assert_eq!(good, Offload { segmentation, ..tcp4(34, 16, 50) });
        let segmentation = Segmentation::Tcp6 { header_len: 0, segment_size: 50, ecn: false };
        let good = check(Offload { segmentation, ..tcp4(54, 16, 0) }, &packet(Ip::V6)).unwrap();
        let segmentation = Segmentation::Tcp6 { header_len: 74, segment_size: 50, ecn: false };
        assert_eq!(good.segmentation, segmentation);
    }

    #[test]
    fn checksum_in_the_ethernet_header_or_behind_the_packet_is_refused() {
        let sum = |start, offset| {
            let checksum = Checksum::Partial { start, offset };
            check(Offload { checksum, ..Offload::default() }, &[0; 60])
        };
        for (start, offset) in [(14, 0), (14, 44), (34, 24), (58, 0)] {
            assert!(sum(start, offset).is_ok(), "{start} {offset}");
        }
        for (start, offset) in [(13, 0), (0, 20), (14, 45), (59, 0), (0xffff, 0xffff)] {
            let refused = Err(BadOffload::ChecksumOutside { start, offset, len: 60 });
            assert_eq!(sum(start, offset), refused);
        }
    }

    #[test]
    fn segments_of_what_is_not_tcp_are_refused() {
        let spoilt = |at: usize, byte: u8| {
            let mut packet = packet(Ip::V4);
            packet[at] = byte;
            check(tcp4(34, 16, 50), &packet)
        };
        assert!(spoilt(60, 1).is_ok(), "payload");
        assert_eq!(spoilt(13, 6), Err(BadOffload::NotTcp), "not IP");
        assert_eq!(spoilt(14, 0x65), Err(BadOffload::NotTcp), "not version 4");
        assert_eq!(spoilt(14, 0x44), Err(BadOffload::NotTcp), "short IP header");
        assert_eq!(spoilt(20, 0x20), Err(BadOffload::NotTcp), "fragment");
        assert_eq!(spoilt(23, 17), Err(BadOffload::NotTcp), "UDP");
        assert_eq!(spoilt(46, 0x40), Err(BadOffload::NotTcp), "short TCP header");
        let wrong = BadOffload::WrongLength { said: 141, actual: 140 };
        assert_eq!(spoilt(17, 141), Err(wrong));
        let cut = check(tcp4(34, 16, 50), &packet(Ip::V4)[..52]);
        assert!(cut.is_err(), "{cut:?}");
    }

    #[test]
    fn segments_without_size_or_without_their_checksum_are_refused() {
        let good = packet(Ip::V4);
        for segment_size in [0, 7] {
            let short = BadOffload::SegmentTooShort { segment_size, min: 8 };
            assert_eq!(check(tcp4(34, 16, segment_size), &good), Err(short));
        }
        assert_eq!(check(tcp4(34, 6, 50), &good), Err(BadOffload::NotTcp), "checksum of UDP");
        assert_eq!(check(tcp4(38, 16, 50), &good), Err(BadOffload::NotTcp), "checksum elsewhere");
        let unsummed = Offload { checksum: Checksum::Verified, ..tcp4(34, 16, 50) };
        assert_eq!(check(unsummed, &good), Err(BadOffload::NotTcp));
        assert_eq!(check(tcp4(34, 16, 50), &packet(Ip::V6)), Err(BadOffload::NotTcp), "version 6");
    }
}
