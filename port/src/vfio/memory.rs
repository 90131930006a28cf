//! Memory that a function may use.

use super::VfioFunction;
use super::function::refused;
use super::sys::{self, DmaMap, DmaUnmap};
use crate::error::CallError;
use crate::shm::Mapping;
use crate::vhost_vdpa::address;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::sync::Arc;

/// `VFIO_DMA_MAP_FLAG_READ` and `VFIO_DMA_MAP_FLAG_WRITE`.
const READ_AND_WRITE: u32 = 3;

/// A range that the function may use.
#[derive(Debug)]
pub(super) struct Mapped {
    iova: u64,
    len: u64,
    memory: Arc<Mapping>,
}

impl VfioFunction {
    /// Lets the function read and write `len` bytes of `memory` from `offset` on, and find them at `iova`.
    /// All three are multiples of [`page_len`](crate::shm::page_len). Locks its pages in memory.
    ///
    /// # Errors
    /// The range is not in the memory, or not of whole pages ([`io::ErrorKind::InvalidInput`]), or the
    /// kernel refuses: `EEXIST`: it overlaps another; `EINVAL`: it is out of [reach](Self::reach);
    /// `ENOSPC`: there are too many; `ENOMEM`: more would be locked than may be; `EFAULT`: pages are
    /// missing.
    pub fn map(
        &mut self,
        iova: u64,
        memory: &Arc<Mapping>,
        offset: u64,
        len: u64,
    ) -> Result<(), CallError> {
        let operation = "map memory";
        let why = "not whole pages of the memory";
        let address = address(memory, iova, offset, len)
            .ok_or_else(|| refused(operation, io::ErrorKind::InvalidInput, why))?;
        // Before the function can use it, and back only if it cannot.
        self.mapped.push(Mapped { iova, len, memory: Arc::clone(memory) });
        let mut request = DmaMap { address, iova, len };
        let done = sys::call(self.container.as_fd(), sys::MAP_DMA, READ_AND_WRITE, &mut request);
        if done.is_err() {
            self.mapped.pop();
        }
        done.map(drop).map_err(CallError::errno(operation))
    }

    /// Takes memory back, by the range with which it was mapped.
    ///
    /// # Errors
    /// The kernel refuses, or nothing was mapped so.
    pub fn unmap(&mut self, range: &RangeInclusive<u64>) -> Result<(), CallError> {
        let operation = "unmap memory";
        let found = self.mapped.iter().position(|it| it.range() == *range);
        let not = || refused(operation, io::ErrorKind::InvalidInput, "it was not mapped so");
        let at = found.ok_or_else(not)?;
        self.take_back(&self.mapped[at])?;
        self.mapped.swap_remove(at);
        Ok(())
    }

    /// Takes all memory back. What the kernel does not give back stays mapped here for ever.
    pub(super) fn release_memory(&mut self) {
        for mapped in std::mem::take(&mut self.mapped) {
            if self.take_back(&mapped).is_err() {
                let _ = ManuallyDrop::new(mapped.memory);
            }
        }
    }

    fn take_back(&self, mapped: &Mapped) -> Result<(), CallError> {
        let operation = "unmap memory";
        let Mapped { iova, len, .. } = *mapped;
        let mut request = DmaUnmap { iova, len };
        sys::call(self.container.as_fd(), sys::UNMAP_DMA, 0, &mut request)
            .map_err(CallError::errno(operation))?;
        let whole = request.len == len;
        let why = "the kernel unmapped something else";
        whole.then_some(()).ok_or_else(|| refused(operation, io::ErrorKind::InvalidData, why))
    }
}

impl Mapped {
    fn range(&self) -> RangeInclusive<u64> {
        self.iova..=self.iova + (self.len - 1)
    }
}
