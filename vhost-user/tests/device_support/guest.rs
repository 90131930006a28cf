//! The memory of a guest, in a file.

use ringport::shm::{Backing, OwnedMemory};
use ringport_vhost_user::wire::MemoryRegion;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use vhost::VhostUserMemoryRegionInfo;

/// Guest address of the first byte.
pub const GUEST: u64 = 0x1_0000_0000;
/// Front-end address of it.
pub const FRONT_END: u64 = 0x7f12_3456_0000;
pub const LEN: u64 = 0x80_0000;

/// Memory in one file, which may be announced at different places.
#[derive(Debug)]
pub struct Guest {
    pub file: File,
    /// Bytes in front of the guest's first byte.
    pub offset: u64,
    len: u64,
}

impl Guest {
    pub fn new() -> Self {
        Self::at(0)
    }

    /// Memory that starts somewhere in its file.
    pub fn at(offset: u64) -> Self {
        let len = usize::try_from(LEN + offset).unwrap();
        let memory = OwnedMemory::create("guest", len, Backing::Pages).unwrap();
        let file = memory.fd().try_clone_to_owned().unwrap().into();
        Self { file, offset, len: LEN }
    }

    /// Memory that its owner can take back.
    pub fn unsealed() -> Self {
        use nix::sys::memfd::{MFdFlags, memfd_create};
        let file: File = memfd_create("guest", MFdFlags::MFD_CLOEXEC).unwrap().into();
        file.set_len(LEN).unwrap();
        Self { file, offset: 0, len: LEN }
    }

    /// The region as a message has it.
    pub fn said(&self) -> MemoryRegion {
        MemoryRegion {
            guest_address: GUEST,
            size: self.len,
            user_address: FRONT_END,
            mmap_offset: self.offset,
        }
    }

    /// The same memory.
    pub fn again(&self) -> Self {
        let file = self.file.try_clone().unwrap();
        Self { file, offset: self.offset, len: self.len }
    }

    /// Another memory with the same contents: what a front-end has after it moved.
    pub fn copy(&self, offset: u64) -> Self {
        let copy = Self::at(offset);
        copy.put(GUEST, &self.get(GUEST, usize::try_from(LEN).unwrap()));
        copy
    }

    pub fn region(&self) -> VhostUserMemoryRegionInfo {
        VhostUserMemoryRegionInfo {
            guest_phys_addr: GUEST,
            memory_size: self.len,
            userspace_addr: FRONT_END,
            mmap_offset: self.offset,
            mmap_handle: self.file.as_raw_fd(),
        }
    }

    pub fn put(&self, guest: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, guest - GUEST + self.offset).unwrap();
    }

    pub fn get(&self, guest: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, guest - GUEST + self.offset).unwrap();
        bytes
    }

    pub fn word(&self, guest: u64) -> u16 {
        u16::from_le_bytes(self.get(guest, 2).try_into().unwrap())
    }
}
