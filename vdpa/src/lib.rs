//! vDPA in userspace: each VF gets a vhost-user socket, and works directly on the rings of the guest
//! or container that connects to it. Once the rings are handed over, no thread of ours touches a
//! packet.
//!
//! ```text
//! QEMU, DPDK's virtio_user      relay                      device            kernel or hardware
//!   | vhost-user: memory, rings,  | feature bits cut down,   |
//!   | eventfds                    | addresses translated     |
//!   |---------------------------->|------------------------->| vhost_vdpa  -> /dev/vhost-vdpa-N
//!   |                             |                          | vfio_virtio -> a VF under vfio-pci
//! ```
//!
//! | module | what it is for |
//! |---|---|
//! | [`device`] | what can be done with a vDPA device, whatever is behind it |
//! | [`files`] | the files by which devices and sockets are handed on |
//! | `lookup` | which socket belongs to a VF, over gRPC (feature `grpc`) |
//! | [`pci`] | PCI addresses |
#![forbid(unsafe_code)]

pub mod device;
pub mod files;
#[cfg(feature = "grpc")]
pub mod lookup;
pub mod pci;

pub use device::{Capabilities, DeviceError, VdpaDevice};
pub use pci::PciAddress;
