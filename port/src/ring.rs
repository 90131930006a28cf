//! Free-running ring indices, credits, publication and doorbell suppression.
//!
//! These are the functions that every queue runs on the index and flag words it shares with its
//! peer; the model checker runs the same functions (`./ci.sh loom`). A ring is moved by two
//! counters of 16 bits that only ever grow, modulo 2^16; a slot is the counter masked by the ring
//! size. One side publishes *its* counter and reads the peer's:
//!
//! * our own counter is private; the shared copy is written, never read back;
//! * the peer's is read with Acquire, and must not be further from ours than the ring is long;
//! * publishing is one plain Release store, after everything it covers was written.

use crate::sync::{AtomicU16, Ordering, fence};

/// A free-running ring index, modulo 2^16. It has no order: only distances make sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingIdx(pub u16);

impl RingIdx {
    /// The index `slots` further on.
    #[must_use]
    #[inline]
    pub fn ahead(self, slots: u16) -> Self {
        Self(self.0.wrapping_add(slots))
    }

    /// How many slots this index is ahead of `earlier`.
    #[must_use]
    #[inline]
    pub fn since(self, earlier: Self) -> u16 {
        self.0.wrapping_sub(earlier.0)
    }

    /// The slot in a ring of `mask + 1` slots, a power of two.
    #[must_use]
    #[inline]
    pub fn slot(self, mask: u16) -> u16 {
        self.0 & mask
    }
}

/// The peer's index is further from ours than the ring is long: the peer broke the ring contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexRunaway {
    /// Distance found, in slots.
    pub queued: u16,
    /// Slots in the ring.
    pub ring_size: u16,
}

/// One side's view of a ring: its own position and what it may touch before it must look at the
/// peer's index again.
///
/// Producer and consumer, client and server differ only in `bias`: the side whose index is
/// published one ring ahead of the position at which it works (the owner of the buffers in memif)
/// has a bias of one ring on its own index or on the peer's.
#[derive(Debug, Clone)]
pub struct Cursor {
    /// Position of the first slot that was not worked on.
    next: RingIdx,
    /// The peer's index as last read, with `peer_bias` added.
    limit: RingIdx,
    ring_size: u16,
    own_bias: u16,
    peer_bias: u16,
}

impl Cursor {
    /// A cursor at position zero of a ring of `ring_size` slots (a power of two, at most 2^15).
    ///
    /// `own_bias` is added to the position when it is published, `peer_bias` to the peer's index
    /// when it is read.
    #[must_use]
    pub fn new(ring_size: u16, own_bias: u16, peer_bias: u16) -> Self {
        assert!(ring_size.is_power_of_two(), "ring size {ring_size} is no power of two");
        Self { next: RingIdx(0), limit: RingIdx(0), ring_size, own_bias, peer_bias }
    }

    /// Sets the position and forgets the cached index of the peer: for a ring that goes on where
    /// another user of it stopped.
    pub fn restart_at(&mut self, next: RingIdx) {
        self.next = next;
        self.limit = next;
    }

    /// Position of the first slot that was not worked on.
    #[must_use]
    #[inline]
    pub fn next(&self) -> RingIdx {
        self.next
    }

    /// Slots in the ring.
    #[must_use]
    #[inline]
    pub fn ring_size(&self) -> u16 {
        self.ring_size
    }

    /// `ring_size - 1`.
    #[must_use]
    #[inline]
    pub fn mask(&self) -> u16 {
        self.ring_size - 1
    }

    /// Slots that may be worked on without looking at the peer's index again.
    #[must_use]
    #[inline]
    pub fn cached(&self) -> u16 {
        self.limit.since(self.next)
    }

    /// Slots that may be worked on; reads the peer's index (Acquire) only when fewer than `wanted`
    /// are known.
    ///
    /// # Errors
    /// [`IndexRunaway`] when the peer's index cannot be.
    #[inline]
    pub fn available(&mut self, peer: &AtomicU16, wanted: u16) -> Result<u16, IndexRunaway> {
        if self.cached() >= wanted { Ok(self.cached()) } else { self.load_peer(peer) }
    }

