//! What a front-end says: requests that mostly make sense, and what goes wrong on their way, which
//! is also that of a back-end's replies.

use crate::input::Input;
use memfd::MemfdOptions;
use nix::sys::eventfd::{EfdFlags, EventFd};
use ringport_vhost_user::wire::{
    ConfigSpan, DeviceState, Inflight, LogArea, MemoryRegion, Message, Request, VringAddress,
    VringFd, VringState, feature,
};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

/// Bytes of each memory region, unless the input says otherwise.
pub(crate) const REGION: u64 = 0x1_0000;
const GUEST: u64 = 0x4000_0000;
const USER: u64 = 0x7fff_0000_0000;
/// Bytes between the places of two rings.
const RING: u64 = 0x4000;
/// Longest memory that is made, whatever a message announces.
const MEMORY_MAX: u64 = 256 << 10;

/// Bits of the byte that follows a message.
pub(crate) const NEED_REPLY: u8 = 1;
/// A byte follows that says how many descriptors come along (low half), and of what kinds.
pub(crate) const OWN_FDS: u8 = 2;
/// A byte follows that says how long the payload is, in the header as well.
pub(crate) const OWN_LENGTH: u8 = 4;
pub(crate) const FDS_TRUNCATED: u8 = 8;
/// A byte follows that is added to the flags of the header.
pub(crate) const OWN_FLAGS: u8 = 16;
/// Two bytes follow that are added to the length in the header, and to nothing else.
pub(crate) const OWN_SIZE: u8 = 32;
/// A byte follows that says how many bytes each read delivers.
pub(crate) const CHOPPED: u8 = 64;
/// The descriptors come with the second read.
pub(crate) const LATE_FDS: u8 = 128;

/// What one write of the front-end puts into the socket.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) bytes: Vec<u8>,
    /// They travel with the first byte.
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) fds_truncated: bool,
}

impl Sent {
    /// Bytes without descriptors.
    pub(crate) fn bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, fds: Vec::new(), fds_truncated: false }
    }
}

/// A message from the input with what happens to it, in one or several writes.
pub(crate) fn deliver(message: &Message, input: &mut Input<'_>) -> Vec<Sent> {
    let (expected, how) = (*message.fd_count().start(), input.u8());
    let file = |kind, at| file_for(message, kind, at);
    write(message.encode(how & NEED_REPLY != 0), expected, file, how, input)
}

/// A reply from the input with what happens to it, in one or several writes.
pub(crate) fn reply(bytes: Vec<u8>, input: &mut Input<'_>) -> Vec<Sent> {
    let how = input.u8();
    write(bytes, 0, |_, _| plain_fd(), how, input)
}

fn write(
    mut bytes: Vec<u8>,
    expected: usize,
    file: impl Fn(u8, usize) -> OwnedFd,
    how: u8,
    input: &mut Input<'_>,
) -> Vec<Sent> {
    let (count, kind) = match how & OWN_FDS {
        0 => (expected, 0),
        _ => {
            let own = input.u8();
            (usize::from(own & 15), own >> 4)
        }
    };
    if how & OWN_LENGTH != 0 {
        let len = input.u8();
        bytes.resize(HEADER + usize::from(len), 0);
        bytes[8..12].copy_from_slice(&u32::from(len).to_le_bytes());
    }
    if how & OWN_FLAGS != 0 {
        bytes[4] = bytes[4].wrapping_add(input.u8());
    }
    if how & OWN_SIZE != 0 {
        let size = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        let size = size.wrapping_add(u32::from(input.u16()));
        bytes[8..12].copy_from_slice(&size.to_le_bytes());
    }
    let chunk = if how & CHOPPED == 0 { bytes.len() } else { 1 + usize::from(input.u8() % 32) };
    let mut writes: Vec<_> = bytes.chunks(chunk).map(|part| Sent::bytes(part.to_vec())).collect();
    let first = usize::from(how & LATE_FDS != 0 && writes.len() > 1);
    writes[first].fds = (0..count).map(|at| file(kind, at)).collect();
    writes[first].fds_truncated = how & FDS_TRUNCATED != 0;
    writes
}

const HEADER: usize = 12;

