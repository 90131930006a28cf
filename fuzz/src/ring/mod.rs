//! The targets of the data plane: queues over memory that a peer scribbles in.
//!
//! An input is a header and then operations, each one byte of kind and its arguments: what the peer
//! does to the memory, and what we do with the queues. The harness looks at the memory through the
//! kernel's file interface and shares no code with the queues. It keeps a model of both rings (where
//! the next slot is, which buffers are ours), and so knows what each burst has to contain.

mod build;
mod memory;
mod mutate;
mod receive;
mod scene;
mod transmit;

pub(crate) use build::{EMPTY_SLOTS, POLICY, RX_MODE, UNSEALED_OR_POOL, WIDE_LINES};
pub use mutate::{Mutated, mutated_client, mutated_server};

use crate::input::Input;
use scene::Scene;

/// Most operations of one input.
const OPERATIONS_MAX: usize = 300;

pub(crate) fn server(data: &[u8]) {
    let mut input = Input::new(data);
    if let Some(scene) = build::server(&mut input) {
        run(scene, &mut input);
    }
}

pub(crate) fn client(data: &[u8]) {
    let mut input = Input::new(data);
    run(build::client(&mut input), &mut input);
}

fn run(mut scene: Scene, input: &mut Input<'_>) {
    for _ in 0..OPERATIONS_MAX {
        if !input.more() {
            break;
        }
        scene.step(input);
    }
    scene.finish();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open_files::alone;
    use crate::seeds;
    use ringport::error::QueueError;

    /// Runs a seed, and returns packets received and sent, and what went wrong with the link.
    fn outcome(target: &str, name: &str) -> (u64, u64, Option<QueueError>) {
        let seeds = seeds::of(target);
        let (_, data) = seeds.iter().find(|seed| seed.0 == name).expect("a seed");
        let mut input = Input::new(data);
        alone(|| {
            let mut scene = match target {
                "ring_server" => build::server(&mut input).expect("memory that is taken"),
                _ => build::client(&mut input),
            };
            while input.more() {
                scene.step(&mut input);
            }
            let (rx, tx) = (scene.rx_queue.stats(), scene.tx_queue.stats());
            (rx.packets, tx.packets, scene.link.fault())
        })
    }

    #[test]
    fn well_formed_seeds_move_packets() {
        for target in ["ring_server", "ring_client"] {
            assert_eq!(outcome(target, "traffic"), (3, 4, None), "{target}");
            // Three times eight bursts of the most that a burst holds.
            assert_eq!(outcome(target, "spin"), (24 * 256, 24 * 256, None), "{target}");
            assert_eq!(outcome(target, "chains"), (9, 2, None), "{target}");
            assert_eq!(outcome(target, "writer"), (0, 1, None), "{target}");
            assert_eq!(outcome(target, "forward"), (7, 7, None), "{target}");
            assert_eq!(outcome(target, "relay"), (9, 9, None), "{target}");
        }
        assert_eq!(outcome("ring_client", "exchange").2, None);
        assert_eq!(outcome("ring_client", "exchange-chains").2, None);
    }

    #[test]
    fn seeds_with_bad_descriptors_take_the_link_down() {
        let fault = |target, name| outcome(target, name).2;
        let (server, client) = ("ring_server", "ring_client");
        for target in [server, client] {
            assert_eq!(fault(target, "length-0"), Some(QueueError::EmptyDescriptor));
            let runaway = QueueError::IndexRunaway { queued: 9, ring_size: 4 };
            assert_eq!(fault(target, "runaway"), Some(runaway));
        }
        assert!(matches!(fault(server, "region-9"), Some(QueueError::UnknownRegion { .. })));
        assert!(matches!(fault(server, "one-byte-beyond"), Some(QueueError::OutOfBounds { .. })));
        assert!(matches!(fault(server, "tx-wraps"), Some(QueueError::OutOfBounds { .. })));
        assert_eq!(fault(server, "endless-chain"), Some(QueueError::ChainTooLong { limit: 4 }));
        assert_eq!(fault(server, "memory-taken-back"), Some(QueueError::MemoryLost));
        assert_eq!(fault(client, "region-9"), None, "only the length counts");
        assert!(matches!(
            fault(client, "length-4-gib"),
            Some(QueueError::LengthExceedsBuffer { .. })
        ));
    }
}
