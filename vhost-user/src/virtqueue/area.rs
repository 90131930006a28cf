//! The areas that a ring consists of.

use super::RingError;
use crate::memory::{GuestMemory, Place};
use ringport::shm::{Mapping, OutOfRange, SharedU16};
use std::sync::Arc;

/// One area of a ring, all of it in one region.
pub(super) struct Area<'m> {
    name: &'static str,
    mapping: &'m Arc<Mapping>,
    place: Place,
}

impl<'m> Area<'m> {
    pub(super) fn find(
        memory: &'m GuestMemory,
        area: &'static str,
        address: u64,
        len: u64,
    ) -> Result<Self, RingError> {
        let missing = RingError::NotShared { area, address, len };
        let place = memory.at_front_end(address, len).ok_or(missing)?;
        let mapping = memory.regions().mapping(place.region).ok_or(missing)?;
        Ok(Self { name: area, mapping, place })
    }

    /// Guest address of its first byte.
    pub(super) fn guest(&self, memory: &GuestMemory) -> u64 {
        memory.guest_address(self.place).unwrap_or(0)
    }

    pub(super) fn word(&self, at: u64) -> Result<SharedU16, RingError> {
        self.view(|mapping, offset| SharedU16::new(mapping, offset + at))
    }

    pub(super) fn view<T>(
        &self,
        make: impl FnOnce(&Arc<Mapping>, u64) -> Result<T, OutOfRange>,
    ) -> Result<T, RingError> {
        make(self.mapping, self.place.offset)
            .map_err(|source| RingError::Misaligned { area: self.name, source })
    }
}
