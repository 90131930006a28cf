//! Going through a ring from one place to the next.

use super::Position;
use ringport::shm::{PackedView, PackedWalk};

/// One place after the other. What a loop needs of them stays in registers: an address, and whether the
/// ring's end was passed.
#[derive(Debug)]
pub(crate) struct Steps<'t> {
    table: PackedView<'t>,
    /// The descriptor here.
    pub(crate) here: PackedWalk<'t>,
    /// A position of the same turn, so many descriptors back.
    since: Position,
    passed: u16,
}

impl<'t> Steps<'t> {
    /// From this position on.
    #[inline(always)]
    pub(crate) fn from(table: PackedView<'t>, since: Position) -> Self {
        Self { table, here: table.walk(since.slot()), since, passed: 0 }
    }

    /// A position with the same wrap counter as the one here.
    #[inline(always)]
    pub(crate) fn turn(&self) -> Position {
        self.since
    }

    /// The position here.
    #[inline(always)]
    pub(crate) fn position(&self) -> Position {
        self.since.ahead(self.passed)
    }

    /// Goes on by so many descriptors, at most all of the ring.
    #[inline(always)]
    pub(crate) fn go_on(&mut self, entries: u16) {
        if entries != 1 {
            *self = Self::from(self.table, self.position().ahead(entries));
            return;
        }
        self.passed += 1;
        if self.here.step() {
            (self.since, self.passed) = (self.position(), 0);
        }
    }
}
