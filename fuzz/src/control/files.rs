//! File descriptors that a peer may send.

use memfd::{FileSeal, MemfdOptions};
use nix::sys::eventfd::{EfdFlags, EventFd};
use ringport_memif::wire::{COOKIE, Message};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixDatagram;

/// Longest memory that is made, whatever a message announces.
const MEMORY_MAX: u64 = 256 << 10;
/// Where cookies end, in that memory.
const RINGS_UP_TO: usize = 8 << 10;

/// Descriptor number `at` of a message; kind 0 is what should come with it.
pub(crate) fn open_for(message: Option<&Message>, kind: u8, at: usize) -> OwnedFd {
    let announced = match message {
        Some(Message::AddRegion(region)) => region.size.min(MEMORY_MAX),
        _ => 4096,
    };
    let wants_memory = matches!(message, Some(Message::AddRegion(_)));
    match (usize::from(kind) + at) % 10 {
        0 if wants_memory => memory(announced, true),
        0 | 3 => eventfd(EfdFlags::empty()),
        1 => memory(announced, false),
        2 => memory(announced / 2, true),
        4 => nix::unistd::pipe().unwrap().0,
        5 => nix::unistd::pipe().unwrap().1,
        6 => eventfd(EfdFlags::EFD_SEMAPHORE),
        7 => File::open("/dev/null").unwrap().into(),
        8 => UnixDatagram::unbound().unwrap().into(),
        _ => write_sealed(announced),
    }
}

fn eventfd(flags: EfdFlags) -> OwnedFd {
    EventFd::from_flags(flags | EfdFlags::EFD_CLOEXEC).unwrap().into()
}

/// Memory in whose first part a ring may start at every multiple of 64.
fn memory(len: u64, sealable: bool) -> OwnedFd {
    let memory = MemfdOptions::new().allow_sealing(sealable).create("fuzz").unwrap().into_file();
    memory.set_len(len).unwrap();
    let start: Vec<u8> = COOKIE.to_le_bytes().into_iter().chain([0; 60]).collect();
    let start = start.repeat(RINGS_UP_TO / 64);
    let announced = usize::try_from(len).unwrap().min(RINGS_UP_TO);
    memory.write_all_at(&start[..announced], 0).unwrap();
    memory.into()
}

fn write_sealed(len: u64) -> OwnedFd {
    let memory = MemfdOptions::new().allow_sealing(true).create("fuzz").unwrap();
    memory.as_file().set_len(len).unwrap();
    memory.add_seal(FileSeal::SealWrite).unwrap();
    memory.into_file().into()
}
