//! Shared memory: creation, checks on a peer's memory, the SIGBUS guard, ring words and tables.
//!
//! A peer that gives us memory keeps it: it can write to it at any time, and try to take it away.
//! [`Mapping::from_peer`] accepts only what cannot hurt us:
//!
//! | the peer's descriptor | can be taken back by | what happens |
//! |---|---|---|
//! | memfd that can be sealed (VPP, DPDK, libmemif, QEMU `memfd` with `seal=on`) | nothing, once we sealed it: a punched hole reads as zeros | accepted |
//! | memfd without sealing, tmpfs file | truncation | by [`MemoryPolicy`] |
//! | huge pages, sealed or not (hugetlbfs file, hugetlb memfd) | truncation; holes, when no huge page is free to fill them | by [`MemoryPolicy`] |
//! | anything else: socket, pipe, device, file of a disk, network or FUSE file system | its file system, which may be the peer and may never answer | refused |
//!
//! Memory of our own comes from [`OwnedMemory`]. Nothing here hands out a reference to shared
//! memory: [`SharedU16`] and [`DescTable`] are the typed doors to rings, [`copy`](crate::copy) the
//! one to payload.

mod bitmap;
mod error;
pub mod guard;
mod inspect;
mod mapping;
mod owned;
mod packed;
mod per_slot;
mod policy;
mod used;
mod view;

pub use bitmap::SharedBitmap;
pub use error::RegionError;
pub use mapping::{Mapping, page_len};
pub use owned::{Backing, OwnedMemory};
pub use packed::{PackedTable, PackedView, PackedWalk};
pub use per_slot::{PerSlot, PerSlotView, PerSlotViewMut};
pub use policy::{MemoryLimits, MemoryPolicy};
pub use used::{IndexTable, IndexView, UsedTable, UsedView};
pub(crate) use view::Ranges;
pub use view::{DescTable, DescView, OutOfRange, Regions, SharedU16, read_u32, write_u32};

#[cfg(test)]
mod tests;
