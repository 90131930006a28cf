//! Ports of ours by protocol: opened, and connected to the peer.

use super::Traffic;
use anyhow::Context;
use ringport_bench::shared::Board;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the peer may take to come up.
pub(super) const LINK_DEADLINE: Duration = Duration::from_secs(30);

/// The queues of a connected port, which must live as long as they do.
pub(super) struct Connected<P, R, T> {
    pub(super) rx: Vec<R>,
    pub(super) tx: Vec<T>,
    _port: P,
}

/// Opens a memif port, says so, and waits for the peer.
pub(super) fn memif(
    traffic: &Traffic,
    board: &Board,
) -> anyhow::Result<Connected<ringport_memif::Port, ringport_memif::RxQueue, ringport_memif::TxQueue>>
{
    let mut port =
        ringport_memif::Port::open(&traffic.port).with_context(|| traffic.port.clone())?;
    board.set_ready();
    let link = port.wait_link_up(LINK_DEADLINE).with_context(|| traffic.port.clone())?;
    Ok(Connected { rx: link.rx, tx: link.tx, _port: port })
}

/// As [`memif`], a vhost-user port, which goes on to answer its driver on a thread of its own.
pub(super) fn vhost_user(
    traffic: &Traffic,
    board: &Board,
) -> anyhow::Result<
    Connected<JoinHandle<()>, ringport_vhost_user::AnyRxQueue, ringport_vhost_user::AnyTxQueue>,
> {
    let mut port =
        ringport_vhost_user::Port::open(&traffic.port).with_context(|| traffic.port.clone())?;
    board.set_ready();
    let link = port.wait_link_up(LINK_DEADLINE).with_context(|| traffic.port.clone())?;
    // It sleeps unless the driver asks something, and ends with the process.
    let served =
        std::thread::spawn(move || while port.poll(None).is_ok_and(|event| event.is_some()) {});
    Ok(Connected { rx: link.rx, tx: link.tx, _port: served })
}
