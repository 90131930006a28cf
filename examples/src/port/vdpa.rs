//! vDPA devices.

use super::{Driver, Event, Facts, Link, chain};
use anyhow::Context;
use ringport::retry::Reconnect;
use ringport_vdpa::{Port, PortConfig, PortEvent, PortLink};
use ringport_vhost_user::wire::feature;

/// Opens a port, and says whether its link is the only one.
pub(super) fn open(config: &PortConfig) -> anyhow::Result<(Driver, bool)> {
    let once = config.reconnect == Reconnect::Never;
    let port = Port::new(config.clone()).with_context(|| format!("cannot open {config}"))?;
    Ok((Driver::Vdpa(Box::new(port)), once))
}

pub(super) fn event(event: PortEvent) -> Option<Event> {
    match event {
        PortEvent::LinkUp(link) => Some(Event::Up(self::link(*link))),
        PortEvent::LinkDown(reason) => Some(Event::Down(chain(reason))),
        PortEvent::Refused(reason) => Some(Event::Refused(chain(reason))),
        PortEvent::Carrier(up) => {
            let state = if up { "up" } else { "down" };
            Some(Event::Trouble(format!("the device's link to the network is {state}")))
        }
        _ => None,
    }
}

fn link(link: PortLink) -> Link {
    let parameters = link.parameters;
    let layout = if parameters.packed { "packed" } else { "split" };
    let facts = Facts {
        protocol: format!("vDPA, {layout} rings"),
        peer: format!("device {}", parameters.device),
        interface: format!("features {:#x}", parameters.features),
        features: feature::names(parameters.features),
        pid: 0,
        rx_queues: link.rx.len(),
        tx_queues: link.tx.len(),
        ring_size: parameters.ring_sizes[0].into(),
        buffer_bytes: Some(parameters.buffer_size),
    };
    Link { mac: parameters.mac, ..Link::new(link.rx, link.tx, facts) }
}
