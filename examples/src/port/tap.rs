//! TAPs.

use super::{Driver, Event, Facts, Link};
use anyhow::Context;
use ringport::tap::{SLOT_BYTES, SLOTS, Tap, TapConfig, TapEvent};

/// Makes a TAP, whose link is the only one.
pub(super) fn open(config: &TapConfig) -> anyhow::Result<(Driver, bool)> {
    let tap = Tap::open(config).with_context(|| format!("cannot open {config}"))?;
    Ok((Driver::Tap(tap), true))
}

pub(super) fn event(tap: &Tap, event: TapEvent) -> Event {
    let name = tap.name();
    let TapEvent::LinkUp(link) = event else {
        return Event::Down(format!("interface {name} is gone"));
    };
    let facts = Facts {
        protocol: "TAP".into(),
        peer: format!("interface {name}"),
        interface: name.to_owned(),
        features: Vec::new(),
        pid: 0,
        rx_queues: 1,
        tx_queues: 1,
        ring_size: u32::try_from(SLOTS).unwrap_or_default(),
        buffer_bytes: Some(SLOT_BYTES),
    };
    Event::Up(Link::new(vec![link.rx], vec![link.tx], facts))
}
