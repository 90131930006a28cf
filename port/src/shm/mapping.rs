//! One mapped range of shared memory.
#![expect(unsafe_code, reason = "mmap and munmap")]

use super::guard::{self, Registration};
use super::inspect::MemoryFile;
use super::{MemoryPolicy, RegionError};
use crate::link::LinkState;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::{SysconfVar, sysconf};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;

/// A range of memory shared with another process, mapped readable and writable.
///
/// It never moves, and is unmapped when dropped. The peer may change its contents at any time, so no
/// reference to them is ever made.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
    /// `len` in whole huge pages, where it consists of them: what munmap wants to be told.
    mapped_len: usize,
    /// Bytes of a huge page, if it consists of them.
    huge_page: Option<usize>,
    guard: Option<Registration>,
}

// SAFETY: a Mapping is an address range that stays mapped until it is dropped, on whatever thread.
unsafe impl Send for Mapping {}
// SAFETY: through a shared Mapping one learns address and length only. Accesses to the range are
// made by unsafe code elsewhere in this crate, which races with the peer by nature and so uses
// atomics and copy kernels that may race.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `announced` bytes of memory received from a peer. The descriptor may be closed
    /// afterwards.
    ///
    /// Under [`MemoryPolicy::Guarded`], memory that the peer could take back is watched by the
    /// [SIGBUS guard](super::guard), which brings `link` down when that happens. How long a region
    /// may be is for the caller to decide ([`MemoryLimits`](super::MemoryLimits)).
    ///
    /// # Errors
    /// [`RegionError`]: the descriptor is not shared memory, is shorter than announced, is sealed
    /// against writing, can be taken back and the policy refuses that, or cannot be mapped.
    pub fn from_peer(
        fd: impl AsFd,
        announced: u64,
        policy: MemoryPolicy,
        link: &Arc<LinkState>,
    ) -> Result<Self, RegionError> {
        let fd = fd.as_fd();
        let len = checked_len(announced)?;
        let mut file = MemoryFile::inspect(fd)?;
        let safe = policy == MemoryPolicy::Trust || file.seal();
        // Only now: a size read before sealing could have changed since.
        file.require_size(announced)?;
        if !safe && policy == MemoryPolicy::Sealed {
            return Err(file.unsealable());
        }
        let mut mapping = Self::map(fd, len, file.huge_page())?;
        if !safe {
            mapping.guard = Some(mapping.watch(link)?);
        }
        Ok(mapping)
    }

    /// Usable bytes: as many as were announced.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the pages that it is made of: huge ones, or the machine's.
    #[must_use]
    pub fn page_len(&self) -> usize {
        self.huge_page.unwrap_or_else(page_len)
    }

    /// Address of the first byte, page-aligned.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Maps `len` bytes of `fd`, in whole pages of `huge_page` bytes if there are any.
    pub(super) fn map(
        fd: BorrowedFd<'_>,
        len: NonZeroUsize,
        huge_page: Option<usize>,
    ) -> Result<Self, RegionError> {
        let mapped_len = len
            .get()
            .checked_next_multiple_of(huge_page.unwrap_or(1).max(1))
            .and_then(NonZeroUsize::new)
            .filter(|mapped| isize::try_from(mapped.get()).is_ok())
            .ok_or_else(|| too_long(len.get() as u64))?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new range at an address that the kernel chooses, so no memory in use changes.
        let base = unsafe { mmap(None, mapped_len, access, MapFlags::MAP_SHARED, fd, 0) }
            .map_err(RegionError::system("map the memory"))?;
        let mapped_len = mapped_len.get();
        Ok(Self { base: base.cast(), len: len.get(), mapped_len, huge_page, guard: None })
    }

    /// Has the guard watch the range. The caller drops the registration before the mapping.
    pub(super) fn watch(&self, link: &Arc<LinkState>) -> Result<Registration, RegionError> {
        guard::register(self.base, self.mapped_len, Arc::clone(link))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // First: the range may be anybody's as soon as it is unmapped.
        drop(self.guard.take());
        // SAFETY: `map` mapped exactly this range, this is its only owner, and whoever accesses it
        // borrows or shares ownership of `self`, so nobody does any more.
        let result = unsafe { munmap(self.base.cast(), self.mapped_len) };
        debug_assert!(result.is_ok(), "munmap: {result:?}");
    }
}

/// Bytes of an ordinary page of this machine.
#[must_use]
pub fn page_len() -> usize {
    let said = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    said.and_then(|len| usize::try_from(len).ok()).unwrap_or(4096)
}

/// A length that a Rust allocation can have, as offsets within it must fit `isize`.
pub(super) fn checked_len(announced: u64) -> Result<NonZeroUsize, RegionError> {
    let len = isize::try_from(announced).map_err(|_| too_long(announced))?;
    NonZeroUsize::new(len.unsigned_abs()).ok_or(RegionError::Empty)
}

fn too_long(announced: u64) -> RegionError {
    RegionError::TooLong { announced, limit: isize::MAX.unsigned_abs() as u64 }
}
