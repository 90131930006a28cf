//! The 16 bytes of a descriptor.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | flags: bit 0 NEXT, the packet continues in the next slot |
//! | 2 | 2 | region |
//! | 4 | 4 | length in bytes |
//! | 8 | 4 | offset in the region, in bytes |
//! | 12 | 4 | metadata, used by nobody: ignored, written as zero |
//!
//! Spec: [descriptors](crate::protocol#descriptors).

use ringport::burst::Shape;

const NEXT: u64 = 1;

/// A descriptor, read once or to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) more: bool,
    pub(super) region: u16,
    pub(super) len: u32,
    pub(super) offset: u32,
}

impl Descriptor {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "takes the words apart")]
    pub(super) fn from_words([low, high]: [u64; 2]) -> Self {
        Self {
            more: low & NEXT != 0,
            region: (low >> 16) as u16,
            len: (low >> 32) as u32,
            offset: high as u32,
        }
    }

    #[inline]
    pub(super) fn to_words(self) -> [u64; 2] {
        [Shape::new(self.region, self.len, self.more).word(), u64::from(self.offset)]
    }
}

/// What a descriptor of the peer names. Its first word has the layout of a [`Shape`].
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes the words apart")]
pub(super) fn offset_and_shape([low, high]: [u64; 2]) -> (u32, Shape) {
    (high as u32, Shape::from_word(low))
}

/// What a descriptor of ours says now: only length and continuation are the peer's.
#[inline(always)]
pub(super) fn own_shape(low: u64, region: u16) -> Shape {
    const REGION: u64 = 0xffff_0000;
    Shape::from_word(low & !REGION | u64::from(region) << 16)
}
