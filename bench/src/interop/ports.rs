//! Ports of either protocol in whatever role, for what is done with all of them alike.

use super::{Outcome, chain, echo, wait_until};
use ringport::burst::{PacketRx, PacketTx};
use ringport_memif::EventKind;
use ringport_vhost_user::Event;
use std::fmt::Debug;
use std::time::Duration;

/// Something that comes from a port string.
pub trait AnyPort: Debug + Send {
    /// What happened, waiting so long for it.
    ///
    /// # Errors
    /// When the port cannot be polled.
    fn look(&mut self, patience: Duration) -> Outcome<Seen>;
}

/// What happened to a port.
#[derive(Debug)]
pub enum Seen {
    /// A link is up.
    Up(Queues),
    /// The link is down, because the peer is gone.
    Gone,
    /// An attempt failed, for this reason and those behind it.
    Refused(String),
    /// A link went down for another reason, or something of it does not work.
    Wrong(String),
    /// Something that does not matter.
    Other,
    /// Nothing.
    Nothing,
}

/// The queues of a link.
#[derive(Debug)]
pub struct Queues {
    /// What we receive from.
    pub rx: Vec<Box<dyn PacketRx>>,
    /// What we send to.
    pub tx: Vec<Box<dyn PacketTx>>,
}

/// Opens the port that a port string describes.
///
/// # Errors
/// When the string is none, or the port cannot be opened.
pub fn open(port: &str) -> Outcome<Box<dyn AnyPort>> {
    Ok(if port.starts_with(ringport_memif::port_string::SCHEME) {
        Box::new(ringport_memif::Port::open(port)?)
    } else {
        Box::new(ringport_vhost_user::Port::open(port)?)
    })
}

/// Waits for the next link of a port.
///
/// # Errors
/// When there is none in time.
pub fn wait_up(port: &mut dyn AnyPort) -> Outcome<Queues> {
    wait_until("a link", || match port.look(Duration::from_millis(1))? {
        Seen::Up(link) => Ok(Some(link)),
        _ => Ok(None),
    })
}

/// Waits for the links of two ports that find each other.
///
/// # Errors
/// When they do not in time.
pub fn wait_both(ports: &mut [Box<dyn AnyPort>; 2]) -> Outcome<[Queues; 2]> {
    let mut links = [None, None];
    wait_until("both links", || {
        for (port, link) in ports.iter_mut().zip(&mut links) {
            if let Seen::Up(up) = port.look(Duration::from_millis(1))? {
                *link = Some(up);
            }
        }
        Ok(match &mut links {
            [first @ Some(_), second @ Some(_)] => first.take().zip(second.take()),
            _ => None,
        })
    })
    .map(<[Queues; 2]>::from)
}

impl Queues {
    fn new<R: PacketRx + 'static, T: PacketTx + 'static>(rx: Vec<R>, tx: Vec<T>) -> Self {
        let rx = rx.into_iter().map(|rx| Box::new(rx) as _).collect();
        Self { rx, tx: tx.into_iter().map(|tx| Box::new(tx) as _).collect() }
    }

    /// Has the queues move packets for so long.
    ///
    /// # Errors
    /// As [`echo::pump`].
    pub fn pump(&mut self, time: Duration) -> Outcome {
        echo::pump(&mut self.rx, &mut self.tx, time)
    }

    /// Packets received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.rx.iter().map(|rx| rx.stats().packets).sum()
    }
}

impl AnyPort for ringport_memif::Port {
    fn look(&mut self, patience: Duration) -> Outcome<Seen> {
        use ringport_memif::DownReason as Reason;
        Ok(match self.poll(Some(patience))?.map(|event| event.kind) {
            Some(EventKind::LinkUp(link)) => Seen::Up(Queues::new(link.rx, link.tx)),
            Some(EventKind::LinkDown(Reason::PeerClosed)) => Seen::Gone,
            Some(EventKind::LinkDown(other)) => Seen::Wrong(chain(&other)),
            Some(EventKind::Refused(error)) => Seen::Refused(chain(&error)),
            Some(_) => Seen::Other,
            None => Seen::Nothing,
        })
    }
}

impl AnyPort for ringport_vhost_user::Port {
    fn look(&mut self, patience: Duration) -> Outcome<Seen> {
        use ringport_vhost_user::DownReason as Reason;
        Ok(match self.poll(Some(patience))? {
            Some(Event::LinkUp(link)) => Seen::Up(Queues::new(link.rx, link.tx)),
            Some(Event::LinkDown(Reason::PeerClosed)) => Seen::Gone,
            Some(Event::LinkDown(other)) => Seen::Wrong(chain(&other)),
            Some(Event::Refused(reason)) => Seen::Refused(chain(&reason)),
            Some(Event::RequestRefused(error)) => Seen::Wrong(chain(&error)),
            Some(Event::RingBroken { ring, error }) => {
                Seen::Wrong(format!("ring {ring} is broken: {error}"))
            }
            Some(_) => Seen::Other,
            None => Seen::Nothing,
        })
    }
}
