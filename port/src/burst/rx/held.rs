//! Packets whose memory is read after their burst.
#![expect(unsafe_code, reason = "entries hold addresses in shared memory")]

use super::RxEntry;
use super::packet::{RxPacket, copy_pieces};
use crate::shm::Regions;
use std::sync::Arc;

/// The memory of one packet, which stays mapped while this lives: for queues that keep the slots of
/// a packet back beyond its burst. Made by [`RxPacket::hold`].
///
/// What it reads is what is there at that time. Once the slots have gone back to the peer, that is
/// whatever the peer makes of them.
#[derive(Debug)]
pub struct HeldMemory {
    pieces: Pieces,
    /// Keeps mapped what `pieces` point into.
    _regions: Arc<Regions>,
}

#[derive(Debug)]
enum Pieces {
    /// What most packets are.
    One(RxEntry),
    Several(Box<[RxEntry]>),
}

// SAFETY: the addresses in `pieces` point into mappings that `_regions` keeps alive, whichever thread
// owns them.
unsafe impl Send for HeldMemory {}

impl HeldMemory {
    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a packet is never empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().iter().map(|entry| entry.len() as usize).sum()
    }

    /// Copies bytes from `offset` on to `to`, as many as there are and fit, and returns how many.
    pub fn copy_range(&self, offset: usize, to: &mut [u8]) -> usize {
        copy_pieces(self.entries(), offset, to)
    }

    /// Entries that a batch checked, in mappings of `_regions`.
    fn entries(&self) -> &[RxEntry] {
        match &self.pieces {
            Pieces::One(entry) => std::slice::from_ref(entry),
            Pieces::Several(entries) => entries,
        }
    }
}

impl RxPacket<'_> {
    /// The packet's memory, to be read after the burst as well. The burst is what it was: whoever
    /// does not give the packet's slots back to the peer decides how long it can be relied on.
    /// Allocates for a packet in several pieces.
    #[must_use]
    pub fn hold(&self) -> HeldMemory {
        let pieces = match self.entries() {
            [one] => Pieces::One(*one),
            several => Pieces::Several(several.into()),
        };
        HeldMemory { pieces, _regions: Arc::clone(&self.batch().regions) }
    }
}

#[cfg(test)]
mod tests {
    use crate::burst::{Piece, ReleaseRx, Released, RxBatch, RxBurst, Shape};
    use crate::offload::Offload;
    use crate::shm::{Backing, OwnedMemory, Regions};
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::sync::Arc;

    #[derive(Debug)]
    struct Nobody;

    impl ReleaseRx for Nobody {
        fn release(&mut self, _: Released<'_>) {}
    }

    #[test]
    fn memory_of_a_packet_is_read_after_its_burst_and_then_unmapped() {
        let memory = OwnedMemory::create("held", 4096, Backing::Pages).unwrap();
        let file = File::from(memory.fd().try_clone_to_owned().unwrap());
        file.write_all_at(b"one two", 100).unwrap();
        let mapping = Arc::downgrade(memory.mapping());
        let regions = Arc::new(Regions::new(vec![Arc::clone(memory.mapping())]));
        let mut batch = RxBatch::new(regions, 8);
        let piece = |at, len| Piece::alone(at, Shape::new(0, len, false));
        batch.append(&[piece(100, 3)], Offload::default()).unwrap();
        batch.append(&[piece(103, 2), piece(105, 2)], Offload::default()).unwrap();
        let mut owner = Nobody;
        let burst = RxBurst::new(&mut batch, &mut owner);
        let held: Vec<_> = burst.packets().map(|packet| packet.hold()).collect();
        drop(burst);
        batch.clear();
        drop((batch, memory));
        let held = std::thread::spawn(move || {
            let read = |at: usize, offset| {
                let mut to = [0; 8];
                let len = held[at].copy_range(offset, &mut to);
                String::from_utf8(to[..len].to_vec()).unwrap()
            };
            assert_eq!([held[0].len(), held[1].len()], [3, 4]);
            assert_eq!([read(0, 0), read(1, 0), read(1, 3)], ["one", " two", "o"]);
            assert_eq!([read(0, 3), read(1, 100)], ["", ""]);
            held
        });
        let held = held.join().unwrap();
        file.write_all_at(b"six", 100).unwrap();
        let mut to = [0; 2];
        assert_eq!((held[0].copy_range(0, &mut to), &to), (2, b"si"));
        assert!(mapping.upgrade().is_some());
        drop(held);
        assert!(mapping.upgrade().is_none());
    }
}
