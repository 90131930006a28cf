//! Memory that the device may use.

use super::VhostVdpa;
use super::calls::Calls;
use super::limits::{self, Limits};
use crate::device::{DeviceError, DeviceMemory, VdpaDevice};
use ringport::error::CallError;
use ringport::vhost_vdpa::BackendFeatures;
use std::ops::RangeInclusive;

impl VhostVdpa {
    pub(super) fn map_memory(&mut self, memory: &[DeviceMemory]) -> Result<(), DeviceError> {
        self.file()?;
        let limits = Limits::now(&self.capabilities);
        let taken = limits.check(memory, &self.mapped)?;
        if taken.is_empty() {
            return Ok(());
        }
        let worst = limits.mappings(self.mapped.iter().chain(&taken));
        let max = self.capabilities.mappings_max;
        self.batch(|device| {
            let file = device.file.as_mut().ok_or(DeviceError::Gone)?;
            map_all(&mut **file, memory).map_err(|error| limits::refused(error, worst, max))
        })?;
        self.mapped.extend(taken);
        Ok(())
    }

    pub(super) fn unmap_memory(
        &mut self,
        ranges: &[RangeInclusive<u64>],
    ) -> Result<(), DeviceError> {
        self.file()?;
        if ranges.is_empty() {
            return Ok(());
        }
        self.batch(|device| {
            let file = device.file.as_mut().ok_or(DeviceError::Gone)?;
            let mut outcome = Ok(());
            for range in ranges {
                match file.unmap(range) {
                    Ok(()) => device.mapped.retain(|it| it.range != *range),
                    Err(error) => outcome = outcome.and_then(|()| Err(error.into())),
                }
            }
            outcome
        })
    }

    /// Does `work` as one change, as far as the device can.
    pub(super) fn batch<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        if !self.backend.has(BackendFeatures::BATCH) {
            return work(self);
        }
        self.file.as_mut().ok_or(DeviceError::Gone)?.begin_batch()?;
        let done = work(self);
        // What it uses then, nobody knows.
        let ended = self.file.as_mut().ok_or(DeviceError::Gone)?.end_batch();
        ended.inspect_err(|_| self.give_up())?;
        done
    }
}

/// Maps one after the other; on an error, none of them is mapped.
fn map_all(file: &mut dyn Calls, memory: &[DeviceMemory]) -> Result<(), CallError> {
    for (at, DeviceMemory { iova, len, mapping, offset }) in memory.iter().enumerate() {
        let mapped = file.map(*iova, mapping, *offset, *len);
        mapped.inspect_err(|_| {
            for DeviceMemory { iova, len, .. } in &memory[..at] {
                let _ = file.unmap(&(*iova..=*iova + (*len - 1)));
            }
        })?;
    }
    Ok(())
}
