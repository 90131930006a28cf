//! Every interleaving of the shipped ring and doorbell functions: `./ci.sh loom`.
//!
//! The functions take the atomics of `ringport::sync`, which are loom's here. The doorbell is an
//! eventfd's counter: a wait that nobody ends is a deadlock, which loom reports.
#![cfg(loom)]
#![expect(unsafe_code, reason = "loom checks the accesses to its cells")]

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU16;
use loom::sync::{Arc, Condvar, Mutex};
use ringport::ring::{Cursor, arm, arm_at, disarm, must_ring, must_ring_at};

const RING_SIZE: u16 = 2;

/// How the consumer asks for doorbells.
#[derive(Clone, Copy, PartialEq)]
enum Asking {
    /// By flag, and never stops.
    Always,
    /// By flag, only before it sleeps.
    Adaptive,
    /// By naming the next slot, before it sleeps.
    ByIndex,
}

impl Asking {
    /// What the shared word says at first: no doorbell, but for the first kind.
    fn at_first(self) -> u16 {
        match self {
            Self::Always => 0,
            Self::Adaptive => 1,
            Self::ByIndex => u16::MAX,
        }
    }
}

/// What two peers share.
struct Shared {
    head: AtomicU16,
    tail: AtomicU16,
    /// The flags, or the slot that the consumer names.
    flags: AtomicU16,
    slots: [UnsafeCell<u16>; RING_SIZE as usize],
    rung: Mutex<u32>,
    bell: Condvar,
}

impl Shared {
    fn new(flags: u16) -> Arc<Self> {
        Arc::new(Self {
            head: AtomicU16::new(0),
            tail: AtomicU16::new(0),
            flags: AtomicU16::new(flags),
            slots: [UnsafeCell::new(0), UnsafeCell::new(0)],
            rung: Mutex::new(0),
            bell: Condvar::new(),
        })
    }

    fn ring(&self) {
        *self.rung.lock().unwrap() += 1;
        self.bell.notify_one();
    }

    fn drain(&self) {
        *self.rung.lock().unwrap() = 0;
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while *rung == 0 {
            rung = self.bell.wait(rung).unwrap();
        }
    }

    /// Writes `value` to the producer's next slot and publishes it; waits for room.
    fn produce(&self, cursor: &mut Cursor, value: u16, asking: Asking) {
        while cursor.load_peer(&self.tail).unwrap() == 0 {
            loom::thread::yield_now();
        }
        let slot = usize::from(cursor.next().slot(cursor.mask()));
        // SAFETY: the slot is free: the consumer returned it before we read its index.
        self.slots[slot].with_mut(|at| unsafe { *at = value });
        let before = cursor.next();
        cursor.publish(&self.head, 1);
        let ring = match asking {
            Asking::ByIndex => must_ring_at(&self.flags, before, cursor.next()),
            Asking::Always | Asking::Adaptive => must_ring(&self.flags),
        };
        if ring {
            self.ring();
        }
    }

    /// Takes what is there.
    fn consume(&self, cursor: &mut Cursor, taken: &mut Vec<u16>) {
        let available = cursor.load_peer(&self.head).unwrap();
        for at in 0..available {
            let slot = usize::from(cursor.next().ahead(at).slot(cursor.mask()));
            // SAFETY: the slot is ours: the producer published it before we read its index.
            taken.push(self.slots[slot].with(|at| unsafe { *at }));
        }
        cursor.publish(&self.tail, available);
    }
}

fn run(packets: u16, asking: Asking) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let shared = Shared::new(asking.at_first());
        let peer = Arc::clone(&shared);
        let producer = loom::thread::spawn(move || {
            let mut cursor = Cursor::new(RING_SIZE, 0, RING_SIZE);
            (1..=packets).for_each(|value| peer.produce(&mut cursor, value, asking));
        });
        let mut cursor = Cursor::new(RING_SIZE, 0, 0);
        let mut taken = Vec::new();
        while taken.len() < usize::from(packets) {
            shared.consume(&mut cursor, &mut taken);
            if taken.len() == usize::from(packets) {
                break;
            }
            shared.drain();
            let ask = if asking == Asking::ByIndex { arm_at } else { arm };
            if ask(&mut cursor, &shared.flags, &shared.head).unwrap() == 0 {
                shared.wait();
            }
            if asking == Asking::Adaptive {
                disarm(&shared.flags);
            }
        }
        assert_eq!(taken, (1..=packets).collect::<Vec<_>>());
        producer.join().unwrap();
    });
}

#[test]
fn adaptive_receiver_never_sleeps_through_a_packet() {
    run(2, Asking::Adaptive);
}

#[test]
fn interrupt_receiver_never_sleeps_through_a_packet() {
    run(2, Asking::Always);
}

#[test]
fn receiver_that_names_a_slot_never_sleeps_through_its_packet() {
    run(2, Asking::ByIndex);
}

#[test]
fn full_ring_is_returned_slot_by_slot_in_order() {
    run(3, Asking::Adaptive);
}
