//! memif ports.

use super::{Driver, Event, Facts, Link};
use anyhow::Context;
use ringport_memif::config::{ClientConfig, Reconnect, RoleConfig};
use ringport_memif::{CacheLine, EventKind, Mode, Port, PortConfig};

/// Opens a port, and says whether its link is the only one.
pub(super) fn open(config: &PortConfig) -> anyhow::Result<(Driver, bool)> {
    let once = matches!(
        &config.role,
        RoleConfig::Client(ClientConfig { reconnect: Reconnect::Never, .. })
    );
    let port = Port::new(config.clone()).with_context(|| format!("cannot open {config}"))?;
    Ok((Driver::Memif(port), once))
}

pub(super) fn is_ethernet(config: &PortConfig) -> bool {
    match &config.role {
        RoleConfig::Client(client) => client.mode == Mode::Ethernet,
        RoleConfig::Server(_, interface) => interface.mode == Mode::Ethernet,
    }
}

pub(super) fn event(event: ringport_memif::Event) -> Option<Event> {
    match event.kind {
        EventKind::LinkUp(link) => Some(Event::Up(self::link(*link))),
        EventKind::LinkDown(reason) => Some(Event::Down(reason.to_string())),
        EventKind::Refused(error) => {
            Some(Event::Refused(format!("{:#}", anyhow::Error::new(error))))
        }
        _ => None,
    }
}

fn link(link: ringport_memif::Link) -> Link {
    let (peer, parameters) = (link.peer, link.parameters);
    let facts = Facts {
        protocol: format!("memif {}.{}", peer.version >> 8, peer.version & 0xff),
        peer: peer.app_name.to_string(),
        interface: peer.if_name.to_string(),
        features: vec![match parameters.cache_line {
            CacheLine::B64 => "64-byte lines".into(),
            CacheLine::B128 => "128-byte lines".into(),
        }],
        pid: peer.credentials.pid,
        rx_queues: link.rx.len(),
        tx_queues: link.tx.len(),
        ring_size: 1 << parameters.log2_ring_size,
        buffer_bytes: parameters.buffer_size,
    };
    Link::new(link.rx, link.tx, facts)
}
