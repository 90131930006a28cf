//! The header in front of each packet, which a Linux TAP has as well: see
//! [`ringport::virtio_net`].

pub use ringport::virtio_net::{BadHeader, HEADER_LEN, decode, encode};
pub(crate) use ringport::virtio_net::{HEADER, buffers};
