//! Held packets, bursts and changes of the ring in any order, against what a simple model says.

use super::*;
use crate::virtqueue::split::tests::frame;
use crate::virtqueue::{HeldPacket, RxQueue};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Debug, Clone)]
enum Step {
    /// The driver sends so many packets, as far as there is room: every other one in pieces.
    Send(usize),
    Hold(usize),
    /// A burst of so many, of which so many are released.
    Burst(usize, usize),
    /// The holder drops one of its packets.
    Drop(usize),
    Arm,
    Limit(usize),
    Change(Change, Polled),
}

#[derive(Debug, Clone)]
enum Change {
    Stop,
    Memory,
    Call,
}

/// Whether the queue is polled before control looks whether the change has settled.
type Polled = bool;

fn step() -> impl Strategy<Value = Step> {
    let change = prop_oneof![Just(Change::Stop), Just(Change::Memory), Just(Change::Call)];
    prop_oneof![
        6 => (1..6usize).prop_map(Step::Send),
        6 => (0..5usize).prop_map(Step::Hold),
        4 => (0..5usize, 0..5usize).prop_map(|(max, count)| Step::Burst(max, count)),
        6 => (0..10usize).prop_map(Step::Drop),
        1 => Just(Step::Arm),
        1 => (0..6usize).prop_map(Step::Limit),
        2 => (change, any::<Polled>()).prop_map(|(change, polled)| Step::Change(change, polled)),
    ]
}

/// Packets are numbered as they are sent.
struct Model<P> {
    peer: P,
    rx: Ring<RxQueue>,
    held: Vec<(u32, HeldPacket)>,
    /// Slots of the packets that are with the device, oldest first.
    with_device: VecDeque<u16>,
    /// So many packets were sent, taken, and given back.
    counts: [u32; 3],
    limit: usize,
    /// What the last call of `hold` went by.
    limit_then: usize,
}

fn packet(number: u32) -> Vec<u8> {
    frame(60 + number as usize % 200, number)
}

impl<P: Peer> Model<P> {
    fn new() -> Self {
        let peer = P::new();
        let rx = peer.rx();
        let (held, with_device, counts) = (Vec::new(), VecDeque::new(), [0; 3]);
        Self { peer, rx, held, with_device, counts, limit: 2, limit_then: 2 }
    }

    /// Does one step. Returns whether the queue had a look at what it is to give back.
    fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Send(count) => (0..count).for_each(|_| self.send()),
            Step::Hold(max) => self.hold(max),
            Step::Burst(max, count) => self.burst(max, count),
            Step::Drop(at) if at < self.held.len() => drop(self.held.swap_remove(at)),
            Step::Drop(_) => {}
            Step::Arm => {
                let [sent, taken, _] = self.counts;
                assert_eq!(self.rx.arm(), Ok(sent > taken));
                return true;
            }
            Step::Limit(limit) => {
                self.limit = limit.min(4);
                self.rx.set_holding_limit(limit);
            }
            Step::Change(change, polled) => {
                self.change(&change, polled);
                return polled;
            }
        }
        matches!(step, Step::Hold(_) | Step::Burst(..))
    }

    fn send(&mut self) {
        if self.with_device.len() == usize::from(SIZE) {
            return;
        }
        let number = self.counts[0];
        match number % 2 {
            0 => self.peer.send(&packet(number)),
            _ => self.peer.send_in_table(&packet(number), 40),
        }
        self.with_device.push_back(u16::try_from(number).unwrap() % SIZE);
        self.counts[0] += 1;
    }

    fn hold(&mut self, max: usize) {
        let mut packets = Vec::new();
        let count = self.rx.hold(max, &mut packets).unwrap();
        let [sent, taken, _] = self.counts;
        assert_eq!(count, max.min((sent - taken) as usize));
        if count > 0 {
            self.limit_then = self.limit;
        }
        self.held.extend((taken..).zip(packets));
        self.counts[1] += u32::try_from(count).unwrap();
    }

    fn burst(&mut self, max: usize, count: usize) {
        let [sent, taken, _] = self.counts;
        let burst = self.rx.queue.rx_burst(max).unwrap();
        assert_eq!(burst.len(), max.min((sent - taken) as usize));
        for (number, received) in (taken..).zip(burst.packets()) {
            assert_eq!(received.detach(), packet(number));
        }
        self.counts[1] += u32::try_from(count.min(burst.len())).unwrap();
        burst.release(count);
    }

    fn change(&mut self, change: &Change, polled: Polled) {
        let control = &mut self.rx.control;
        match change {
            Change::Stop => control.stop(),
            Change::Memory => {
                self.peer.memory_mut().share_anew();
                control.apply(control.retranslated(self.peer.guest()).unwrap());
            }
            Change::Call => control.set_call(None),
        }
        if polled {
            drop(self.rx.rx_burst(0).unwrap());
        }
        let control = &mut self.rx.control;
        assert!(control.is_settled());
        if !matches!(change, Change::Call) {
            self.take_back();
            assert_eq!(self.counts[1], self.counts[2], "nothing of the old ring is in use");
        }
        if matches!(change, Change::Stop) {
            let base = self.rx.control.base().unwrap();
            let start = self.peer.start_at(base);
            self.rx.control.start(Arc::clone(self.peer.guest()), start).unwrap();
        }
    }

    /// The driver takes back what was given back, and uses it for something else.
    fn take_back(&mut self) {
        for slot in self.peer.slots_back() {
            assert_eq!(Some(slot), self.with_device.pop_front(), "in order");
            self.peer.memory().put(buffer(slot), &[0xdd; 300]);
            self.counts[2] += 1;
        }
    }

    /// `looked`: the queue gave back what it could.
    fn check(&mut self, looked: bool) {
        self.take_back();
        let [_, taken, back] = self.counts;
        assert!(back <= taken);
        for (number, held) in &self.held {
            assert_eq!(held.is_copied(), *number < back, "packet {number} of {back}");
            assert_eq!(held.detach().unwrap(), packet(*number));
        }
        if looked {
            assert!((taken - back) as usize <= self.limit_then, "{taken} taken, {back} back");
            let is_first_held = self.held.iter().any(|(number, _)| *number == back);
            assert!(taken == back || is_first_held, "{back} is in nobody's way");
        }
    }
}

fn run<P: Peer>(steps: Vec<Step>) {
    let mut model = Model::<P>::new();
    for step in steps {
        let looked = model.step(step);
        model.check(looked);
    }
    let sent = model.counts[0];
    model.step(Step::Burst(8, 8));
    model.held.clear();
    model.step(Step::Hold(8));
    model.check(true);
    assert_eq!(model.counts, [sent; 3], "all of them arrived, and went back");
}

proptest! {
    #[test]
    fn packets_go_back_in_order_whatever_is_held_in_split_rings(steps in vec(step(), 1..80)) {
        run::<crate::virtqueue::split::tests::Driver>(steps);
    }

    #[test]
    fn packets_go_back_in_order_whatever_is_held_in_packed_rings(steps in vec(step(), 1..80)) {
        run::<crate::virtqueue::packed::tests::Packed>(steps);
    }
}
