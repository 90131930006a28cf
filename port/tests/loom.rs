//! Every interleaving of the shipped ring and doorbell functions: `./ci.sh loom`.
//!
//! The functions take the atomics of `ringport::sync`, which are loom's here. The doorbell is an
//! eventfd's counter: a wait that nobody ends is a deadlock, which loom reports.
#![cfg(loom)]
#![expect(unsafe_code, reason = "loom checks the accesses to its cells")]

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU16;
use loom::sync::{Arc, Condvar, Mutex};
use ringport::ring::{Cursor, arm, disarm, must_ring};

const RING_SIZE: u16 = 2;

/// What two peers share.
struct Shared {
    head: AtomicU16,
    tail: AtomicU16,
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
    fn produce(&self, cursor: &mut Cursor, value: u16) {
        while cursor.load_peer(&self.tail).unwrap() == 0 {
            loom::thread::yield_now();
        }
        let slot = usize::from(cursor.next().slot(cursor.mask()));
        // SAFETY: the slot is free: the consumer returned it before we read its index.
        self.slots[slot].with_mut(|at| unsafe { *at = value });
        cursor.publish(&self.head, 1);
        if must_ring(&self.flags) {
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

fn run(packets: u16, disarm_when_awake: bool) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let shared = Shared::new(u16::from(disarm_when_awake));
        let peer = Arc::clone(&shared);
        let producer = loom::thread::spawn(move || {
            let mut cursor = Cursor::new(RING_SIZE, 0, RING_SIZE);
            (1..=packets).for_each(|value| peer.produce(&mut cursor, value));
        });
        let mut cursor = Cursor::new(RING_SIZE, 0, 0);
        let mut taken = Vec::new();
        while taken.len() < usize::from(packets) {
            shared.consume(&mut cursor, &mut taken);
            if taken.len() == usize::from(packets) {
                break;
            }
            shared.drain();
            if arm(&mut cursor, &shared.flags, &shared.head).unwrap() == 0 {
                shared.wait();
            }
            if disarm_when_awake {
                disarm(&shared.flags);
            }
        }
        assert_eq!(taken, (1..=packets).collect::<Vec<_>>());
        producer.join().unwrap();
    });
}

#[test]
fn adaptive_receiver_never_sleeps_through_a_packet() {
    run(2, true);
}

#[test]
fn interrupt_receiver_never_sleeps_through_a_packet() {
    run(2, false);
}

#[test]
fn full_ring_is_returned_slot_by_slot_in_order() {
    run(3, true);
}
