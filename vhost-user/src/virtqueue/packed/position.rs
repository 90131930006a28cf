//! Places in the ring, and whose the descriptors there are.

use crate::backend::{PackedIndex, RingBase};
use crate::virtqueue::descriptor::WRITE;
use std::hint::black_box;

const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;
/// The flags that tell whose a descriptor is.
pub(super) const OWNER: u16 = AVAIL | USED;

/// A position in a ring, with its wrap counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    slot: u16,
    wrap: bool,
    size: u16,
}

impl Position {
    /// Where a ring of `size` begins.
    pub(crate) fn start(size: u16) -> Self {
        Self { slot: 0, wrap: true, size }
    }

    /// The position in a ring of `size` that `index` names. Chains that were taken and not used are
    /// taken again, so what was used counts.
    ///
    /// Spec: vhost-user VHOST_USER_SET_VRING_BASE.
    pub(crate) fn of(PackedIndex { index: slot, wrap }: PackedIndex, size: u16) -> Option<Self> {
        (slot < size).then_some(Self { slot, wrap, size })
    }

    pub(super) fn index(self) -> PackedIndex {
        PackedIndex { index: self.slot, wrap: self.wrap }
    }

    /// The position, with the wrap counter as bit 15.
    #[inline(always)]
    pub(crate) fn word(self) -> u32 {
        u32::from(self.slot) | u32::from(self.wrap) << 15
    }

    pub(crate) fn index_of(word: u32) -> PackedIndex {
        PackedIndex { index: u16::try_from(word & 0x7fff).unwrap_or(0), wrap: word & 0x8000 != 0 }
    }

    /// The base that a position's word stands for.
    pub(in crate::virtqueue) fn base_of(word: u32) -> RingBase {
        let index = Self::index_of(word);
        RingBase::Packed { avail: index, used: index }
    }

    #[inline(always)]
    pub(crate) fn slot(self) -> u16 {
        self.slot
    }

    /// The position `entries`, at most the ring's size, further on.
    #[inline(always)]
    pub(crate) fn ahead(self, entries: u16) -> Self {
        let left = self.size - self.slot;
        if entries < left {
            return Self { slot: self.slot + entries, ..self };
        }
        Self { slot: entries - left, wrap: !self.wrap, ..self }
    }

    #[inline(always)]
    pub(crate) fn size(self) -> u16 {
        self.size
    }

    /// Whether the driver made the descriptor here available.
    #[inline(always)]
    pub(super) fn has(self, state: State) -> bool {
        state.flags() & OWNER == self.offered()
    }

    /// The same position, by a computation that needs `state`. While that is on its way from the other
    /// core, the CPU guesses that there is work: with a position that it does not know, it cannot go on
    /// with descriptors that the driver is writing.
    #[inline(always)]
    pub(super) fn known_by(self, state: State) -> Self {
        Self { slot: self.slot | state.flags() & black_box(0), ..self }
    }

    /// What an available descriptor here has of [`OWNER`].
    #[inline(always)]
    pub(super) fn offered(self) -> u16 {
        if self.wrap { AVAIL } else { USED }
    }

    /// The state of the used descriptor here.
    #[inline(always)]
    pub(super) fn used(self, id: u16, len: u32) -> u64 {
        let owner = if self.wrap { AVAIL | USED } else { 0 };
        let flags = owner | if len > 0 { WRITE } else { 0 };
        u64::from(len) | u64::from(id) << 32 | u64::from(flags) << 48
    }

    /// Whether the device has used the descriptor here, in this turn.
    #[inline(always)]
    pub(crate) fn is_used(self, state: State) -> bool {
        let owner = if self.wrap { AVAIL | USED } else { 0 };
        state.flags() & (AVAIL | USED) == owner
    }

    /// The state of a descriptor that is made available here.
    #[inline(always)]
    pub(crate) fn available(self, id: u16, len: u32, flags: u16) -> u64 {
        let flags = flags | self.offered();
        u64::from(len) | u64::from(id) << 32 | u64::from(flags) << 48
    }

    /// Whether the place that `event` names, in a peer's word, is passed on the way from here to `now`.
    pub(crate) fn is_passed(self, event: u16, now: Self) -> bool {
        // A position that does not exist is nobody's.
        Self::of(Self::index_of(event.into()), self.size)
            .is_some_and(|event| event.since(self) < now.since(self))
    }

    /// How far this is behind `earlier`, in two turns of the ring.
    pub(crate) fn since(self, earlier: Self) -> u32 {
        let (turn, line) = (u32::from(self.size), |at: Self| {
            u32::from(at.slot) + if at.wrap { 0 } else { u32::from(at.size) }
        });
        (line(self) + 2 * turn - line(earlier)) % (2 * turn)
    }
}

/// The second word of a descriptor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State(pub(crate) u64);

#[expect(clippy::cast_possible_truncation, reason = "takes the word apart")]
impl State {
    #[inline(always)]
    pub(crate) fn len(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    pub(crate) fn id(self) -> u16 {
        (self.0 >> 32) as u16
    }

    #[inline(always)]
    pub(crate) fn flags(self) -> u16 {
        (self.0 >> 48) as u16
    }
}
