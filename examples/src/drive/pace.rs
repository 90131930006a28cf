//! When to look up from packets, and when to sleep.

use std::time::Duration;

/// Counts rounds with and without packets.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Never sleep.
    poll: bool,
    rounds: u32,
    /// Rounds in a row that moved nothing.
    empty: u32,
    /// Times in a row that packets were waiting which the other port had no room for.
    blocked: u32,
}

/// What comes after a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another round.
    Packets,
    /// See to everything else, without sleeping.
    Look,
    /// Nothing to do: see to everything else, and wait for it.
    Sleep,
}

impl Pace {
    pub(crate) fn new(poll: bool) -> Self {
        Self { poll, rounds: 0, empty: 0, blocked: 0 }
    }

    pub(crate) fn next(&mut self, moved: usize) -> Next {
        self.rounds = self.rounds.wrapping_add(1);
        if moved > 0 {
            (self.empty, self.blocked) = (0, 0);
        } else {
            self.empty = self.empty.saturating_add(1);
        }
        if !self.poll && self.empty >= EMPTY_ROUNDS {
            Next::Sleep
        } else if self.rounds.is_multiple_of(ROUNDS) {
            Next::Look
        } else {
            Next::Packets
        }
    }

    /// How long to pause when there is something to do soon: not at all, but others may run.
    pub(crate) fn give_way(&mut self) -> Duration {
        std::thread::yield_now();
        Duration::ZERO
    }

    /// How long to pause when packets are waiting and still nothing moves. At first that only means
    /// that they came just now; then it means that the other port is full, and nothing rings when
    /// it has room again.
    pub(crate) fn blocked(&mut self) -> Duration {
        self.blocked = self.blocked.saturating_add(1);
        if self.blocked > 1 { FULL_PAUSE } else { Duration::ZERO }
    }
}

/// Rounds between two looks at everything else: under a millisecond.
const ROUNDS: u32 = 256;

/// Empty rounds before sleeping: some microseconds, in which a doorbell is saved.
const EMPTY_ROUNDS: u32 = 128;

const FULL_PAUSE: Duration = Duration::from_micros(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_after_empty_rounds_only_and_never_when_polling() {
        let mut pace = Pace::new(false);
        let mut rounds = (1..EMPTY_ROUNDS).map(|_| pace.next(0));
        assert!(rounds.all(|next| next == Next::Packets));
        assert_eq!(pace.next(0), Next::Sleep);
        assert_eq!(pace.next(3), Next::Packets);
        let mut pace = Pace::new(true);
        assert!((0..ROUNDS * 2).all(|_| pace.next(0) != Next::Sleep));
    }

    #[test]
    fn busy_loop_still_looks_at_the_rest() {
        let mut pace = Pace::new(false);
        assert_eq!((0..ROUNDS * 3).filter(|_| pace.next(1) == Next::Look).count(), 3);
    }

    #[test]
    fn pauses_only_when_blocked_again() {
        let mut pace = Pace::new(false);
        assert_eq!(pace.blocked(), Duration::ZERO);
        assert_eq!(pace.blocked(), FULL_PAUSE);
        pace.next(1);
        assert_eq!(pace.blocked(), Duration::ZERO);
    }
}
