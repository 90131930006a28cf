//! The areas that a ring consists of.

use super::RingError;
use crate::memory::{GuestMemory, Place};
use ringport::shm::{Mapping, OutOfRange, SharedU16};
use std::sync::Arc;

/// One area of a ring, all of it in one region.
pub(super) struct Area<'m> {
    name: &'static str,
    mapping: &'m Arc<Mapping>,
    offset: u64,
}

impl<'m> Area<'m> {
    pub(super) fn find(
        memory: &'m GuestMemory,
        area: &'static str,
        address: u64,
        len: u64,
    ) -> Result<Self, RingError> {
        let missing = RingError::NotShared { area, address, len };
        let Place { region, offset } = memory.at_front_end(address, len).ok_or(missing)?;
        let mapping = memory.regions().mapping(region).ok_or(missing)?;
        Ok(Self { name: area, mapping, offset })
    }

    pub(super) fn word(&self, at: u64) -> Result<SharedU16, RingError> {
        self.view(|mapping, offset| SharedU16::new(mapping, offset + at))
    }

    pub(super) fn view<T>(
        &self,
        make: impl FnOnce(&Arc<Mapping>, u64) -> Result<T, OutOfRange>,
    ) -> Result<T, RingError> {
        make(self.mapping, self.offset)
            .map_err(|source| RingError::Misaligned { area: self.name, source })
    }
}
