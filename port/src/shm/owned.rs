//! Memory of our own, to share with peers.

use super::guard::Watch;
use super::inspect::MemoryFile;
use super::mapping::{Mapping, checked_len};
use super::{MemoryPolicy, RegionError};
use crate::link::LinkState;
use memfd::{FileSeal, HugetlbSize, Memfd, MemfdOptions};
use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Bytes of the huge pages of [`Backing::HugePages2M`].
const HUGE_PAGE: u64 = 2 << 20;

/// What memory is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Backing {
    /// Ordinary pages. Needs no preparation of the machine, and no peer can take them back.
    #[default]
    Pages,
    /// Huge pages of 2 MiB from the machine's pool (`vm.nr_hugepages`), all reserved at once. A peer
    /// can take them back: see [`OwnedMemory::watch`].
    HugePages2M,
}

/// Shared memory that we made, or that the caller brought, with its descriptor for peers.
#[derive(Debug)]
pub struct OwnedMemory {
    fd: OwnedFd,
    mapping: Arc<Mapping>,
    /// Why a peer that is given the descriptor can take the memory back, if it can.
    unsealable: Option<(u32, bool)>,
}

impl OwnedMemory {
    /// Makes `len` bytes of zeroed memory. `name` shows up in `/proc/<pid>/maps` and `fd`, for
    /// people; it need not be unique.
    ///
    /// The memory is an anonymous file (memfd), sealed: no peer can change its length.
    ///
    /// # Errors
    /// [`RegionError`]: `len` is zero or too long, the pool of huge pages is exhausted, or a system
    /// call failed.
    pub fn create(name: &str, len: usize, backing: Backing) -> Result<Self, RegionError> {
        let len = checked_len(len as u64)?;
        let options = MemfdOptions::new().allow_sealing(true);
        let (options, page) = match backing {
            Backing::Pages => (options, 1),
            Backing::HugePages2M => (options.hugetlb(Some(HugetlbSize::Huge2MB)), HUGE_PAGE),
        };
        let memory = options.create(name).map_err(memfd_failed("make memory"))?;
        let file_len = (len.get() as u64).next_multiple_of(page);
        check_file_limit(file_len).map_err(RegionError::system(SIZE))?;
        let sized = memory.as_file().set_len(file_len);
        sized.map_err(|source| RegionError::System { operation: SIZE, source })?;
        seal(&memory, backing)?;
        Self::from_fd(memory.into_file().into(), len.get())
    }

    /// Maps the first `len` bytes of the caller's own memory: a memfd, or a file of tmpfs or
    /// hugetlbfs.
    ///
    /// It is sealed against shrinking where it can be. Where it cannot, a peer that is given the
    /// descriptor can take the memory back: see [`watch`](Self::watch).
    ///
    /// # Errors
    /// As [`Mapping::from_peer`], except that no policy refuses it.
    pub fn from_fd(fd: OwnedFd, len: usize) -> Result<Self, RegionError> {
        let announced = len as u64;
        let len = checked_len(announced)?;
        let mut file = MemoryFile::inspect(fd.as_fd())?;
        let sealed = file.seal();
        file.require_size(announced)?;
        let mapping = Arc::new(Mapping::map(fd.as_fd(), len, file.huge_page())?);
        let unsealable = (!sealed).then(|| file.why_unsealable());
        Ok(Self { fd, mapping, unsealable })
    }

    /// The descriptor to give to peers.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The memory, mapped here.
    #[must_use]
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// Does what `policy` asks for before the memory is given to a peer: nothing when it cannot be
    /// taken back; else [watches](Self::watch) it for `link`, or refuses, or trusts.
    ///
    /// # Errors
    /// [`RegionError::Unsealable`] under [`MemoryPolicy::Sealed`]; [`RegionError::System`] when the
    /// guard cannot be installed.
    pub fn protect(
        &self,
        policy: MemoryPolicy,
        link: &Arc<LinkState>,
    ) -> Result<Option<Watch>, RegionError> {
        let Some((seals, huge_pages)) = self.unsealable else { return Ok(None) };
        match policy {
            MemoryPolicy::Guarded => self.watch(link).map(Some),
            MemoryPolicy::Sealed => Err(RegionError::Unsealable { seals, huge_pages }),
            MemoryPolicy::Trust => Ok(None),
        }
    }

    /// Has the [SIGBUS guard](super::guard) bring `link` down if the memory is taken back, for as
    /// long as the [`Watch`] lives. One memory can be watched for many links.
    ///
    /// Worth it for huge pages, in which a peer can punch holes that the kernel then finds no page
    /// for, and for a caller's memory that cannot be sealed. [`Backing::Pages`] cannot be taken back.
    ///
    /// # Errors
    /// [`RegionError::System`]: the guard cannot be installed.
    pub fn watch(&self, link: &Arc<LinkState>) -> Result<Watch, RegionError> {
        Watch::new(&self.mapping, link)
    }
}

const SIZE: &str = "size the memory";

/// Fails where the kernel would, which first ends the process with `SIGXFSZ`: memory is a file to it.
fn check_file_limit(len: u64) -> Result<(), Errno> {
    // A limit that cannot be read is none.
    let (limit, _) = getrlimit(Resource::RLIMIT_FSIZE).unwrap_or((RLIM_INFINITY, RLIM_INFINITY));
    if len > limit { Err(Errno::EFBIG) } else { Ok(()) }
}

/// Seals the length of `memory`. Kernels before 4.16 do not seal huge pages.
fn seal(memory: &Memfd, backing: Backing) -> Result<(), RegionError> {
    let seals = [FileSeal::SealShrink, FileSeal::SealGrow, FileSeal::SealSeal];
    match memory.add_seals(&seals) {
        Err(_) if backing == Backing::HugePages2M => Ok(()),
        result => result.map_err(memfd_failed("seal the memory")),
    }
}

/// For `map_err` on a memfd call.
fn memfd_failed(operation: &'static str) -> impl FnOnce(memfd::Error) -> RegionError {
    move |error| {
        let source = match error {
            memfd::Error::Create(source)
            | memfd::Error::AddSeals(source)
            | memfd::Error::GetSeals(source) => source,
        };
        RegionError::System { operation, source }
    }
}
