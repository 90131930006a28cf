//! The requests with their payloads.

use super::field::{Reader, Writer};
use super::payload::{check_len, read_config};
use super::{
    ConfigSpan, DeviceState, Header, Inflight, LogArea, MemoryRegion, REGIONS_PER_MESSAGE_MAX,
    Request, VringAddress, VringFd, VringState, WireError,
};
use std::ops::RangeInclusive;

/// One request of a front-end.
///
/// Spec: vhost-user "Front-end message types".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A request without a payload. Descriptors as [`Request::SetLogFd`] and the like have them.
    Plain(Request),
    /// SET_FEATURES, SET_PROTOCOL_FEATURES, NET_SET_MTU, SET_STATUS: a number.
    Number(Request, u64),
    /// SET_VRING_NUM, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_ENABLE.
    VringState(Request, VringState),
    /// SET_VRING_ADDR.
    VringAddress(VringAddress),
    /// SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR.
    VringFd(Request, VringFd),
    /// SET_MEM_TABLE.
    MemTable(Vec<MemoryRegion>),
    /// ADD_MEM_REG, REM_MEM_REG.
    MemRegion(Request, MemoryRegion),
    /// SET_LOG_BASE.
    LogBase(LogArea),
    /// SEND_RARP: the address is the first six bytes of eight.
    Rarp([u8; 6]),
    /// GET_CONFIG. Its payload has room for the contents.
    GetConfig(ConfigSpan),
    /// SET_CONFIG, with the contents.
    SetConfig(ConfigSpan, Vec<u8>),
    /// GET_INFLIGHT_FD, SET_INFLIGHT_FD.
    Inflight(Request, Inflight),
    /// SET_DEVICE_STATE_FD.
    DeviceState(DeviceState),
    /// A request whose payload is not known here.
    Other(Request),
}

