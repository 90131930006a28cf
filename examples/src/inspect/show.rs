//! What is said of a link.

use crate::log::Log;
use crate::port::{Facts, Link};
use crate::show::count;
use ringport::burst::{PacketRx, PacketTx};
use ringport::ring_view::RingView;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A link at a moment.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename = "look")]
pub(super) struct Look<'l> {
    link: &'l Facts,
    rings: Vec<Queue>,
}

#[derive(Debug, Serialize)]
struct Queue {
    /// From our side.
    direction: &'static str,
    queue: usize,
    /// `None` while the peer has started none.
    ring: Option<Ring>,
    counters: BTreeMap<&'static str, u64>,
}

/// A ring at a moment.
#[derive(Debug, Serialize)]
pub(super) struct Ring {
    layout: &'static str,
    size: u16,
    words: BTreeMap<&'static str, u16>,
}

impl<'l> Look<'l> {
    pub(super) fn at(link: &'l Link) -> Self {
        let rx = link
            .rx
            .iter()
            .enumerate()
            .map(|(queue, rx)| Queue::new("in", queue, rx.ring_view(), &rx.stats().named()));
        let tx = link
            .tx
            .iter()
            .enumerate()
            .map(|(queue, tx)| Queue::new("out", queue, tx.ring_view(), &tx.stats().named()));
        Self { link: &link.facts, rings: rx.chain(tx).collect() }
    }

    pub(super) fn say(&self, log: Log) -> anyhow::Result<()> {
        log.say(self, || self.text())
    }

    fn text(&self) -> String {
        let link = self.link;
        let mut text = format!("{}, {}, {}", link.protocol, link.peer, link.interface);
        if !link.features.is_empty() {
            let _ = write!(text, "\nagreed on: {}", link.features.join(" "));
        }
        for queue in &self.rings {
            let _ = write!(text, "\n{} {}: ", queue.direction, queue.queue);
            match &queue.ring {
                Some(ring) => text.push_str(&ring.text()),
                None => text.push_str("no ring yet"),
            }
            let counted = queue.counters.iter().filter(|(_, number)| **number > 0);
            let counted: Vec<_> =
                counted.map(|(name, number)| format!("{name} {}", count(*number))).collect();
            if !counted.is_empty() {
                let _ = write!(text, "\n    {}", counted.join(", "));
            }
        }
        text
    }
}

impl Queue {
    fn new(
        direction: &'static str,
        queue: usize,
        view: Option<RingView>,
        counters: &[(&'static str, u64)],
    ) -> Self {
        let counters = counters.iter().copied().collect();
        Self { direction, queue, ring: view.map(Ring::from), counters }
    }
}

impl From<RingView> for Ring {
    fn from(view: RingView) -> Self {
        let RingView { layout, size, words } = view;
        Self { layout, size, words: words.into_iter().collect() }
    }
}

impl Ring {
    pub(super) fn text(&self) -> String {
        let words: Vec<_> =
            self.words.iter().map(|(name, word)| format!("{name} {word}")).collect();
        format!("{} ring of {}, {}", self.layout, self.size, words.join(", "))
    }
}
