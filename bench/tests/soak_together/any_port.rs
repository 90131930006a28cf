//! A port of either protocol, by its string.

use ringport::burst::{PacketRx, PacketTx};
use ringport_bench::interop::{Outcome, chain};
use std::time::Duration;

pub(crate) type Queues = (Box<dyn PacketRx>, Box<dyn PacketTx>);

pub(crate) enum AnyPort {
    Memif(ringport_memif::Port),
    Vhost(ringport_vhost_user::Port),
}

pub(crate) enum Happened {
    Up(Queues),
    /// And why.
    #[allow(dead_code, reason = "not every test shows it")]
    Down(String),
    /// An attempt failed, or something else that needs no answer.
    Else,
    Nothing,
}

impl AnyPort {
    pub(crate) fn open(port: &str) -> Outcome<Self> {
        Ok(if port.starts_with("memif:") {
            Self::Memif(ringport_memif::Port::open(port)?)
        } else {
            Self::Vhost(ringport_vhost_user::Port::open(port)?)
        })
    }

    pub(crate) fn poll(&mut self, timeout: Duration) -> Outcome<Happened> {
        Ok(match self {
            Self::Memif(port) => port.poll(Some(timeout))?.map_or(Happened::Nothing, of_memif),
            Self::Vhost(port) => port.poll(Some(timeout))?.map_or(Happened::Nothing, of_vhost),
        })
    }
}

fn of_memif(event: ringport_memif::Event) -> Happened {
    match event.kind {
        ringport_memif::EventKind::LinkUp(mut link) => {
            Happened::Up((Box::new(link.rx.remove(0)), Box::new(link.tx.remove(0))))
        }
        ringport_memif::EventKind::LinkDown(reason) => Happened::Down(chain(&reason)),
        _ => Happened::Else,
    }
}

fn of_vhost(event: ringport_vhost_user::PortEvent) -> Happened {
    match event {
        ringport_vhost_user::PortEvent::LinkUp(mut link) => {
            Happened::Up((Box::new(link.rx.remove(0)), Box::new(link.tx.remove(0))))
        }
        ringport_vhost_user::PortEvent::LinkDown(reason) => Happened::Down(chain(&reason)),
        _ => Happened::Else,
    }
}
