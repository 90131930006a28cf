//! The side that receives and checks.

use super::flows::{Flows, Found};
use super::frame::{IP_LEN_MAX, PROBE, Read, Reader, link_len, monotonic};
use crate::port::Link;
use crate::times::Times;
use std::time::Instant;

#[derive(Debug)]
pub(super) struct Receiver {
    reader: Reader,
    /// Where frames are copied to before anybody looks at them.
    private: Vec<u8>,
    flows: Flows,
    pub(super) found: Found,
    /// From the sender's stamp to ours.
    pub(super) times: Times,
    /// A probe came over this link.
    pub(super) probed: bool,
    /// When the first and the last frame came.
    came: Option<(Instant, Instant)>,
}

/// Packets taken at a time.
const BURST: usize = 64;

impl Receiver {
    pub(super) fn new(ethernet: bool) -> anyhow::Result<Self> {
        Ok(Self {
            reader: Reader::new(ethernet),
            // A byte more than the longest frame has: a longer one has a wrong length.
            private: vec![0; link_len(ethernet) + IP_LEN_MAX + 1],
            flows: Flows::default(),
            found: Found::default(),
            times: Times::new()?,
            probed: false,
            came: None,
        })
    }

    pub(super) fn first(&self) -> Option<Instant> {
        self.came.map(|(first, _)| first)
    }

    pub(super) fn last(&self) -> Option<Instant> {
        self.came.map(|(_, last)| last)
    }

    /// Behind the link may be another sender now.
    pub(super) fn link_up(&mut self) {
        self.flows.restart();
        self.probed = false;
    }

    /// Takes one burst from each queue; returns how many packets.
    pub(super) fn receive(&mut self, link: &mut Link) -> usize {
        let mut taken = 0;
        for rx in &mut link.rx {
            // An error means that the link has ended.
            let Ok(burst) = rx.rx_burst(BURST) else { continue };
            if burst.is_empty() {
                continue;
            }
            taken += burst.len();
            let (now, before) = (monotonic(), self.found.packets);
            for packet in burst.packets() {
                let len = packet.copy_to(&mut self.private);
                self.check(len, now);
            }
            if self.found.packets > before {
                let now = Instant::now();
                self.came = Some((self.first().unwrap_or(now), now));
            }
        }
        taken
    }

    /// Checks the first `len` private bytes.
    fn check(&mut self, len: usize, now: u64) {
        let found = &mut self.found;
        match self.reader.read(&self.private[..len]) {
            Read::Other => found.other += 1,
            Read::WrongLength => found.wrong_length += 1,
            Read::Ours { head, .. } if head.flow == PROBE => self.probed = true,
            Read::Ours { head, whole } => {
                found.wrong_payload += u64::from(!whole);
                self.flows.take(head.flow, head.number, len, found);
                self.times.record(now.saturating_sub(head.sent));
            }
        }
    }
}
