//! Ports of any protocol, named by a string: `memif:/run/a.sock,role=client,id=0`.
//!
//! The protocol is known here and nowhere else: a link that is up is boxed queues, which cost one
//! dynamic call a burst.

mod memif;
mod tap;
mod vdpa;
mod vhost;

use anyhow::{Context, bail};
use ringport::burst::{PacketRx, PacketTx};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::str::FromStr;
use std::time::Duration;

/// A port string that has been read and understood.
#[derive(Debug, Clone)]
pub(crate) enum PortName {
    Memif(Box<ringport_memif::PortConfig>),
    Vhost(Box<ringport_vhost_user::PortConfig>),
    Tap(Box<ringport::tap::TapConfig>),
    Vdpa(Box<ringport_vdpa::PortConfig>),
}

impl FromStr for PortName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.split_once(':') {
            Some(("memif", _)) => Ok(Self::Memif(Box::new(text.parse()?))),
            Some(("vhost", _)) => Ok(Self::Vhost(Box::new(text.parse()?))),
            Some(("tap", _)) => Ok(Self::Tap(Box::new(text.parse()?))),
            Some(("vdpa", _)) => Ok(Self::Vdpa(Box::new(text.parse()?))),
            _ => bail!(
                "a port starts with memif:, vhost:, tap: or vdpa:, as in memif:/run/a.sock,role=client,id=0, \
                 vhost:/run/b.sock,role=device, tap:ring0 or vdpa:/dev/vhost-vdpa-0"
            ),
        }
    }
}

impl PortName {
    /// Whether packets start with the Ethernet header; else with that of IP.
    pub(crate) fn is_ethernet(&self) -> bool {
        match self {
            Self::Memif(config) => memif::is_ethernet(config),
            Self::Vhost(_) | Self::Tap(_) | Self::Vdpa(_) => true,
        }
    }
}

impl fmt::Display for PortName {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memif(config) => config.fmt(f),
            Self::Vhost(config) => config.fmt(f),
            Self::Tap(config) => config.fmt(f),
            Self::Vdpa(config) => config.fmt(f),
        }
    }
}

/// An open port. Its link may come and go.
#[derive(Debug)]
pub(crate) struct Port {
    driver: Driver,
    /// A link that ended is the last.
    once: bool,
}

#[derive(Debug)]
enum Driver {
    Memif(ringport_memif::Port),
    Vhost(Box<ringport_vhost_user::Port>),
    Tap(ringport::tap::Tap),
    Vdpa(Box<ringport_vdpa::Port>),
}

/// What a port reports.
#[derive(Debug)]
pub(crate) enum Event {
    /// Packets may flow.
    Up(Link),
    /// The link's queues deliver nothing any more.
    Down(String),
    /// An attempt failed; the port tries again if its string says so.
    Refused(String),
    /// So many transmit queues have a peer now, counted from the first.
    TxQueues(usize),
    /// Something went wrong that does not end the link.
    Trouble(String),
}

/// The queues of a link.
pub(crate) struct Link {
    pub(crate) rx: Vec<Box<dyn PacketRx>>,
    pub(crate) tx: Vec<Box<dyn PacketTx>>,
    /// Transmit queues that have a peer, counted from the first.
    pub(crate) tx_in_use: usize,
    /// The address at which packets reach us, where the link has one.
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) facts: Facts,
}

/// With whom a link is, and what was agreed on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) protocol: String,
    pub(crate) peer: String,
    pub(crate) interface: String,
    /// What was agreed on, by name.
    pub(crate) features: Vec<String>,
    /// The peer's process; 0 when the kernel does not tell.
    pub(crate) pid: i32,
    pub(crate) rx_queues: usize,
    pub(crate) tx_queues: usize,
    pub(crate) ring_size: u32,
    /// `None` where the peer has the buffers.
    pub(crate) buffer_bytes: Option<u32>,
}

impl Port {
    /// Listens or starts to connect; does not wait.
    pub(crate) fn open(name: &PortName) -> anyhow::Result<Self> {
        let (driver, once) = match name {
            PortName::Memif(config) => memif::open(config)?,
            PortName::Vhost(config) => vhost::open(config)?,
            PortName::Tap(config) => tap::open(config)?,
            PortName::Vdpa(config) => vdpa::open(config)?,
        };
        Ok(Self { driver, once })
    }

    /// Waits up to `timeout` for something to happen to the link.
    pub(crate) fn poll(&mut self, timeout: Duration) -> anyhow::Result<Option<Event>> {
        match &mut self.driver {
            Driver::Memif(port) => {
                let event = port.poll(Some(timeout)).context("memif port")?;
                Ok(event.and_then(memif::event))
            }
            Driver::Vhost(port) => {
                let event = port.poll(Some(timeout)).context("vhost-user port")?;
                Ok(event.and_then(vhost::event))
            }
            Driver::Tap(port) => {
                let event = port.poll(Some(timeout)).context("TAP")?;
                Ok(event.map(|event| tap::event(port, event)))
            }
            Driver::Vdpa(port) => {
                let event = port.poll(Some(timeout)).context("vDPA port")?;
                Ok(event.and_then(vdpa::event))
            }
        }
    }

    /// Whether the port does not try again once a link or an attempt has ended.
    pub(crate) fn is_once(&self) -> bool {
        self.once
    }

    /// Leaves for good, and tells the peer where the protocol has a word for that.
    pub(crate) fn close(self) {
        match self.driver {
            Driver::Memif(port) => port.close("ringport ends"),
            Driver::Vhost(port) => drop(port),
            Driver::Tap(port) => drop(port),
            Driver::Vdpa(port) => drop(port),
        }
    }
}

impl AsFd for Port {
    /// Readable when [`poll`](Port::poll) has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.driver {
            Driver::Memif(port) => port.as_fd(),
            Driver::Vhost(port) => port.as_fd(),
            Driver::Tap(port) => port.as_fd(),
            Driver::Vdpa(port) => port.as_fd(),
        }
    }
}

impl Link {
    fn new(
        rx: Vec<impl PacketRx + 'static>,
        tx: Vec<impl PacketTx + 'static>,
        facts: Facts,
    ) -> Self {
        let rx = rx.into_iter().map(|rx| Box::new(rx) as Box<dyn PacketRx>).collect();
        let tx: Vec<_> = tx.into_iter().map(|tx| Box::new(tx) as Box<dyn PacketTx>).collect();
        Self { rx, tx_in_use: tx.len(), tx, mac: None, facts }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// An error with its causes, on one line.
fn chain(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_protocols_are_refused_with_a_hint() {
        let refusal = |text: &str| text.parse::<PortName>().unwrap_err().to_string();
        assert!(refusal("/run/a.sock").contains("starts with memif:, vhost:, tap: or vdpa:"));
        assert!(refusal("tun:a").contains("starts with memif:, vhost:, tap: or vdpa:"));
        assert!(refusal("tap:a,mtu=1").contains("mtu=1 is out of range"));
        assert!(refusal("vhost:/a").contains("role is missing"));
        assert!(refusal("vdpa:vf0").contains("or a node, such as /dev/vhost-vdpa-0"));
        assert!(refusal("memif:/a,role=boss").contains("role=boss"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let name: PortName = "memif:/a,role=client,secret=hush".parse().unwrap();
        assert_eq!(name.to_string(), "memif:/a,role=client,id=0");
    }
}
