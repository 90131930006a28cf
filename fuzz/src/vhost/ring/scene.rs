//! Queues, and the world around them.

use super::lane::Lane;
use super::layout::{Place, Ring};
use super::memory::Memory;
use super::oracle::Oracle;
use super::world::World;
use crate::input::Input;
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::link::LinkState;
use ringport::offload::Accepts;
use ringport_vhost_user::virtqueue::{KickMode, RingFeatures, RxQueue, TxQueue, rx_ring, tx_ring};
use std::sync::Arc;

/// Bits of the first byte of features.
pub(crate) const MERGEABLE: u8 = 1;
pub(crate) const INDIRECT: u8 = 2;
pub(crate) const EVENT_IDX: u8 = 4;
pub(crate) const IN_ORDER: u8 = 8;
pub(crate) const RX_OFFLOADS: u8 = 16;

#[derive(Debug)]
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) rx: RxQueue,
    pub(super) tx: TxQueue,
    oracle: Option<Oracle>,
    /// What was found so far, for tests: packets received and sent, comparisons with the oracle.
    pub(super) counts: [u64; 3],
}

impl Scene {
    /// Header: sizes of both rings, features, offloads for the driver, kicks, a base for both, what
    /// regions have besides, the variant of the memory.
    pub(super) fn new(packed: bool, input: &mut Input<'_>) -> Self {
        let [rx_size, tx_size, bits, accepts, kicks] = input.take();
        let (base, more, variant) = (input.u16(), input.take(), input.u8());
        let features = features(bits, accepts);
        let link = Arc::new(LinkState::new().unwrap());
        let wake = Arc::new(Doorbell::create().unwrap());
        let (rx, rx_control) = rx_ring(Arc::clone(&link), Arc::clone(&wake)).unwrap();
        let (tx, tx_control) = tx_ring(Arc::clone(&link), wake).unwrap();
        let ring = |size: u8, write| Ring {
            areas: Memory::ring_areas(usize::from(write)),
            packed,
            size: if packed { 1 + u16::from(size) } else { 1 << (size % 9) },
            indirect: features.indirect,
            event_idx: features.event_idx,
            write,
        };
        let lanes = [
            Lane::new(rx_control, ring(rx_size, false), 0),
            Lane::new(tx_control, ring(tx_size, true), 1),
        ];
        let kicks =
            [KickMode::Adaptive, KickMode::Interrupt, KickMode::Polling][usize::from(kicks % 3)];
        let variant = variant & !super::memory::MISSING;
        let mut world = World::new(Memory::new(more), variant, lanes, link, features, kicks);
        world.reset(0, base);
        world.reset(1, base);
        Self { world, rx, tx, oracle: None, counts: [0; 3] }
    }

    pub(super) fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 8 {
            0..=2 => self.world.act(input),
            3 | 4 => self.receive(input),
            5 | 6 => self.transmit(input),
            _ => self.arm(input.u8()),
        }
        self.world.check();
    }

    pub(super) fn finish(self) {
        drop((self.rx, self.tx));
        self.world.memory.check_canaries();
    }

    /// What the queue reports of its ring, after it has looked at it: `broken` and `bad` say what
    /// it saw first.
    pub(super) fn check_fault(&mut self, number: usize, ends: bool) {
        let lane = &mut self.world.lanes[number];
        let fault = lane.control.fault();
        if lane.broken.is_some() || !lane.on {
            return assert!(!lane.on || fault == lane.broken, "it changes its mind");
        }
        if fault.is_some() && lane.known {
            assert!(!lane.honest, "{fault:?}, although the driver keeps to the rules");
            let runaway = matches!(fault, Some(QueueError::IndexRunaway { .. }));
            assert!(ends || runaway && !lane.honest_index, "{fault:?} without a cause");
        } else {
            // A driver whose index moves any way may not be looked at.
            assert!(!ends || !lane.known || !lane.ring.packed && !lane.honest_index, "no fault");
        }
        lane.broken = fault;
    }

    fn arm(&mut self, which: u8) {
        let number = usize::from(which & 1);
        let kicks = self.world.kicks;
        let lane = &self.world.lanes[number];
        lane.begin(&self.world.memory);
        let before = self.world.memory.view();
        let view = self.world.view(&before);
        let found = lane.expected(view, 1, usize::MAX);
        let waits = !found.chains.is_empty() || !found.dropped.is_empty() || found.bad;
        let armed = if number == 0 { self.rx.arm() } else { self.tx.arm() };
        let waiting = match armed {
            Ok(waiting) => waiting,
            Err(error) => return self.world.check_down(error),
        };
        let runaway = self.world.lanes[number].control.fault().is_some();
        self.check_fault(number, runaway && !self.world.lanes[number].honest_index);
        let lane = &self.world.lanes[number];
        if !lane.is_live() || (number == 1 && !lane.enabled) {
            return assert!(!waiting, "there is no ring");
        }
        assert!(waiting || kicks != KickMode::Polling && lane.kicked, "asleep for ever");
        if lane.honest {
            assert!(waiting || !waits, "asleep although there is work");
            let after = self.world.memory.view();
            let asked = lane.ring.wants_kick(self.world.view(&after), lane.next);
            assert!(waiting || asked, "asleep without a kick");
        }
    }

    /// Checks what the harness makes of a split ring against the independent device.
    pub(super) fn ask_oracle(
        &mut self,
        number: usize,
        chains: &[super::layout::Chain],
        bytes: &[u8],
    ) {
        let (world, lane) = (&self.world, &self.world.lanes[number]);
        if lane.ring.packed || !lane.honest || !lane.is_live() || chains.is_empty() {
            return;
        }
        let oracle = self.oracle.get_or_insert_with(|| Oracle::new(world));
        let found = oracle.chains(world, lane, chains.len());
        assert_eq!(found.len(), chains.len(), "the oracle finds other chains");
        for (found, chain) in found.iter().zip(chains) {
            assert_eq!((found.head, found.len()), (chain.id, chain.len()));
            let contents = super::lane::contents(world.view(bytes), chain);
            assert_eq!(oracle.contents(found, chain.len()), contents);
        }
        self.counts[2] += 1;
    }
}

fn features(bits: u8, accepts: u8) -> RingFeatures {
    let has = |bit: u8| bits & bit != 0;
    RingFeatures {
        mergeable: has(MERGEABLE),
        indirect: has(INDIRECT),
        event_idx: has(EVENT_IDX),
        in_order: has(IN_ORDER),
        rx_offloads: has(RX_OFFLOADS),
        tx_offloads: Accepts {
            checksum: accepts & 1 != 0,
            tcp4: accepts & 2 != 0,
            tcp6: accepts & 4 != 0,
            ecn: accepts & 8 != 0,
        },
    }
}

/// Where a position is after these chains.
pub(super) fn behind(ring: &Ring, from: Place, chains: &[super::layout::Chain]) -> Place {
    chains.iter().fold(from, |at, chain| ring.ahead(at, chain.entries))
}