/// A message with fields from the input.
pub(crate) fn message(input: &mut Input<'_>) -> Message {
    use Request as R;
    match input.u8() % 18 {
        0 => plain(input.u8()),
        1 => Message::Number(R::SetFeatures, features(input)),
        2 => Message::Number(R::SetProtocolFeatures, protocol_features(input)),
        3 => {
            let kind = [R::SetStatus, R::NetSetMtu][usize::from(input.u8() % 2)];
            Message::Number(kind, u64::from(input.u16()))
        }
        4 => ring_state(R::SetVringNum, input),
        5 => ring_state(R::SetVringBase, input),
        6 => ring_state(R::GetVringBase, input),
        7 => ring_state(R::SetVringEnable, input),
        8 => Message::VringAddress(ring_address(input)),
        9 => ring_fd(R::SetVringKick, input),
        10 => ring_fd(R::SetVringCall, input),
        11 => ring_fd(R::SetVringErr, input),
        12 => {
            let count = 1 + input.u8() % 8;
            Message::MemTable((0..count).map(|_| region(input)).collect())
        }
        13 => {
            let kind = [R::AddMemReg, R::RemMemReg][usize::from(input.u8() % 2)];
            Message::MemRegion(kind, region(input))
        }
        14 => {
            let (size, offset) = (u64::from(input.u16()), u64::from(input.u16()));
            Message::LogBase(LogArea { size, offset })
        }
        15 => config(input),
        16 => inflight(input),
        _ => match input.u8() % 3 {
            0 => Message::Rarp(input.take()),
            1 => {
                let [direction, phase] = input.take().map(u32::from);
                Message::DeviceState(DeviceState { direction, phase })
            }
            _ => Message::Other(any_request(input.u8())),
        },
    }
}

fn any_request(number: u8) -> Request {
    Request::ALL[usize::from(number) % Request::ALL.len()]
}

/// A request without a payload; its number wraps around those that exist.
fn plain(number: u8) -> Message {
    Message::Plain(any_request(number))
}

/// Features: a byte of those that matter, or 255 and any.
fn features(input: &mut Input<'_>) -> u64 {
    match input.u8() {
        0xff => input.u64(),
        chosen => feature_set(chosen),
    }
}

/// The features that the bits of a byte stand for.
pub(crate) fn feature_set(chosen: u8) -> u64 {
    let bits = [
        feature::VERSION_1,
        feature::RING_PACKED,
        feature::PROTOCOL_FEATURES,
        feature::LOG_ALL,
        feature::MRG_RXBUF,
        feature::EVENT_IDX,
        feature::INDIRECT_DESC,
        feature::IN_ORDER,
    ];
    (0..8).filter(|bit| chosen >> bit & 1 != 0).fold(0, |all, bit| all | bits[bit])
}

fn protocol_features(input: &mut Input<'_>) -> u64 {
    use ringport_vhost_user::wire::ProtocolFeatures as P;
    match input.u8() {
        0 => P::ALL.bits(),
        1 => (P::MQ | P::REPLY_ACK | P::CONFIGURE_MEM_SLOTS).bits(),
        2 => 0,
        _ => u64::from(input.u32()),
    }
}

fn ring_state(request: Request, input: &mut Input<'_>) -> Message {
    let index = u32::from(input.u8());
    let value = match input.u8() {
        251 => 0x8000_8000,
        252 => 256,
        253 => u32::from(input.u8()) << 16,
        254 => u32::from(input.u16()),
        255 => input.u32(),
        small => u32::from(small),
    };
    Message::VringState(request, VringState { index, value })
}

/// Where ring `index` lies in the first region.
fn ring_address(input: &mut Input<'_>) -> VringAddress {
    let [index, how] = input.take();
    let place = USER + RING * u64::from(index % 4);
    let mut address = VringAddress {
        index: index.into(),
        log: how & 1 != 0,
        descriptor_area: place,
        device_area: place + 0x3000,
        driver_area: place + 0x2000,
        log_address: 0,
    };
    if how & 2 != 0 {
        address.log_address = input.u64();
    }
    if how & 4 != 0 {
        let at = u64::from(input.u32());
        let area = match how >> 4 & 3 {
            0 => &mut address.descriptor_area,
            1 => &mut address.device_area,
            _ => &mut address.driver_area,
        };
        *area = if how & 8 == 0 { USER.wrapping_add(at) } else { u64::MAX - at };
    }
    address
}

