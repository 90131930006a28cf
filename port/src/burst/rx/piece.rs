//! What descriptors name, in two words.

/// A piece of a packet, as a descriptor names it: not checked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it starts in its region, in bytes.
    pub offset: u64,
    /// Its other properties.
    pub shape: Shape,
    /// Where in the same region a piece probably starts that will be used some slots later: its
    /// first line is fetched meanwhile. Only a hint: it is never dereferenced, and may be anything.
    /// The piece's own offset where nothing is known.
    pub ahead: u64,
}

impl Piece {
    /// A piece with no hint of what comes after it.
    #[must_use]
    #[inline(always)]
    pub fn alone(offset: u64, shape: Shape) -> Self {
        Self { offset, shape, ahead: offset }
    }
}

/// Region, length and continuation of a piece, in one word: a burst writes and reads one a packet.
///
/// | bits | field |
/// |---|---|
/// | 0 | the packet goes on in the next piece |
/// | 16 to 31 | region |
/// | 32 to 63 | length in bytes |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape(u64);

impl Shape {
    const MORE: u64 = 1;
    pub(in crate::burst) const EMPTY: Self = Self(0);
    const FIELDS: u64 = 0xffff_ffff_ffff_0000 | Self::MORE;

    /// Puts a shape together.
    #[must_use]
    #[inline(always)]
    pub fn new(region: u16, len: u32, more: bool) -> Self {
        Self(u64::from(more) | u64::from(region) << 16 | u64::from(len) << 32)
    }

    /// Takes a shape from a word laid out as above; other bits are ignored.
    #[must_use]
    #[inline(always)]
    pub fn from_word(word: u64) -> Self {
        Self(word & Self::FIELDS)
    }

    /// The word, laid out as above.
    #[must_use]
    #[inline(always)]
    pub fn word(self) -> u64 {
        self.0
    }

    /// Length in bytes.
    #[must_use]
    #[inline(always)]
    pub fn len(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether the piece has no bytes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether the packet goes on in the next piece.
    #[must_use]
    #[inline(always)]
    pub fn more(self) -> bool {
        self.0 & Self::MORE != 0
    }

    /// Region that the piece lies in.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the word apart")]
    pub fn region(self) -> u16 {
        (self.0 >> 16) as u16
    }
}
