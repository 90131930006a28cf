//! Workers with a memif port of ours: what a user of the crate would write.

use super::Traffic;
use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringport::burst::PacketRx;
use ringport_bench::clock::cycles;
use ringport_bench::frames::{FrameCheck, FramePool, POOL_FRAMES};
use ringport_bench::shared::{Board, Counts};
use ringport_memif::{Link, Port, RxQueue, TxQueue};
use std::hint::spin_loop;
use std::time::Duration;

/// How long the peer may take to come up.
const LINK_DEADLINE: Duration = Duration::from_secs(30);

/// Opens the port, says so, and waits for the peer. The port must live as long as its queues.
fn connect(traffic: &Traffic, board: &Board) -> anyhow::Result<(Port, Link)> {
    let mut port = Port::open(&traffic.port).with_context(|| traffic.port.clone())?;
    board.set_ready();
    let link = port.wait_link_up(LINK_DEADLINE).with_context(|| traffic.port.clone())?;
    Ok((port, link))
}

fn pool(traffic: &Traffic) -> FramePool {
    FramePool::new(traffic.frame_len, traffic.pool_frames.unwrap_or(POOL_FRAMES))
}

/// Sends frames from the pool on all queues in turn.
pub(super) fn send(traffic: &Traffic, board: &Board) -> anyhow::Result<()> {
    let (_port, mut link) = connect(traffic, board)?;
    let pool = pool(traffic);
    let mut next = vec![0usize; link.tx.len()];
    let mut counts = Counts::default();
    while board.may_go_on() {
        for (tx, next) in link.tx.iter_mut().zip(&mut next) {
            let mut burst = tx.tx_burst(traffic.burst)?;
            while burst.push(pool.frame(*next)).is_ok() {
                *next += 1;
            }
            counts.packets += burst.commit() as u64;
        }
        counts.bytes = counts.packets * traffic.frame_len as u64;
        board.publish(&counts);
    }
    Ok(())
}

/// Copies every frame to one buffer and checks it.
pub(super) fn receive(traffic: &Traffic, board: &Board) -> anyhow::Result<()> {
    let (_port, mut link) = connect(traffic, board)?;
    let mut buffer = vec![0u8; traffic.frame_len];
    let check = || FrameCheck::new(traffic.frame_len, traffic.pool_frames);
    let mut checks: Vec<FrameCheck> = link.rx.iter().map(|_| check()).collect();
    let mut counts = Counts::default();
    while board.may_go_on() {
        let mut received = 0;
        for (rx, check) in link.rx.iter_mut().zip(&mut checks) {
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
fn take(
    rx: &mut RxQueue,
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
pub(super) fn ping(traffic: &Traffic, board: &Board) -> anyhow::Result<()> {
    let (_port, mut link) = connect(traffic, board)?;
    let (rx, tx) = first_queues(&mut link)?;
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
pub(super) fn pong(traffic: &Traffic, board: &Board) -> anyhow::Result<()> {
    let (_port, mut link) = connect(traffic, board)?;
    let (rx, tx) = first_queues(&mut link)?;
    while board.may_go_on() {
        let done = ringport::burst::forward(rx, tx, traffic.burst)?;
        if done.packets == 0 {
            wait(rx, traffic.sleeps)?;
        }
    }
    Ok(())
}

fn first_queues(link: &mut Link) -> anyhow::Result<(&mut RxQueue, &mut TxQueue)> {
    link.rx.first_mut().zip(link.tx.first_mut()).context("a ring in each direction is needed")
}

#[inline]
fn wait(rx: &mut RxQueue, sleeps: bool) -> anyhow::Result<()> {
    if !sleeps {
        spin_loop();
    } else if !PacketRx::arm(rx)? {
        let mut fds = [PollFd::new(PacketRx::doorbell(rx), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE)?;
    }
    Ok(())
}
