//! The front-end's half of a conversation: as much as a device needs to start one pair of rings.

use super::{DriverError, DriverMemory, Format, Ring};
use crate::shared::SharedMemory;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use vhost::vhost_user::Frontend;
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

const VERSION_1: u64 = 1 << 32;
const RING_PACKED: u64 = 1 << 34;
const IN_ORDER: u64 = 1 << 35;

/// A driver that is connected to its device.
#[derive(Debug)]
pub struct FrontEnd {
    /// What the driver receives.
    pub rx: Ring,
    /// What it sends.
    pub tx: Ring,
    _connection: Connection,
}

/// What must live as long as the device is to work.
struct Connection {
    _front_end: Frontend,
    _events: Vec<EventFd>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl FrontEnd {
    /// Connects to the device that listens at `socket`, and hands it two rings in `memory`.
    ///
    /// # Errors
    /// When there is none, or it does not offer in-order rings of this format.
    pub fn connect(
        socket: &Path,
        memory: &Arc<DriverMemory>,
        format: Format,
    ) -> Result<Self, DriverError> {
        let front_end = Frontend::from_stream(UnixStream::connect(socket)?, 2);
        front_end.set_owner()?;
        let packed = if format == Format::Packed { RING_PACKED } else { 0 };
        let needed = VERSION_1 | IN_ORDER | packed;
        let offered = front_end.get_features()?;
        if offered & needed != needed {
            return Err(DriverError::Features { offered, needed });
        }
        front_end.set_features(needed)?;
        let region =
            |(guest, front_end, region): (u64, u64, &SharedMemory)| VhostUserMemoryRegionInfo {
                guest_phys_addr: guest,
                memory_size: region.len() as u64,
                userspace_addr: front_end,
                mmap_offset: 0,
                mmap_handle: region.fd().map_or(-1, |fd| fd.as_raw_fd()),
            };
        let regions: Vec<_> = memory.regions().map(region).collect();
        front_end.set_mem_table(&regions)?;
        let rings = [(0, true), (1, false)]
            .map(|(number, receives)| Ring::new(memory, number, format, receives));
        let mut events = Vec::new();
        for number in 0..2 {
            events.extend(start(&front_end, memory, number, format)?);
        }
        let [rx, tx] = rings;
        let connection = Connection { _front_end: front_end, _events: events };
        Ok(Self { rx, tx, _connection: connection })
    }
}

/// Hands a ring over. Without VHOST_USER_F_PROTOCOL_FEATURES it is enabled as soon as it is started.
fn start(
    front_end: &Frontend,
    memory: &DriverMemory,
    number: usize,
    format: Format,
) -> Result<[EventFd; 2], DriverError> {
    let at = memory.addresses(number);
    let event = || EventFd::new(EFD_NONBLOCK);
    let (call, kick) = (event()?, event()?);
    front_end.set_vring_num(number, at.size)?;
    // Of a packed ring, bit 15 is the wrap counter, which is 1 at first.
    front_end.set_vring_base(number, if format == Format::Packed { 1 << 15 } else { 0 })?;
    let config = VringConfigData {
        queue_max_size: at.size,
        queue_size: at.size,
        flags: 0,
        desc_table_addr: at.descriptor,
        used_ring_addr: at.device,
        avail_ring_addr: at.driver,
        log_addr: None,
    };
    front_end.set_vring_addr(number, &config)?;
    front_end.set_vring_call(number, &call)?;
    front_end.set_vring_kick(number, &kick)?;
    Ok([call, kick])
}
