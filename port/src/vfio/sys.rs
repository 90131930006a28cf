//! The ioctls of VFIO, each with the type of its argument.
#![expect(unsafe_code, reason = "ioctl")]

use nix::errno::Errno;
use nix::libc::{self, c_int, c_ulong};
use nix::request_code_none;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

/// `VFIO_TYPE` and `VFIO_BASE`: what all numbers have in common. None says how large its argument is.
const TYPE: u8 = b';';
const BASE: u8 = 100;

/// Most vectors of an interrupt that are set at a time: no function has more for MSI-X.
pub const VECTORS_MAX: usize = 2048;

/// Bytes that there are for what an IOMMU can do.
pub(super) const CHAIN_LEN: usize = 4096 - CHAIN_AT;
/// Where they begin, from the beginning of `struct vfio_iommu_type1_info`.
pub(super) const CHAIN_AT: usize = 24;

/// What follows size and flags in an argument: integers, and structures of them without gaps. Any bits
/// are one.
pub(super) trait Body: Copy {}

impl Body for () {}
impl Body for DeviceInfo {}
impl Body for RegionInfo {}
impl Body for InterruptInfo {}
impl Body for InterruptSet {}
impl Body for IommuInfo {}
impl Body for DmaMap {}
impl Body for DmaUnmap {}
impl Body for IoEventfd {}

/// How every argument begins.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Argument<T> {
    /// `argsz`: its bytes in all.
    len: u32,
    flags: u32,
    body: T,
}

/// `struct vfio_device_info`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct DeviceInfo {
    pub(super) regions: u32,
    pub(super) interrupts: u32,
    pub(super) chain_at: u32,
    pub(super) unused: u32,
}

/// `struct vfio_region_info`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct RegionInfo {
    pub(super) index: u32,
    pub(super) chain_at: u32,
    pub(super) len: u64,
    pub(super) offset: u64,
}

/// `struct vfio_irq_info`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct InterruptInfo {
    pub(super) index: u32,
    pub(super) count: u32,
}

/// `struct vfio_irq_set`, with room for all eventfds behind it; the first `count` of them are meant.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct InterruptSet {
    pub(super) index: u32,
    pub(super) start: u32,
    pub(super) count: u32,
    /// -1: none.
    pub(super) eventfds: [c_int; VECTORS_MAX],
}

/// `struct vfio_iommu_type1_info`, with room for the chain of capabilities behind it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct IommuInfo {
    pub(super) page_sizes: u64,
    /// From the beginning of the argument; 0 when there is none, or too little room for it.
    pub(super) chain_at: u32,
    pub(super) unused: u32,
    pub(super) chain: [u8; CHAIN_LEN],
}

/// `struct vfio_iommu_type1_dma_map`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct DmaMap {
    pub(super) address: u64,
    pub(super) iova: u64,
    pub(super) len: u64,
}

/// `struct vfio_iommu_type1_dma_unmap`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct DmaUnmap {
    pub(super) iova: u64,
    /// Afterwards: as much as was unmapped.
    pub(super) len: u64,
}

/// `struct vfio_device_ioeventfd`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct IoEventfd {
    /// In the function's file.
    pub(super) offset: u64,
    pub(super) value: u64,
    /// -1: no more.
    pub(super) eventfd: c_int,
    pub(super) unused: u32,
}

const _: () = {
    assert!(size_of::<Argument<()>>() == 8);
    assert!(size_of::<Argument<DeviceInfo>>() == 24);
    assert!(size_of::<Argument<RegionInfo>>() == 32);
    assert!(size_of::<Argument<InterruptInfo>>() == 16);
    assert!(size_of::<Argument<InterruptSet>>() == 20 + 4 * VECTORS_MAX);
    assert!(size_of::<Argument<IommuInfo>>() == CHAIN_AT + CHAIN_LEN);
    assert!(size_of::<Argument<DmaMap>>() == 32);
    assert!(size_of::<Argument<DmaUnmap>>() == 24);
    assert!(size_of::<Argument<IoEventfd>>() == 32);
};

/// An ioctl whose argument is a `T` behind size and flags.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<T> {
    number: libc::Ioctl,
    body: PhantomData<fn(T)>,
}

impl<T: Body> Request<T> {
    const fn new(number: u8) -> Self {
        Self { number: numbered(number), body: PhantomData }
    }
}

/// An ioctl whose argument is an integer, or nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlainRequest(libc::Ioctl);

