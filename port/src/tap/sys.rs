//! The system calls of a TAP that nix does not wrap.
#![expect(unsafe_code, reason = "ioctl, and reading and writing by address")]

use crate::copy;
use crate::shm::Mapping;
use crate::virtio_net::HEADER_LEN;
use nix::errno::Errno;
use nix::libc::{self, c_int, c_uint, ifreq, in6_ifreq, iovec};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// The ioctls whose argument is one `ifreq`, which they read or write; of a TAP's file, and of any
/// socket (netdevice(7)).
#[derive(Debug, Clone, Copy)]
pub(super) enum InterfaceIoctl {
    Attach,
    GetFlags,
    SetFlags,
    SetMtu,
    SetHardwareAddress,
    SetAddress,
    SetNetmask,
}

impl InterfaceIoctl {
    fn number(self) -> libc::Ioctl {
        match self {
            Self::Attach => libc::TUNSETIFF,
            Self::GetFlags => libc::SIOCGIFFLAGS as libc::Ioctl,
            Self::SetFlags => libc::SIOCSIFFLAGS as libc::Ioctl,
            Self::SetMtu => libc::SIOCSIFMTU as libc::Ioctl,
            Self::SetHardwareAddress => libc::SIOCSIFHWADDR as libc::Ioctl,
            Self::SetAddress => libc::SIOCSIFADDR as libc::Ioctl,
            Self::SetNetmask => libc::SIOCSIFNETMASK as libc::Ioctl,
        }
    }
}

/// The kernel's own: sixteen bytes of a name, and a union as large as its `struct ifmap`.
const _: () = assert!(size_of::<ifreq>() == libc::IFNAMSIZ + 2 * size_of::<libc::c_ulong>() + 8);

/// Makes one of those calls.
pub(super) fn interface_ioctl(
    fd: BorrowedFd<'_>,
    request: InterfaceIoctl,
    argument: &mut ifreq,
) -> Result<(), Errno> {
    // SAFETY: each `InterfaceIoctl` reads and writes no more than one `ifreq` at its argument, which is
    // one.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), request.number(), ptr::from_mut(argument)) };
    Errno::result(done).map(drop)
}

/// Adds an IPv6 address to an interface.
pub(super) fn add_ipv6(argument: &in6_ifreq) -> Result<(), Errno> {
    let (kind, flags) = (SockType::Datagram, SockFlag::SOCK_CLOEXEC);
    let socket = socket(AddressFamily::Inet6, kind, flags, None)?;
    let request = libc::SIOCSIFADDR as libc::Ioctl;
    // SAFETY: on a socket of IPv6, which this one is, the request reads one `in6_ifreq` at its
    // argument, which is one.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), request, ptr::from_ref(argument)) };
    Errno::result(done).map(drop)
}

/// The ioctls of a TAP's file that read one `int` at their argument.
#[derive(Debug, Clone, Copy)]
pub(super) enum IntIoctl {
    /// Bytes of each packet's header.
    HeaderLen,
    /// Whether its fields are little-endian.
    LittleEndian,
}

impl IntIoctl {
    fn number(self) -> libc::Ioctl {
        match self {
            Self::HeaderLen => libc::TUNSETVNETHDRSZ,
            Self::LittleEndian => libc::TUNSETVNETLE,
        }
    }
}

/// Makes one of those calls.
pub(super) fn int_ioctl(fd: BorrowedFd<'_>, request: IntIoctl, value: c_int) -> Result<(), Errno> {
    // SAFETY: each `IntIoctl` reads one `int` at its argument, which is one.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), request.number(), ptr::from_ref(&value)) };
    Errno::result(done).map(drop)
}

/// Says what a TAP's packets may leave to be done: `TUN_F_` flags.
pub(super) fn set_offload(fd: BorrowedFd<'_>, flags: c_uint) -> Result<(), Errno> {
    let flags = libc::c_ulong::from(flags);
    // SAFETY: the request's argument is the flags themselves, and no address.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, flags) }).map(drop)
}

/// Reads one packet: its header, and the packet to `len` bytes of private memory at `offset`.
/// Returns the packet's length.
pub(super) fn read_packet(
    fd: BorrowedFd<'_>,
    header: &mut [u8; HEADER_LEN],
    memory: &Mapping,
    offset: u64,
    len: u32,
) -> Result<u32, Errno> {
    let parts = [
        iovec { iov_base: header.as_mut_ptr().cast(), iov_len: HEADER_LEN },
        iovec { iov_base: range(memory, offset, len)?.cast(), iov_len: len as usize },
    ];
    // SAFETY: the first part is all of `header`; `range` checked that the second lies in the mapping,
    // which the caller keeps alive.
    let read = unsafe { libc::readv(fd.as_raw_fd(), parts.as_ptr(), 2) };
    let read = usize::try_from(Errno::result(read)?).unwrap_or(0);
    // A header without a packet is no packet.
    let packet = read.checked_sub(HEADER_LEN).filter(|&packet| packet > 0).ok_or(Errno::EINVAL)?;
    u32::try_from(packet).map_err(|_| Errno::EINVAL)
}

/// Writes one packet: `header`, and `len` bytes of private memory at `offset`.
pub(super) fn write_packet(
    fd: BorrowedFd<'_>,
    header: &mut [u8; HEADER_LEN],
    memory: &Mapping,
    offset: u64,
    len: u32,
) -> Result<(), Errno> {
    let parts = [
        iovec { iov_base: header.as_mut_ptr().cast(), iov_len: HEADER_LEN },
        iovec { iov_base: range(memory, offset, len)?.cast(), iov_len: len as usize },
    ];
    // SAFETY: as in `read_packet`; the kernel only reads here.
    Errno::result(unsafe { libc::writev(fd.as_raw_fd(), parts.as_ptr(), 2) }).map(drop)
}

/// Copies private memory from `offset` on to `to`, at most `len` bytes, and returns how many.
pub(super) fn copy_out(memory: &Mapping, offset: u64, len: u32, to: &mut [u8]) -> usize {
    let Ok(from) = range(memory, offset, len) else { return 0 };
    let len = to.len().min(len as usize);
    // SAFETY: `range` checked that `len` bytes lie in the mapping, which the caller keeps alive.
    unsafe { copy::out(&mut to[..len], from) };
    len
}

/// The address of `len` bytes at `offset`.
fn range(memory: &Mapping, offset: u64, len: u32) -> Result<*mut u8, Errno> {
    let end = offset.checked_add(len.into()).filter(|&end| end <= memory.len() as u64);
    let offset = end.and_then(|_| usize::try_from(offset).ok()).ok_or(Errno::EFAULT)?;
    Ok(memory.base().as_ptr().wrapping_add(offset))
}

/// The number in an answer to `SIOCGIFFLAGS`.
pub(super) fn flags(answer: &ifreq) -> libc::c_short {
    // SAFETY: the request wrote this field; any bits are a number.
    unsafe { answer.ifr_ifru.ifru_flags }
}
