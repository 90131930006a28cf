//! Taking headers off received packets.

use crate::memory::GuestMemory;
use crate::net::{self, HEADER_LEN};
use ringport::burst::{Piece, Shape};
use ringport::error::QueueError;
use ringport::offload::Offload;
use ringport::stats::RxStats;

/// A packet's metadata; none when its header makes no sense.
#[inline]
pub(crate) fn decode(header: &[u8; HEADER_LEN], len: u32, stats: &mut RxStats) -> Offload {
    net::decode(header, len).unwrap_or_else(|_| {
        stats.bad_header += 1;
        Offload::default()
    })
}

/// Copies the header out, wherever the pieces break it, and takes it off them. Returns the number
/// of the first piece that is left.
pub(super) fn split_header(
    memory: &GuestMemory,
    pieces: &mut [Piece],
    header: &mut [u8; HEADER_LEN],
) -> Result<usize, QueueError> {
    let mut rest = &mut header[..];
    for (at, piece) in pieces.iter_mut().enumerate() {
        let (region, len) = (piece.shape.region(), piece.shape.len());
        if rest.is_empty() {
            return Ok(at);
        }
        let now = rest.len().min(len as usize);
        let (part, later) = rest.split_at_mut(now);
        let read = memory.regions().read(region, piece.offset, part);
        read.ok_or(QueueError::EmptyDescriptor)?;
        rest = later;
        let now = u32::try_from(now).unwrap_or(len);
        if now < len {
            let shape = Shape::new(region, len - now, false);
            *piece = Piece::alone(piece.offset + u64::from(now), shape);
            return Ok(at);
        }
    }
    Ok(pieces.len())
}
