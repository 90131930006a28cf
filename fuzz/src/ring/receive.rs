//! Receives a burst, and checks every packet against the descriptors it came from.

use super::memory::{Descriptor, Memory};
use super::scene::{Lane, Scene};
use crate::input::Input;
use ringport::burst::{BURST_MAX, RxPacket};
use ringport::error::QueueError;

impl Scene {
    /// Arguments: most packets (0xff: no limit), ways to read them, packets to release (0xff: all,
    /// by dropping the burst).
    pub(super) fn receive(&mut self, input: &mut Input<'_>) {
        let [max, how, release] = input.take();
        let max = if max == 0xff { usize::MAX } else { usize::from(max) };
        match self.receive_burst(max, how, release) {
            Ok(released) => self.released(released),
            Err(error) => self.failed(error, |scene| &mut scene.rx),
        }
    }

    /// Returns how many slots went back.
    fn receive_burst(&mut self, max: usize, how: u8, release: u8) -> Result<usize, QueueError> {
        let capacity = usize::from(self.rx.size).min(BURST_MAX.max(usize::from(self.chain_max)));
        let burst = self.rx_queue.rx_burst(max)?;
        assert_eq!(self.rx.error, None, "packets after an error");
        assert!(burst.len() <= max && burst.slots() <= capacity && burst.len() <= burst.slots());
        let mut ends = Vec::new();
        let mut slots = 0;
        let table = self.rx.table(&self.memory);
        for packet in burst.packets() {
            slots += check_packet(&mut self.memory, &self.rx, &table, slots, &packet, how);
            ends.push(slots);
        }
        assert_eq!((ends.len(), slots), (burst.len(), burst.slots()));
        assert_eq!(burst.is_empty(), ends.is_empty());
        if release == 0xff {
            drop(burst);
            return Ok(slots);
        }
        burst.release(usize::from(release));
        let packets = usize::from(release).min(ends.len());
        Ok(packets.checked_sub(1).map_or(0, |last| ends[last]))
    }

    /// The queue has given back `slots` slots.
    pub(super) fn released(&mut self, slots: usize) {
        if let (Some(buffers), Some(own)) = (&self.rx.buffers, &self.own) {
            let table = self.rx.table(&self.memory);
            for slot in (0..slots).map(|at| self.rx.slot(at)) {
                let found = table[usize::from(slot)];
                let buffer = buffers[usize::from(slot)];
                assert_eq!((found.len, found.more), (own.capacity, false));
                assert_eq!(found.region, buffer.region);
                assert!(!self.honest || found.offset == buffer.offset, "not our buffer");
            }
        }
        self.rx.went_on(&self.memory, slots);
    }
}

/// Checks the packet that starts at slot number `at` against the ring's descriptors, and returns how many slots it takes.
pub(super) fn check_packet(
    memory: &mut Memory,
    lane: &Lane,
    table: &[Descriptor],
    at: usize,
    packet: &RxPacket<'_>,
    how: u8,
) -> usize {
    let pieces: Vec<_> = packet.pieces().collect();
    assert_eq!(packet.len(), pieces.iter().map(|piece| piece.len()).sum::<usize>());
    let mut expected = Vec::new();
    for (nth, &piece) in pieces.iter().enumerate() {
        let (region, offset) = memory.locate(piece);
        assert!(piece.len() > 0, "an empty piece");
        if memory.lost {
            continue;
        }
        let slot = lane.slot(at + nth);
        let told = table[usize::from(slot)];
        assert_eq!((told.len as usize, told.more), (piece.len(), nth + 1 < pieces.len()));
        // The server's word for where the packet is does not count when the buffers are ours.
        let buffer = lane.buffers.as_ref().map_or(told, |own| own[usize::from(slot)]);
        assert_eq!((region, offset), (buffer.region, u64::from(buffer.offset)));
        expected.extend(memory.read(region, offset, piece.len()));
    }
    let known = (!memory.lost).then_some(expected);
    check_reads(packet, known.as_deref(), how);
    pieces.len()
}

fn check_reads(packet: &RxPacket<'_>, expected: Option<&[u8]>, how: u8) {
    let len = packet.len();
    let mut whole = vec![0xEE; len + 1];
    assert_eq!(packet.copy_to(&mut whole), len);
    assert_eq!(whole.pop(), Some(0xEE), "more was copied than there is");
    assert!(expected.is_none_or(|expected| expected == whole), "contents");
    let whole = expected.map(|_| &whole[..]);
    if how & 1 != 0 {
        let mut part = vec![0; len / 2];
        assert_eq!(packet.copy_to(&mut part), len / 2);
        assert!(whole.is_none_or(|whole| whole[..len / 2] == part));
    }
    if how & 2 != 0 {
        let offset = usize::from(how) * 3;
        let found = packet.read_at::<4>(offset);
        assert_eq!(found.is_some(), offset + 4 <= len);
        let expected = whole.and_then(|whole| whole.get(offset..offset + 4));
        assert!(whole.is_none() || expected == found.as_ref().map(|four| &four[..]));
    }
    if how & 4 != 0 {
        let (offset, mut part) = (usize::from(how), [0; 300]);
        let copied = packet.copy_range(offset, &mut part);
        assert_eq!(copied, len.saturating_sub(offset).min(300));
        let range = || offset.min(len)..offset.min(len) + copied;
        assert!(whole.is_none_or(|whole| whole[range()] == part[..copied]));
        assert_eq!(packet.read_at::<1>(usize::MAX), None);
    }
    if how & 8 != 0 {
        let detached = packet.detach();
        assert!(detached.len() == len && whole.is_none_or(|whole| whole == detached));
    }
}
