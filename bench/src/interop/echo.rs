//! Frames to a peer that sends everything back, each of them checked.

use super::frames::{Checker, INTRODUCTION, fill, is_introduction};
use super::{Outcome, PATIENCE, wait_until};
use ringport::burst::{PacketRx, PacketTx};
use std::time::{Duration, Instant};

/// Frames that a run by time is planned for: more than any sends.
const ENDLESS: u64 = u64::MAX;

/// A slot that the peer published without having written it: as long as the empty buffer was.
#[derive(Debug, thiserror::Error)]
#[error("queue {queue}: a slot that nobody wrote, where frame {due} was due")]
pub struct Unwritten {
    queue: usize,
    due: u64,
}

/// How many frames to send, and how.
#[derive(Debug, Clone)]
pub struct EchoPlan<'a> {
    /// Lengths, used in turn.
    pub lens: &'a [usize],
    /// Frames on each queue.
    pub frames: u64,
    /// Most slots in flight on each queue, both ways together.
    pub slots_in_flight: usize,
    /// Bytes of a slot of ours, to count slots by: the peer may have other ones.
    pub slot: usize,
    /// Sleep on the doorbell instead of polling.
    pub sleeps: bool,
    /// Most frames of an earlier link that a peer may have kept.
    pub strangers_max: u64,
    /// How long nothing may happen.
    pub patience: Duration,
}

impl Default for EchoPlan<'_> {
    fn default() -> Self {
        Self {
            lens: &[64],
            frames: 10_000,
            slots_in_flight: 256,
            slot: 2048,
            sleeps: false,
            // Two of testpmd's bursts.
            strangers_max: 64,
            patience: PATIENCE,
        }
    }
}

impl EchoPlan<'_> {
    fn len_of(&self, number: u64) -> usize {
        let at = usize::try_from(number).unwrap_or_default() % self.lens.len();
        self.lens[at]
    }

    fn slots_of(&self, number: u64) -> usize {
        self.len_of(number).div_ceil(self.slot)
    }
}

/// One queue pair in an echo run.
struct Lane<'l> {
    queue: usize,
    rx: &'l mut dyn PacketRx,
    tx: &'l mut dyn PacketTx,
    sent: u64,
    slots_out: usize,
    checker: Checker,
    buffer: Vec<u8>,
    /// Frames of earlier links that may still come. One of ours that is lost uses them all up.
    strangers_left: u64,
    /// Introductions may still come.
    introduced: bool,
}

impl<'l> Lane<'l> {
    fn new(queue: usize, rx: &'l mut dyn PacketRx, tx: &'l mut dyn PacketTx) -> Self {
        let (checker, buffer) = (Checker::new(queue), Vec::new());
        let (strangers_left, introduced) = (0, false);
        Self { queue, rx, tx, sent: 0, slots_out: 0, checker, buffer, strangers_left, introduced }
    }

    fn is_done(&self, plan: &EchoPlan<'_>) -> bool {
        self.checker.count() == plan.frames
    }

    fn send(&mut self, plan: &EchoPlan<'_>) -> Outcome {
        if self.sent == plan.frames || self.slots_out >= plan.slots_in_flight {
            return Ok(());
        }
        let mut burst = self.tx.tx_burst(256)?;
        while self.sent < plan.frames {
            let slots = plan.slots_of(self.sent);
            if self.slots_out + slots > plan.slots_in_flight && self.slots_out > 0 {
                break;
            }
            self.buffer.resize(plan.len_of(self.sent), 0);
            fill(&mut self.buffer, self.queue, self.sent);
            if burst.push(&self.buffer).is_err() {
                break;
            }
            self.sent += 1;
            self.slots_out += slots;
        }
        burst.commit();
        Ok(())
    }

    fn receive(&mut self, plan: &EchoPlan<'_>) -> Outcome<bool> {
        let burst = self.rx.rx_burst(64)?;
        let mut frames = false;
        for packet in burst.packets() {
            if self.introduced && is_introduction(&packet) {
                continue;
            }
            frames = true;
            let number = self.checker.count();
            if self.strangers_left > 0 {
                let len = plan.len_of(number);
                if self.checker.take(&packet, |_| len).is_err() {
                    self.strangers_left -= 1;
                } else {
                    self.slots_out -= plan.slots_of(number);
                }
                continue;
            }
            if number == self.sent {
                return Err(format!("queue {}: more frames than were sent", self.queue).into());
            }
            if packet.len() == plan.slot && !plan.lens.contains(&plan.slot) {
                return Err(Unwritten { queue: self.queue, due: number }.into());
            }
            self.checker.take(&packet, |number| plan.len_of(number))?;
            self.slots_out -= plan.slots_of(number);
        }
        Ok(frames)
    }
}

/// Sends what `plan` says on all queues, and checks that all of it comes back on the same queue,
/// whole, in order, and nothing else.
///
/// # Errors
/// What came instead, or that nothing did.
pub fn echo(rx: &mut [impl PacketRx], tx: &mut [impl PacketTx], plan: &EchoPlan<'_>) -> Outcome {
    run(lanes(rx, tx), plan)
}

/// One queue each way of a port.
#[derive(Debug)]
pub struct End<'e> {
    /// Receives.
    pub rx: &'e mut dyn PacketRx,
    /// Sends.
    pub tx: &'e mut dyn PacketTx,
}