fn ring_fd(request: Request, input: &mut Input<'_>) -> Message {
    let [index, no_fd] = input.take();
    Message::VringFd(request, VringFd { index, no_fd: no_fd & 1 != 0 })
}

/// A region by its number; beyond 15 it is not where it should be.
fn region(input: &mut Input<'_>) -> MemoryRegion {
    let number = input.u8();
    let place = u64::from(number % 16) * REGION;
    let mut region = MemoryRegion {
        guest_address: GUEST + place,
        size: REGION,
        user_address: USER + place,
        mmap_offset: 0,
    };
    match number / 16 {
        0..=11 => {}
        12 => region.size = input.u64(),
        13 => region.guest_address = input.u64(),
        14 => region.user_address = input.u64(),
        _ => region.mmap_offset = input.u64(),
    }
    region
}

fn config(input: &mut Input<'_>) -> Message {
    let [kind, offset, size, flags] = input.take();
    let span = ConfigSpan { offset: offset.into(), size: size.into(), flags: (flags % 4).into() };
    match kind % 2 {
        0 => Message::GetConfig(span),
        _ => Message::SetConfig(span, vec![kind; usize::from(size)]),
    }
}

fn inflight(input: &mut Input<'_>) -> Message {
    let [how, queues, log2, pages] = input.take();
    let inflight = Inflight {
        mmap_size: u64::from(pages) << 12,
        mmap_offset: if how & 2 == 0 { 0 } else { u64::from(input.u32()) << 12 },
        queues: queues.into(),
        queue_size: 1 << (log2 % 16),
        padded: how & 4 != 0,
    };
    let request = if how & 1 == 0 { Request::GetInflightFd } else { Request::SetInflightFd };
    Message::Inflight(request, inflight)
}

/// Descriptor number `at` of a message; kind 0 is what should come with it.
fn file_for(message: &Message, kind: u8, at: usize) -> OwnedFd {
    if let (Message::DeviceState(way), 0) = (message, kind) {
        return pipe_for(*way);
    }
    let announced = match message {
        Message::MemTable(regions) => regions.get(at).map(end_of),
        Message::MemRegion(_, region) => Some(end_of(region)),
        Message::LogBase(area) => Some(area.offset.saturating_add(area.size)),
        Message::Inflight(_, inflight) => Some(inflight.mmap_size),
        _ => None,
    };
    let memory_wanted = announced.is_some();
    let len = announced.unwrap_or(4096).min(MEMORY_MAX);
    match (usize::from(kind) + at * usize::from(kind > 0)) % 10 {
        0 if memory_wanted => memory(len, true),
        0 | 3 => eventfd(EfdFlags::empty()),
        1 => memory(len, false),
        2 => memory(len / 2, true),
        4 => nix::unistd::pipe().unwrap().0,
        5 => nix::unistd::pipe().unwrap().1,
        6 => eventfd(EfdFlags::EFD_SEMAPHORE),
        7 => File::open("/dev/null").unwrap().into(),
        8 => UnixDatagram::unbound().unwrap().into(),
        _ => memory(len, true),
    }
}

fn end_of(region: &MemoryRegion) -> u64 {
    region.mmap_offset.saturating_add(region.size)
}

/// A descriptor of no importance.
pub(crate) fn plain_fd() -> OwnedFd {
    eventfd(EfdFlags::empty())
}

fn eventfd(flags: EfdFlags) -> OwnedFd {
    EventFd::from_flags(flags | EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap().into()
}

fn memory(len: u64, sealable: bool) -> OwnedFd {
    let memory = MemfdOptions::new().allow_sealing(sealable).create("fuzz").unwrap();
    memory.as_file().set_len(len).unwrap();
    memory.into_file().into()
}

/// A pipe to save a state to, whose other end is gone; or one with a state to load, cut or whole.
fn pipe_for(way: DeviceState) -> OwnedFd {
    let (reader, mut writer) = std::io::pipe().unwrap();
    if way.direction == 0 {
        return writer.into();
    }
    let states = crate::seeds::of("vhost_state");
    let (_, state) = &states[way.phase as usize % states.len()];
    writer.write_all(state.get(1..).unwrap_or_default()).unwrap();
    reader.into()
}
