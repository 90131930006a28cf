//! The dirty log of a connection.

use super::memory::SharedMemory;
use crate::error::DeviceError;
use crate::log::DirtyLog;
use crate::wire::LogArea;
use ringport::doorbell::Doorbell;
use ringport::shm::RegionError;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What the front-end gave, one by one.
#[derive(Debug, Default)]
pub(super) struct Log {
    pages: Option<DirtyLog>,
    bell: Option<Arc<Doorbell>>,
}

impl Log {
    /// The log after this area took the place of the one before.
    pub(super) fn replaced(
        &mut self,
        memory: &SharedMemory,
        fd: &OwnedFd,
        LogArea { size, offset }: LogArea,
    ) -> Result<Option<DirtyLog>, DeviceError> {
        let mapping = memory.map_file(fd, offset, size).map_err(DeviceError::LogMemory)?;
        let limit = mapping.len() as u64;
        let pages = DirtyLog::new(&mapping, offset, size);
        let outside = |_| DeviceError::LogMemory(RegionError::TooLong { announced: size, limit });
        self.pages = Some(pages.map_err(outside)?);
        Ok(self.current())
    }

    /// The log after this doorbell took the place of the one before.
    pub(super) fn with_bell(&mut self, fd: OwnedFd) -> Result<Option<DirtyLog>, DeviceError> {
        self.bell = Some(Arc::new(Doorbell::from_peer(fd).map_err(DeviceError::LogDoorbell)?));
        Ok(self.current())
    }

    fn current(&self) -> Option<DirtyLog> {
        Some(self.pages.clone()?.with_bell(self.bell.clone()))
    }
}