    /// Reads the peer's index (Acquire: what the peer wrote before publishing is visible) and
    /// returns how many slots may be worked on.
    ///
    /// # Errors
    /// [`IndexRunaway`] when the peer's index cannot be.
    #[inline]
    pub fn load_peer(&mut self, peer: &AtomicU16) -> Result<u16, IndexRunaway> {
        let loaded = peer.load(Ordering::Acquire);
        self.next = self.next.ahead(nothing_of(loaded));
        let limit = RingIdx(loaded).ahead(self.peer_bias);
        let queued = limit.since(self.next);
        if queued > self.ring_size {
            return Err(IndexRunaway { queued, ring_size: self.ring_size });
        }
        self.limit = limit;
        Ok(queued)
    }

    /// Moves on by `slots`, at most what is [cached](Self::cached), and publishes nothing: for a side
    /// that gives slots back in another way, or has somebody else publish them.
    #[inline]
    pub fn pass(&mut self, slots: u16) {
        self.next = self.next.ahead(slots);
    }

    /// Moves on by `slots` and publishes the new position with one Release store.
    #[inline]
    pub fn publish(&mut self, own: &AtomicU16, slots: u16) {
        self.next = self.next.ahead(slots);
        own.store(self.next.ahead(self.own_bias).0, Ordering::Release);
    }
}

/// Zero, by a computation that needs `loaded`.
///
/// While the peer's index is on its way from the other core, the CPU guesses that there is work and
/// goes on with the slots behind our position, which are the ones that the peer is writing: each
/// such guess takes lines away from it. With a position that depends on the index there is nothing
/// to guess with.
#[inline(always)]
fn nothing_of(loaded: u16) -> u16 {
    loaded & std::hint::black_box(0)
}

/// Bit 0 of a flag word: its writer, the consumer, asks for no doorbell.
pub const NO_DOORBELL: u16 = 1;

/// Producer, after publishing: whether the consumer asked for a doorbell.
///
/// The fence orders our index store before the load of the flag. It pairs with the one in
/// [`arm`]: of the two sides at least one sees the other's store, so a packet published while the
/// consumer goes to sleep is either seen by the consumer or rung for by us.
#[inline]
pub fn must_ring(consumer_flags: &AtomicU16) -> bool {
    fence(Ordering::SeqCst);
    consumer_flags.load(Ordering::Relaxed) & NO_DOORBELL == 0
}

/// As [`must_ring`], for a consumer that names the slot whose publication it wants to hear of:
/// `before` and `now` are the producer's index before and after publishing.
///
/// Spec: VIRTIO 1.3 §2.7.7.2, §2.7.10.
#[inline]
pub fn must_ring_at(event: &AtomicU16, before: RingIdx, now: RingIdx) -> bool {
    // As in `must_ring`; it pairs with the one in `arm_at`.
    fence(Ordering::SeqCst);
    passes(RingIdx(event.load(Ordering::Relaxed)), before, now)
}

/// Whether an index that moves from `before` to `now` covers the slot at `event`.
#[must_use]
#[inline]
pub fn passes(event: RingIdx, before: RingIdx, now: RingIdx) -> bool {
    event.since(before) < now.since(before)
}

/// Consumer, before it sleeps, after it drained the doorbell: asks for doorbells and returns how
/// many slots may be worked on. When that is not zero, it must not sleep.
///
/// # Errors
/// [`IndexRunaway`] when the peer's index cannot be.
#[inline]
pub fn arm(
    cursor: &mut Cursor,
    own_flags: &AtomicU16,
    peer: &AtomicU16,
) -> Result<u16, IndexRunaway> {
    own_flags.store(0, Ordering::Relaxed);
    // Pairs with the fence in `must_ring`.
    fence(Ordering::SeqCst);
    cursor.load_peer(peer)
}

/// As [`arm`], by naming the next slot to hear of.
///
/// # Errors
/// [`IndexRunaway`] when the peer's index cannot be.
#[inline]
pub fn arm_at(
    cursor: &mut Cursor,
    event: &AtomicU16,
    peer: &AtomicU16,
) -> Result<u16, IndexRunaway> {
    event.store(cursor.next().0, Ordering::Relaxed);
    // Pairs with the fence in `must_ring_at`.
    fence(Ordering::SeqCst);
    cursor.load_peer(peer)
}

