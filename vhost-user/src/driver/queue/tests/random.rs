//! Random bursts in both directions, against what must come out.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

/// What is done in turns.
#[derive(Debug, Clone)]
enum Act {
    /// Packets of these lengths (modulo what is possible) in one burst; dropped instead of sent when
    /// not `commit`.
    Send { to_device: bool, lens: Vec<usize>, commit: bool },
    /// One burst, of which some packets are not released.
    Receive { from_device: bool, max: usize, keep: usize },
    /// Arming changes nothing.
    Arm,
}

fn act() -> impl Strategy<Value = Act> {
    let lens = proptest::collection::vec(prop_oneof![1..80usize, 1..3000usize], 0..12);
    prop_oneof![
        4 => (any::<bool>(), lens, prop::bool::weighted(0.9))
            .prop_map(|(to_device, lens, commit)| Act::Send { to_device, lens, commit }),
        4 => (any::<bool>(), 0..40usize, 0..5usize)
            .prop_map(|(from_device, max, keep)| Act::Receive { from_device, max, keep }),
        1 => Just(Act::Arm),
    ]
}

/// Sends one burst; what it took is what is on the way.
fn push(
    tx: &mut dyn PacketTx,
    lens: &[usize],
    longest: usize,
    commit: bool,
    way: &mut VecDeque<Vec<u8>>,
    seed: &mut u32,
) {
    let mut burst = tx.tx_burst(1024).unwrap();
    let mut taken = Vec::new();
    for len in lens {
        *seed += 1;
        let frame = frame(1 + len % longest, *seed);
        match burst.push(&frame) {
            Ok(()) => taken.push(frame),
            Err(PushError::Full) => break,
            Err(error) => panic!("{error}"),
        }
    }
    if commit {
        assert_eq!(burst.commit(), taken.len());
        way.extend(taken);
    }
}

fn check(rx: &mut dyn PacketRx, max: usize, keep: usize, way: &mut VecDeque<Vec<u8>>) {
    let expected = way.make_contiguous().to_vec();
    let taken = receive(rx, &expected, max, keep);
    way.drain(..taken);
}

proptest! {
    #[test]
    fn whatever_is_sent_arrives_once_and_in_order(
        acts in proptest::collection::vec(act(), 1..80),
        mix in 0..32usize,
        size in prop_oneof![Just(1u16), Just(2), Just(4), Just(16), Just(64)],
        odd in 0..3u16,
    ) {
        let setup = Setup::all(size).nth(mix).unwrap();
        let size = if setup.layout == RingLayout::Packed { size + odd } else { size };
        let setup = Setup { size, ..setup };
        let mut pair = Pair::new(&setup);
        let (mut to_device, mut to_driver) = (VecDeque::new(), VecDeque::new());
        let mut seed = 0;
        for act in acts {
            match act {
                Act::Send { to_device: true, lens, commit } => {
                    let longest = setup.longest_sent();
                    push(&mut pair.tx, &lens, longest, commit, &mut to_device, &mut seed);
                }
                Act::Send { to_device: false, lens, commit } => {
                    let longest = setup.longest_received();
                    push(&mut pair.device_tx, &lens, longest, commit, &mut to_driver, &mut seed);
                }
                Act::Receive { from_device: true, max, keep } => {
                    check(&mut pair.rx, max, keep, &mut to_driver);
                }
                Act::Receive { from_device: false, max, keep } => {
                    check(&mut pair.device_rx, max, keep, &mut to_device);
                }
                Act::Arm => {
                    prop_assert!(!pair.rx.arm().unwrap() || !to_driver.is_empty());
                    pair.tx.arm().unwrap();
                    pair.device_rx.arm().unwrap();
                    pair.device_tx.arm().unwrap();
                }
            }
        }
        check(&mut pair.rx, 256, 0, &mut to_driver);
        check(&mut pair.device_rx, 256, 0, &mut to_device);
        prop_assert!(to_driver.is_empty() && to_device.is_empty());
        pair.assert_whole();
    }
}
