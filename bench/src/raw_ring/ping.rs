//! Round trips without a ring: one word, or one eventfd, each way.

use crate::shared::{Board, Counts, SharedMemory};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::hint::spin_loop;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;

const PING_AT: usize = 0;
const PONG_AT: usize = 128;

/// Bounces a word off [`pong_words`] until the board says stop, polling.
pub fn ping_words(memory: &SharedMemory, board: &Board) {
    let (ping, pong) = (memory.word(PING_AT), memory.word(PONG_AT));
    let mut counts = Counts::default();
    board.set_ready();
    while board.may_go_on() {
        counts.packets += 1;
        ping.store(counts.packets, Ordering::Release);
        while pong.load(Ordering::Acquire) != counts.packets && board.may_go_on() {
            spin_loop();
        }
        board.publish(&counts);
    }
}

/// The other side of [`ping_words`].
pub fn pong_words(memory: &SharedMemory, board: &Board) {
    let (ping, pong) = (memory.word(PING_AT), memory.word(PONG_AT));
    let mut seen = 0;
    board.set_ready();
    while board.may_go_on() {
        let now = ping.load(Ordering::Acquire);
        if now != seen {
            seen = now;
            pong.store(now, Ordering::Release);
        } else {
            spin_loop();
        }
    }
}

/// Two eventfds that two processes bounce off each other, sleeping in between.
#[derive(Debug)]
pub struct EventPing {
    ping: EventFd,
    pong: EventFd,
}

impl EventPing {
    /// Makes eventfds that child processes inherit.
    ///
    /// # Errors
    /// When there are no file descriptors left.
    pub fn create() -> io::Result<Self> {
        let inherited = EfdFlags::empty();
        Ok(Self { ping: EventFd::from_flags(inherited)?, pong: EventFd::from_flags(inherited)? })
    }

    /// What to tell the child processes.
    #[must_use]
    pub fn numbers(&self) -> [RawFd; 2] {
        [self.ping.as_raw_fd(), self.pong.as_raw_fd()]
    }

    /// Takes over the eventfds that this process inherited.
    ///
    /// # Errors
    /// When there are no such descriptors.
    pub fn inherit(numbers: [RawFd; 2]) -> io::Result<Self> {
        let take = |number: RawFd| {
            std::fs::metadata(format!("/proc/self/fd/{number}"))?;
            // SAFETY: the descriptor is open, was inherited for this purpose, and nothing else in
            // this process knows its number.
            let fd = unsafe { OwnedFd::from_raw_fd(number) };
            // SAFETY: the coordinator made it as an eventfd; were it none, reads would fail.
            Ok::<_, io::Error>(unsafe { EventFd::from_owned_fd(fd) })
        };
        Ok(Self { ping: take(numbers[0])?, pong: take(numbers[1])? })
    }

    /// Bounces until the process ends.
    ///
    /// # Errors
    /// When an eventfd fails.
    pub fn ping(&self, board: &Board) -> io::Result<()> {
        let mut counts = Counts::default();
        board.set_ready();
        loop {
            self.ping.write(1)?;
            self.pong.read()?;
            counts.packets += 1;
            board.publish(&counts);
        }
    }

    /// The other side of [`ping`](Self::ping).
    ///
    /// # Errors
    /// When an eventfd fails.
    pub fn pong(&self, board: &Board) -> io::Result<()> {
        board.set_ready();
        loop {
            self.ping.read()?;
            self.pong.write(1)?;
        }
    }
}
