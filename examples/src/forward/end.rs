//! One of the two ports, with its link while it has one.

use super::report::Report;
use crate::port::{Event, Link, Port, PortName};
use anyhow::bail;
use ringport::burst;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct End {
    pub(super) name: &'static str,
    port: Port,
    link: Option<Link>,
    /// Sent over links that are gone.
    past: Sent,
    /// Packets from here that the other port could not carry.
    pub(super) dropped: u64,
    /// Why there is no link, as last reported.
    refusal: String,
}

/// What left through a port.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sent {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl End {
    pub(super) fn open(
        name: &'static str,
        port: &PortName,
        report: &mut Report,
    ) -> anyhow::Result<Self> {
        report.opened(name, port)?;
        let port = Port::open(port)?;
        let (past, refusal) = (Sent::default(), String::new());
        Ok(Self { name, port, link: None, past, dropped: 0, refusal })
    }

    /// Moves one burst from each receive queue to `to`, and returns how many packets are done with.
    /// Nothing moves unless both have a link.
    pub(super) fn move_to(&mut self, to: &mut Self, burst: usize) -> usize {
        let (Some(from), Some(to)) = (&mut self.link, &mut to.link) else {
            return 0;
        };
        let mut moved = 0;
        let tx_queues = to.tx_in_use.max(1);
        for (at, rx) in from.rx.iter_mut().enumerate() {
            let Some(tx) = to.tx.get_mut(at % tx_queues) else {
                return 0;
            };
            // An error means that one of the two links has ended: its port is about to say so.
            let done = burst::forward(&mut **rx, &mut **tx, burst).unwrap_or_default();
            self.dropped += done.dropped as u64;
            moved += done.packets + done.dropped;
        }
        moved
    }

    /// Asks for a doorbell when the next packet comes, if it could go on to `to`; returns whether
    /// packets are waiting already.
    pub(super) fn arm(&mut self, to: &Self) -> bool {
        let queues = self.link.iter_mut().filter(|_| to.link.is_some()).flat_map(|up| &mut up.rx);
        queues.fold(false, |waiting, rx| rx.arm().unwrap_or(false) | waiting)
    }

    /// The doorbells of packets that could go on to `to`.
    pub(super) fn doorbells(&self, to: &Self) -> Vec<BorrowedFd<'_>> {
        let queues = self.link.iter().filter(|_| to.link.is_some()).flat_map(|up| &up.rx);
        queues.map(|rx| rx.doorbell()).collect()
    }

    /// Deals with whatever happened to the link.
    pub(super) fn attend(
        &mut self,
        other: &mut Self,
        burst: usize,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        while let Some(event) = self.port.poll(Duration::ZERO)? {
            let ended = matches!(event, Event::Down(_) | Event::Refused(_));
            match event {
                Event::Up(link) => {
                    report.up(self.name, &link.facts)?;
                    self.refusal.clear();
                    self.link = Some(link);
                }
                Event::Down(reason) => {
                    // What the peer sent before it left is still there.
                    while self.move_to(other, burst) > 0 {}
                    self.past = self.sent();
                    self.link = None;
                    report.down(self.name, &reason)?;
                }
                Event::Refused(reason) if reason != self.refusal => {
                    report.refused(self.name, &reason)?;
                    self.refusal = reason;
                }
                Event::Refused(_) => {}
                Event::TxQueues(count) => {
                    if let Some(link) = &mut self.link {
                        link.tx_in_use = count;
                    }
                }
                Event::Trouble(what) => report.trouble(self.name, &what)?,
            }
            if ended && self.port.is_once() {
                bail!("port {} has no link and is not to reconnect", self.name);
            }
        }
        Ok(())
    }

    /// What left through this port so far.
    pub(super) fn sent(&self) -> Sent {
        let queues = self.link.iter().flat_map(|link| &link.tx);
        queues.map(|tx| tx.stats()).fold(self.past, |sent, queue| Sent {
            packets: sent.packets + queue.packets,
            bytes: sent.bytes + queue.bytes,
        })
    }

    pub(super) fn close(self) {
        self.port.close();
    }
}

impl AsFd for End {
    /// Readable when there is something to [attend](End::attend) to.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }
}
