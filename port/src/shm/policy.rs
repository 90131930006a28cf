//! What memory to accept from a peer.

use super::RegionError;

/// What to do about memory that the peer could take back while we use it, which would end this
/// process with `SIGBUS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MemoryPolicy {
    /// Accept it under the [SIGBUS guard](super::guard), which is installed when first needed.
    #[default]
    Guarded,
    /// Refuse it: this process declines the guard. Excludes peers that share huge pages.
    Sealed,
    /// Accept it unprotected, and seal nothing: a peer that takes memory back ends this process.
    Trust,
}

/// How much memory to accept from one peer.
///
/// Mapping costs address space only; pages are charged to whoever touches them first, which the
/// peer arranges to be us if it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemoryLimits {
    /// Longest region, in bytes.
    pub region_bytes_max: u64,
    /// All regions of one link together, in bytes.
    pub link_bytes_max: u64,
    /// Regions of one link.
    pub region_count_max: usize,
}

impl Default for MemoryLimits {
    /// 256 regions, 1 TiB: what a large virtual machine or packet buffer pool has.
    fn default() -> Self {
        Self { region_bytes_max: 1 << 40, link_bytes_max: 1 << 40, region_count_max: 256 }
    }
}

impl MemoryLimits {
    /// Checks a region of `announced` bytes that is to join `mapped_count` regions of
    /// `mapped_bytes` bytes in all.
    ///
    /// # Errors
    /// [`RegionError::TooManyRegions`], [`RegionError::TooLong`] or [`RegionError::TotalTooLong`].
    pub fn admit(
        &self,
        mapped_count: usize,
        mapped_bytes: u64,
        announced: u64,
    ) -> Result<(), RegionError> {
        if mapped_count >= self.region_count_max {
            return Err(RegionError::TooManyRegions { limit: self.region_count_max });
        }
        if announced > self.region_bytes_max {
            return Err(RegionError::TooLong { announced, limit: self.region_bytes_max });
        }
        let total = mapped_bytes.saturating_add(announced);
        if total > self.link_bytes_max {
            let limit = self.link_bytes_max;
            return Err(RegionError::TotalTooLong { announced: total, limit });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_beyond_any_limit_is_refused() {
        let limits = MemoryLimits { region_bytes_max: 10, link_bytes_max: 15, region_count_max: 2 };
        assert!(limits.admit(1, 5, 10).is_ok());
        let refused = |count, bytes, announced| limits.admit(count, bytes, announced).unwrap_err();
        assert!(matches!(refused(2, 0, 1), RegionError::TooManyRegions { limit: 2 }));
        assert!(matches!(refused(0, 0, 11), RegionError::TooLong { announced: 11, limit: 10 }));
        let total = refused(1, 6, 10);
        assert!(matches!(total, RegionError::TotalTooLong { announced: 16, limit: 15 }));
        let overflow = refused(1, u64::MAX, 10);
        assert!(matches!(overflow, RegionError::TotalTooLong { announced: u64::MAX, limit: 15 }));
    }
}
