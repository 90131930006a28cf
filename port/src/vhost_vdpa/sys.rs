//! The ioctls of vhost-vdpa, each with the type of its argument, and whether a doorbell's page can be
//! mapped.
#![expect(unsafe_code, reason = "ioctl, and mmap of a device's page")]

use crate::shm::page_len;
use nix::errno::Errno;
use nix::libc::{self, c_int, off_t};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::{request_code_none, request_code_read, request_code_readwrite, request_code_write};
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// `VHOST_VIRTIO`: what all numbers have in common.
const TYPE: u8 = 0xAF;

/// Most bytes of a configuration space that are read or written at a time: no virtio device has more.
pub const CONFIG_MAX: usize = 4096;

/// What an ioctl can have as its argument: integers, and structures of them without gaps. Any bits are
/// one.
pub(super) trait Argument: Copy {}

impl Argument for () {}
impl Argument for u8 {}
impl Argument for u16 {}
impl Argument for u32 {}
impl Argument for u64 {}
impl Argument for c_int {}
impl Argument for RingState {}
impl Argument for RingFile {}
impl Argument for RingAddresses {}
impl Argument for IovaRange {}
impl Argument for Config {}

/// `struct vhost_vring_state`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct RingState {
    pub(super) index: u32,
    pub(super) num: u32,
}

/// `struct vhost_vring_file`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct RingFile {
    pub(super) index: u32,
    /// -1: none.
    pub(super) fd: c_int,
}

/// Where a ring is, in IOVAs: `struct vhost_vring_addr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct RingAddresses {
    /// Its number.
    pub index: u32,
    /// `VHOST_VRING_F_` flags: none of them means anything to vDPA.
    pub flags: u32,
    /// The descriptor area.
    pub descriptor: u64,
    /// The device area (the used ring).
    pub device: u64,
    /// The driver area (the available ring).
    pub driver: u64,
    /// Where writes would be logged; vDPA logs none.
    pub log: u64,
}

/// `struct vhost_vdpa_iova_range`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct IovaRange {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// `struct vhost_vdpa_config`, with room for the bytes behind it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Config {
    offset: u32,
    /// Never more than there is room for.
    len: u32,
    bytes: [u8; CONFIG_MAX],
}

/// What the kernel takes for the size of a `Config`.
const CONFIG_HEAD: usize = 8;

const _: () = {
    assert!(size_of::<RingState>() == 8);
    assert!(size_of::<RingFile>() == 8);
    assert!(size_of::<RingAddresses>() == 40);
    assert!(size_of::<IovaRange>() == 16);
    assert!(size_of::<Config>() == CONFIG_HEAD + CONFIG_MAX);
};

impl Config {
    /// `None` when there are more bytes than `CONFIG_MAX`.
    pub(super) fn new(offset: u32, bytes: &[u8]) -> Option<Self> {
        let len = u32::try_from(bytes.len()).ok()?;
        let mut config = Self { offset, len, bytes: [0; CONFIG_MAX] };
        config.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(config)
    }

    /// The bytes that it was made with, or that were read since.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }
}

/// An ioctl whose argument is a `T`, which its number gives the size of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<T> {
    number: libc::Ioctl,
    argument: PhantomData<fn(T)>,
}

impl Request<()> {
    /// Takes no argument (`_IO`).
    const fn plain(number: u8) -> Self {
        Self { number: request_code_none!(TYPE, number) as libc::Ioctl, argument: PhantomData }
    }
}

impl<T: Argument> Request<T> {
    /// The kernel writes the argument (`_IOR`).
    const fn get(number: u8) -> Self {
        Self::numbered(request_code_read!(TYPE, number, size_of::<T>()) as libc::Ioctl)
    }

    /// The kernel reads the argument (`_IOW`).
    const fn set(number: u8) -> Self {
        Self::numbered(request_code_write!(TYPE, number, size_of::<T>()) as libc::Ioctl)
    }

    /// The kernel reads the argument and writes it (`_IOWR`).
    const fn ask(number: u8) -> Self {
        Self::numbered(request_code_readwrite!(TYPE, number, size_of::<T>()) as libc::Ioctl)
    }

    const fn numbered(number: libc::Ioctl) -> Self {
        Self { number, argument: PhantomData }
    }
}

pub(super) const GET_FEATURES: Request<u64> = Request::get(0x00);
pub(super) const SET_FEATURES: Request<u64> = Request::set(0x00);
pub(super) const SET_OWNER: Request<()> = Request::plain(0x01);
pub(super) const SET_RING_SIZE: Request<RingState> = Request::set(0x10);
pub(super) const SET_RING_ADDRESSES: Request<RingAddresses> = Request::set(0x11);
pub(super) const SET_RING_BASE: Request<RingState> = Request::set(0x12);
pub(super) const GET_RING_BASE: Request<RingState> = Request::ask(0x12);
pub(super) const SET_KICK: Request<RingFile> = Request::set(0x20);
pub(super) const SET_CALL: Request<RingFile> = Request::set(0x21);
pub(super) const SET_ERROR: Request<RingFile> = Request::set(0x22);
pub(super) const SET_BACKEND_FEATURES: Request<u64> = Request::set(0x25);
pub(super) const GET_BACKEND_FEATURES: Request<u64> = Request::get(0x26);
pub(super) const GET_DEVICE_ID: Request<u32> = Request::get(0x70);
pub(super) const GET_STATUS: Request<u8> = Request::get(0x71);
pub(super) const SET_STATUS: Request<u8> = Request::set(0x72);
pub(super) const GET_CONFIG: Request<Config> =
    Request::numbered(request_code_read!(TYPE, 0x73, CONFIG_HEAD) as libc::Ioctl);
