//! Finished packets of one's own.

use super::{BadOffload, Finish, Sink};
use crate::burst::RxPacket;
use bytes::Bytes;
use std::convert::Infallible;
use std::iter::FusedIterator;

/// Iterator over the plain packets that one received packet stands for: see
/// [`RxPacket::finished`].
#[derive(Debug)]
pub struct Finished<'b> {
    work: Finish<'b>,
    next: usize,
}

impl<'b> RxPacket<'b> {
    /// Does what the packet's offload metadata asks for, in private memory: yields the packet with
    /// its checksum computed and its VLAN tag inserted, or the segments that it is to be cut into,
    /// in order. There is at least one, and each can be sent as it is by any port.
    ///
    /// The peer can still write the packet while it is leased: each segment is made from what its
    /// payload is when it is yielded, with the headers that were there at the call.
    ///
    /// ```
    /// # use ringport::burst::RxPacket;
    /// # fn deliver(_plain: bytes::Bytes) {}
    /// # fn receive(packet: &RxPacket<'_>) {
    /// match packet.finished() {
    ///     Ok(plain) => plain.for_each(deliver),
    ///     Err(bad) => eprintln!("dropped: {bad}"),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`BadOffload`]: the packet is not what its metadata says.
    pub fn finished(&self) -> Result<Finished<'b>, BadOffload> {
        let work = Finish::new(*self, |_| false)?;
        Ok(Finished { work, next: 0 })
    }
}

impl Iterator for Finished<'_> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.next == self.work.count() {
            return None;
        }
        let mut owned = Vec::with_capacity(self.work.len(self.next));
        let Ok(()) = self.work.write(self.next, &mut owned);
        self.next += 1;
        Some(owned.into())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.work.count() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Finished<'_> {}
impl FusedIterator for Finished<'_> {}

impl Sink for Vec<u8> {
    type Error = Infallible;

    fn append(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn overwrite(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Infallible> {
        self[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}
