//! Memory that the function may use.

use super::VfioVirtio;
use crate::device::{Capabilities, DeviceError, DeviceMemory};
use crate::vhost_vdpa::limits::{Limits, locked};
use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use ringport::error::CallError;
use ringport::vfio::VfioFunction;
use std::ops::RangeInclusive;

/// What raises the limit of mappings.
const SETTING: &str = "dma_entry_limit of the kernel module vfio_iommu_type1";
/// `CAP_IPC_LOCK`: with it, any memory may be locked.
const MAY_LOCK: u64 = 1 << 14;

impl VfioVirtio {
    pub(super) fn map_memory(&mut self, memory: &[DeviceMemory]) -> Result<(), DeviceError> {
        let function = self.function.as_mut().ok_or(DeviceError::Gone)?.vfio();
        let lock = memory_lock();
        // That of mappings is another than vhost-vdpa's.
        let capabilities = Capabilities { mappings_max: None, ..self.capabilities.clone() };
        let taken = Limits::with_lock(&capabilities, lock).check(memory, &self.mapped)?;
        let wanted = self.mapped.len() + taken.len();
        let limit = self.capabilities.mappings_max;
        if let Some(limit) = limit.filter(|&limit| wanted > limit) {
            return Err(too_many(wanted, limit));
        }
        map_all(function, memory)
            .map_err(|error| refused(error, memory, wanted, self.mapped.len()))?;
        self.mapped.extend(taken);
        Ok(())
    }

    pub(super) fn unmap_memory(
        &mut self,
        ranges: &[RangeInclusive<u64>],
    ) -> Result<(), DeviceError> {
        let function = self.function.as_mut().ok_or(DeviceError::Gone)?.vfio();
        let mut outcome = Ok(());
        for range in ranges {
            match function.unmap(range) {
                Ok(()) => self.mapped.retain(|it| it.range != *range),
                Err(error) => outcome = outcome.and_then(|()| Err(error.into())),
            }
        }
        outcome
    }
}

/// Maps one after the other; on an error, none of them is mapped.
fn map_all(function: &mut VfioFunction, memory: &[DeviceMemory]) -> Result<(), CallError> {
    for (at, DeviceMemory { iova, len, mapping, offset }) in memory.iter().enumerate() {
        let mapped = function.map(*iova, mapping, *offset, *len);
        mapped.inspect_err(|_| {
            for DeviceMemory { iova, len, .. } in &memory[..at] {
                let _ = function.unmap(&(*iova..=*iova + (*len - 1)));
            }
        })?;
    }
    Ok(())
}

/// What the kernel's refusal means, of memory that was found fit.
fn refused(error: CallError, memory: &[DeviceMemory], wanted: usize, mapped: usize) -> DeviceError {
    const NO_SPACE: i32 = Errno::ENOSPC as i32;
    const NO_MEMORY: i32 = Errno::ENOMEM as i32;
    match (error.source.raw_os_error(), lock_limit()) {
        (Some(NO_SPACE), _) => too_many(wanted, mapped),
        // The capability may be of no use: it is to be that of the machine's root.
        (Some(NO_MEMORY), Some(limit)) => {
            let lens = memory.iter().map(|it| it.len);
            let wanted = lens.fold(locked(&status(), "VmLck:"), u64::saturating_add);
            DeviceError::MemoryLock { wanted, limit }
        }
        _ => error.into(),
    }
}

fn too_many(wanted: usize, limit: usize) -> DeviceError {
    DeviceError::TooManyMappings { wanted: wanted as u64, limit: limit as u64, setting: SETTING }
}

/// Bytes that this process has locked in this way, and that it may; `None` without a limit.
fn memory_lock() -> Option<(u64, u64)> {
    let status = status();
    let limit = lock_limit().filter(|_| !may_lock(&status))?;
    Some((locked(&status, "VmLck:"), limit))
}

fn lock_limit() -> Option<u64> {
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    (limit != RLIM_INFINITY).then_some(limit)
}

fn status() -> String {
    std::fs::read_to_string("/proc/self/status").unwrap_or_default()
}

/// Whether a line such as `CapEff: 000001ffffffffff` has the capability.
fn may_lock(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok());
    capabilities.is_some_and(|capabilities| capabilities & MAY_LOCK != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_may_be_locked_with_the_capability_only() {
        assert!(may_lock("CapPrm:\t0\nCapEff:\t000001ffffffffff\n"));
        assert!(!may_lock("CapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffbfff\n"));
        assert!(!may_lock("CapEff:\tno\n"));
        assert!(!may_lock(""));
    }

    #[test]
    fn too_many_mappings_are_refused_with_what_would_raise_the_limit() {
        let full = CallError { operation: "map memory", source: Errno::ENOSPC.into() };
        let said = refused(full, &[], 5, 4).to_string();
        assert!(said.contains("dma_entry_limit") && said.contains("4 are allowed"), "{said}");
        let other = CallError { operation: "map memory", source: Errno::EFAULT.into() };
        assert!(matches!(refused(other, &[], 5, 4), DeviceError::Call { .. }));
    }
}