/// As [`echo`], between two ports that somebody joins, such as a switch: what one of them sends has to
/// arrive at the other. It begins with frames that are thrown away, until a first one arrives each way: a
/// switch drops what comes before it has noticed a link, and knows where both are then.
///
/// # Errors
/// As [`echo`].
pub fn exchange(a: End<'_>, b: End<'_>, plan: &EchoPlan<'_>) -> Outcome {
    introduce(a.tx, a.rx, b.rx, 0)?;
    introduce(b.tx, b.rx, a.rx, 1)?;
    let mut lanes = vec![Lane::new(0, b.rx, a.tx), Lane::new(1, a.rx, b.tx)];
    // A switch that waited for its core lets some pass later still.
    lanes.iter_mut().for_each(|lane| lane.introduced = true);
    run(lanes, plan)
}

/// So long after the last one, no frame is under way any more, mostly.
const QUIET: Duration = Duration::from_millis(50);

fn introduce(
    tx: &mut dyn PacketTx,
    back: &mut dyn PacketRx,
    there: &mut dyn PacketRx,
    queue: usize,
) -> Outcome {
    let mut frame = [0; 64];
    fill(&mut frame, queue, INTRODUCTION);
    wait_until("a first frame", || {
        let mut burst = tx.tx_burst(1)?;
        // A full ring has some already.
        let _ = burst.push(&frame);
        burst.commit();
        Ok((!there.rx_burst(1)?.is_empty()).then_some(()))
    })?;
    let mut last = Instant::now();
    while last.elapsed() < QUIET {
        if !there.rx_burst(64)?.is_empty() || !back.rx_burst(64)?.is_empty() {
            last = Instant::now();
        }
    }
    Ok(())
}

fn run(mut lanes: Vec<Lane<'_>>, plan: &EchoPlan<'_>) -> Outcome {
    let mut moved = Instant::now();
    while !lanes.iter().all(|lane| lane.is_done(plan)) {
        if turn(&mut lanes, plan)? {
            moved = Instant::now();
        } else if moved.elapsed() > plan.patience {
            return Err(stuck(&lanes).into());
        } else if plan.sleeps {
            sleep_on_doorbells(&mut lanes)?;
        }
    }
    nothing_more(&mut lanes)
}

/// As [`echo`], until `frames` came back in all, wherever the run is then: frames on their way are
/// not waited for. Returns how many came that were not sent on this link, which a peer that
/// was in the middle of something when the last link ended may have kept, or its rings.
///
/// # Errors
/// As [`echo`].
pub fn echo_some(
    rx: &mut [impl PacketRx],
    tx: &mut [impl PacketTx],
    plan: &EchoPlan<'_>,
    frames: u64,
) -> Outcome<u64> {
    let plan = EchoPlan { frames: ENDLESS, ..plan.clone() };
    let mut lanes = lanes(rx, tx);
    for lane in &mut lanes {
        lane.strangers_left = plan.strangers_max;
    }
    let mut moved = Instant::now();
    while lanes.iter().map(|lane| lane.checker.count()).sum::<u64>() < frames {
        if turn(&mut lanes, &plan)? {
            moved = Instant::now();
        } else if moved.elapsed() > plan.patience {
            return Err(stuck(&lanes).into());
        }
    }
    Ok(lanes.iter().map(|lane| plan.strangers_max - lane.strangers_left).sum())
}

/// Sends and receives without a look at what comes, while the peer is leaving.
///
/// # Errors
/// The link went down.
pub fn pump(rx: &mut [impl PacketRx], tx: &mut [impl PacketTx], time: Duration) -> Outcome {
    let start = Instant::now();
    while start.elapsed() < time {
        for tx in tx.iter_mut() {
            let mut burst = tx.tx_burst(32)?;
            while burst.push(&[0xff; 60]).is_ok() {}
            burst.commit();
        }
        for rx in rx.iter_mut() {
            rx.rx_burst(256)?;
        }
    }
    Ok(())
}

fn lanes<'l>(rx: &'l mut [impl PacketRx], tx: &'l mut [impl PacketTx]) -> Vec<Lane<'l>> {
    let pairs = rx.iter_mut().zip(tx).enumerate();
    pairs.map(|(queue, (rx, tx))| Lane::new(queue, rx, tx)).collect()
}

/// Sends and receives on all lanes; whether anything arrived.
fn turn(lanes: &mut [Lane<'_>], plan: &EchoPlan<'_>) -> Outcome<bool> {
    let mut moved = false;
    for lane in lanes {
        lane.send(plan)?;
        moved |= lane.receive(plan)?;
    }
    Ok(moved)
}

fn stuck(lanes: &[Lane<'_>]) -> String {
    let counts: Vec<_> = lanes.iter().map(|lane| (lane.checker.count(), lane.sent)).collect();
    let stats: Vec<_> = lanes.iter().map(|lane| (lane.rx.stats(), lane.tx.stats())).collect();
    format!("stuck with (received, sent) {counts:?}; {stats:?}")
}

/// Waits for the next packet of any lane, when all of them are armed and empty. Not while nothing is
/// on its way: memif has no doorbell for slots that become free.
fn sleep_on_doorbells(lanes: &mut [Lane<'_>]) -> Outcome {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    if lanes.iter().all(|lane| lane.slots_out == 0) {
        return Ok(());
    }
    for lane in lanes.iter_mut() {
        if lane.rx.arm()? {
            return Ok(());
        }
    }
    let mut fds: Vec<_> =
        lanes.iter().map(|lane| PollFd::new(lane.rx.doorbell(), PollFlags::POLLIN)).collect();
    if poll(&mut fds, PollTimeout::from(5000u16))? == 0 {
        return Err("no doorbell in five seconds".into());
    }
    Ok(())
}

fn nothing_more(lanes: &mut [Lane<'_>]) -> Outcome {
    std::thread::sleep(Duration::from_millis(2));
    for lane in lanes {
        if lane.receive(&EchoPlan::default())? {
            return Err(format!("queue {}: frames that were never sent", lane.queue).into());
        }
    }
    Ok(())
}
