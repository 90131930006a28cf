//! Both layouts of a ring, read as the specification has them.
//!
//! Spec: VIRTIO 1.3 §2.7, §2.8.

use super::memory::{Piece, Table, index};
use ringport_vhost_user::backend::{PackedIndex, RingBase};

pub(super) const NEXT: u16 = 1;
pub(super) const WRITE: u16 = 2;
pub(super) const INDIRECT: u16 = 4;
pub(super) const AVAIL: u16 = 1 << 7;
pub(super) const USED: u16 = 1 << 15;
/// Longest chain that is followed.
const CHAIN_MAX: u16 = 1024;

/// A position: in a split ring a free-running index, in a packed one a slot and a wrap counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: u16,
    pub(super) wrap: bool,
}

/// A ring that lies somewhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ring {
    pub(super) packed: bool,
    pub(super) size: u16,
    pub(super) indirect: bool,
    pub(super) event_idx: bool,
    /// Its buffers are for us to write to.
    pub(super) write: bool,
    /// In the file: descriptor, driver and device area.
    pub(super) areas: [u64; 3],
}

/// A descriptor. In a packed ring `next` is the id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Descriptor {
    pub(super) address: u64,
    pub(super) len: u32,
    pub(super) flags: u16,
    pub(super) next: u16,
}

/// A chain that was made available.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    /// Head, or buffer id.
    pub(super) id: u16,
    /// By how much a position goes on.
    pub(super) entries: u16,
    /// Where its buffers are; `None` when there is something wrong with them.
    pub(super) pieces: Option<Vec<Piece>>,
    /// Where its own table is.
    pub(super) table: Vec<Piece>,
}

/// What there is at a position.
#[derive(Debug)]
pub(super) enum Look {
    Nothing,
    /// Nobody knows what the driver means: the ring ends.
    Broken,
    Chain(Chain),
}

/// Memory at some time.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) table: &'a Table,
}

impl View<'_> {
    pub(super) fn u16(&self, at: u64) -> u16 {
        u16::from_le_bytes([self.bytes[index(at)], self.bytes[index(at) + 1]])
    }

    pub(super) fn u32(&self, at: u64) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }
}

impl Descriptor {
    /// In a ring of this layout, or in a chain's own table.
    fn read(bytes: &[u8], packed: bool) -> Self {
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
        let (flags, next) = if packed { (half(14), half(12)) } else { (half(12), half(14)) };
        let address = u64::from(word(0)) | u64::from(word(4)) << 32;
        Self { address, len: word(8), flags, next }
    }

    pub(super) fn bytes(self, packed: bool) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        let (flags, next) = if packed { (14, 12) } else { (12, 14) };
        bytes[flags..flags + 2].copy_from_slice(&self.flags.to_le_bytes());
        bytes[next..next + 2].copy_from_slice(&self.next.to_le_bytes());
        bytes
    }
}

impl Chain {
    /// Bytes of its buffers.
    pub(super) fn len(&self) -> usize {
        self.pieces.iter().flatten().map(|piece| piece.1).sum()
    }

    /// Whether there is room for a header and a packet.
    pub(super) fn is_good(&self) -> bool {
        self.pieces.is_some() && self.len() > 12
    }
}

impl Ring {
    /// Bytes of the three areas.
    pub(super) fn lens(&self) -> [u64; 3] {
        let size = u64::from(self.size);
        let event = if self.event_idx { 2 } else { 0 };
        match self.packed {
            true => [16 * size, 4, 4],
            false => [16 * size, 4 + 2 * size + event, 4 + 8 * size + event],
        }
    }

    /// The areas as pieces.
    pub(super) fn pieces(&self) -> [Piece; 3] {
        let lens = self.lens();
        [0, 1, 2].map(|area| (self.areas[area], index(lens[area])))
    }

    /// What of the ring is ours to write.
    pub(super) fn written(&self) -> [Piece; 2] {
        let [table, _, device] = self.pieces();
        [if self.packed { table } else { device }, device]
    }

    pub(super) fn ahead(&self, from: Place, by: u16) -> Place {
        let at = from.at.wrapping_add(by);
        if !self.packed {
            return Place { at, ..from };
        }
        match at < self.size {
            true => Place { at, ..from },
            false => Place { at: at - self.size, wrap: !from.wrap },
        }
    }

    /// How far a split ring's driver is ahead of `next`.
    pub(super) fn ready(&self, view: View<'_>, next: Place) -> u16 {
        view.u16(self.areas[1] + 2).wrapping_sub(next.at)
    }

    /// The chain at a position. The driver's index does not count.
    pub(super) fn look(&self, view: View<'_>, place: Place) -> Look {
        if self.packed { self.look_packed(view, place) } else { self.look_split(view, place) }
    }

    fn descriptor(&self, view: View<'_>, at: u16) -> Descriptor {
        let at = index(self.areas[0] + 16 * u64::from(at));
        Descriptor::read(&view.bytes[at..at + 16], self.packed)
    }

    pub(super) fn slot(&self, place: Place) -> u64 {
        u64::from(place.at % self.size)
    }

    fn look_split(&self, view: View<'_>, place: Place) -> Look {
        let head = view.u16(self.areas[1] + 4 + 2 * self.slot(place));
        if head >= self.size {
            return Look::Broken;
        }
        let mut table = Vec::new();
        let pieces = self.walk_split(view, head, &mut table);
        Look::Chain(Chain { id: head, entries: 1, pieces, table })
    }

