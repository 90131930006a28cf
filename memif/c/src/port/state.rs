//! What is behind the handle of a port.

use super::{
    Event, LinkInfo, RINGPORT_MEMIF_LINK_DOWN, RINGPORT_MEMIF_LINK_UP, RINGPORT_MEMIF_REFUSED,
};
use crate::error::{Chain, Failure, c_text, control_code, down_code};
use ringport_memif::{ControlError, EventKind, Link, Port, Role, RxQueue, TxQueue};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

pub(super) struct State {
    port: Port,
    link: Option<Up>,
}

/// The link that is up, and those of its queues that nobody has taken.
struct Up {
    info: LinkInfo,
    rx: Vec<Option<RxQueue>>,
    tx: Vec<Option<TxQueue>>,
}

impl State {
    pub(super) fn new(port: Port) -> Self {
        Self { port, link: None }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }

    /// The next event, with what went wrong when it is a refusal.
    pub(super) fn poll(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<(Event, Option<ControlError>)>, Failure> {
        let Some(event) = self.port.poll(timeout)? else { return Ok(None) };
        Ok(Some(match event.kind {
            EventKind::LinkUp(link) => (self.link_up(*link), None),
            EventKind::LinkDown(reason) => {
                self.link = None;
                let code = down_code(&reason);
                (Event::new(RINGPORT_MEMIF_LINK_DOWN, code, &Chain(&reason)), None)
            }
            EventKind::Refused(error) => {
                let code = control_code(&error);
                (Event::new(RINGPORT_MEMIF_REFUSED, code, &Chain(&error)), Some(error))
            }
            // None so far. A link is not touched by what is not known here.
            _ => (Event::new(0, 0, &""), None),
        }))
    }

    fn link_up(&mut self, link: Link) -> Event {
        let info = self.describe(&link);
        let Link { rx, tx, .. } = link;
        let (rx, tx) = (rx.into_iter().map(Some).collect(), tx.into_iter().map(Some).collect());
        self.link = Some(Up { info, rx, tx });
        let LinkInfo { rx_queues, tx_queues, .. } = info;
        Event { rx_queues, tx_queues, ..Event::new(RINGPORT_MEMIF_LINK_UP, 0, &"") }
    }

    fn describe(&self, link: &Link) -> LinkInfo {
        let (peer, parameters) = (&link.peer, &link.parameters);
        LinkInfo {
            id: self.port.id(),
            is_server: u32::from(self.port.role() == Role::Server),
            rx_queues: count(link.rx.len()),
            tx_queues: count(link.tx.len()),
            ring_size: 1_u32.checked_shl(parameters.log2_ring_size.into()).unwrap_or(0),
            buffer_size: parameters.buffer_size.unwrap_or(0),
            peer_pid: u32::try_from(peer.credentials.pid).unwrap_or(0),
            peer_uid: peer.credentials.uid,
            peer_gid: peer.credentials.gid,
            version: peer.version.into(),
            peer_name: c_text(&peer.app_name),
            peer_if_name: c_text(&peer.if_name),
        }
    }

    pub(super) fn wait_link_up(&mut self, timeout: Option<Duration>) -> Result<(), Failure> {
        let start = Instant::now();
        let mut last = None;
        loop {
            let left = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
            // A link that is up may have gone down since somebody looked.
            let up = self.link.is_some();
            let wait = if up { Some(Duration::ZERO) } else { left };
            match self.poll(wait)? {
                None if up => return Ok(()),
                None => return Err(last.map_or(Failure::Timeout, Failure::Control)),
                Some((_, Some(error))) => last = Some(error),
                Some((_, None)) => {}
            }
        }
    }

    pub(super) fn link_info(&self) -> Result<LinkInfo, Failure> {
        self.link.as_ref().map(|up| up.info).ok_or(Failure::NoLink)
    }

    pub(super) fn take_rx(&mut self, index: u32) -> Result<RxQueue, Failure> {
        take(self.link.as_mut().map(|up| &mut up.rx), index)
    }

    pub(super) fn take_tx(&mut self, index: u32) -> Result<TxQueue, Failure> {
        take(self.link.as_mut().map(|up| &mut up.tx), index)
    }

    pub(super) fn close(self, reason: &str) {
        self.port.close(reason);
    }
}

fn take<Q>(queues: Option<&mut Vec<Option<Q>>>, index: u32) -> Result<Q, Failure> {
    let no = |why| move || Failure::NoQueue { index, why };
    let queues = queues.ok_or_else(no("there is no link"))?;
    let queue = usize::try_from(index).ok().and_then(|at| queues.get_mut(at));
    queue.ok_or_else(no("the link has fewer"))?.take().ok_or_else(no("it was taken already"))
}

impl Event {
    fn new(kind: u32, error: i32, reason: &dyn std::fmt::Display) -> Self {
        Self { kind, error, rx_queues: 0, tx_queues: 0, reason: c_text(reason) }
    }
}

/// Both drivers hold counts to what fits 16 bits.
fn count(queues: usize) -> u32 {
    u32::try_from(queues).unwrap_or(u32::MAX)
}
