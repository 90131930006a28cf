//! What only a packed ring can have wrong: chains without an end, ownership bits of any kind,
//! positions outside the ring.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{
    BUFFER, FEATURES, Front, Hand, NEXT, PACKED, Place, SIZE, Served, WRITE, eventually, exchange,
    frame, receive, send,
};
use nix::sys::eventfd::EventFd;
use ringport::error::QueueError;
use ringport_vhost_user::wire::{Message, Request, VringFd, VringState};
use ringport_vhost_user::{DeviceConfig, Link};
use std::os::fd::AsFd;

const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

fn running(place: &Place) -> (Served, Front, Link, [Hand; 2]) {
    let device = Served::listen(place, DeviceConfig::default());
    let front = Front::running_with(place, 1, FEATURES | PACKED | 1 << 28);
    let link = device.link_up();
    assert_eq!(device.pairs_enabled(), 1);
    let hands = front.hands(0);
    (device, front, link, hands)
}

#[test]
fn chain_of_the_whole_ring_without_an_end_breaks_it() {
    let place = Place::new();
    let (device, mut front, mut link, mut hands) = running(&place);
    for (number, flag) in [(0, WRITE), (1, 0), (0, WRITE), (1, 0)] {
        let place = hands[number].place();
        for slot in (0..SIZE).rev() {
            // Further on is the next turn.
            let owner = if slot >= hands[number].position() { AVAIL } else { USED };
            let flags = NEXT | flag | owner;
            hands[number].describe(&front.guest, slot, place, 10, [slot, flags]);
        }
        let broken = |link: &Link| link.rx[0].stats().bad_chain + link.tx[0].stats().bad_chain;
        let before = broken(&link);
        eventually("the ring breaks", || {
            assert!(link.rx[0].rx_burst(8).unwrap().is_empty());
            assert_eq!(link.tx[0].tx_burst(8).unwrap().free(), 0);
            broken(&link) == before + 1
        });
        let error = QueueError::ChainTooLong { limit: SIZE };
        assert_eq!(device.ring_broken(), (u16::try_from(number).unwrap(), error));
        front.stop_ring(number);
        hands[number].reset(&front.guest);
        front.restart_ring(number, 0x8000);
        exchange(&mut hands, &front.guest, &mut link, 0, 1);
    }
}

#[test]
fn descriptors_that_are_not_available_are_left_alone() {
    let place = Place::new();
    let (_device, mut front, mut link, mut hands) = running(&place);
    for flags in [0, AVAIL | USED, USED, NEXT, WRITE, NEXT | WRITE | AVAIL | USED, USED | WRITE] {
        for number in [0, 1] {
            for slot in 0..SIZE {
                let at = hands[number].start() + 0x1_0000 + BUFFER * u64::from(slot);
                hands[number].describe(&front.guest, slot, at, 100, [slot, flags]);
            }
        }
        for _ in 0..3 {
            assert!(link.rx[0].rx_burst(64).unwrap().is_empty(), "{flags:#x}");
            assert_eq!(link.tx[0].tx_burst(64).unwrap().free(), 0, "{flags:#x}");
        }
    }
    for (number, hand) in hands.iter_mut().enumerate() {
        front.stop_ring(number);
        hand.reset(&front.guest);
        front.restart_ring(number, 0x8000);
    }
    exchange(&mut hands, &front.guest, &mut link, 0, 1);
}

#[test]
fn buffer_id_of_any_value_is_given_back_as_it_came() {
    let place = Place::new();
    let (_device, front, mut link, hands) = running(&place);
    for (slot, id) in (0..).zip([0, 63, 64, 0x7fff, 0x8000, 0xffff]) {
        let [to_driver, from_driver] = &hands;
        let at = from_driver.start() + 0x1_0000;
        front.guest.put(at, &[&[0; 12], &frame(60, 1)[..]].concat());
        from_driver.describe(&front.guest, slot, at, 72, [id, AVAIL]);
        assert_eq!(receive(&mut link.rx[0], 1), [frame(60, 1)]);
        let at = to_driver.start() + 0x1_0000;
        to_driver.describe(&front.guest, slot, at, 100, [id, AVAIL | WRITE]);
        send(&mut link.tx[0], &[frame(60, 1)]);
        for (hand, written) in hands.iter().rev().zip([0_u32, 72]) {
            let used = front.guest.get(hand.start() + 16 * u64::from(slot) + 8, 6);
            assert_eq!(used, [&written.to_le_bytes()[..], &id.to_le_bytes()].concat(), "{id}");
        }
    }
}

#[test]
fn position_outside_of_the_ring_is_refused_when_it_starts() {
    let place = Place::new();
    let (device, mut front, mut link, mut hands) = running(&place);
    exchange(&mut hands, &front.guest, &mut link, 0, 1);
    let good = front.stop_ring(1);
    assert_eq!(good, 0x8001_8001);
    while device.happened().is_some() {}
    let kick = EventFd::new().unwrap();
    let wrong = [0x8040, 0x40, 0x7fff, 0xffff, 0x8000_8040, 0x8040_8000, 0xffff_ffff];
    for base in wrong {
        let state = VringState { index: 1, value: base };
        let said = front.raw.ask(&Message::VringState(Request::SetVringBase, state), &[]);
        assert!(said.is_yes(), "it is looked at with the ring's size");
        let bell = Message::VringFd(Request::SetVringKick, VringFd { index: 1, no_fd: false });
        assert_ne!(front.raw.ask(&bell, &[kick.as_fd()]).number(), 0, "{base:#x}");
    }
    front.restart_ring(1, good);
    exchange(&mut hands, &front.guest, &mut link, 0, 2);
}
