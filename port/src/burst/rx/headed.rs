//! Filling batches in protocols that write a header in front of each packet.
#![expect(unsafe_code, reason = "entries hold addresses in shared memory")]

use super::{Headed, Piece, RxBatch, RxEntry, Shape, chain_too_long};
use crate::copy;
use crate::error::QueueError;
use crate::offload::Offload;
use crate::shm::Ranges;

impl RxBatch {
    /// Fills the batch with the packets at the front of `pieces` that are in one piece behind a
    /// header of `front` bytes, and returns how many: it stops at the first piece that is not all
    /// in its region, holds nothing behind the header, or goes on in another. What comes from there
    /// on is for [`append`](Self::append).
    #[inline(always)]
    pub fn fill_behind(&mut self, front: u32, pieces: impl Iterator<Item = Piece>) -> usize {
        // First, in case that `pieces` panics: less may be in front of the entries that it made.
        self.clear();
        self.fill_from(0, front, pieces)
    }

    /// Goes on so behind what [`fill_behind`](Self::fill_behind) has just filled, and returns how many
    /// packets there are in all.
    #[inline(always)]
    pub fn append_behind(&mut self, front: u32, pieces: impl Iterator<Item = Piece>) -> usize {
        let Headed { entries, front: before } = self.headed;
        if self.exchanged || entries != self.used || before != front {
            return self.packets;
        }
        self.fill_from(entries, front, pieces)
    }

    /// All entries before `first` are headed by `front` bytes.
    #[inline(always)]
    fn fill_from(
        &mut self,
        first: usize,
        front: u32,
        mut pieces: impl Iterator<Item = Piece>,
    ) -> usize {
        let Self { regions, entries, .. } = self;
        let mut ranges = regions.ranges();
        let mut used = first;
        for entry in entries.get_mut(first..).unwrap_or_default() {
            let Some(piece) = pieces.next() else { break };
            let Some(checked) = RxEntry::behind(front, &piece, &mut ranges) else { break };
            *entry = checked;
            used += 1;
        }
        (self.used, self.packets) = (used, used);
        self.headed = Headed { entries: used, front };
        used
    }

    /// Appends one packet that `pieces` make up, whatever their shapes say of continuing. Every
    /// range is checked. Returns whether there was room for it.
    ///
    /// # Errors
    /// What is wrong with the first bad piece, or that it would not even fit an empty batch. The
    /// batch is then as it was before.
    pub fn append(&mut self, pieces: &[Piece], offload: Offload) -> Result<bool, QueueError> {
        let Self { regions, entries, .. } = self;
        if pieces.len() > entries.len() {
            return Err(chain_too_long(entries.len()));
        }
        let first = self.used;
        let Some(free) = entries.get_mut(first..first + pieces.len()) else { return Ok(false) };
        let Some(last) = free.len().checked_sub(1) else { return Err(QueueError::EmptyDescriptor) };
        let mut ranges = regions.ranges();
        for (at, (entry, piece)) in free.iter_mut().zip(pieces).enumerate() {
            let shape = Shape::new(piece.shape.region(), piece.shape.len(), at < last);
            let piece = Piece::alone(piece.offset, shape);
            *entry = RxEntry::new(&piece, &mut ranges).ok_or_else(|| regions.refuse(&piece))?;
        }
        (self.used, self.packets) = (self.used + pieces.len(), self.packets + 1);
        self.set_offload(first, offload);
        Ok(true)
    }

    /// Reads the header in front of each packet that [`fill_behind`](Self::fill_behind) found for
    /// this burst, once, and sets the packet's metadata to what `decode` makes of it and of the
    /// packet's length. Reads nothing when the header has less than `N` bytes.
    pub fn decode_headers<const N: usize>(
        &mut self,
        mut decode: impl FnMut(&[u8; N], u32) -> Offload,
    ) {
        let Headed { entries, front } = self.headed;
        let Some(offloads) = self.offloads.as_deref_mut() else { return };
        if self.exchanged || (front as usize) < N {
            return;
        }
        for (entry, offload) in self.entries[..entries].iter().zip(offloads) {
            let mut header = [0; N];
            // SAFETY: `fill_behind` or `append_behind` made this entry and checked that `front` bytes in front of its
            // address, of which `N` are read, belong to the same piece; `fill` forgets the entries
            // that it made, `exchanged` tells of addresses that changed since. The batch keeps
            // the mapping alive; `header` is private.
            unsafe { copy::out(&mut header, entry.address.as_ptr().sub(N)) };
            *offload = decode(&header, entry.len());
        }
    }

