//! Receives a burst, and checks every packet against the chains it came from.

use super::lane::{Expected, check_used, used_at};
use super::layout::{Chain, Place, Ring, View};
use super::memory::{apart, behind};
use super::scene::{Scene, behind as place_behind};
use super::world::World;
use crate::input::Input;
use ringport::burst::{BURST_MAX, RxPacket};
use ringport::offload::Offload;
use ringport_vhost_user::net;

impl Scene {
    /// Arguments: most packets (255: no limit), packets to release (255: all, by dropping the
    /// burst), how much else happens before that.
    pub(super) fn receive(&mut self, input: &mut Input<'_>) {
        let [max, release, acts] = input.take();
        let limit = if max == 0xff { usize::MAX } else { usize::from(max) };
        let lane = &self.world.lanes[0];
        lane.begin(&self.world.memory);
        let before = self.world.memory.view();
        let slots = BURST_MAX.max(usize::from(lane.ring.size.min(1024)));
        let live = lane.is_live();
        let expected = match live && lane.known {
            true => lane.expected(self.world.view(&before), limit.min(BURST_MAX), slots),
            false => Expected::default(),
        };
        if expected.dropped.is_empty() {
            self.ask_oracle(0, &expected.chains, &before);
        }
        let burst = match self.rx.rx_burst(limit) {
            Ok(burst) => burst,
            Err(error) => return self.world.check_down(error),
        };
        let packets = burst.len();
        assert!(packets <= limit && packets <= burst.slots() && burst.slots() <= slots);
        let lane = &mut self.world.lanes[0];
        // Giving back bad chains may have changed what came behind them.
        let sure = expected.dropped.is_empty() || structure_is_apart(&lane.ring, &expected);
        lane.known &= sure || !live;
        if !live || !lane.enabled || !lane.known {
            assert!(packets == 0 || live && lane.enabled, "packets without a ring");
            drop(burst);
            return self.discarded(&expected);
        }
        let world = &mut self.world;
        let dropped = check_packets(world, &expected, &burst.packets().collect::<Vec<_>>());
        let (held, place) = (world.lanes[0].ring, world.lanes[0].next);
        let starts = world.lanes[0].starts;
        let call = world.lanes[0].call.clone();
        world.open = true;
        (0..acts % 4).for_each(|_| world.act(input));
        world.open = false;
        if let Some(call) = &call {
            call.drain().unwrap();
        }
        let asked = world.memory.view();
        let released = if release == 0xff { packets } else { packets.min(release.into()) };
        match release {
            0xff => drop(burst),
            _ => burst.release(release.into()),
        }
        let chains = &expected.chains[..released];
        let after = world.memory.view();
        let first = place_behind(&held, place, dropped);
        check_released(world.view(&after), &held, first, chains, world.features.in_order);
        let lane = &mut world.lanes[0];
        let rung = call.as_ref().is_some_and(|call| call.drain().unwrap());
        let last = place_behind(&held, first, chains);
        if lane.starts == starts {
            if lane.honest && released > 0 && lane.on && call.is_some() {
                let view = View { bytes: &asked, table: &world.table };
                assert_eq!(rung, held.wants_call(view, first, last), "called or not");
            }
            lane.went_on(dropped);
            lane.went_on(chains);
        }
        self.counts[0] += released as u64;
        let ends = expected.broken;
        // Once it is started or stopped it is another one's.
        if self.world.lanes[0].starts == starts {
            self.check_fault(0, ends);
        }
    }

    /// A queue without a ring does nothing; one whose ring is disabled throws packets away.
    fn discarded(&mut self, expected: &Expected) {
        let after = self.world.memory.view();
        let lane = &mut self.world.lanes[0];
        if lane.is_live() && lane.known {
            let all = [&expected.dropped[..], &expected.chains].concat();
            let exact = lane.ring.packed || lane.honest_index;
            let view = View { bytes: &after, table: &self.world.table };
            let count = match exact {
                true => all.len(),
                false => usize::from(view.u16(lane.ring.areas[2] + 2).wrapping_sub(lane.next.at)),
            };
            assert!(count <= all.len(), "{count} thrown away");
            lane.went_on(&all[..count]);
        }
        self.check_fault(0, expected.broken);
    }
}

