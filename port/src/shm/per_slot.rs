//! Private tables by slot of a ring.
#![expect(unsafe_code, reason = "masked indices are not checked again")]

use crate::ring::RingIdx;

/// A private table by slot of a ring, looked up by free-running index: the index is masked, so that
/// no look-up can miss.
#[derive(Debug, Clone)]
pub struct PerSlot<T> {
    /// `mask + 1` of them, a power of two.
    items: Box<[T]>,
    mask: u16,
}

impl<T: Copy> PerSlot<T> {
    /// The table of `items`, one for each slot.
    ///
    /// # Panics
    /// When their number is no power of two up to 2^15.
    #[must_use]
    pub fn new(items: Box<[T]>) -> Self {
        let slots = items.len();
        assert!(slots.is_power_of_two() && slots <= 1 << 15, "a ring of {slots} slots");
        let mask = u16::try_from(slots - 1).unwrap_or(0);
        Self { items, mask }
    }

    /// The item of the slot at `index`.
    #[must_use]
    #[inline(always)]
    pub fn get(&self, index: RingIdx) -> T {
        self.view().get(index)
    }

    /// Replaces the item of the slot at `index`.
    #[inline(always)]
    pub fn set(&mut self, index: RingIdx, item: T) {
        self.view_mut().set(index, item);
    }

    /// The table to look up in a loop, whose place and size stay in registers.
    #[must_use]
    #[inline(always)]
    pub fn view(&self) -> PerSlotView<'_, T> {
        PerSlotView { items: &self.items, mask: self.mask }
    }

    /// As [`view`](Self::view), to change items too.
    #[must_use]
    #[inline(always)]
    pub fn view_mut(&mut self) -> PerSlotViewMut<'_, T> {
        PerSlotViewMut { items: &mut self.items, mask: self.mask }
    }

    /// All items, by slot.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.items.iter().copied()
    }
}

/// See [`PerSlot::view`].
#[derive(Debug, Clone, Copy)]
pub struct PerSlotView<'t, T> {
    items: &'t [T],
    mask: u16,
}

impl<T: Copy> PerSlotView<'_, T> {
    /// The item of the slot at `index`.
    #[must_use]
    #[inline(always)]
    pub fn get(&self, index: RingIdx) -> T {
        // SAFETY: `PerSlot::new` checked that there are `mask + 1` items, and neither changes.
        *unsafe { self.items.get_unchecked(usize::from(index.slot(self.mask))) }
    }
}

/// See [`PerSlot::view_mut`].
#[derive(Debug)]
pub struct PerSlotViewMut<'t, T> {
    items: &'t mut [T],
    mask: u16,
}

impl<T: Copy> PerSlotViewMut<'_, T> {
    /// The item of the slot at `index`.
    #[must_use]
    #[inline(always)]
    pub fn get(&self, index: RingIdx) -> T {
        PerSlotView { items: self.items, mask: self.mask }.get(index)
    }

    /// Replaces the item of the slot at `index`.
    #[inline(always)]
    pub fn set(&mut self, index: RingIdx, item: T) {
        // SAFETY: as in `PerSlotView::get`.
        *unsafe { self.items.get_unchecked_mut(usize::from(index.slot(self.mask))) } = item;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_by_slot_is_found_at_every_index() {
        let mut table = PerSlot::new(Box::new([10, 11, 12, 13]));
        for index in [0u16, 4, 0xfffc] {
            assert_eq!(table.get(RingIdx(index)), 10);
            assert_eq!(table.get(RingIdx(index).ahead(3)), 13);
        }
        table.set(RingIdx(0xffff), 7);
        assert_eq!(table.iter().collect::<Vec<_>>(), [10, 11, 12, 7]);
    }

    #[test]
    #[should_panic(expected = "a ring of 3 slots")]
    fn table_of_another_size_is_refused() {
        let _ = PerSlot::new(Box::new([1, 2, 3]));
    }
}
