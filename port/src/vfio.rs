//! PCI functions that are under the kernel's driver vfio-pci: their calls, typed, and memory that they may
//! use.
//!
//! [`VfioFunction`] is the open function, alone in a container. It has one method for each call, and no
//! opinion on their order, but for what keeps this process's memory safe: only functions behind an IOMMU
//! are opened, memory that a function may use stays mapped here until it may no more, and its address
//! leaves this crate only towards the kernel.
//!
//! | part of the interface | here |
//! |---|---|
//! | containers, groups (`/dev/vfio/N`) | [`VfioFunction::open`]: one of each for a function, TYPE1v2 |
//! | regions: BARs, configuration space | [`region`](VfioFunction::region), [`read`](VfioFunction::read), [`write`](VfioFunction::write); not mapped |
//! | DMA | [`map`](VfioFunction::map), [`unmap`](VfioFunction::unmap), [`reach`](VfioFunction::reach) |
//! | interrupts | [`set_eventfds`](VfioFunction::set_eventfds), by eventfds only |
//! | `VFIO_DEVICE_IOEVENTFD` | [`set_doorbell`](VfioFunction::set_doorbell), 16 bits; a thread can do the same with a [`VfioDoorbell`] |
//! | character devices of functions, IOMMUFD | not there |
//!
//! Interface: Linux `include/uapi/linux/vfio.h`, as of 6.12.

mod doorbell;
mod function;
mod interrupts;
mod memory;
mod reach;
mod sys;

pub use doorbell::VfioDoorbell;
pub use function::{CONFIG_REGION, Region, VfioFunction};
pub use interrupts::{Interrupts, VECTORS_MAX};
pub use reach::Reach;

#[cfg(test)]
mod tests;
