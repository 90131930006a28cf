//! What a link runs over: what it takes to join the two sides, DPDK's or ours.

use ringport_bench::peers::Testpmd;
use ringport_bench::peers::testpmd::{DataPath, MemifArgs, VhostArgs, VirtioUserArgs};
use ringport_bench::virtio::Format;
use std::path::Path;

/// How two processes share rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Memif,
    /// The device listens, the driver connects; a DPDK driver is asked to take this path.
    VhostUser(DataPath),
}

/// One side of a link: its listener is started first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// memif's server, vhost-user's device.
    Listener,
    /// memif's client, vhost-user's driver.
    Connector,
}

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From client to server, from driver to device.
    ToListener,
    /// From server to client, from device to driver.
    ToConnector,
}

impl Way {
    pub(crate) const ALL: [Self; 2] = [Self::ToListener, Self::ToConnector];

    pub(crate) fn receiver(self) -> End {
        match self {
            Self::ToListener => End::Listener,
            Self::ToConnector => End::Connector,
        }
    }
}

impl Transport {
    /// The name of a direction, for names of cases.
    pub(crate) fn way_name(self, way: Way) -> &'static str {
        match (self, way) {
            (Self::Memif, Way::ToListener) => "c2s",
            (Self::Memif, Way::ToConnector) => "s2c",
            (Self::VhostUser(_), Way::ToListener) => "to-device",
            (Self::VhostUser(_), Way::ToConnector) => "to-driver",
        }
    }

    /// How virtio rings are laid out.
    pub(crate) fn format(self) -> Format {
        match self {
            Self::VhostUser(path) if path.is_packed() => Format::Packed,
            _ => Format::Split,
        }
    }

    /// Gives testpmd its end of the link at `socket`.
    pub(crate) fn join(
        self,
        testpmd: Testpmd,
        end: End,
        socket: &Path,
        zero_copy: bool,
    ) -> Testpmd {
        match (self, end) {
            (Self::Memif, End::Listener) => testpmd.memif(MemifArgs::server(socket)),
            (Self::Memif, End::Connector) if zero_copy => {
                testpmd.memif(MemifArgs::client(socket).zero_copy())
            }
            (Self::Memif, End::Connector) => testpmd.memif(MemifArgs::client(socket)),
            (Self::VhostUser(_), End::Listener) => testpmd.vhost(VhostArgs::server(socket)),
            (Self::VhostUser(path), End::Connector) => {
                testpmd.virtio_user(VirtioUserArgs::client(socket).data_path(path))
            }
        }
    }

    /// The port string of our end of the link at `socket`.
    pub(crate) fn port_string(self, end: End, socket: &Path, queues: u16) -> String {
        let socket = socket.display();
        match (self, end) {
            (Self::Memif, End::Listener) => {
                format!("memif:{socket},role=server,id=0,rings={queues}")
            }
            (Self::Memif, End::Connector) => format!(
                "memif:{socket},role=client,id=0,rings={queues},log2-ring-size=10,buffer-size=2048"
            ),
            (Self::VhostUser(_), End::Listener) => {
                format!("vhost:{socket},role=device,queues={queues}")
            }
            (Self::VhostUser(path), End::Connector) => {
                let packed = if path.is_packed() { "on" } else { "off" };
                format!(
                    "vhost:{socket},role=driver,socket=connect,queues={queues},packed={packed},\
                     ring-size=1024"
                )
            }
        }
    }
}