    /// Reads the header in front of each packet, once, as
    /// [`decode_headers`](Self::decode_headers) does, and keeps the packets before the first of which
    /// `decode` makes nothing. Returns how many these are: what comes from there on is for
    /// [`append`](Self::append). For a batch that [`fill_behind`](Self::fill_behind) has just
    /// filled.
    pub fn sift_headers<const N: usize>(
        &mut self,
        mut decode: impl FnMut(&[u8; N], u32) -> Option<Offload>,
    ) -> usize {
        let Headed { entries, front } = self.headed;
        let mut offloads = self.offloads.as_deref_mut().into_iter().flatten();
        let mut good = 0;
        if self.exchanged || (front as usize) < N {
            return 0;
        }
        for entry in &self.entries[..entries] {
            let mut header = [0; N];
            // SAFETY: as in `decode_headers`.
            unsafe { copy::out(&mut header, entry.address.as_ptr().sub(N)) };
            let Some(offload) = decode(&header, entry.len()) else { break };
            if let Some(slot) = offloads.next() {
                *slot = offload;
            }
            good += 1;
        }
        (self.used, self.packets, self.headed.entries) = (good, good, good);
        good
    }

    /// Reads the last `N` bytes of the header in front of each packet, once, and keeps the packets before
    /// the first whose bytes `is_plain` denies; as [`sift_headers`](Self::sift_headers), where nothing else is
    /// to be learnt of headers.
    #[inline(always)]
    pub fn keep_while<const N: usize>(&mut self, is_plain: impl Fn([u8; N]) -> bool) -> usize {
        let Headed { entries, front } = self.headed;
        if self.exchanged || (front as usize) < N {
            return 0;
        }
        let mut good = 0;
        for entry in &self.entries[..entries] {
            let mut bytes = [0; N];
            // SAFETY: as in `decode_headers`.
            unsafe { copy::out(&mut bytes, entry.address.as_ptr().sub(N)) };
            if !is_plain(bytes) {
                break;
            }
            good += 1;
        }
        (self.used, self.packets, self.headed.entries) = (good, good, good);
        good
    }

    /// Entries in use.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.used
    }
}

