//! Packets that ask for what their transmit queue cannot pass on.

use super::{PacketWriter, PushError, TxBurst};
use crate::burst::RxPacket;
use crate::software::{Finish, Sink};

/// Pushes what `packet` stands for once its metadata is dealt with: one packet, or all of its
/// segments, or nothing.
#[cold]
#[inline(never)]
pub(super) fn push_finished(
    burst: &mut TxBurst<'_>,
    packet: &RxPacket<'_>,
) -> Result<(), PushError> {
    let work = Finish::new(*packet, |left| burst.carries(left)).map_err(PushError::Malformed)?;
    let (used, packets) = (burst.used, burst.packets);
    let outcome = push_all(burst, &work);
    if outcome.is_err() {
        (burst.used, burst.packets) = (used, packets);
        burst.forget_offload();
    } else {
        burst.batch.finished_ever = burst.batch.finished_ever.wrapping_add(1);
    }
    outcome.map_err(|error| match error {
        PushError::Full => burst.batch.no_room(used, packet.len()),
        other => other,
    })
}

fn push_all(burst: &mut TxBurst<'_>, work: &Finish<'_>) -> Result<(), PushError> {
    // Each takes a slot at least: no use to begin with fewer.
    if work.count() > burst.free() {
        return Err(PushError::Full);
    }
    for n in 0..work.count() {
        burst.set_offload(work.left())?;
        let mut writer = burst.writer();
        work.write(n, &mut writer)?;
        writer.finish()?;
    }
    Ok(())
}

impl Sink for PacketWriter<'_, '_> {
    type Error = PushError;

    fn append(&mut self, bytes: &[u8]) -> Result<(), PushError> {
        PacketWriter::append(self, bytes)
    }

    fn overwrite(&mut self, offset: usize, bytes: &[u8]) -> Result<(), PushError> {
        let inside = PacketWriter::overwrite(self, offset, bytes);
        debug_assert!(inside, "only what was appended is overwritten");
        Ok(())
    }
}
