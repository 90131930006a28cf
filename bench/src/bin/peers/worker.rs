//! Worker processes: one side of a pair, pinned to one core.

mod driver;
mod forward;
mod ports;
mod tasks;

use anyhow::{Context, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use ringport_bench::in_thread::{Logging, Rings, Toward};
use ringport_bench::raw_ring::{self, EventPing, Method, RawRing, Shape};
use ringport_bench::shared::{Board, SharedMemory};
use ringport_bench::virtio::{Extent, Format};
use serde::{Deserialize, Serialize};
use std::os::fd::RawFd;
use std::path::PathBuf;

/// Bytes that two sides bounce words in.
pub(crate) const WORDS_LEN: usize = 4096;

/// What a worker is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Where it runs.
    pub(crate) core: usize,
    /// Where it reports.
    pub(crate) board: PathBuf,
    pub(crate) job: Job,
}

/// What a worker does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Job {
    RawSend {
        ring: PathBuf,
        shape: Shape,
        method: Method,
    },
    RawReceive {
        ring: PathBuf,
        shape: Shape,
        method: Method,
    },
    RawPing {
        rings: [PathBuf; 2],
        shape: Shape,
    },
    RawPong {
        rings: [PathBuf; 2],
        shape: Shape,
    },
    WordsPing {
        words: PathBuf,
    },
    WordsPong {
        words: PathBuf,
    },
    EventPing {
        numbers: [RawFd; 2],
    },
    EventPong {
        numbers: [RawFd; 2],
    },
    Port(Task, Traffic),
    Driver(Task, Driver),
    /// From one port of ours to another one, and back.
    Forward {
        ports: [String; 2],
        burst: usize,
    },
    /// Sends with a port, and takes from a driver what came through somebody who forwards.
    Circle(Traffic, Driver),
    /// Driver and device in one thread.
    InThread {
        to_driver: bool,
        format: Format,
        extent: Extent,
        logging: Logging,
    },
}

/// A virtio driver that does as little as one can.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Driver {
    /// Where the device listens.
    pub(crate) socket: PathBuf,
    pub(crate) format: Format,
    pub(crate) frame_len: usize,
    /// Frames taken or sent at a time.
    pub(crate) burst: usize,
    /// Frames in the sender's private pool; absent when the sender numbers nothing.
    pub(crate) pool_frames: Option<usize>,
}

/// What a worker does with a port of ours.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Task {
    Send,
    Receive,
    Ping,
    Pong,
}

/// What goes through a port of ours.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Traffic {
    /// The port string.
    pub(crate) port: String,
    pub(crate) frame_len: usize,
    /// Slots asked for at a time.
    pub(crate) burst: usize,
    /// Frames in the sender's private pool; absent when the sender is no worker of ours.
    pub(crate) pool_frames: Option<usize>,
    /// Whether the receiver only leases packets and gives them back, without a look at them.
    pub(crate) lease_only: bool,
    /// Whether to measure the cycles of bursts that are not empty.
    pub(crate) cycles: bool,
    /// Whether to sleep until the doorbell rings, instead of polling (ping and pong).
    pub(crate) sleeps: bool,
}

/// Does what `order` says until the coordinator ends the process, or asks it to stop.
pub(crate) fn run(order: &Order) -> anyhow::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(order.core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &cpus))
        .with_context(|| format!("core {} cannot be used: two cores are needed", order.core))?;
    let board = Board::open(&order.board).context("the coordinator's board")?;
    match &order.job {
        Job::RawSend { ring, shape, method } => {
            raw_ring::send(&RawRing::open(ring, *shape)?, *method, &board);
        }
        Job::RawReceive { ring, shape, method } => {
            raw_ring::receive(&RawRing::open(ring, *shape)?, *method, &board);
        }
        Job::RawPing { rings: [there, back], shape } => {
            let (there, back) = (RawRing::open(there, *shape)?, RawRing::open(back, *shape)?);
            raw_ring::ping_frames(&there, &back, &board);
        }
        Job::RawPong { rings: [there, back], shape } => {
            let (there, back) = (RawRing::open(there, *shape)?, RawRing::open(back, *shape)?);
            raw_ring::pong_frames(&there, &back, &board);
        }
        Job::WordsPing { words } => {
            raw_ring::ping_words(&SharedMemory::open(words, WORDS_LEN)?, &board);
        }
        Job::WordsPong { words } => {
            raw_ring::pong_words(&SharedMemory::open(words, WORDS_LEN)?, &board);
        }
        Job::EventPing { numbers } => EventPing::inherit(*numbers)?.ping(&board)?,
        Job::EventPong { numbers } => EventPing::inherit(*numbers)?.pong(&board)?,
        Job::Port(task, traffic) => run_port(*task, traffic, &board)?,
        Job::Driver(task, job) => driver::run(*task, job, &board)?,
        Job::Forward { ports, burst } => forward::run(ports, *burst, &board)?,
        Job::Circle(traffic, job) => forward::circle(traffic, job, &board)?,
        Job::InThread { to_driver, format, extent, logging } => {
            let toward = if *to_driver { Toward::Driver } else { Toward::Device };
            driver::in_thread(Rings::new(toward, *format, *extent, *logging, 64)?, &board)?;
        }
    }
    Ok(())
}

/// Opens the port that the order names. Tasks are compiled for the queues of each protocol, as a
/// user of one of the crates would have them.
fn run_port(task: Task, traffic: &Traffic, board: &Board) -> anyhow::Result<()> {
    match traffic.port.split_once(':') {
        Some(("memif", _)) => tasks::run(task, ports::memif(traffic, board)?, traffic, board),
        Some(("vhost", _)) => tasks::run(task, ports::vhost_user(traffic, board)?, traffic, board),
        _ => bail!("no port of ours has the protocol of `{}`", traffic.port),
    }
}