impl RxEntry {
    /// The entry of what is behind the first `front` bytes of `piece`, all of which is checked.
    #[inline(always)]
    fn behind(front: u32, piece: &Piece, ranges: &mut Ranges<'_>) -> Option<Self> {
        let shape = piece.shape;
        if shape.more() || shape.len() <= front {
            return None;
        }
        let whole = ranges.locate(piece)?;
        // SAFETY: `len()` bytes from the address lie in a mapping, and `front` is less.
        let address = unsafe { whole.add(front as usize) };
        copy::prefetch_behind(whole.as_ptr(), address.as_ptr(), copy::prefetch_read);
        let shape = Shape::new(shape.region(), shape.len() - front, false);
        Some(Self { address, shape, ahead: ranges.hint(piece.ahead) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::FillLimits;
    use crate::offload::Checksum;
    use crate::shm::{Backing, OwnedMemory, Regions, write_u32};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    /// A batch of four packets of eight bytes, each behind its number in four bytes.
    fn batch(offloads: bool) -> RxBatch {
        let memory = OwnedMemory::create("headed-test", 4096, Backing::Pages).unwrap();
        (0..4).for_each(|at| write_u32(memory.mapping(), 64 * u64::from(at), at).unwrap());
        let batch = RxBatch::new(Arc::new(Regions::new(vec![Arc::clone(memory.mapping())])), 8);
        let mut batch = if offloads { batch.with_offloads() } else { batch };
        let pieces = (0..4).map(|at| Piece::alone(64 * at, Shape::new(0, 12, false)));
        assert_eq!(batch.fill_behind(4, pieces), 4);
        batch
    }

    #[test]
    fn packets_before_the_first_that_is_sifted_out_stay() {
        let verified = Offload { checksum: Checksum::Verified, ..Offload::default() };
        for (stop, offloads) in [(0, true), (2, true), (2, false), (4, true)] {
            let mut batch = batch(offloads);
            let mut seen = 0;
            let good = batch.sift_headers(|header, len| {
                assert_eq!((u32::from_le_bytes(*header), len), (seen, 8));
                seen += 1;
                (u32::from_le_bytes(*header) < stop).then_some(verified)
            });
            assert_eq!((good, batch.packets(), batch.entries()), (stop as usize, good, good));
            let piece = Piece::alone(4, Shape::new(0, 8, false));
            assert!(batch.append(&[piece], Offload::default()).unwrap(), "there is room behind");
            let expected = if offloads { verified } else { Offload::default() };
            let packets = crate::burst::RxPackets { rest: &batch.entries[..good], batch: &batch };
            assert!(packets.map(|packet| packet.offload()).all(|offload| offload == expected));
        }
    }

    #[test]
    fn nothing_is_in_front_of_entries_of_a_fill_that_panicked() {
        type Fill = fn(&mut RxBatch, &mut dyn Iterator<Item = Piece>);
        let fills: [Fill; 2] = [
            |batch, pieces| assert_eq!(batch.fill_behind(0, pieces), 0),
            |batch, pieces| {
                let limits = FillLimits { packets_max: 8, chain_max: 1, piece_len_max: 8 };
                batch.fill(pieces, limits).unwrap();
            },
        ];
        for fill in fills {
            let mut batch = batch(true);
            // In front of this one there is nothing at all.
            let mut pieces = [Piece::alone(0, Shape::new(0, 8, false))].into_iter();
            let mut pieces = std::iter::from_fn(|| Some(pieces.next().expect("no more of them")));
            let filled = AssertUnwindSafe(|| fill(&mut batch, &mut pieces));
            assert!(catch_unwind(filled).is_err());
            batch.decode_headers(|_: &[u8; 4], _| panic!("a header in front of the memory"));
        }
    }

    #[test]
    fn packets_before_the_first_whose_header_ends_otherwise_stay() {
        for stop in [0, 2, 4] {
            let mut batch = batch(false);
            let good = batch.keep_while(|bytes: [u8; 4]| u32::from_le_bytes(bytes) < stop);
            assert_eq!((good, batch.packets(), batch.entries()), (stop as usize, good, good));
        }
        // The end of it only: numbers are below 2^16.
        assert_eq!(batch(false).keep_while(|bytes: [u8; 2]| bytes == [0; 2]), 4);
        assert_eq!(batch(false).keep_while(|_: [u8; 5]| true), 0, "there is not as much");
    }

    #[test]
    fn run_behind_another_goes_on_with_it_and_stops_as_that_does() {
        let run = |at: std::ops::Range<u64>| {
            at.map(|at| Piece::alone(64 * at, Shape::new(0, if at == 6 { 4 } else { 12 }, false)))
        };
        let mut batch = batch(true);
        assert_eq!(batch.append_behind(4, run(4..6)), 6);
        assert_eq!(batch.append_behind(3, run(7..8)), 6, "another header");
        assert_eq!(batch.append_behind(4, run(6..8)), 6, "the first of them has a header only");
        assert_eq!((batch.packets(), batch.entries()), (6, 6));
        assert_eq!(batch.append_behind(4, run(7..20)), 8, "there is room for eight");
        assert_eq!(batch.sift_headers(|_: &[u8; 4], _| Some(Offload::default())), 8);
    }

    #[test]
    fn header_longer_than_what_is_in_front_is_not_read() {
        assert_eq!(batch(true).sift_headers(|_: &[u8; 5], _| Some(Offload::default())), 0);
    }
}
