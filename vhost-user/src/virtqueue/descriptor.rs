//! The 16 bytes of a descriptor.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | guest address |
//! | 8 | 4 | length in bytes |
//! | 12 | 2 | flags: bit 0 NEXT, bit 1 WRITE (by the device), bit 2 INDIRECT |
//! | 14 | 2 | next descriptor of the chain |
//!
//! Spec: VIRTIO 1.3 §2.7.5.

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;
/// The flags that have a meaning; others are ignored.
pub(crate) const KNOWN: u16 = NEXT | WRITE | INDIRECT;
/// Bytes of a descriptor.
pub(crate) const LEN: u32 = 16;

/// A descriptor, read once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) address: u64,
    pub(crate) len: u32,
    pub(crate) flags: u16,
    pub(crate) next: u16,
}

impl Descriptor {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the words apart")]
    pub(crate) fn from_words([address, rest]: [u64; 2]) -> Self {
        let (flags, next) = ((rest >> 32) as u16, (rest >> 48) as u16);
        Self { address, len: rest as u32, flags, next }
    }

    #[inline(always)]
    pub(crate) fn to_words(self) -> [u64; 2] {
        let Self { address, len, flags, next } = self;
        [address, u64::from(len) | u64::from(flags) << 32 | u64::from(next) << 48]
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self::from_words(Self::words(bytes))
    }

    /// The words of a descriptor outside the ring.
    pub(crate) fn words(bytes: [u8; 16]) -> [u64; 2] {
        let word =
            |half: &[u8]| half.iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
        let (low, high) = bytes.split_at(8);
        [word(low), word(high)]
    }

    /// Whether it is a buffer of its own for this `access`.
    #[inline(always)]
    pub(crate) fn is_plain(self, access: Access) -> bool {
        self.flags & KNOWN == access.flag()
    }
}

/// What a queue does with the driver's buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    /// Reads first, and then writes.
    Both,
}

impl Access {
    /// The WRITE flag of its descriptors; of the first where it is not the same for all.
    #[inline(always)]
    pub(crate) fn flag(self) -> u16 {
        match self {
            Self::Read | Self::Both => 0,
            Self::Write => WRITE,
        }
    }
}