    fn walk_split(&self, view: View<'_>, head: u16, own: &mut Vec<Piece>) -> Option<Vec<Piece>> {
        let limit = self.size.min(CHAIN_MAX);
        let (mut pieces, mut bytes, mut at, mut table) = (Vec::new(), 0u32, head, None);
        for _ in 0..limit {
            let descriptor = match table {
                None if at >= self.size => return None,
                None => self.descriptor(view, at),
                Some((_, entries)) if u32::from(at) >= entries => return None,
                Some((address, _)) => read_entry(view, address, at.into(), own, false)?,
            };
            if descriptor.flags & INDIRECT != 0 {
                if table.is_some() || !self.is_table(descriptor) {
                    return None;
                }
                let entries = descriptor.len / 16;
                if entries > u32::from(u16::MAX) {
                    return None;
                }
                (table, at) = (Some((descriptor.address, entries)), 0);
                continue;
            }
            self.take(view, descriptor, &mut bytes, &mut pieces)?;
            if descriptor.flags & NEXT == 0 {
                return Some(pieces);
            }
            at = descriptor.next;
        }
        None
    }

    fn look_packed(&self, view: View<'_>, place: Place) -> Look {
        let flags = self.descriptor(view, place.at).flags;
        let (available, used) = (flags & AVAIL != 0, flags & USED != 0);
        if available != place.wrap || used == place.wrap {
            return Look::Nothing;
        }
        let limit = self.size.min(CHAIN_MAX);
        let (mut at, mut bytes, mut table) = (place, 0, Vec::new());
        let mut pieces = Some(Vec::new());
        for entries in 1..=limit {
            let descriptor = self.descriptor(view, at.at);
            pieces = pieces.and_then(|mut pieces| {
                match descriptor.flags & INDIRECT {
                    0 => self.take(view, descriptor, &mut bytes, &mut pieces)?,
                    _ if entries > 1 || !self.is_table(descriptor) => return None,
                    _ => self.take_table(view, descriptor, &mut table, &mut pieces)?,
                }
                Some(pieces)
            });
            if descriptor.flags & NEXT == 0 {
                return Look::Chain(Chain { id: descriptor.next, entries, pieces, table });
            }
            at = self.ahead(at, 1);
        }
        Look::Broken
    }

    fn take_table(
        &self,
        view: View<'_>,
        descriptor: Descriptor,
        own: &mut Vec<Piece>,
        pieces: &mut Vec<Piece>,
    ) -> Option<()> {
        let entries = descriptor.len / 16;
        if entries >= u32::from(self.size.min(CHAIN_MAX)) {
            return None;
        }
        let mut bytes = 0;
        for at in 0..entries {
            let mut entry = read_entry(view, descriptor.address, at, own, true)?;
            if entry.flags & INDIRECT != 0 {
                return None;
            }
            // Who only reads does not look at the flag.
            entry.flags = if self.write { entry.flags } else { 0 };
            self.take(view, entry, &mut bytes, pieces)?;
        }
        Some(())
    }

    fn is_table(&self, Descriptor { len, flags, .. }: Descriptor) -> bool {
        self.indirect && flags & NEXT == 0 && len > 0 && len.is_multiple_of(16)
    }

    fn take(
        &self,
        view: View<'_>,
        descriptor: Descriptor,
        bytes: &mut u32,
        pieces: &mut Vec<Piece>,
    ) -> Option<()> {
        let Descriptor { address, len, flags, .. } = descriptor;
        if (flags & WRITE != 0) != self.write {
            return None;
        }
        *bytes = bytes.checked_add(len)?;
        pieces.extend(view.table.guest(address, len as usize)?);
        (pieces.len() <= usize::from(self.size.min(CHAIN_MAX))).then_some(())
    }

    /// Whether the driver wants a call after we went on from `old` to `new`.
    pub(super) fn wants_call(&self, view: View<'_>, old: Place, new: Place) -> bool {
        let driver = self.areas[1];
        if !self.packed && !self.event_idx {
            return view.u16(driver) & 1 == 0;
        }
        if !self.packed {
            let event = view.u16(driver + 4 + 2 * u64::from(self.size));
            return new.at.wrapping_sub(event).wrapping_sub(1) < new.at.wrapping_sub(old.at);
        }
        match view.u16(driver + 2) {
            0 => true,
            2 if self.event_idx => {
                let event = view.u16(driver);
                let mut at = old;
                while at != new {
                    if at.at == event & 0x7fff && at.wrap == (event & 0x8000 != 0) {
                        return true;
                    }
                    at = self.ahead(at, 1);
                }
                false
            }
            _ => false,
        }
    }

    /// Whether the driver is asked to kick for what it puts at `next`.
    pub(super) fn wants_kick(&self, view: View<'_>, next: Place) -> bool {
        let device = self.areas[2];
        match (self.packed, self.event_idx) {
            (true, _) => view.u16(device + 2) == 0,
            (false, false) => view.u16(device) & 1 == 0,
            (false, true) => view.u16(device + 4 + 8 * u64::from(self.size)) == next.at,
        }
    }

    pub(super) fn base(&self, place: Place) -> RingBase {
        let index = PackedIndex { index: place.at, wrap: place.wrap };
        match self.packed {
            true => RingBase::Packed { avail: index, used: index },
            false => RingBase::Split { avail: place.at },
        }
    }
}

/// An entry of a chain's own table, which may lie in several regions.
fn read_entry(
    view: View<'_>,
    address: u64,
    at: u32,
    own: &mut Vec<Piece>,
    packed: bool,
) -> Option<Descriptor> {
    let pieces = view.table.guest(address.checked_add(16 * u64::from(at))?, 16)?;
    let bytes = super::memory::bytes(view.bytes, &pieces);
    own.extend(pieces);
    Some(Descriptor::read(&bytes, packed))
}