const fn numbered(number: u8) -> libc::Ioctl {
    request_code_none!(TYPE, BASE + number) as libc::Ioctl
}

pub(super) const GET_API_VERSION: PlainRequest = PlainRequest(numbered(0));
pub(super) const CHECK_EXTENSION: PlainRequest = PlainRequest(numbered(1));
pub(super) const SET_IOMMU: PlainRequest = PlainRequest(numbered(2));
pub(super) const RESET: PlainRequest = PlainRequest(numbered(11));
const SET_CONTAINER: libc::Ioctl = numbered(4);
const GET_DEVICE: libc::Ioctl = numbered(6);
pub(super) const GET_GROUP_STATUS: Request<()> = Request::new(3);
pub(super) const GET_DEVICE_INFO: Request<DeviceInfo> = Request::new(7);
pub(super) const GET_REGION_INFO: Request<RegionInfo> = Request::new(8);
pub(super) const GET_INTERRUPT_INFO: Request<InterruptInfo> = Request::new(9);
pub(super) const SET_INTERRUPTS: Request<InterruptSet> = Request::new(10);
pub(super) const GET_IOMMU_INFO: Request<IommuInfo> = Request::new(12);
pub(super) const MAP_DMA: Request<DmaMap> = Request::new(13);
pub(super) const UNMAP_DMA: Request<DmaUnmap> = Request::new(14);
pub(super) const IOEVENTFD: Request<IoEventfd> = Request::new(16);

/// Makes one of those calls, on the file of VFIO that it is for. Returns the flags that it is answered
/// with.
pub(super) fn call<T: Body>(
    fd: BorrowedFd<'_>,
    request: Request<T>,
    flags: u32,
    body: &mut T,
) -> Result<u32, Errno> {
    let len = size_of::<Argument<T>>();
    let len = u32::try_from(len).map_err(|_| Errno::EINVAL)?;
    let mut argument = Argument { len, flags, body: *body };
    // SAFETY: VFIO, which the caller knows the file to be of, reads and writes no more than `len` bytes
    // at the argument, which are all of it. Whatever it writes is an `Argument<T>`.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), request.number, ptr::from_mut(&mut argument)) };
    Errno::result(done)?;
    *body = argument.body;
    Ok(argument.flags)
}

/// Makes one of those calls that take an integer, and returns what it does.
pub(super) fn call_plain(
    fd: BorrowedFd<'_>,
    request: PlainRequest,
    value: c_ulong,
) -> Result<c_int, Errno> {
    // SAFETY: the request's argument is the value itself, and no address.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), request.0, value) })
}

/// Puts a group into a container.
pub(super) fn set_container(group: BorrowedFd<'_>, container: BorrowedFd<'_>) -> Result<(), Errno> {
    let container: c_int = container.as_raw_fd();
    // SAFETY: of a group's file, which the caller knows it to be, the request reads one `int` at its
    // argument, which is one.
    let done = unsafe { libc::ioctl(group.as_raw_fd(), SET_CONTAINER, ptr::from_ref(&container)) };
    Errno::result(done).map(drop)
}

/// Opens a device of a group.
pub(super) fn device(group: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    // SAFETY: of a group's file, which the caller knows it to be, the request reads a string that ends
    // with a zero at its argument, which is one.
    let fd = Errno::result(unsafe { libc::ioctl(group.as_raw_fd(), GET_DEVICE, name.as_ptr()) })?;
    // SAFETY: the kernel has just made the descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of the header, on machines whose ioctls are numbered as on most.
    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn numbers_are_those_of_the_header() {
        let numbers = [
            (GET_API_VERSION.0, 0x3B64),
            (CHECK_EXTENSION.0, 0x3B65),
            (SET_IOMMU.0, 0x3B66),
            (GET_GROUP_STATUS.number, 0x3B67),
            (SET_CONTAINER, 0x3B68),
            (GET_DEVICE, 0x3B6A),
            (GET_DEVICE_INFO.number, 0x3B6B),
            (GET_REGION_INFO.number, 0x3B6C),
            (GET_INTERRUPT_INFO.number, 0x3B6D),
            (SET_INTERRUPTS.number, 0x3B6E),
            (RESET.0, 0x3B6F),
            (GET_IOMMU_INFO.number, 0x3B70),
            (MAP_DMA.number, 0x3B71),
            (UNMAP_DMA.number, 0x3B72),
            (IOEVENTFD.number, 0x3B74),
        ];
        for (ours, header) in numbers {
            assert_eq!(ours, header, "{ours:#x} {header:#x}");
        }
    }
}
