//! Two links, somebody who forwards between them, and one who keeps both busy.

use super::driver::{Sink, connect};
use super::ports::LINK_DEADLINE;
use super::{Driver, Traffic};
use ringport::burst::forward;
use ringport_bench::frames::{FramePool, POOL_FRAMES};
use ringport_bench::shared::Board;

/// Forwards from a memif port to a vhost-user port, and back. Both are opened before either is
/// connected.
pub(super) fn run([memif, vhost]: &[String; 2], burst: usize, board: &Board) -> anyhow::Result<()> {
    let mut left = ringport_memif::Port::open(memif)?;
    let mut right = ringport_vhost_user::Port::open(vhost)?;
    board.set_ready();
    let mut a = left.wait_link_up(LINK_DEADLINE)?;
    let mut b = right.wait_link_up(LINK_DEADLINE)?;
    // It sleeps unless the driver asks something, and ends with the process.
    std::thread::spawn(move || while right.poll(None).is_ok_and(|event| event.is_some()) {});
    while board.may_go_on() {
        forward(&mut a.rx[0], &mut b.tx[0], burst)?;
        forward(&mut b.rx[0], &mut a.tx[0], burst)?;
    }
    Ok(())
}

/// Sends on a memif port, and takes what arrives at a driver: a burst of each in turn, on one core.
pub(super) fn circle(traffic: &Traffic, job: &Driver, board: &Board) -> anyhow::Result<()> {
    let pool = FramePool::new(traffic.frame_len, traffic.pool_frames.unwrap_or(POOL_FRAMES));
    let mut port = ringport_memif::Port::open(&traffic.port)?;
    board.set_ready();
    let mut source = port.wait_link_up(LINK_DEADLINE)?;
    let (mut link, mut sink) = (connect(job)?, Sink::new(job));
    let mut next = 0;
    while board.may_go_on() {
        let mut out = source.tx[0].tx_burst(traffic.burst)?;
        while out.push(pool.frame(next)).is_ok() {
            next += 1;
        }
        let sent = out.commit();
        sink.counts.offers += 1;
        sink.counts.short_offers += u64::from(sent < traffic.burst);
        sink.take(&mut link);
        board.publish(&sink.counts);
    }
    Ok(())
}
