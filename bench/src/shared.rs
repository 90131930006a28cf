//! Memory that the coordinator of a benchmark shares with its worker processes.
#![expect(unsafe_code, reason = "maps memory and reads words in it")]

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Size of a hugepage, in bytes.
const HUGEPAGE: usize = 2 << 20;

/// A mapping of shared memory.
#[derive(Debug)]
pub struct SharedMemory {
    address: NonNull<u8>,
    len: usize,
    /// Present at the creator: keeps [`path`](Self::path) valid.
    file: Option<OwnedFd>,
}

// SAFETY: the mapping belongs to no thread; all access to it goes through raw pointers or atomics.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Makes zeroed memory, on hugepages if wanted, in which case the length is rounded up.
    ///
    /// # Errors
    /// When the kernel has none.
    pub fn create(len: usize, hugepages: bool) -> io::Result<Self> {
        let (flags, len) = if hugepages {
            (MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_HUGETLB, len.next_multiple_of(HUGEPAGE))
        } else {
            (MFdFlags::MFD_CLOEXEC, len)
        };
        let file = memfd_create(c"ringport-bench", flags)?;
        nix::unistd::ftruncate(&file, i64::try_from(len).map_err(io::Error::other)?)?;
        Ok(Self { address: map(&file, len)?, len, file: Some(file) })
    }

    /// Maps the memory that another process made, by the path it told.
    ///
    /// # Errors
    /// When that process is gone, or its memory is shorter than `len`.
    pub fn open(path: &Path, len: usize) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let size = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if size < len {
            return Err(io::Error::other(format!("{}: {size} bytes of {len}", path.display())));
        }
        // Hugepages can only be mapped whole.
        Ok(Self { address: map(&file, size)?, len: size, file: None })
    }

    /// Where other processes find the memory, while this one lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let fd = self.file.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        format!("/proc/{}/fd/{fd}", std::process::id()).into()
    }

    /// The descriptor of memory that this process made.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// The first byte. The mapping lives as long as `self`.
    #[must_use]
    pub fn address(&self) -> *mut u8 {
        self.address.as_ptr()
    }

    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The word at `offset`, in bytes.
    ///
    /// # Panics
    /// When it lies outside the mapping or is not aligned.
    #[must_use]
    pub fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len, "no word at {offset}");
        // SAFETY: the word lies in the mapping, which lives as long as `self`, and is aligned; all
        // processes access it atomically.
        unsafe { AtomicU64::from_ptr(self.address.as_ptr().add(offset).cast()) }
    }
}

fn map(file: impl AsFd, len: usize) -> io::Result<NonNull<u8>> {
    let len = NonZeroUsize::new(len).ok_or_else(|| io::Error::other("empty shared memory"))?;
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
    // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
    let address = unsafe { mmap(None, len, access, flags, file, 0)? };
    Ok(address.cast())
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: `map` made this mapping with this length, and no reference to it outlives `self`.
        let unmapped = unsafe { munmap(self.address.cast::<c_void>(), self.len) };
        debug_assert!(unmapped.is_ok(), "munmap: {unmapped:?}");
    }
}

/// What a worker reports: written by it once a burst, read by the coordinator at any time.
#[derive(Debug)]
pub struct Board {
    memory: SharedMemory,
}

/// What a [`Board`] says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets sent or received, or round trips made.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets with a wrong length or out of sequence.
    pub errors: u64,
    /// Cycles of the time stamp counter spent in bursts that were not empty, when measured.
    pub cycles: u64,
    /// Looks of a receiver at its rings.
    pub looks: u64,
    /// Of those, the ones that found no packet.
    pub idle_looks: u64,
    /// Bursts of a sender.
    pub offers: u64,
    /// Of those, the ones that did not find room for all packets.
    pub short_offers: u64,
}

impl Board {
    /// Size of a board, in bytes.
    const LEN: usize = 4096;
    const PACKETS: usize = 0;
    const BYTES: usize = 8;
    const ERRORS: usize = 16;
    const CYCLES: usize = 24;
    const LOOKS: usize = 32;
    const IDLE_LOOKS: usize = 40;
    const OFFERS: usize = 48;
    const SHORT_OFFERS: usize = 56;
    const READY: usize = 64;
    const STOP: usize = 128;

    /// Makes a board for one worker.
    ///
    /// # Errors
    /// When the kernel has no memory.
    pub fn create() -> io::Result<Self> {
        Ok(Self { memory: SharedMemory::create(Self::LEN, false)? })
    }

    /// Opens the board that the coordinator made.
    ///
    /// # Errors
    /// When the coordinator is gone.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { memory: SharedMemory::open(path, Self::LEN)? })
    }

    /// Where the worker finds it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.memory.path()
    }

    /// Worker: replaces what the board says.
    #[inline]
    pub fn publish(&self, counts: &Counts) {
        self.memory.word(Self::PACKETS).store(counts.packets, Ordering::Relaxed);
        self.memory.word(Self::BYTES).store(counts.bytes, Ordering::Relaxed);
        self.memory.word(Self::ERRORS).store(counts.errors, Ordering::Relaxed);
        self.memory.word(Self::CYCLES).store(counts.cycles, Ordering::Relaxed);
        self.memory.word(Self::LOOKS).store(counts.looks, Ordering::Relaxed);
        self.memory.word(Self::IDLE_LOOKS).store(counts.idle_looks, Ordering::Relaxed);
        self.memory.word(Self::OFFERS).store(counts.offers, Ordering::Relaxed);
        self.memory.word(Self::SHORT_OFFERS).store(counts.short_offers, Ordering::Relaxed);
    }

    /// Worker: says that it is set up.
    pub fn set_ready(&self) {
        self.memory.word(Self::READY).store(1, Ordering::Release);
    }

    /// Coordinator: asks the worker to end. (One that waits for its peer need not hear it.)
    pub fn request_stop(&self) {
        self.memory.word(Self::STOP).store(1, Ordering::Relaxed);
    }

    /// Worker: whether it may go on.
    #[inline]
    #[must_use]
    pub fn may_go_on(&self) -> bool {
        self.memory.word(Self::STOP).load(Ordering::Relaxed) == 0
    }

    /// Coordinator: whether the worker is set up.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.memory.word(Self::READY).load(Ordering::Acquire) != 0
    }

    /// Coordinator: what the board says.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let word = |offset| self.memory.word(offset).load(Ordering::Relaxed);
        Counts {
            packets: word(Self::PACKETS),
            bytes: word(Self::BYTES),
            errors: word(Self::ERRORS),
            cycles: word(Self::CYCLES),
            looks: word(Self::LOOKS),
            idle_looks: word(Self::IDLE_LOOKS),
            offers: word(Self::OFFERS),
            short_offers: word(Self::SHORT_OFFERS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn board_is_seen_through_its_path() {
        let board = Board::create().unwrap();
        let worker = Board::open(&board.path()).unwrap();
        assert!(!board.is_ready());
        let counts = Counts {
            packets: 1,
            bytes: 2,
            errors: 3,
            cycles: 4,
            looks: 5,
            idle_looks: 6,
            offers: 7,
            short_offers: 8,
        };
        worker.publish(&counts);
        worker.set_ready();
        assert!(board.is_ready());
        assert_eq!(board.counts(), counts);
    }
}
