//! Ports of any protocol, named by a string: `memif:/run/a.sock,role=client,id=0`.
//!
//! The protocol is known here and nowhere else: a link that is up is boxed queues, which cost one
//! dynamic call a burst.

use anyhow::{Context, bail};
use ringport::burst::{PacketRx, PacketTx};
use ringport_memif::config::{ClientConfig, Reconnect, RoleConfig};
use ringport_memif::{EventKind, PortConfig};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::str::FromStr;
use std::time::Duration;

/// A port string that has been read and understood.
#[derive(Debug, Clone)]
pub(crate) enum PortName {
    Memif(Box<PortConfig>),
}

impl FromStr for PortName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.split_once(':') {
            Some(("memif", _)) => Ok(Self::Memif(Box::new(text.parse()?))),
            Some((scheme @ ("vhost" | "vhost-user"), _)) => {
                bail!("{scheme}: ports are not supported yet, only memif:")
            }
            _ => bail!("a port starts with memif:, as in memif:/run/a.sock,role=client,id=0"),
        }
    }
}

impl fmt::Display for PortName {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memif(config) => config.fmt(f),
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
}

/// The queues of a link.
pub(crate) struct Link {
    pub(crate) rx: Vec<Box<dyn PacketRx>>,
    pub(crate) tx: Vec<Box<dyn PacketTx>>,
    pub(crate) facts: Facts,
}

/// With whom a link is, and what was agreed on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) protocol: String,
    pub(crate) peer: String,
    pub(crate) interface: String,
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
        let PortName::Memif(config) = name;
        let once = matches!(
            &config.role,
            RoleConfig::Client(ClientConfig { reconnect: Reconnect::Never, .. })
        );
        let port = ringport_memif::Port::new((**config).clone());
        let driver = Driver::Memif(port.with_context(|| format!("cannot open {name}"))?);
        Ok(Self { driver, once })
    }

    /// Waits up to `timeout` for something to happen to the link.
    pub(crate) fn poll(&mut self, timeout: Duration) -> anyhow::Result<Option<Event>> {
        let Driver::Memif(port) = &mut self.driver;
        let event = port.poll(Some(timeout)).context("memif port")?;
        Ok(event.and_then(|event| match event.kind {
            EventKind::LinkUp(link) => Some(Event::Up(Link::of_memif(*link))),
            EventKind::LinkDown(reason) => Some(Event::Down(reason.to_string())),
            EventKind::Refused(error) => {
                Some(Event::Refused(format!("{:#}", anyhow::Error::new(error))))
            }
            _ => None,
        }))
    }

    /// Whether the port does not try again once a link or an attempt has ended.
    pub(crate) fn is_once(&self) -> bool {
        self.once
    }

    /// Leaves for good, and tells the peer.
    pub(crate) fn close(self) {
        let Driver::Memif(port) = self.driver;
        port.close("ringport ends");
    }
}

impl AsFd for Port {
    /// Readable when [`poll`](Port::poll) has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        let Driver::Memif(port) = &self.driver;
        port.as_fd()
    }
}

impl Link {
    fn of_memif(link: ringport_memif::Link) -> Self {
        let (peer, parameters) = (link.peer, link.parameters);
        let facts = Facts {
            protocol: format!("memif {}.{}", peer.version >> 8, peer.version & 0xff),
            peer: peer.app_name.to_string(),
            interface: peer.if_name.to_string(),
            pid: peer.credentials.pid,
            rx_queues: link.rx.len(),
            tx_queues: link.tx.len(),
            ring_size: 1 << parameters.log2_ring_size,
            buffer_bytes: parameters.buffer_size,
        };
        let rx = link.rx.into_iter().map(|rx| Box::new(rx) as Box<dyn PacketRx>).collect();
        let tx = link.tx.into_iter().map(|tx| Box::new(tx) as Box<dyn PacketTx>).collect();
        Self { rx, tx, facts }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("facts", &self.facts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_protocols_are_refused_with_a_hint() {
        let refusal = |text: &str| text.parse::<PortName>().unwrap_err().to_string();
        assert_eq!(refusal("vhost:/a"), "vhost: ports are not supported yet, only memif:");
        assert!(refusal("/run/a.sock").contains("starts with memif:"));
        assert!(refusal("memif:/a,role=boss").contains("role=boss"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let name: PortName = "memif:/a,role=client,secret=hush".parse().unwrap();
        assert_eq!(name.to_string(), "memif:/a,role=client,id=0");
    }
}
