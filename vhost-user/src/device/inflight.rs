//! Memory for chains in flight: made here, kept by the front-end, and given to whoever comes next.

use super::memory::SharedMemory;
use crate::backend::InflightMemory;
use crate::error::DeviceError;
use crate::inflight::{InflightArea, area_len};
use ringport::error::CallError;
use ringport::shm::{Backing, OwnedMemory};

/// New memory for so many rings.
pub(super) fn make(
    packed: bool,
    queues: u16,
    queue_size: u16,
) -> Result<InflightMemory, DeviceError> {
    let size = area_len(packed, queues, queue_size);
    let len = usize::try_from(size).unwrap_or(usize::MAX);
    let memory = OwnedMemory::create("vhost-inflight", len, Backing::Pages)
        .map_err(DeviceError::InflightMemory)?;
    let fd = memory.fd().try_clone_to_owned().map_err(CallError::io("duplicate a descriptor"))?;
    Ok(InflightMemory { fd, size, offset: 0, queues, queue_size })
}

/// Memory that the front-end kept, or had from elsewhere.
pub(super) fn take(
    memory: &SharedMemory,
    said: &InflightMemory,
) -> Result<InflightArea, DeviceError> {
    let mapping = memory.map_file(&said.fd, said.offset, said.size);
    Ok(InflightArea::new(mapping.map_err(DeviceError::InflightMemory)?, said))
}
