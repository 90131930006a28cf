//! What workers do with the queues of a port of ours: what a user of the crates would write.

use super::ports::Connected;
use super::{Task, Traffic};
use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringport::burst::{PacketRx, PacketTx};
use ringport_bench::clock::cycles;
use ringport_bench::frames::{FrameCheck, FramePool, POOL_FRAMES};
use ringport_bench::shared::{Board, Counts};
use std::hint::spin_loop;

/// Does a task until the coordinator asks the worker to stop.
pub(super) fn run<P, R: PacketRx, T: PacketTx>(
    task: Task,
    mut link: Connected<P, R, T>,
    traffic: &Traffic,
    board: &Board,
) -> anyhow::Result<()> {
    match task {
        Task::Send => send(&mut link.tx, traffic, board),
        Task::Receive => receive(&mut link.rx, traffic, board),
        Task::Ping => {
            let (rx, tx) = first_queues(&mut link)?;
            ping(rx, tx, traffic, board)
        }
        Task::Pong => {
            let (rx, tx) = first_queues(&mut link)?;
            pong(rx, tx, traffic, board)
        }
    }
}

fn first_queues<P, R, T>(link: &mut Connected<P, R, T>) -> anyhow::Result<(&mut R, &mut T)> {
    link.rx.first_mut().zip(link.tx.first_mut()).context("a ring in each direction is needed")
}

fn pool(traffic: &Traffic) -> FramePool {
    FramePool::new(traffic.frame_len, traffic.pool_frames.unwrap_or(POOL_FRAMES))
}

/// Sends frames from the pool on all queues in turn.
fn send<T: PacketTx>(queues: &mut [T], traffic: &Traffic, board: &Board) -> anyhow::Result<()> {
    let pool = pool(traffic);
    let mut next = vec![0usize; queues.len()];
    let mut counts = Counts::default();
    while board.may_go_on() {
        for (tx, next) in queues.iter_mut().zip(&mut next) {
            let mut burst = tx.tx_burst(traffic.burst)?;
            while burst.push(pool.frame(*next)).is_ok() {
                *next += 1;
            }
            let sent = burst.commit();
            counts.packets += sent as u64;
            counts.offers += 1;
            counts.short_offers += u64::from(sent < traffic.burst);
        }
        counts.bytes = counts.packets * traffic.frame_len as u64;
        board.publish(&counts);
    }
    Ok(())
}

/// Copies every frame to one buffer and checks it.
fn receive<R: PacketRx>(queues: &mut [R], traffic: &Traffic, board: &Board) -> anyhow::Result<()> {
    let mut buffer = vec![0u8; traffic.frame_len];
    let check = || FrameCheck::new(traffic.frame_len, traffic.pool_frames);
    let mut checks: Vec<FrameCheck> = queues.iter().map(|_| check()).collect();
    let mut counts = Counts::default();
    while board.may_go_on() {
        let mut received = 0;
        for (rx, check) in queues.iter_mut().zip(&mut checks) {
            let start = if traffic.cycles { cycles() } else { 0 };
            let packets = if traffic.lease_only {
                rx.rx_burst(traffic.burst)?.len()
            } else {
                take(rx, traffic.burst, &mut buffer, check)?
            };
            if traffic.cycles && packets > 0 {
                counts.cycles += cycles() - start;
            }
            received += packets;
            counts.looks += 1;
            counts.idle_looks += u64::from(packets == 0);
        }
        if received == 0 {
            spin_loop();
            continue;
        }
        counts.packets += received as u64;
        counts.bytes = counts.packets * traffic.frame_len as u64;
        counts.errors = checks.iter().map(|check| check.errors).sum();
        board.publish(&counts);
    }
    Ok(())
}

#[inline]
fn take<R: PacketRx>(
    rx: &mut R,
    burst: usize,
    buffer: &mut [u8],
    check: &mut FrameCheck,
) -> anyhow::Result<usize> {
    let burst = rx.rx_burst(burst)?;
    for packet in burst.packets() {
        packet.copy_to(buffer);
        check.check(packet.len(), buffer);
    }
    Ok(burst.len())
}

/// Sends one frame, waits until it is back, and so on.
fn ping<R: PacketRx, T: PacketTx>(
    rx: &mut R,
    tx: &mut T,
    traffic: &Traffic,
    board: &Board,
) -> anyhow::Result<()> {
    let pool = pool(traffic);
    let mut check = FrameCheck::new(traffic.frame_len, traffic.pool_frames);
    let mut buffer = vec![0u8; traffic.frame_len];
    let mut counts = Counts::default();
    let mut next = 0;
    while board.may_go_on() {
        let mut burst = tx.tx_burst(1)?;
        burst.push(pool.frame(next))?;
        burst.commit();
        next += 1;
        while take(rx, 1, &mut buffer, &mut check)? == 0 {
            wait(rx, traffic.sleeps)?;
        }
        counts.packets += 1;
        counts.errors = check.errors;
        board.publish(&counts);
    }
    Ok(())
}

/// Sends back what arrives.
fn pong<R: PacketRx, T: PacketTx>(
    rx: &mut R,
    tx: &mut T,
    traffic: &Traffic,
    board: &Board,
) -> anyhow::Result<()> {
    while board.may_go_on() {
        let done = ringport::burst::forward(rx, tx, traffic.burst)?;
        if done.packets == 0 {
            wait(rx, traffic.sleeps)?;
        }
    }
    Ok(())
}

#[inline]
fn wait<R: PacketRx>(rx: &mut R, sleeps: bool) -> anyhow::Result<()> {
    if !sleeps {
        spin_loop();
    } else if !rx.arm()? {
        let mut fds = [PollFd::new(rx.doorbell(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE)?;
    }
    Ok(())
}
