//! Packets that stay whole: their checksum is computed, a VLAN tag inserted.

use super::sum::InternetSum;
use super::tag::{TAG_LEN, TYPE_AT, Tag, is_behind_type};
use super::{BadOffload, Chunks, Sink};
use crate::offload::Checksum;

/// Offset of the checksum in UDP's header, and in those of UDP-Lite and DCCP.
const UDP_CHECKSUM_AT: u16 = 6;

/// What is done to one packet.
#[derive(Debug)]
pub(super) struct Whole {
    /// Length of the packet as it came, in bytes.
    len: usize,
    checksum: Option<Field>,
    tag: Option<Tag>,
}

/// A checksum to compute.
#[derive(Debug, Clone, Copy)]
struct Field {
    /// Where the summed bytes begin in the packet as it came.
    start: usize,
    /// Where the checksum goes there.
    at: usize,
    /// A checksum of zero would mean that there is none.
    never_zero: bool,
}

impl Whole {
    /// What is to be done to a packet of `len` bytes that gets `tag` in front of the Ethernet type.
    pub(super) fn new(
        len: usize,
        checksum: Checksum,
        tag: Option<Tag>,
    ) -> Result<Self, BadOffload> {
        if tag.is_some() && len < TYPE_AT + 2 {
            return Err(BadOffload::Truncated);
        }
        let checksum = match checksum {
            Checksum::Partial { start, offset } => {
                let at = usize::from(start) + usize::from(offset);
                if at + 2 > len || (tag.is_some() && !is_behind_type(start)) {
                    return Err(BadOffload::ChecksumOutside { start, offset, len });
                }
                let never_zero = offset == UDP_CHECKSUM_AT;
                Some(Field { start: start.into(), at, never_zero })
            }
            Checksum::Unknown | Checksum::Verified => None,
        };
        Ok(Self { len, checksum, tag })
    }

    /// Bytes of the finished packet.
    pub(super) fn len(&self) -> usize {
        self.len + self.tag.map_or(0, |_| TAG_LEN)
    }

    /// Writes the finished packet.
    pub(super) fn write<S: Sink>(
        &self,
        packet: &mut Chunks<'_>,
        to: &mut S,
    ) -> Result<(), S::Error> {
        let mut from = 0;
        if let Some(tag) = self.tag {
            packet.copy(0..TYPE_AT, to, |_| ())?;
            to.append(&tag)?;
            from = TYPE_AT;
        }
        let Some(field) = self.checksum else {
            return packet.copy(from..self.len, to, |_| ());
        };
        let mut sum = InternetSum::default();
        packet.copy(from..field.start, to, |_| ())?;
        packet.copy(field.start..self.len, to, |chunk| sum.add(chunk))?;
        let moved = self.len() - self.len;
        to.overwrite(field.at + moved, &field.value(sum).to_be_bytes())
    }
}

impl Field {
    /// The checksum as it is stored.
    ///
    /// Spec: RFC 768: a UDP checksum of zero is sent as all ones.
    fn value(self, sum: InternetSum) -> u16 {
        match sum.checksum() {
            0 if self.never_zero => 0xffff,
            checksum => checksum,
        }
    }
}
