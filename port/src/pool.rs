//! Packet memory that we own and lend to peers.
//!
//! A [`Pool`] is one sealed memory region cut into buffers of one size. Ports on our side of a ring
//! that owns its buffers (a memif client, a vhost-user driver) can use it instead of memory of
//! their own. Two such ports on one pool exchange buffers: packets move from ring to ring without
//! a copy (see [`TxBurst::exchange`](crate::burst::TxBurst::exchange)).
//!
//! In all buffers packets begin at the same place, behind the pool's headroom: there a port of one
//! protocol can put its header in front of a packet that came without one. A vhost-user driver needs 12
//! bytes of it.
//!
//! Every peer of every port on a pool can read and write all of it: put only peers that may see
//! each other's packets on one pool.

use crate::shm::{Backing, OwnedMemory, RegionError, Regions};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

/// Why a pool could not be made or lend buffers.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The pool's memory cannot be had.
    #[error("pool memory")]
    Memory(#[from] RegionError),
    /// No packet has room behind the headroom.
    #[error("headroom of {headroom} bytes in buffers of {buffer_size}")]
    Headroom {
        /// Headroom asked for, in bytes.
        headroom: u16,
        /// Size of a buffer, in bytes.
        buffer_size: u32,
    },
    /// The pool's shape makes no sense.
    #[error("pool of {buffers} buffers of {buffer_size} bytes is empty or exceeds {max} bytes")]
    Shape {
        /// Buffers asked for.
        buffers: u32,
        /// Size of a buffer, in bytes.
        buffer_size: u32,
        /// Largest pool, in bytes: rings address it with 32 bits.
        max: u64,
    },
    /// Fewer buffers are free than asked for.
    #[error("{wanted} buffers wanted, {free} are free")]
    Exhausted {
        /// Buffers asked for.
        wanted: usize,
        /// Buffers that are free.
        free: usize,
    },
}

/// Largest pool, in bytes: ring descriptors hold 32-bit offsets.
pub const POOL_BYTES_MAX: u64 = 1 << 32;

/// Buffers of one size in one region of shared memory.
#[derive(Debug)]
pub struct Pool {
    memory: OwnedMemory,
    regions: Arc<Regions>,
    buffer_size: u32,
    headroom: u16,
    /// Offsets of free buffers. Taken and given back when links change, never per packet.
    free: Mutex<Vec<u64>>,
}

impl Pool {
    /// Makes a pool of `buffers` buffers of `buffer_size` bytes each.
    ///
    /// # Errors
    /// When the shape makes no sense, or the memory cannot be had.
    pub fn new(buffers: u32, buffer_size: u32, backing: Backing) -> Result<Self, PoolError> {
        let len = Self::checked_len(buffers, buffer_size)?;
        Self::over(OwnedMemory::create("ringport-pool", len, backing)?, buffer_size)
    }

    /// Cuts the caller's own memory into buffers of `buffer_size` bytes.
    ///
    /// # Errors
    /// When not one buffer fits, or the memory is too large for 32-bit offsets.
    pub fn over(memory: OwnedMemory, buffer_size: u32) -> Result<Self, PoolError> {
        let bytes = memory.mapping().len() as u64;
        let count = bytes.checked_div(u64::from(buffer_size)).unwrap_or(0);
        let buffers = u32::try_from(count).unwrap_or(u32::MAX);
        Self::checked_len(buffers, buffer_size)?;
        let free = (0..u64::from(buffers)).rev().map(|n| n * u64::from(buffer_size)).collect();
        let regions = Arc::new(Regions::new(vec![Arc::clone(memory.mapping()); 2]));
        Ok(Self { memory, regions, buffer_size, headroom: 0, free: Mutex::new(free) })
    }

    /// Keeps `headroom` bytes free in front of each packet.
    ///
    /// # Errors
    /// [`PoolError::Headroom`] when nothing is left of a buffer.
    pub fn with_headroom(self, headroom: u16) -> Result<Self, PoolError> {
        let buffer_size = self.buffer_size;
        if u32::from(headroom) >= buffer_size {
            return Err(PoolError::Headroom { headroom, buffer_size });
        }
        Ok(Self { headroom, ..self })
    }

    fn checked_len(buffers: u32, buffer_size: u32) -> Result<usize, PoolError> {
        let shape = PoolError::Shape { buffers, buffer_size, max: POOL_BYTES_MAX };
        let bytes = u64::from(buffers) * u64::from(buffer_size);
        if bytes == 0 || bytes > POOL_BYTES_MAX {
            return Err(shape);
        }
        usize::try_from(bytes).map_err(|_| shape)
    }

    /// Size of a buffer, in bytes.
    #[must_use]
    pub fn buffer_size(&self) -> u32 {
        self.buffer_size
    }

    /// Bytes kept free in front of each packet.
    #[must_use]
    pub fn headroom(&self) -> u16 {
        self.headroom
    }

    /// Bytes of a packet that a buffer holds.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.buffer_size - u32::from(self.headroom)
    }

    /// Buffers that are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.lock().len()
    }

    /// The pool's memory, to be announced to a peer.
    #[must_use]
    pub fn memory(&self) -> &OwnedMemory {
        &self.memory
    }

    /// The pool's memory as the regions of a batch: queues that share this very set exchange
    /// buffers. It is region 0 and region 1, the one that a memif client announces behind its
    /// rings.
    #[must_use]
    pub fn regions(&self) -> &Arc<Regions> {
        &self.regions
    }

    /// Takes the offsets of `count` buffers.
    ///
    /// # Errors
    /// [`PoolError::Exhausted`]; nothing is taken then.
    pub fn take(&self, count: usize) -> Result<Vec<u64>, PoolError> {
        let mut free = self.lock();
        let left = free.len().checked_sub(count);
        let left = left.ok_or(PoolError::Exhausted { wanted: count, free: free.len() })?;
        Ok(free.split_off(left))
    }

    /// Gives buffers back.
    pub fn give_back(&self, buffers: impl IntoIterator<Item = u64>) {
        self.lock().extend(buffers);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_distinct_and_come_back() {
        let pool = Pool::new(8, 2048, Backing::Pages).unwrap();
        let mut taken = pool.take(8).unwrap();
        assert!(matches!(pool.take(1), Err(PoolError::Exhausted { wanted: 1, free: 0 })));
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), 8);
        assert!(taken.iter().all(|at| at + 2048 <= pool.memory().mapping().len() as u64));
        pool.give_back(taken);
        assert_eq!(pool.free(), 8);
    }

    #[test]
    fn headroom_leaves_something_of_a_buffer() {
        let pool = || Pool::new(8, 64, Backing::Pages).unwrap();
        assert_eq!(pool().capacity(), 64);
        let with = pool().with_headroom(63).unwrap();
        assert_eq!((with.headroom(), with.capacity()), (63, 1));
        let error = pool().with_headroom(64).unwrap_err();
        assert!(matches!(error, PoolError::Headroom { headroom: 64, buffer_size: 64 }), "{error}");
    }

    #[test]
    fn pool_without_a_buffer_or_beyond_32_bits_is_refused() {
        for (buffers, size) in [(0, 2048), (8, 0), (u32::MAX, 2048)] {
            assert!(matches!(
                Pool::new(buffers, size, Backing::Pages),
                Err(PoolError::Shape { .. })
            ));
        }
    }
}
