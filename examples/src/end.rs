//! One port of a tool, with its link while it has one.

use crate::log::{Log, PortLine};
use crate::port::{Event, Link, Port, PortName};
use anyhow::bail;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct End {
    /// What the tool's output calls it.
    pub(crate) name: &'static str,
    port: Port,
    pub(crate) link: Option<Link>,
    /// The doorbells of the receive queues were asked for.
    armed: bool,
    /// Sent over links that are gone.
    past: Sent,
    /// Packets from here that the other port could not carry.
    pub(crate) dropped: u64,
    /// Why there is no link, as last reported.
    refusal: String,
}

/// What left through a port.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sent {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// Packets that the port was given, and that did not leave.
    pub(crate) lost: u64,
}

impl End {
    /// Listens or starts to connect; does not wait.
    pub(crate) fn open(name: &'static str, port: &PortName, log: Log) -> anyhow::Result<Self> {
        log.note(&PortLine::Open { port: name, name: port.to_string() }, || {
            format!("{name}: {port}")
        })?;
        let port = Port::open(port)?;
        let (past, refusal) = (Sent::default(), String::new());
        Ok(Self { name, port, link: None, armed: false, past, dropped: 0, refusal })
    }

    pub(crate) fn is_up(&self) -> bool {
        self.link.is_some()
    }

    /// Asks for a doorbell when the next packet comes; returns whether packets are waiting already.
    pub(crate) fn arm(&mut self) -> bool {
        self.armed = true;
        let queues = self.link.iter_mut().flat_map(|up| &mut up.rx);
        queues.fold(false, |waiting, rx| rx.arm().unwrap_or(false) | waiting)
    }

    pub(crate) fn disarm(&mut self) {
        self.armed = false;
    }

    /// The doorbells that were asked for.
    pub(crate) fn doorbells(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let queues = self.link.iter().filter(|_| self.armed).flat_map(|up| &up.rx);
        queues.map(|rx| rx.doorbell())
    }

    /// The next thing that happened to the port, if any.
    pub(crate) fn poll(&mut self) -> anyhow::Result<Option<Event>> {
        self.port.poll(Duration::ZERO)
    }

    /// Takes over what happened, and says so.
    pub(crate) fn take(&mut self, event: Event, log: Log) -> anyhow::Result<()> {
        let port = self.name;
        let ended = matches!(event, Event::Down(_) | Event::Refused(_));
        match event {
            Event::Up(link) => {
                log.up(port, &link.facts)?;
                self.refusal.clear();
                self.link = Some(link);
            }
            Event::Down(reason) => {
                self.past = self.sent();
                self.link = None;
                log.note(&PortLine::Down { port, reason: &reason }, || {
                    format!("{port}: down, {reason}")
                })?;
            }
            Event::Refused(reason) if reason != self.refusal => {
                log.note(&PortLine::Refused { port, reason: &reason }, || {
                    format!("{port}: no link, {reason}")
                })?;
                self.refusal = reason;
            }
            Event::Refused(_) => {}
            Event::TxQueues(count) => {
                if let Some(link) = &mut self.link {
                    link.tx_in_use = count;
                }
            }
            Event::Trouble(what) => {
                log.note(&PortLine::Trouble { port, what: &what }, || format!("{port}: {what}"))?;
            }
        }
        if ended && self.port.is_once() {
            bail!("port {port} has no link and is not to reconnect");
        }
        Ok(())
    }

    /// What left through this port so far.
    pub(crate) fn sent(&self) -> Sent {
        let queues = self.link.iter().flat_map(|link| &link.tx);
        queues.map(|tx| tx.stats()).fold(self.past, |sent, queue| Sent {
            packets: sent.packets + queue.packets,
            bytes: sent.bytes + queue.bytes,
            lost: sent.lost + queue.bad_header + queue.refused,
        })
    }

    pub(crate) fn close(self) {
        self.port.close();
    }
}

impl AsFd for End {
    /// Readable when there is something to [poll](End::poll).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }
}
