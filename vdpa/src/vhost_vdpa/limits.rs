//! Whether memory can be mapped, before the kernel is asked: it says `EFAULT` whatever is wrong.

use crate::device::{Capabilities, DeviceError, DeviceMemory};
use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use ringport::error::CallError;
use ringport::shm::page_len;
use std::ops::RangeInclusive;

/// What raises the limit of mappings.
const SETTING: &str = "max_iotlb_entries of the kernel module vhost_vdpa, when that is loaded (options \
                       vhost_vdpa max_iotlb_entries=N in /etc/modprobe.d)";

/// What an `EFAULT` means that was not foreseen.
const UNFORESEEN: &str = "map memory; reach, overlap, RLIMIT_MEMLOCK and the number of mappings were found fit \
                          before, so memory was locked meanwhile by another device of this process, or \
                          pages are missing or cannot be locked (huge pages of an exhausted pool), or \
                          the IOMMU's driver refused: dmesg may tell";

/// A range that is mapped, or is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) range: RangeInclusive<u64>,
    /// Bytes of each of its pages.
    page: u64,
}

/// What limits mapping.
#[derive(Debug)]
pub(crate) struct Limits<'c> {
    capabilities: &'c Capabilities,
    /// Bytes that are locked in this process, and that may be; none without a limit.
    lock: Option<(u64, u64)>,
}

impl<'c> Limits<'c> {
    /// As they are now.
    pub(super) fn now(capabilities: &'c Capabilities) -> Self {
        Self { capabilities, lock: capabilities.locks_memory.then(memory_lock).flatten() }
    }

    /// With as many bytes locked, and as many that may be.
    pub(crate) fn with_lock(capabilities: &'c Capabilities, lock: Option<(u64, u64)>) -> Self {
        Self { capabilities, lock }
    }

    /// Checks all `memory` that is to be mapped beside what is. Returns what it takes.
    pub(crate) fn check(
        &self,
        memory: &[DeviceMemory],
        mapped: &[Taken],
    ) -> Result<Vec<Taken>, DeviceError> {
        let mut taken: Vec<Taken> = Vec::with_capacity(memory.len());
        for one in memory {
            let range = whole_pages(one)?;
            self.in_reach(&range)?;
            if mapped.iter().chain(&taken).any(|other| overlaps(&other.range, &range)) {
                return Err(DeviceError::Overlap(range));
            }
            taken.push(Taken { range, page: one.mapping.page_len() as u64 });
        }
        self.lockable(memory)?;
        let least = (mapped.len() + taken.len()) as u64;
        match self.capabilities.mappings_max {
            Some(max) if least > max as u64 => Err(too_many(least, max)),
            _ => Ok(taken),
        }
    }

    /// Most mappings that the kernel makes of all that: one for each page where no two are neighbours.
    pub(super) fn mappings<'t>(&self, taken: impl Iterator<Item = &'t Taken>) -> u64 {
        let locks = self.capabilities.locks_memory;
        taken.map(|it| if locks { len(&it.range).div_ceil(it.page) } else { 1 }).sum()
    }

    fn in_reach(&self, wanted: &RangeInclusive<u64>) -> Result<(), DeviceError> {
        let reach = &self.capabilities.iova;
        let holds =
            |it: &RangeInclusive<u64>| it.contains(wanted.start()) && it.contains(wanted.end());
        if reach.iter().any(holds) {
            return Ok(());
        }
        Err(DeviceError::OutOfReach { wanted: wanted.clone(), reach: reach.clone() })
    }

    fn lockable(&self, memory: &[DeviceMemory]) -> Result<(), DeviceError> {
        let Some((locked, limit)) = self.lock else { return Ok(()) };
        let more = memory.iter().map(|it| it.len);
        let wanted = more.fold(locked, u64::saturating_add);
        if wanted > limit {
            return Err(DeviceError::MemoryLock { wanted, limit });
        }
        Ok(())
    }
}

/// What the kernel's refusal to map means, of memory that was found fit.
pub(super) fn refused(error: CallError, worst: u64, max: Option<usize>) -> DeviceError {
    let fault = error.source.raw_os_error() == Some(Errno::EFAULT as i32);
    match max {
        Some(max) if fault && worst > max as u64 => too_many(worst, max),
        _ if fault => DeviceError::Call { call: UNFORESEEN, source: error.source },
        _ => error.into(),
    }
}

fn too_many(wanted: u64, max: usize) -> DeviceError {
    DeviceError::TooManyMappings { wanted, limit: max as u64, setting: SETTING }
}

/// The IOVAs of memory that is in its mapping, and of whole pages.
fn whole_pages(memory: &DeviceMemory) -> Result<RangeInclusive<u64>, DeviceError> {
    let DeviceMemory { iova, len, mapping, offset } = memory;
    let page = page_len() as u64;
    if *len == 0 || [iova, len, offset].iter().any(|&it| it % page != 0) {
        return Err(DeviceError::Unable("map memory that is not of whole pages"));
    }
    let end = offset.checked_add(*len).filter(|&end| end <= mapping.len() as u64);
    let last = end.and_then(|_| iova.checked_add(*len - 1));
    let last = last.ok_or(DeviceError::Unable("map what is beyond the end of memory"))?;
    Ok(*iova..=last)
}

fn overlaps(a: &RangeInclusive<u64>, b: &RangeInclusive<u64>) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}

fn len(range: &RangeInclusive<u64>) -> u64 {
    (range.end() - range.start()).saturating_add(1)
}

/// A range without the parts that `holes` cover, in order.
pub(super) fn subtract(
    range: RangeInclusive<u64>,
    holes: &[RangeInclusive<u64>],
) -> Vec<RangeInclusive<u64>> {
    let mut left = if range.is_empty() { Vec::new() } else { vec![range] };
    for hole in holes {
        left = left.iter().flat_map(|part| without(part, hole)).collect();
    }
    left
}

fn without(part: &RangeInclusive<u64>, hole: &RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
    if !overlaps(part, hole) {
        return vec![part.clone()];
    }
    let below = (part.start() < hole.start()).then(|| *part.start()..=hole.start() - 1);
    let above = (part.end() > hole.end()).then(|| hole.end() + 1..=*part.end());
    below.into_iter().chain(above).collect()
}

/// Bytes that this process has locked in this way, and that it may; `None` without a limit. No
/// capability lifts it.
fn memory_lock() -> Option<(u64, u64)> {
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    (limit != RLIM_INFINITY).then(|| (locked(&status, "VmPin:"), limit))
}

/// Bytes of the line `VmPin: 262144 kB`, or another of that kind; zero without it.
pub(crate) fn locked(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.unwrap_or(0_u64).saturating_mul(1024)
}

#[cfg(test)]
mod tests;