impl Message {
    /// Reads the payload of a request.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(request: Request, payload: &[u8]) -> Result<Self, WireError> {
        use Request as R;
        let exactly = |expected| check_len(request, payload, expected);
        let mut fields = Reader::new(payload);
        Ok(match request {
            R::GetFeatures | R::SetOwner | R::ResetOwner | R::SetLogFd => {
                exactly(0)?;
                Self::Plain(request)
            }
            R::GetProtocolFeatures | R::GetQueueNum | R::SetBackendReqFd | R::ResetDevice => {
                exactly(0)?;
                Self::Plain(request)
            }
            R::GetMaxMemSlots | R::GetStatus | R::CheckDeviceState => {
                exactly(0)?;
                Self::Plain(request)
            }
            R::SetFeatures | R::SetProtocolFeatures | R::NetSetMtu | R::SetStatus => {
                exactly(8)?;
                Self::Number(request, fields.u64())
            }
            R::SendRarp => {
                exactly(8)?;
                Self::Rarp(fields.take())
            }
            R::SetVringNum | R::SetVringBase | R::GetVringBase | R::SetVringEnable => {
                exactly(VringState::LEN)?;
                Self::VringState(request, VringState::read(&mut fields))
            }
            R::SetVringKick | R::SetVringCall | R::SetVringErr => {
                exactly(VringFd::LEN)?;
                Self::VringFd(request, VringFd::read(request, &mut fields)?)
            }
            R::SetVringAddr => {
                exactly(VringAddress::LEN)?;
                Self::VringAddress(VringAddress::read(&mut fields)?)
            }
            R::SetMemTable => Self::MemTable(read_table(payload)?),
            R::AddMemReg | R::RemMemReg => {
                exactly(ONE_REGION_LEN)?;
                fields.u64();
                Self::MemRegion(request, MemoryRegion::read(&mut fields))
            }
            R::SetLogBase => {
                exactly(LogArea::LEN)?;
                Self::LogBase(LogArea::read(&mut fields))
            }
            R::GetConfig => Self::GetConfig(read_config(request, payload)?.0),
            R::SetConfig => {
                let (span, contents) = read_config(request, payload)?;
                Self::SetConfig(span, contents.to_vec())
            }
            R::GetInflightFd | R::SetInflightFd => {
                let padded = payload.len() == Inflight::PADDED_LEN;
                exactly(if padded { Inflight::PADDED_LEN } else { Inflight::LEN })?;
                Self::Inflight(request, Inflight::read(&mut fields, padded))
            }
            R::SetDeviceStateFd => {
                exactly(DeviceState::LEN)?;
                Self::DeviceState(DeviceState::read(&mut fields))
            }
            _ => Self::Other(request),
        })
    }

    /// Writes the whole message, header included.
    #[must_use]
    pub fn encode(&self, need_reply: bool) -> Vec<u8> {
        let mut fields = Writer::default();
        match self {
            Self::Plain(_) | Self::Other(_) => {}
            Self::Number(_, number) => fields.u64(*number),
            Self::VringState(_, state) => state.write(&mut fields),
            Self::VringAddress(address) => address.write(&mut fields),
            Self::VringFd(_, fd) => fd.write(&mut fields),
            Self::MemTable(regions) => write_table(regions, &mut fields),
            Self::MemRegion(_, region) => {
                fields.u64(0);
                region.write(&mut fields);
            }
            Self::LogBase(area) => area.write(&mut fields),
            Self::Rarp(address) => {
                fields.bytes(address);
                fields.u16(0);
            }
            Self::GetConfig(span) => {
                span.write(&mut fields);
                fields.bytes(&vec![0; span.size as usize]);
            }
            Self::SetConfig(span, contents) => {
                span.write(&mut fields);
                fields.bytes(contents);
            }
            Self::Inflight(_, inflight) => inflight.write(&mut fields),
            Self::DeviceState(state) => state.write(&mut fields),
        }
        let header = Header::of_request(self.request() as u32, need_reply);
        header.frame(&fields.into_payload())
    }

    /// The request.
    #[must_use]
    pub fn request(&self) -> Request {
        match self {
            Self::Plain(request)
            | Self::Number(request, _)
            | Self::VringState(request, _)
            | Self::VringFd(request, _)
            | Self::MemRegion(request, _)
            | Self::Inflight(request, _)
            | Self::Other(request) => *request,
            Self::VringAddress(_) => Request::SetVringAddr,
            Self::MemTable(_) => Request::SetMemTable,
            Self::LogBase(_) => Request::SetLogBase,
            Self::Rarp(_) => Request::SendRarp,
            Self::GetConfig(_) => Request::GetConfig,
            Self::SetConfig(..) => Request::SetConfig,
            Self::DeviceState(_) => Request::SetDeviceStateFd,
        }
    }

    /// How many file descriptors travel with the message.
    ///
    /// Spec: vhost-user "Front-end message types", the ancillary data of each.
    #[must_use]
    pub fn fd_count(&self) -> RangeInclusive<usize> {
        let one = |wanted: bool| usize::from(wanted)..=usize::from(wanted);
        match self {
            Self::Plain(Request::SetLogFd | Request::SetBackendReqFd)
            | Self::MemRegion(Request::AddMemReg, _)
            | Self::Inflight(Request::SetInflightFd, _)
            | Self::LogBase(_)
            | Self::DeviceState(_) => one(true),
            Self::VringFd(_, ring) => one(!ring.no_fd),
            Self::MemTable(regions) => regions.len()..=regions.len(),
            // QEMU sends along what it sent with ADD_MEM_REG.
            Self::MemRegion(..) => 0..=1,
            Self::Other(_) => 0..=usize::MAX,
            _ => one(false),
        }
    }
}

/// Padding, then one region.
const ONE_REGION_LEN: usize = 8 + MemoryRegion::LEN;

/// Number of regions 0:4, padding 4:4, the regions.
fn read_table(payload: &[u8]) -> Result<Vec<MemoryRegion>, WireError> {
    let mut fields = Reader::new(payload);
    let request = Request::SetMemTable;
    if payload.len() < 8 {
        check_len(request, payload, 8)?;
    }
    let (count, limit) = (fields.u32(), REGIONS_PER_MESSAGE_MAX);
    if !(1..=limit).contains(&count) {
        return Err(WireError::RegionCount { count, limit });
    }
    fields.u32();
    let regions = MemoryRegion::LEN.saturating_mul(count as usize);
    check_len(request, payload, regions.saturating_add(8))?;
    Ok((0..count).map(|_| MemoryRegion::read(&mut fields)).collect())
}

fn write_table(regions: &[MemoryRegion], fields: &mut Writer) {
    fields.u32(u32::try_from(regions.len()).unwrap_or(u32::MAX));
    fields.u32(0);
    for region in regions {
        region.write(fields);
    }
}
