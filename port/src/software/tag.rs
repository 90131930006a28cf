//! VLAN tags that are in a packet's metadata only.

use super::BadOffload;
use crate::offload::{Checksum, Offload, Segmentation};

/// Where the type of an Ethernet frame is, and where a tag goes.
pub(super) const TYPE_AT: usize = 12;
/// Bytes of a tag.
pub(super) const TAG_LEN: usize = 4;
/// The same, where metadata counts.
const MOVED: u16 = 4;

/// A tag: type and control information.
pub(super) type Tag = [u8; TAG_LEN];

/// The tag with this control information.
///
/// Spec: IEEE 802.1Q §9.6.
pub(super) fn tag(control: u16) -> Tag {
    let [high, low] = control.to_be_bytes();
    [0x81, 0x00, high, low]
}

/// Whether summing may start at `start` in a packet that gets a tag: behind the Ethernet header.
pub(super) fn is_behind_type(start: u16) -> bool {
    usize::from(start) >= TYPE_AT + 2
}

/// The metadata that is left of `offload` once a packet of `len` bytes has its tag.
pub(super) fn behind_tag(offload: Offload, len: usize) -> Result<Offload, BadOffload> {
    let checksum = match offload.checksum {
        Checksum::Partial { start, offset } => {
            let moved = start.checked_add(MOVED).filter(|_| is_behind_type(start));
            let outside = BadOffload::ChecksumOutside { start, offset, len };
            Checksum::Partial { start: moved.ok_or(outside)?, offset }
        }
        other => other,
    };
    let longer = |header_len: u16| header_len.saturating_add(MOVED);
    let segmentation = match offload.segmentation {
        Segmentation::None => Segmentation::None,
        Segmentation::Tcp4 { header_len, segment_size, ecn } => {
            Segmentation::Tcp4 { header_len: longer(header_len), segment_size, ecn }
        }
        Segmentation::Tcp6 { header_len, segment_size, ecn } => {
            Segmentation::Tcp6 { header_len: longer(header_len), segment_size, ecn }
        }
    };
    Ok(Offload { checksum, segmentation, vlan: None })
}