pub(super) const SET_CONFIG: Request<Config> =
    Request::numbered(request_code_write!(TYPE, 0x74, CONFIG_HEAD) as libc::Ioctl);
pub(super) const ENABLE_RING: Request<RingState> = Request::set(0x75);
pub(super) const GET_RING_SIZE_MAX: Request<u16> = Request::get(0x76);
pub(super) const SET_CONFIG_CALL: Request<c_int> = Request::set(0x77);
pub(super) const GET_IOVA_RANGE: Request<IovaRange> = Request::get(0x78);
pub(super) const GET_CONFIG_LEN: Request<u32> = Request::get(0x79);
pub(super) const GET_SPACES: Request<u32> = Request::get(0x7A);
pub(super) const GET_RING_GROUP: Request<RingState> = Request::ask(0x7B);
pub(super) const SET_GROUP_SPACE: Request<RingState> = Request::set(0x7C);
pub(super) const SUSPEND: Request<()> = Request::plain(0x7D);
pub(super) const RESUME: Request<()> = Request::plain(0x7E);
pub(super) const GET_RING_DESCRIPTOR_GROUP: Request<RingState> = Request::ask(0x7F);
pub(super) const GET_RINGS: Request<u32> = Request::get(0x80);
pub(super) const GET_GROUPS: Request<u32> = Request::get(0x81);
pub(super) const GET_RING_SIZE: Request<RingState> = Request::ask(0x82);

/// Makes one of those calls, on the file of a vhost-vdpa device.
pub(super) fn call<T: Argument>(
    fd: BorrowedFd<'_>,
    request: Request<T>,
    argument: &mut T,
) -> Result<(), Errno> {
    // SAFETY: vhost-vdpa, which the caller knows the file to be of, reads and writes as much at the
    // argument as the number says, which is the size of `T`; of a `Config`, as many bytes behind its
    // head as that says, which are there. Whatever it writes is a `T`.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), request.number, ptr::from_mut(argument)) };
    Errno::result(done).map(drop)
}

/// Whether page number `ring` of the file can be mapped by who only writes to it. It is unmapped at once.
pub(super) fn can_map(fd: BorrowedFd<'_>, ring: u16) -> bool {
    let len = page_len();
    let Some(pages) = NonZeroUsize::new(len) else { return false };
    let Ok(offset) = off_t::try_from(usize::from(ring) * len) else { return false };
    let flags = MapFlags::MAP_SHARED;
    // SAFETY: a new range at an address that the kernel chooses, so no memory in use changes.
    let mapped = unsafe { mmap(None, pages, ProtFlags::PROT_WRITE, flags, fd, offset) };
    // SAFETY: exactly what was mapped, which nobody else knows of, and nobody has accessed.
    mapped.is_ok_and(|base| unsafe { munmap(base, len) }.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of the header, on machines whose ioctls are numbered as on most.
    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn numbers_are_those_of_the_header() {
        let numbers = [
            (GET_FEATURES.number, 0x8008_AF00),
            (SET_FEATURES.number, 0x4008_AF00),
            (SET_OWNER.number, 0x0000_AF01),
            (SET_RING_SIZE.number, 0x4008_AF10),
            (SET_RING_ADDRESSES.number, 0x4028_AF11),
            (SET_RING_BASE.number, 0x4008_AF12),
            (GET_RING_BASE.number, 0xC008_AF12),
            (SET_KICK.number, 0x4008_AF20),
            (SET_CALL.number, 0x4008_AF21),
            (SET_ERROR.number, 0x4008_AF22),
            (SET_BACKEND_FEATURES.number, 0x4008_AF25),
            (GET_BACKEND_FEATURES.number, 0x8008_AF26),
            (GET_DEVICE_ID.number, 0x8004_AF70),
            (GET_STATUS.number, 0x8001_AF71),
            (SET_STATUS.number, 0x4001_AF72),
            (GET_CONFIG.number, 0x8008_AF73),
            (SET_CONFIG.number, 0x4008_AF74),
            (ENABLE_RING.number, 0x4008_AF75),
            (GET_RING_SIZE_MAX.number, 0x8002_AF76),
            (SET_CONFIG_CALL.number, 0x4004_AF77),
            (GET_IOVA_RANGE.number, 0x8010_AF78),
            (GET_CONFIG_LEN.number, 0x8004_AF79),
            (GET_SPACES.number, 0x8004_AF7A),
            (GET_RING_GROUP.number, 0xC008_AF7B),
            (SET_GROUP_SPACE.number, 0x4008_AF7C),
            (SUSPEND.number, 0x0000_AF7D),
            (RESUME.number, 0x0000_AF7E),
            (GET_RING_DESCRIPTOR_GROUP.number, 0xC008_AF7F),
            (GET_RINGS.number, 0x8004_AF80),
            (GET_GROUPS.number, 0x8004_AF81),
            (GET_RING_SIZE.number, 0xC008_AF82),
        ];
        for (ours, header) in numbers {
            assert_eq!(ours, header, "{ours:#x} {header:#x}");
        }
    }

    #[test]
    fn configuration_longer_than_there_is_room_for_is_none() {
        assert_eq!(Config::new(8, &[1, 2, 3]).map(|it| it.bytes().to_vec()), Some(vec![1, 2, 3]));
        assert!(Config::new(0, &[0; CONFIG_MAX]).is_some());
        assert!(Config::new(0, &[0; CONFIG_MAX + 1]).is_none());
    }
}
