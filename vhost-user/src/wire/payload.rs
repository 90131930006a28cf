//! What follows the header.

use super::field::{Reader, Writer};
use super::{Request, WireError};

/// Most memory regions in one SET_MEM_TABLE.
///
/// Spec: vhost-user "Multiple Memory regions description".
pub const REGIONS_PER_MESSAGE_MAX: u32 = 8;

/// Length of the whole configuration space, in bytes.
///
/// Spec: vhost-user "Virtio device config space".
pub const CONFIG_MAX: u32 = 256;

const VRING_INDEX_MASK: u64 = 0xFF;
const VRING_NO_FD: u64 = 1 << 8;
const ADDRESS_LOG: u32 = 1;

/// A ring and a number, 8 bytes: index 0:4, value 4:4.
///
/// Spec: vhost-user "A vring state description".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VringState {
    /// The ring. Not yet checked.
    pub index: u32,
    /// Size, base, or whether it is enabled, as the request says.
    pub value: u32,
}

/// Where a ring lies, 40 bytes: index 0:4, flags 4:4, descriptor area 8:8, device area 16:8, driver
/// area 24:8, log 32:8.
///
/// Addresses are those of the front-end's process (its user addresses), except the log's, which is a
/// guest address.
///
/// Spec: vhost-user "A vring address description".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VringAddress {
    /// The ring. Not yet checked.
    pub index: u32,
    /// Whether writes to the device area go to the dirty log; bit 0 of the flags.
    pub log: bool,
    /// Descriptors; the whole ring when packed.
    pub descriptor_area: u64,
    /// The used ring; the device's event suppression when packed.
    #[doc(alias = "used")]
    pub device_area: u64,
    /// The available ring; the driver's event suppression when packed.
    #[doc(alias = "avail")]
    pub driver_area: u64,
    /// Guest address under which the device area is logged.
    pub log_address: u64,
}

/// Which ring a doorbell is for, 8 bytes: index in bits 0 to 7, bit 8 says that no descriptor comes
/// along, the rest is zero.
///
/// Spec: vhost-user "VHOST_USER_SET_VRING_KICK".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VringFd {
    /// The ring. Not yet checked.
    pub index: u8,
    /// No descriptor: the ring is polled.
    pub no_fd: bool,
}

/// One piece of the front-end's memory, 32 bytes: guest address 0:8, size 8:8, user address 16:8,
/// offset in the file 24:8.
///
/// Spec: vhost-user "Memory region description".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryRegion {
    /// Address by which descriptors name it.
    pub guest_address: u64,
    /// Length, in bytes.
    pub size: u64,
    /// Address in the front-end's process, by which rings are named.
    pub user_address: u64,
    /// Start in the file, in bytes.
    pub mmap_offset: u64,
}

/// Where the dirty log lies in its file, 16 bytes: size 0:8, offset 8:8.
///
/// Spec: vhost-user "Log description".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogArea {
    /// Length, in bytes.
    pub size: u64,
    /// Start in the file, in bytes.
    pub offset: u64,
}

/// A part of the configuration space, 12 bytes and its contents: offset 0:4, size 4:4, flags 8:4.
///
/// Spec: vhost-user "Virtio device config space".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigSpan {
    /// Start, in bytes.
    pub offset: u32,
    /// Length, in bytes.
    pub size: u32,
    /// 0 for what the driver may write, 1 for what migration writes.
    pub flags: u32,
}

/// Memory that remembers chains in flight, 20 bytes or 24: size 0:8, offset 8:8, queues 16:2, queue
/// size 18:2.
///
/// Spec: vhost-user "Inflight description".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inflight {
    /// Length, in bytes.
    pub mmap_size: u64,
    /// Start in the file, in bytes.
    pub mmap_offset: u64,
    /// Rings that it is for.
    pub queues: u16,
    /// Descriptors of the largest ring.
    pub queue_size: u16,
    /// Whether four bytes of padding follow, as C compilers for 64-bit machines add.
    pub padded: bool,
}

/// Which way a device's state moves, 8 bytes: direction 0:4, phase 4:4.
///
/// Spec: vhost-user "Device state transfer parameters".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceState {
    /// 0 to save, 1 to load.
    pub direction: u32,
    /// 0: the device is stopped; nothing else exists.
    pub phase: u32,
}

impl VringState {
    pub(super) const LEN: usize = 8;

    pub(super) fn read(fields: &mut Reader<'_>) -> Self {
        Self { index: fields.u32(), value: fields.u32() }
    }

    pub(super) fn write(self, fields: &mut Writer) {
        fields.u32(self.index);
        fields.u32(self.value);
    }
}

impl VringAddress {
    pub(super) const LEN: usize = 40;

