//! The kernel's vhost-vdpa devices (`/dev/vhost-vdpa-N`): their calls, typed, and memory that they may
//! use.
//!
//! [`VhostVdpaFile`] is the open file. It has one method for each call, and no opinion on their order,
//! but for what keeps this process's memory safe: memory that the device may use stays mapped here
//! until it may no more, and its address leaves this crate only towards the kernel.
//!
//! | part of the interface | here |
//! |---|---|
//! | `SET_MEM_TABLE`, `SET_LOG_BASE`, `SET_LOG_FD` | not there: the kernel has none of them for vDPA |
//! | IOTLB messages (`UPDATE`, `INVALIDATE`, `BATCH_BEGIN`, `BATCH_END`) | [`map`](VhostVdpaFile::map), [`unmap`](VhostVdpaFile::unmap), [`begin_batch`](VhostVdpaFile::begin_batch), [`end_batch`](VhostVdpaFile::end_batch) |
//! | doorbell pages | [`has_doorbell`](VhostVdpaFile::has_doorbell); who maps them is the peer |
//!
//! Interface: Linux `include/uapi/linux/vhost.h` and `vhost_types.h`, as of 6.12.

mod file;
mod memory;
mod message;
mod rings;
mod sys;

pub(crate) use file::major_number;
pub use file::{BackendFeatures, VhostVdpaFile};
pub use memory::AddressSpace;
pub(crate) use memory::address;
pub use sys::{CONFIG_MAX, RingAddresses};

#[cfg(test)]
mod tests;
