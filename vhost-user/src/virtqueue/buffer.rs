//! Receive buffers of the driver.

use ringport::burst::{Piece, Shape};

/// What was written to a buffer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    /// Bytes of the packet.
    pub(super) len: u32,
    /// The packet ends in it.
    pub(super) ends: bool,
}

/// Has the pieces of one buffer go on up to the last, and returns how many there are.
pub(super) fn mark_buffer(pieces: &mut [Piece]) -> u16 {
    let last = pieces.len().saturating_sub(1);
    for piece in pieces.iter_mut().take(last) {
        piece.shape = Shape::new(piece.shape.region(), piece.shape.len(), true);
    }
    u16::try_from(pieces.len()).unwrap_or(u16::MAX)
}

impl Written {
    /// What was written to the slots of one buffer.
    pub(super) fn sum(slots: impl Iterator<Item = Shape>) -> Self {
        slots.fold(Self::default(), |written, shape| Self {
            len: written.len + shape.len(),
            ends: written.ends || !shape.is_empty() && !shape.more(),
        })
    }
}
