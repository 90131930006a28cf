//! Copying a packet's bytes by way of a private buffer, in which they can be summed.

use super::Sink;
use crate::burst::RxPacket;
use std::ops::Range;

/// Bytes copied at once: most packets in one go, and little of the stack.
const CHUNK: usize = 2048;

/// A packet in shared memory, read piece by piece.
pub(super) struct Chunks<'b> {
    packet: RxPacket<'b>,
    buffer: [u8; CHUNK],
}

impl<'b> Chunks<'b> {
    pub(super) fn of(packet: RxPacket<'b>) -> Self {
        Self { packet, buffer: [0; CHUNK] }
    }

    /// Appends the packet's bytes in `range` to `to`, each read once, after `look` has seen them.
    pub(super) fn copy<S: Sink>(
        &mut self,
        range: Range<usize>,
        to: &mut S,
        mut look: impl FnMut(&[u8]),
    ) -> Result<(), S::Error> {
        for start in range.clone().step_by(CHUNK) {
            let chunk = &mut self.buffer[..CHUNK.min(range.end - start)];
            self.packet.copy_range(start, chunk);
            look(chunk);
            to.append(chunk)?;
        }
        Ok(())
    }
}
