//! vhost-user ports.

use super::{Driver, Event, Facts, Link, chain};
use anyhow::Context;
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::wire::feature;
use ringport_vhost_user::{AnyRxQueue, Port, PortConfig, PortEvent, PortLink};

/// Opens a port, and says whether its link is the only one.
pub(super) fn open(config: &PortConfig) -> anyhow::Result<(Driver, bool)> {
    let once = matches!(config.socket, SocketRole::Connect(ringport::retry::Reconnect::Never));
    let port = Port::new(config.clone()).with_context(|| format!("cannot open {config}"))?;
    Ok((Driver::Vhost(Box::new(port)), once))
}

pub(super) fn event(event: PortEvent) -> Option<Event> {
    use PortEvent as E;
    match event {
        E::LinkUp(link) => Some(Event::Up(self::link(*link))),
        E::LinkDown(reason) => Some(Event::Down(chain(reason))),
        E::Refused(reason) => Some(Event::Refused(chain(reason))),
        E::RequestRefused(error) => Some(Event::Trouble(chain(error))),
        E::RingBroken { ring, error } => {
            Some(Event::Trouble(format!("driver broke ring {ring}: {error}")))
        }
        E::PairsEnabled(pairs) => Some(Event::TxQueues(pairs.into())),
        _ => None,
    }
}

fn link(link: PortLink) -> Link {
    let parameters = link.parameters;
    let ours_is_device = matches!(link.rx.first(), Some(AnyRxQueue::Device(_)));
    let layout = if parameters.packed { "packed" } else { "split" };
    let facts = Facts {
        protocol: format!("vhost-user, {layout} rings"),
        peer: if ours_is_device { "driver" } else { "device" }.into(),
        interface: format!("features {:#x}", parameters.features),
        features: feature::names(parameters.features),
        pid: link.peer.pid,
        rx_queues: link.rx.len(),
        tx_queues: link.tx.len(),
        ring_size: parameters.ring_sizes[0].into(),
        buffer_bytes: parameters.buffer_size,
    };
    Link::new(link.rx, link.tx, facts)
}
