//! A guest's network device.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Entries of each ring.
const RING_SIZE: u16 = 1024;

/// A virtio network device, and what is at its other end.
#[derive(Debug, Clone)]
pub struct Nic {
    end: End,
    queues: u16,
    properties: Vec<String>,
}

#[derive(Debug, Clone)]
enum End {
    /// A vhost-user device, to which QEMU connects again every 100 ms while it is not there.
    Connects(PathBuf),
    /// The same, with QEMU listening.
    Listens(PathBuf),
    /// A TAP that QEMU makes; it serves it itself, or has the host's kernel do that.
    Tap(String, bool),
}

impl Nic {
    /// QEMU connects to a vhost-user device that listens at `socket`.
    #[must_use]
    pub fn vhost_user(socket: impl AsRef<Path>) -> Self {
        Self::new(End::Connects(socket.as_ref().to_owned()))
    }

    /// QEMU listens at `socket` for a vhost-user device.
    #[must_use]
    pub fn vhost_user_server(socket: impl AsRef<Path>) -> Self {
        Self::new(End::Listens(socket.as_ref().to_owned()))
    }

    /// QEMU's own device, on a TAP of this name.
    #[must_use]
    pub fn tap(name: &str) -> Self {
        Self::new(End::Tap(name.to_owned(), false))
    }

    /// With the device of the host's kernel, if it is on a TAP.
    #[must_use]
    pub fn vhost_net(mut self) -> Self {
        if let End::Tap(_, in_kernel) = &mut self.end {
            *in_kernel = true;
        }
        self
    }

    fn new(end: End) -> Self {
        Self { end, queues: 1, properties: Vec::new() }
    }

    /// Pairs of queues. Linux uses as many as it has CPUs.
    #[must_use]
    pub fn queues(mut self, pairs: u16) -> Self {
        self.queues = pairs;
        self
    }

    /// Packed rings, where the device has them.
    #[must_use]
    pub fn packed(self) -> Self {
        self.property("packed=on")
    }

    /// A property of `virtio-net-pci`, such as `host_mtu=9000`.
    #[must_use]
    pub fn property(mut self, property: &str) -> Self {
        self.properties.push(property.to_owned());
        self
    }

    /// QEMU's command line for the device of this number, whose address ends with that unless a
    /// property says otherwise.
    pub(super) fn arguments(&self, number: usize) -> String {
        let (pairs, vectors) = (self.queues, 2 * self.queues + 2);
        let socket = |path: &Path, side| {
            format!(
                " -chardev socket,id=c{number},path={},{side} \
                 -netdev vhost-user,id=n{number},chardev=c{number},queues={pairs}",
                path.display()
            )
        };
        let mut text = match &self.end {
            End::Connects(path) => socket(path, "reconnect-ms=100"),
            End::Listens(path) => socket(path, "server=on"),
            End::Tap(name, in_kernel) => {
                let vhost = if *in_kernel { "on" } else { "off" };
                format!(
                    " -netdev tap,id=n{number},ifname={name},script=no,downscript=no,vhost={vhost}"
                )
            }
        };
        let mut properties = format!("id=nic{number},netdev=n{number},romfile=");
        let _ = write!(properties, ",rx_queue_size={RING_SIZE}");
        // Those of QEMU's own device have 256.
        if !matches!(self.end, End::Tap(..)) {
            let _ = write!(properties, ",tx_queue_size={RING_SIZE}");
        }
        if pairs > 1 {
            let _ = write!(properties, ",mq=on,vectors={vectors}");
        }
        if !self.properties.iter().any(|property| property.starts_with("mac=")) {
            let _ = write!(properties, ",mac=02:00:00:00:01:{number:02x}");
        }
        for property in &self.properties {
            let _ = write!(properties, ",{property}");
        }
        let _ = write!(text, " -device virtio-net-pci,{properties}");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_with_several_queues_has_a_vector_for_each_and_two_more() {
        let text = Nic::vhost_user("/a").queues(2).property("mac=02::1").arguments(3);
        assert!(text.contains("queues=2") && text.contains(",mq=on,vectors=6"), "{text}");
        assert_eq!(text.matches("mac=").count(), 1, "{text}");
        let text = Nic::vhost_user_server("/a").packed().arguments(3);
        assert!(text.contains("server=on") && text.contains("mac=02:00:00:00:01:03"), "{text}");
        assert!(text.ends_with(",packed=on") && !text.contains("mq=on"), "{text}");
    }
}