/// Consumer, awake: asks for no doorbells. A doorbell that is rung all the same does no harm, so
/// no order is needed.
#[inline]
pub fn disarm(own_flags: &AtomicU16) {
    own_flags.store(NO_DOORBELL, Ordering::Relaxed);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn credit_is_right_at_every_distance_and_start() {
        for start in [0u16, 1, 0x7fff, 0xfffe, 0xffff] {
            for ahead in 0..=u16::MAX {
                let mut cursor = Cursor::new(8, 0, 0);
                cursor.restart_at(RingIdx(start));
                let peer = AtomicU16::new(start.wrapping_add(ahead));
                let got = cursor.load_peer(&peer);
                if ahead <= 8 {
                    assert_eq!(got, Ok(ahead));
                } else {
                    assert_eq!(got, Err(IndexRunaway { queued: ahead, ring_size: 8 }));
                    assert_eq!(cursor.cached(), 0, "a runaway index is not kept");
                }
            }
        }
    }

    #[test]
    fn wrap_vector_of_four_slots_is_full() {
        let mut cursor = Cursor::new(4, 0, 0);
        cursor.restart_at(RingIdx(0xfffe));
        let peer = AtomicU16::new(2);
        assert_eq!(cursor.load_peer(&peer), Ok(4));
        let slots: Vec<u16> = (0..4).map(|n| cursor.next().ahead(n).slot(cursor.mask())).collect();
        assert_eq!(slots, [2, 3, 0, 1]);
    }

    #[test]
    fn peer_behind_us_is_a_runaway() {
        let mut cursor = Cursor::new(4, 0, 0);
        cursor.restart_at(RingIdx(10));
        let peer = AtomicU16::new(9);
        let runaway = IndexRunaway { queued: 65535, ring_size: 4 };
        assert_eq!(cursor.load_peer(&peer), Err(runaway));
    }

    #[test]
    fn cached_credit_is_spent_before_the_peer_is_read_again() {
        let (own, peer) = (AtomicU16::new(0), AtomicU16::new(4));
        let mut cursor = Cursor::new(8, 0, 0);
        assert_eq!(cursor.available(&peer, 1), Ok(4));
        peer.store(6, Ordering::Relaxed);
        cursor.publish(&own, 3);
        assert_eq!(cursor.available(&peer, 1), Ok(1), "one known slot is left: no load");
        assert_eq!(cursor.available(&peer, 2), Ok(3));
        assert_eq!(own.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn passed_slots_are_neither_known_nor_published() {
        let peer = AtomicU16::new(4);
        let mut cursor = Cursor::new(8, 0, 0);
        assert_eq!(cursor.available(&peer, 1), Ok(4));
        cursor.pass(3);
        assert_eq!((cursor.next(), cursor.cached()), (RingIdx(3), 1));
        cursor.pass(1);
        assert_eq!(cursor.available(&peer, 1), Ok(0));
    }

    #[test]
    fn doorbell_is_due_exactly_when_the_named_slot_is_published() {
        for before in [0u16, 5, 0x7fff, 0xfff0, 0xffff] {
            for published in [0u16, 1, 2, 3, 255, 0x7fff, 0x8000, 0xffff] {
                let now = before.wrapping_add(published);
                let mut due = vec![false; 1 << 16];
                (0..published).for_each(|n| due[usize::from(before.wrapping_add(n))] = true);
                for event in 0..=u16::MAX {
                    let passed = passes(RingIdx(event), RingIdx(before), RingIdx(now));
                    assert_eq!(passed, due[usize::from(event)], "{before} +{published} {event}");
                    // The formula of the specification.
                    let formula = now.wrapping_sub(event).wrapping_sub(1) < published;
                    assert_eq!(passed, formula);
                }
            }
        }
    }

    #[test]
    fn biases_make_a_buffer_owner_of_either_side() {
        // The owner of the buffers publishes empties one ring ahead of its position...
        let (own, peer) = (AtomicU16::new(0), AtomicU16::new(2));
        let mut receiver = Cursor::new(4, 4, 0);
        receiver.publish(&own, 0);
        assert_eq!(own.load(Ordering::Relaxed), 4);
        assert_eq!(receiver.load_peer(&peer), Ok(2));
        receiver.publish(&own, 2);
        assert_eq!(own.load(Ordering::Relaxed), 6);
        // ... and, sending, has a whole ring free when the peer's index equals its own.
        let mut sender = Cursor::new(4, 0, 4);
        assert_eq!(sender.load_peer(&AtomicU16::new(0)), Ok(4));
        sender.publish(&own, 3);
        assert_eq!(sender.load_peer(&AtomicU16::new(0)), Ok(1));
        assert_eq!(sender.load_peer(&AtomicU16::new(4)).unwrap_err().queued, 5);
    }
}
