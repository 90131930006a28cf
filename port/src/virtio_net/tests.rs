use super::*;
use proptest::prelude::*;

const PARTIAL: Checksum = Checksum::Partial { start: 34, offset: 16 };

#[test]
fn header_has_the_layout_of_the_specification() {
    let segmentation = Segmentation::Tcp6 { header_len: 74, segment_size: 1440, ecn: true };
    let offload = Offload { checksum: PARTIAL, segmentation, vlan: None };
    let header = [1, 0x84, 74, 0, 0xa0, 5, 34, 0, 16, 0, 2, 1];
    assert_eq!(encode(&offload, 0x102), header);
    assert_eq!(decode(&header, 1500), Ok(offload));
    assert_eq!(encode(&Offload::default(), 1), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    let verified = Offload { checksum: Checksum::Verified, ..Offload::default() };
    assert_eq!(encode(&verified, 1)[0], 2);
    assert_eq!(decode(&encode(&verified, 1), 60), Ok(verified));
}

#[test]
fn stale_number_of_buffers_is_ignored() {
    let header = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    assert_eq!(decode(&header, 60), Ok(Offload::default()));
}

#[test]
fn checksum_outside_the_packet_is_refused() {
    for (start, offset, len, good) in [
        (34u16, 16u16, 52u32, true),
        (34, 16, 51, false),
        (0, 0, 1, false),
        (0, 0, 2, true),
        (0xffff, 0xffff, 1500, false),
        (0xffff, 0xffff, 0x2_0000, true),
    ] {
        let checksum = Checksum::Partial { start, offset };
        let offload = Offload { checksum, ..Offload::default() };
        let expected = if good { Ok(offload) } else { Err(BadHeader) };
        assert_eq!(decode(&encode(&offload, 1), len), expected, "{start} {offset} {len}");
    }
}

#[test]
fn segments_of_no_bytes_or_kind_or_checksum_are_refused() {
    let header =
        |flags, kind, header_len, size| [flags, kind, header_len, 0, size, 0, 0, 0, 0, 0, 0, 0];
    assert!(decode(&header(1, 1, 54, 100), 1500).is_ok());
    for bad in [
        header(1, 1, 54, 0),
        header(0, 1, 54, 100),
        header(2, 1, 54, 100),
        header(1, 2, 54, 100),
        header(1, 3, 54, 100),
        header(1, 0x80, 54, 100),
        header(1, 5, 54, 100),
    ] {
        assert_eq!(decode(&bad, 1500), Err(BadHeader), "{bad:?}");
    }
    assert_eq!(decode(&header(1, 1, 54, 100), 54), Err(BadHeader), "no payload");
}

proptest! {
    #[test]
    fn what_any_header_says_lies_in_its_packet(header: [u8; HEADER_LEN], len in 1u32..70_000) {
        let Ok(offload) = decode(&header, len) else { return Ok(()) };
        if let Checksum::Partial { start, offset } = offload.checksum {
            prop_assert!(u32::from(start) + u32::from(offset) + 2 <= len);
        }
        if let Segmentation::Tcp4 { header_len, segment_size, .. }
        | Segmentation::Tcp6 { header_len, segment_size, .. } = offload.segmentation
        {
            prop_assert!(u32::from(header_len) < len && segment_size > 0);
        }
        prop_assert_eq!(decode(&encode(&offload, 1), len), Ok(offload));
    }
}
