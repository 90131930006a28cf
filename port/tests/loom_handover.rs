//! Every interleaving of the shipped functions with which control changes a queue under a data
//! thread: `./ci.sh loom`.
//!
//! The model runs with fences of the CPU on both sides. Without either of them, and without the wake-up
//! behind [`Handover::leave`] or behind picking up, it fails (tried by hand): control writes to what
//! a burst reads, or sleeps for ever.
#![cfg(loom)]
#![expect(unsafe_code, reason = "loom checks the accesses to its cells")]

use loom::cell::UnsafeCell;
use loom::sync::{Arc, Condvar, Mutex};
use ringport::handover::Handover;

/// What the two threads share.
struct Shared {
    handover: Handover,
    /// Which of `memory` is to be used.
    mail: Mutex<usize>,
    /// Read by bursts; written by control once nobody may use it.
    memory: [UnsafeCell<bool>; 3],
    woken: Mutex<bool>,
    bell: Condvar,
}

impl Shared {
    fn wake(&self) {
        *self.woken.lock().unwrap() = true;
        self.bell.notify_one();
    }

    fn wait(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            woken = self.bell.wait(woken).unwrap();
        }
        *woken = false;
    }

    /// One burst, with whatever is `current`.
    fn burst(&self, current: &mut usize, position: u32) {
        if self.handover.enter() {
            let mail = self.mail.lock().unwrap();
            self.handover.picked_up();
            *current = *mail;
            drop(mail);
            self.wake();
        }
        // SAFETY: control does not write to what is current, or so the model checks.
        let unmapped = self.memory[*current].with(|at| unsafe { *at });
        assert!(!unmapped, "{current} is used after the change has settled");
        if self.handover.leave(position) {
            self.wake();
        }
    }

    /// Replaces what is current by the next, and takes the old one away.
    fn replace(&self, old: usize) {
        *self.mail.lock().unwrap() = old + 1;
        self.handover.announce();
        while !self.handover.is_settled() {
            self.wait();
        }
        // SAFETY: no burst uses it any more, or so the model checks.
        self.memory[old].with_mut(|at| unsafe { *at = true });
    }
}

fn run(bursts: u32, changes: usize) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let shared = Arc::new(Shared {
            handover: Handover::default(),
            mail: Mutex::new(0),
            memory: [UnsafeCell::new(false), UnsafeCell::new(false), UnsafeCell::new(false)],
            woken: Mutex::new(false),
            bell: Condvar::new(),
        });
        let data = {
            let shared = Arc::clone(&shared);
            loom::thread::spawn(move || {
                let mut current = 0;
                (1..=bursts).for_each(|at| shared.burst(&mut current, at));
            })
        };
        (0..changes).for_each(|old| shared.replace(old));
        data.join().unwrap();
        assert_eq!(shared.handover.position(), bursts);
    });
}

#[test]
fn withdrawn_memory_is_never_used_and_control_is_always_woken() {
    run(2, 1);
}

#[test]
fn changes_may_follow_each_other() {
    run(2, 2);
}