/// Checks packets; returns the chains that were dropped before them.
fn check_packets<'e>(
    world: &mut World,
    expected: &'e Expected,
    packets: &[RxPacket<'_>],
) -> &'e [Chain] {
    let after = world.memory.view();
    let lane = &world.lanes[0];
    let exact = lane.ring.packed || lane.honest_index;
    let view = View { bytes: &after, table: &world.table };
    let used = view.u16(lane.ring.areas[2] + 2).wrapping_sub(lane.next.at);
    let dropped = if lane.ring.packed { expected.dropped.len() } else { usize::from(used) };
    assert!(dropped <= expected.dropped.len(), "{dropped} chains given back unseen");
    if exact || !packets.is_empty() {
        assert_eq!(dropped, expected.dropped.len());
    }
    assert!(packets.len() <= expected.chains.len(), "{} packets from nowhere", packets.len());
    assert!(!exact || packets.len() == expected.chains.len(), "{} packets", packets.len());
    let dropped = &expected.dropped[..dropped];
    let used: Vec<_> = dropped.iter().map(|chain| (chain, 0)).collect();
    check_used(&lane.ring, view, lane.next, &used);
    let offloads = world.features.rx_offloads;
    for (packet, chain) in packets.iter().zip(&expected.chains) {
        let whole = super::lane::contents(View { bytes: &after, table: &world.table }, chain);
        let places: Vec<_> = packet.pieces().map(|piece| world.memory.locate(piece)).collect();
        let pieces = behind(chain.pieces.as_deref().unwrap_or_default(), 12);
        assert_eq!(places, pieces, "a packet lies elsewhere");
        check_contents(packet, &whole, offloads);
    }
    dropped
}

/// Whether using chains leaves alone what says where others are.
fn structure_is_apart(ring: &Ring, expected: &Expected) -> bool {
    let [table, driver, device] = ring.pieces();
    let all = expected.dropped.iter().chain(&expected.chains);
    let tables: Vec<_> = all.flat_map(|chain| &chain.table).copied().collect();
    match ring.packed {
        true => apart(&[table], &tables),
        false => apart(&[device], &tables) && apart(&[device], &[table, driver]),
    }
}

fn check_contents(packet: &RxPacket<'_>, whole: &[u8], offloads: bool) {
    let (header, payload) = whole.split_first_chunk::<12>().expect("longer than a header");
    let mut copy = vec![0xEE; payload.len() + 1];
    assert_eq!(packet.copy_to(&mut copy), packet.len());
    assert_eq!((packet.len(), copy.pop()), (payload.len(), Some(0xEE)));
    assert!(copy == payload, "contents");
    assert_eq!(packet.read_at::<1>(payload.len()), None);
    let len = u32::try_from(payload.len()).expect("fits the memory");
    let offload = match offloads {
        true => net::decode(header, len).unwrap_or_default(),
        false => Offload::default(),
    };
    assert_eq!(packet.offload(), offload);
}

/// Checks what was given back with a burst.
fn check_released(view: View<'_>, ring: &Ring, first: Place, chains: &[Chain], in_order: bool) {
    let Some(last) = chains.last() else { return };
    if in_order {
        // The last one's element, in the place of the first one's, says it for all.
        assert_eq!(used_at(ring, view, first), (last.id.into(), 0));
    } else {
        let used: Vec<_> = chains.iter().map(|chain| (chain, 0)).collect();
        check_used(ring, view, first, &used);
    }
    if !ring.packed {
        let end = place_behind(ring, first, chains);
        assert_eq!(view.u16(ring.areas[2] + 2), end.at, "published index");
    }
}
