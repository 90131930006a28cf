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
//! Or a VF is a packet port of this process, without a socket: [`Port`].
//!
//! | module | what it is for |
//! |---|---|
//! | [`device`] | what can be done with a vDPA device, whatever is behind it |
//! | [`Relay`] | a vhost-user socket for one device |
//! | [`discovery`] | which devices of the kernel there are, and of which PCI functions; which functions are under vfio-pci |
//! | [`files`] | the files by which devices and sockets are handed on |
//! | `daemon` | many devices that come and go, with the programs `ringport-vdpad` and `ringport-vdpactl` (feature `daemon`) |
//! | `lookup` | which socket belongs to a VF, over gRPC (feature `grpc`) |
//! | [`name`] | what devices are called |
//! | [`opener`] | where devices come from, by their names |
//! | [`pci`] | addresses of PCI functions |
//! | [`port`] | a device as a packet port of this process, without a relay |
//! | [`port_string`] | such ports named by text |
//! | [`vfio_virtio`] | a virtio PCI function under vfio-pci as a device |
//! | [`vhost_vdpa`] | the kernel's vhost-vdpa as a device |
#![forbid(unsafe_code)]

#[cfg(feature = "daemon")]
pub mod daemon;
pub mod device;
pub mod discovery;
pub mod files;
#[cfg(feature = "grpc")]
pub mod lookup;
pub mod name;
pub mod opener;
pub mod pci;
pub mod port;
pub mod port_string;
pub mod relay;
pub mod vfio_virtio;
pub mod vhost_vdpa;

pub use device::{Capabilities, DeviceError, VdpaDevice};
pub use name::{DeviceName, DeviceNameError};
pub use opener::{OpenError, Opener, SystemOpener};
pub use pci::PciAddress;
pub use port::{Port, PortConfig, PortEvent, PortLink};
pub use relay::{Relay, RelayConfig};
pub use vfio_virtio::VfioVirtio;
pub use vhost_vdpa::VhostVdpa;
