//! Queues on rings in memory that a driver fills and scribbles in.
//!
//! An input is a header (see [`scene`]) and then operations: what the driver and control do, and
//! bursts of ours, within which they may do more. The harness looks at the memory through the
//! kernel's file interface and reads rings by the specification with code of its own, so that it
//! knows what each burst has to find and to give back. While the driver of a split ring keeps to the
//! rules, what it knows is compared with what the device of the `virtio-queue` crate finds.

mod lane;
mod layout;
mod memory;
mod oracle;
mod receive;
mod scene;
mod transmit;
mod world;

pub(crate) use scene::{EVENT_IDX, IN_ORDER, INDIRECT, MERGEABLE, RX_OFFLOADS};

use super::OPERATIONS_MAX;
use crate::input::Input;
use scene::Scene;

pub(crate) fn split(data: &[u8]) {
    run(false, data);
}

pub(crate) fn packed(data: &[u8]) {
    run(true, data);
}

fn run(packed: bool, data: &[u8]) {
    let mut input = Input::new(data);
    let mut scene = Scene::new(packed, &mut input);
    for _ in 0..OPERATIONS_MAX {
        if !input.more() {
            break;
        }
        scene.step(&mut input);
    }
    scene.finish();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open_files::alone;
    use crate::seeds;
    use ringport::error::QueueError;

    /// Runs a seed, and returns packets received and sent, comparisons with the oracle, and how the
    /// two rings ended.
    fn outcome(packed: bool, name: &str) -> ([u64; 3], [Option<QueueError>; 2]) {
        let seeds = seeds::of(if packed { "vhost_packed" } else { "vhost_split" });
        let (_, data) = seeds.iter().find(|seed| seed.0 == name).expect("a seed");
        let mut input = Input::new(data);
        alone(|| {
            let mut scene = Scene::new(packed, &mut input);
            while input.more() {
                scene.step(&mut input);
            }
            (scene.counts, scene.world.lanes.each_ref().map(|lane| lane.control.fault()))
        })
    }

    #[test]
    fn well_formed_seeds_move_packets_and_the_oracle_agrees() {
        for packed in [false, true] {
            assert_eq!(outcome(packed, "single").0[..2], [8, 1], "packed: {packed}");
            for name in ["chains", "turns", "tables", "rich", "in-order"] {
                let ([received, sent, compared], faults) = outcome(packed, name);
                assert_eq!((received, faults), (160, [None, None]), "{name}, packed: {packed}");
                assert!(sent >= 40, "{name}, packed: {packed}");
                assert_eq!(compared > 0, !packed, "{name}");
            }
        }
    }

    #[test]
    fn seeds_with_bad_indices_and_buffers_end_their_rings() {
        let (_, runaway) = outcome(false, "runaway");
        assert!(runaway.iter().all(|it| matches!(it, Some(QueueError::IndexRunaway { .. }))));
        let (_, missing) = outcome(false, "no-such-descriptor");
        assert!(missing.iter().all(|it| matches!(it, Some(QueueError::NoSuchDescriptor { .. }))));
        for packed in [false, true] {
            let (_, faults) = outcome(packed, "first-bad");
            assert!(matches!(faults, [None, Some(QueueError::OddFlags { .. })]), "{faults:?}");
        }
    }
}