    pub(super) fn read(fields: &mut Reader<'_>) -> Result<Self, WireError> {
        let (index, flags) = (fields.u32(), fields.u32());
        check_reserved(Request::SetVringAddr, u64::from(flags & !ADDRESS_LOG))?;
        Ok(Self {
            index,
            log: flags & ADDRESS_LOG != 0,
            descriptor_area: fields.u64(),
            device_area: fields.u64(),
            driver_area: fields.u64(),
            log_address: fields.u64(),
        })
    }

    pub(super) fn write(self, fields: &mut Writer) {
        fields.u32(self.index);
        fields.u32(u32::from(self.log));
        fields.u64(self.descriptor_area);
        fields.u64(self.device_area);
        fields.u64(self.driver_area);
        fields.u64(self.log_address);
    }
}

impl VringFd {
    pub(super) const LEN: usize = 8;

    pub(super) fn read(request: Request, fields: &mut Reader<'_>) -> Result<Self, WireError> {
        let word = fields.u64();
        check_reserved(request, word & !(VRING_INDEX_MASK | VRING_NO_FD))?;
        let index = u8::try_from(word & VRING_INDEX_MASK).unwrap_or(u8::MAX);
        Ok(Self { index, no_fd: word & VRING_NO_FD != 0 })
    }

    pub(super) fn write(self, fields: &mut Writer) {
        let no_fd = if self.no_fd { VRING_NO_FD } else { 0 };
        fields.u64(u64::from(self.index) | no_fd);
    }
}

impl MemoryRegion {
    pub(super) const LEN: usize = 32;

    pub(super) fn read(fields: &mut Reader<'_>) -> Self {
        Self {
            guest_address: fields.u64(),
            size: fields.u64(),
            user_address: fields.u64(),
            mmap_offset: fields.u64(),
        }
    }

    pub(super) fn write(self, fields: &mut Writer) {
        fields.u64(self.guest_address);
        fields.u64(self.size);
        fields.u64(self.user_address);
        fields.u64(self.mmap_offset);
    }
}

impl LogArea {
    pub(super) const LEN: usize = 16;

    pub(super) fn read(fields: &mut Reader<'_>) -> Self {
        Self { size: fields.u64(), offset: fields.u64() }
    }

    pub(super) fn write(self, fields: &mut Writer) {
        fields.u64(self.size);
        fields.u64(self.offset);
    }
}

impl ConfigSpan {
    pub(super) const LEN: usize = 12;

    pub(super) fn read(fields: &mut Reader<'_>) -> Result<Self, WireError> {
        let span = Self { offset: fields.u32(), size: fields.u32(), flags: fields.u32() };
        let fits = span.offset.checked_add(span.size).is_some_and(|end| end <= CONFIG_MAX);
        if fits && span.size > 0 {
            return Ok(span);
        }
        Err(WireError::ConfigSpan { offset: span.offset, size: span.size, limit: CONFIG_MAX })
    }

    pub(super) fn write(self, fields: &mut Writer) {
        fields.u32(self.offset);
        fields.u32(self.size);
        fields.u32(self.flags);
    }
}

impl Inflight {
    pub(super) const LEN: usize = 20;
    pub(super) const PADDED_LEN: usize = 24;

    pub(super) fn read(fields: &mut Reader<'_>, padded: bool) -> Self {
        Self {
            mmap_size: fields.u64(),
            mmap_offset: fields.u64(),
            queues: fields.u16(),
            queue_size: fields.u16(),
            padded,
        }
    }

    pub(super) fn write(self, fields: &mut Writer) {
        fields.u64(self.mmap_size);
        fields.u64(self.mmap_offset);
        fields.u16(self.queues);
        fields.u16(self.queue_size);
        if self.padded {
            fields.u32(0);
        }
    }
}

impl DeviceState {
    pub(super) const LEN: usize = 8;

    pub(super) fn read(fields: &mut Reader<'_>) -> Self {
        Self { direction: fields.u32(), phase: fields.u32() }
    }

    pub(super) fn write(self, fields: &mut Writer) {
        fields.u32(self.direction);
        fields.u32(self.phase);
    }
}

/// A part of the configuration space, and its contents.
pub(super) fn read_config(
    request: Request,
    payload: &[u8],
) -> Result<(ConfigSpan, &[u8]), WireError> {
    let mut fields = Reader::new(payload);
    if payload.len() < ConfigSpan::LEN {
        check_len(request, payload, ConfigSpan::LEN)?;
    }
    let span = ConfigSpan::read(&mut fields)?;
    check_len(request, payload, ConfigSpan::LEN.saturating_add(span.size as usize))?;
    Ok((span, fields.rest()))
}

pub(super) fn check_len(
    request: Request,
    payload: &[u8],
    expected: usize,
) -> Result<(), WireError> {
    let len = payload.len();
    if len == expected { Ok(()) } else { Err(WireError::Length { request, len, expected }) }
}

fn check_reserved(request: Request, bits: u64) -> Result<(), WireError> {
    if bits == 0 { Ok(()) } else { Err(WireError::Reserved { request, bits }) }
}
