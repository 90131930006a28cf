//! A front-end that says what it likes, with one driver's memory and two rings in it.

use super::{Place, Raw};
use nix::sys::eventfd::{EfdFlags, EventFd};
use ringport::shm::{Backing, OwnedMemory};
use ringport_vhost_user::wire::{
    MemoryRegion, Message, Request, VringAddress, VringFd, VringState, feature,
};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// Front-end address of the first byte of guest memory at 0.
pub const FRONT_END: u64 = 0x7f00_0000_0000;
/// Bytes of a region.
pub const LEN: u64 = 0x10_0000;
/// Bytes of a ring with all that belongs to it.
const STRIDE: u64 = 0x1_0000;
const DRIVER_AREA: u64 = 0x4000;
const DEVICE_AREA: u64 = 0x8000;
pub const SIZE: u32 = 64;
/// ACKNOWLEDGE, DRIVER, FEATURES_OK and DRIVER_OK.
pub const READY: u64 = 0xf;

/// The front-end.
#[derive(Debug)]
pub struct Front {
    pub raw: Raw,
    /// What is at guest address [`at`](Self::at).
    pub file: File,
    /// Guest address of its rings' memory.
    pub at: u64,
    /// Where rings begin.
    base: u32,
    kicks: [EventFd; 2],
    calls: [EventFd; 2],
}

/// Memory of a guest.
pub fn memory() -> File {
    let memory =
        OwnedMemory::create("guest", usize::try_from(LEN).unwrap(), Backing::Pages).unwrap();
    memory.fd().try_clone_to_owned().unwrap().into()
}

/// A region of guest memory at `guest`.
pub fn region(guest: u64) -> MemoryRegion {
    MemoryRegion {
        guest_address: guest,
        size: LEN,
        user_address: FRONT_END + guest,
        mmap_offset: 0,
    }
}

/// Where ring `index` is in memory at guest address 0, if it is one of the two.
pub fn address(index: u32) -> VringAddress {
    ring_at(index, FRONT_END + STRIDE * u64::from(index % 2))
}

fn ring_at(index: u32, start: u64) -> VringAddress {
    VringAddress {
        index,
        log: false,
        descriptor_area: start,
        driver_area: start + DRIVER_AREA,
        device_area: start + DEVICE_AREA,
        log_address: 0,
    }
}

impl Front {
    /// Connects, and agrees on features; no memory is shared yet.
    pub fn connect(place: &Place, at: u64) -> Self {
        Self::connect_with(place, at, 0)
    }

    /// With further features.
    pub fn connect_with(place: &Place, at: u64, features: u64) -> Self {
        let raw = Raw::acked(place);
        assert!(raw.ask(&Message::Plain(Request::SetOwner), &[]).is_yes());
        let features = features | feature::VERSION_1 | feature::PROTOCOL_FEATURES;
        assert!(raw.ask(&Message::Number(Request::SetFeatures, features), &[]).is_yes());
        let bells = || [(); 2].map(|()| EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap());
        let base = if features & feature::RING_PACKED != 0 { 0x8000_8000 } else { 0 };
        Self { raw, file: memory(), at, base, kicks: bells(), calls: bells() }
    }

    /// Whether a request with an answer was granted.
    pub fn is_granted(&self, message: &Message) -> bool {
        self.raw.ask(message, &[]).is_yes()
    }

    pub fn share(&self) -> bool {
        let table = Message::MemTable(vec![region(self.at)]);
        self.raw.ask(&table, &[self.file.as_fd()]).is_yes()
    }

    /// A number about a ring.
    pub fn set(&self, request: Request, index: u32, value: u32) -> bool {
        self.is_granted(&Message::VringState(request, VringState { index, value }))
    }

    /// Where ring `index` is, in guest memory.
    pub fn place_of(&self, index: u32) -> u64 {
        self.at + STRIDE * u64::from(index)
    }

    pub fn addresses(&self, index: u32) -> VringAddress {
        ring_at(index, FRONT_END + self.place_of(index))
    }

    /// Says all of a ring but its kick.
    pub fn prepare(&self, index: u32) {
        assert!(self.set(Request::SetVringNum, index, SIZE));
        assert!(self.set(Request::SetVringBase, index, self.base));
        assert!(self.is_granted(&Message::VringAddress(self.addresses(index))));
        let said = self.fd_of(index);
        let call = self.calls[index as usize].as_fd();
        assert!(self.raw.ask(&Message::VringFd(Request::SetVringCall, said), &[call]).is_yes());
    }

    /// With that a ring starts.
    pub fn kick(&self, index: u32) -> bool {
        let kick = self.kicks[index as usize].as_fd();
        let said = Message::VringFd(Request::SetVringKick, self.fd_of(index));
        self.raw.ask(&said, &[kick]).is_yes()
    }

    /// The same of a ring that is not to call its driver.
    pub fn kick_without_call(&self, index: u32) -> bool {
        let none = VringFd { no_fd: true, ..self.fd_of(index) };
        self.is_granted(&Message::VringFd(Request::SetVringCall, none)) && self.kick(index)
    }

    pub fn status(&self, status: u64) -> bool {
        self.is_granted(&Message::Number(Request::SetStatus, status))
    }

    /// Both rings run, and so does the device.
    pub fn run(&self) {
        assert!(self.share());
        for ring in [0, 1] {
            self.prepare(ring);
            assert!(self.kick(ring));
            assert!(self.set(Request::SetVringEnable, ring, 1));
        }
        assert!(self.status(READY));
    }

    /// Stops a ring; where it is.
    #[track_caller]
    pub fn stop(&self, index: u32) -> u32 {
        let stop = VringState { index, value: 0 };
        let answer = self.raw.ask(&Message::VringState(Request::GetVringBase, stop), &[]);
        let super::Answer::Payload(bytes) = answer else { panic!("closed") };
        u32::from_ne_bytes(bytes[4..8].try_into().unwrap())
    }

    /// As if the device had used so many chains.
    pub fn set_used(&self, index: u32, used: u16) {
        let at = self.place_of(index) - self.at + DEVICE_AREA + 2;
        self.file.write_all_at(&used.to_le_bytes(), at).unwrap();
    }

    fn fd_of(&self, index: u32) -> VringFd {
        VringFd { index: index.try_into().unwrap(), no_fd: false }
    }
}
