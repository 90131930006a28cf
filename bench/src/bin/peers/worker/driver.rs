//! What workers do with a virtio driver of the benchmarks' own.

use super::{Driver, Task};
use anyhow::bail;
use ringport_bench::frames::{FrameCheck, FramePool, POOL_FRAMES};
use ringport_bench::in_thread::Rings;
use ringport_bench::shared::{Board, Counts};
use ringport_bench::virtio::{DriverMemory, Extent, FrontEnd};
use ringport_bench::workload::BURST;
use std::hint::spin_loop;

/// Descriptors in a ring, as with DPDK's driver.
const RING: u16 = 1024;

/// Does a task until the coordinator asks the worker to stop.
pub(super) fn run(task: Task, job: &Driver, board: &Board) -> anyhow::Result<()> {
    board.set_ready();
    let link = connect(job)?;
    match task {
        Task::Send => send(link, job, board),
        Task::Receive => receive(link, job, board),
        Task::Ping | Task::Pong => bail!("no driver does {task:?}"),
    }
}

/// Connects, and offers everything that the device may write to.
pub(super) fn connect(job: &Driver) -> anyhow::Result<FrontEnd> {
    let memory = DriverMemory::create(Extent { rings: 2, size: RING, regions: 1 })?;
    let mut link = FrontEnd::connect(&job.socket, &memory, job.format)?;
    link.rx.offer(link.rx.room());
    Ok(link)
}

fn send(mut link: FrontEnd, job: &Driver, board: &Board) -> anyhow::Result<()> {
    let pool = FramePool::new(job.frame_len, job.pool_frames.unwrap_or(POOL_FRAMES));
    let (mut next, mut counts) = (0, Counts::default());
    while board.may_go_on() {
        let sent = link.tx.send(job.burst, || {
            next += 1;
            pool.frame(next - 1)
        });
        counts.packets += sent as u64;
        counts.bytes = counts.packets * job.frame_len as u64;
        counts.offers += 1;
        counts.short_offers += u64::from(sent < job.burst);
        board.publish(&counts);
    }
    Ok(())
}

fn receive(mut link: FrontEnd, job: &Driver, board: &Board) -> anyhow::Result<()> {
    let mut sink = Sink::new(job);
    while board.may_go_on() {
        if sink.take(&mut link) == 0 {
            spin_loop();
        } else {
            board.publish(&sink.counts);
        }
    }
    Ok(())
}

/// Copies every frame to one buffer and checks it.
pub(super) struct Sink {
    pub(super) counts: Counts,
    check: FrameCheck,
    buffer: Vec<u8>,
    burst: usize,
}

impl Sink {
    pub(super) fn new(job: &Driver) -> Self {
        Self {
            counts: Counts::default(),
            check: FrameCheck::new(job.frame_len, job.pool_frames),
            buffer: vec![0; job.frame_len],
            burst: job.burst,
        }
    }

    /// Takes one burst; returns how many frames it had.
    #[inline]
    pub(super) fn take(&mut self, link: &mut FrontEnd) -> usize {
        let Self { counts, check, buffer, burst } = self;
        let received = link.rx.receive(*burst, buffer, |len, frame| check.check(len, frame));
        counts.packets += received as u64;
        counts.bytes = counts.packets * buffer.len() as u64;
        counts.errors = check.errors + link.rx.errors;
        counts.looks += 1;
        counts.idle_looks += u64::from(received == 0);
        received
    }
}

/// Has driver and device work in turn.
pub(super) fn in_thread(mut rings: Rings, board: &Board) -> anyhow::Result<()> {
    board.set_ready();
    let mut counts = Counts::default();
    while board.may_go_on() {
        counts.packets += rings.turn::<BURST>()? as u64;
        (counts.cycles, counts.errors) = (rings.cycles, rings.errors());
        board.publish(&counts);
    }
    Ok(())
}
