//! What a descriptor said to be shared memory really is, and sealing it.

use super::RegionError;
use crate::scm;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::statfs::{HUGETLBFS_MAGIC, TMPFS_MAGIC, fstatfs};
use std::os::fd::BorrowedFd;

/// A descriptor of one of the kernel's memory file systems.
#[derive(Debug, Clone, Copy)]
pub(super) struct MemoryFile<'fd> {
    fd: BorrowedFd<'fd>,
    seals: SealFlag,
    /// Bytes of one huge page, or `None` for ordinary pages.
    huge_page: Option<usize>,
}

impl<'fd> MemoryFile<'fd> {
    /// Accepts writable files of tmpfs (with memfds) and hugetlbfs.
    ///
    /// The seals are asked for first: the kernel answers for its memory file systems alone, without
    /// calling the file system. `fstat` or `fstatfs` on a FUSE file of the peer would wait for it.
    pub(super) fn inspect(fd: BorrowedFd<'fd>) -> Result<Self, RegionError> {
        let seals = get_seals(fd).map_err(|_| not_memory(fd))?;
        let stat = fstat(fd).map_err(RegionError::system("fstat the memory"))?;
        if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
            return Err(not_memory(fd));
        }
        let kind = fstatfs(fd).map_err(RegionError::system("fstatfs the memory"))?;
        let huge_page = match kind.filesystem_type() {
            TMPFS_MAGIC => None,
            HUGETLBFS_MAGIC => usize::try_from(stat.st_blksize).ok(),
            _ => return Err(not_memory(fd)),
        };
        if seals.intersects(SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_FUTURE_WRITE) {
            return Err(RegionError::WriteSealed { seals: seals.bits().unsigned_abs() });
        }
        Ok(Self { fd, seals, huge_page })
    }

    /// Bytes of one huge page, or `None` for ordinary pages.
    pub(super) fn huge_page(&self) -> Option<usize> {
        self.huge_page
    }

    /// Seals the file against shrinking where the kernel lets us, which it does for a memfd made
    /// with `MFD_ALLOW_SEALING`, whoever made it. Says whether nothing can be taken back now.
    pub(super) fn seal(&mut self) -> bool {
        if !self.seals.contains(SealFlag::F_SEAL_SHRINK) {
            // Refused (EPERM) where sealing is not allowed: then the seals read back tell.
            let _ = fcntl(self.fd, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK));
            self.seals = get_seals(self.fd).unwrap_or(self.seals);
        }
        self.seals.contains(SealFlag::F_SEAL_SHRINK) && self.huge_page.is_none()
    }

    /// Checks the file's size. After [`seal`](Self::seal) said yes, the answer stays true.
    pub(super) fn require_size(&self, announced: u64) -> Result<(), RegionError> {
        let stat = fstat(self.fd).map_err(RegionError::system("fstat the memory"))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size < announced {
            return Err(RegionError::Short { size, announced });
        }
        Ok(())
    }

    /// The error of a process that accepts only what cannot be taken back.
    pub(super) fn unsealable(&self) -> RegionError {
        let (seals, huge_pages) = self.why_unsealable();
        RegionError::Unsealable { seals, huge_pages }
    }

    /// The file's seals, and whether it is made of huge pages.
    pub(super) fn why_unsealable(&self) -> (u32, bool) {
        (self.seals.bits().unsigned_abs(), self.huge_page.is_some())
    }
}

fn get_seals(fd: BorrowedFd<'_>) -> Result<SealFlag, Errno> {
    fcntl(fd, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_retain)
}

#[cold]
fn not_memory(fd: BorrowedFd<'_>) -> RegionError {
    let found = match scm::describe(fd) {
        Ok(name) => name.to_string_lossy().into(),
        Err(_) => Box::from("a descriptor"),
    };
    RegionError::NotMemory { found }
}
