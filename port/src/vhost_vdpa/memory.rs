//! Memory that a vhost-vdpa device may use.

use super::VhostVdpaFile;
use super::message::{IotlbMessage, LEN};
use crate::error::CallError;
use crate::shm::{Mapping, page_len};
use std::io;
use std::mem::ManuallyDrop;
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Number of an address space of the device; all rings are in the first at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddressSpace(pub u32);

/// A range that the device may use. Without an IOMMU of its own (`use_va`) a device accesses the mapping
/// itself, so that stays as long as this is there.
#[derive(Debug)]
pub(super) struct Mapped {
    space: AddressSpace,
    iova: u64,
    len: u64,
    memory: Arc<Mapping>,
}

impl VhostVdpaFile {
    /// Has the changes from now on take effect [together](Self::end_batch), as far as the device can.
    /// Needs [`BackendFeatures::BATCH`](super::BackendFeatures::BATCH); one address space a batch.
    ///
    /// # Errors
    /// There is no such address space.
    pub fn begin_batch(&mut self, space: AddressSpace) -> Result<(), CallError> {
        self.send(IotlbMessage::BatchBegin, space, "begin a batch of mappings")
    }

    /// Has the changes of the batch take effect.
    ///
    /// # Errors
    /// There is no such address space.
    pub fn end_batch(&mut self, space: AddressSpace) -> Result<(), CallError> {
        self.send(IotlbMessage::BatchEnd, space, "end a batch of mappings")
    }

    /// Lets the device read and write `len` bytes of `memory` from `offset` on, and find them at
    /// `iova`. All three are multiples of [`page_len`].
    ///
    /// The kernel says `EFAULT` whatever the cause: check before whether the range is free and in
    /// [reach](Self::iova_range), and whether as much memory may be locked.
    ///
    /// # Errors
    /// The kernel refuses, or the range is not in the memory, or not of whole pages.
    pub fn map(
        &mut self,
        space: AddressSpace,
        iova: u64,
        memory: &Arc<Mapping>,
        offset: u64,
        len: u64,
    ) -> Result<(), CallError> {
        let operation = "map memory";
        let address = address(memory, iova, offset, len);
        let address = address.ok_or_else(|| invalid(operation, "not whole pages of the memory"))?;
        // Before the device can use it, and back only if it cannot.
        let memory = Arc::clone(memory);
        self.mapped.push(Mapped { space, iova, len, memory });
        let done = self.send(IotlbMessage::Update { iova, len, address }, space, operation);
        if done.is_err() {
            self.mapped.pop();
        }
        done
    }

    /// Takes memory back, by the range with which it was mapped.
    ///
    /// # Errors
    /// The kernel refuses, or nothing was mapped so.
    pub fn unmap(
        &mut self,
        space: AddressSpace,
        range: &RangeInclusive<u64>,
    ) -> Result<(), CallError> {
        let operation = "unmap memory";
        let is_it = |it: &Mapped| it.space == space && it.range() == *range;
        let found = self.mapped.iter().position(is_it);
        let at = found.ok_or_else(|| invalid(operation, "it was not mapped so"))?;
        let Mapped { iova, len, .. } = self.mapped[at];
        self.send(IotlbMessage::Invalidate { iova, len }, space, operation)?;
        self.mapped.swap_remove(at);
        Ok(())
    }

    /// Takes all memory back. What the kernel does not give back stays mapped here for ever, for nobody
    /// knows who else has the file open and keeps the device at work.
    pub(super) fn release_memory(&mut self) {
        for Mapped { space, iova, len, memory } in std::mem::take(&mut self.mapped) {
            let message = IotlbMessage::Invalidate { iova, len };
            if self.send(message, space, "unmap memory").is_err() {
                let _ = ManuallyDrop::new(memory);
            }
        }
    }

    fn send(
        &self,
        message: IotlbMessage,
        space: AddressSpace,
        operation: &'static str,
    ) -> Result<(), CallError> {
        let written = nix::unistd::write(self.as_fd(), &message.encode(space.0));
        match written.map_err(CallError::errno(operation))? {
            LEN => Ok(()),
            _ => Err(invalid(operation, "the kernel took part of a message")),
        }
    }
}

impl Mapped {
    fn range(&self) -> RangeInclusive<u64> {
        self.iova..=self.iova + (self.len - 1)
    }
}

/// Where the range is in this process, if it is in the memory, and of whole pages: the kernel rounds
/// others up, and gives away what is beside them.
pub(crate) fn address(memory: &Mapping, iova: u64, offset: u64, len: u64) -> Option<u64> {
    let page = page_len() as u64;
    let whole = len > 0 && [iova, offset, len].iter().all(|it| it % page == 0);
    let end = offset.checked_add(len)?;
    iova.checked_add(len - u64::from(len > 0))?;
    let base = memory.base().as_ptr().addr() as u64;
    (whole && end <= memory.len() as u64).then_some(base + offset)
}

fn invalid(operation: &'static str, why: &'static str) -> CallError {
    CallError { operation, source: io::Error::new(io::ErrorKind::InvalidInput, why) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::{Backing, OwnedMemory};

    #[test]
    fn only_whole_pages_within_the_memory_have_an_address() {
        let page = page_len() as u64;
        let memory = OwnedMemory::create("t", 4 * page_len(), Backing::Pages).unwrap();
        let mapping = memory.mapping();
        let base = mapping.base().as_ptr().addr() as u64;
        assert_eq!(address(mapping, 0, 0, 4 * page), Some(base));
        assert_eq!(address(mapping, 7 * page, page, 3 * page), Some(base + page));
        assert_eq!(address(mapping, u64::MAX - page + 1, 0, page), Some(base));
        for (iova, offset, len) in [
            (0, 0, 0),
            (0, 0, 5 * page),
            (0, page, 4 * page),
            (1, 0, page),
            (0, 1, page),
            (0, 0, page - 1),
            (0, u64::MAX - page + 1, page),
            (u64::MAX - page + 1, 0, 2 * page),
        ] {
            assert_eq!(address(mapping, iova, offset, len), None, "{iova:#x} {offset:#x} {len:#x}");
        }
    }
}
