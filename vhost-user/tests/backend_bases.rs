//! Where rings begin and stop, and how large they are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use ringport_vhost_user::backend::{Event, PackedIndex, RingBase};
use ringport_vhost_user::error::PeerMisbehaved;
use ringport_vhost_user::wire::{Message, Request, VringAddress, feature};
use support::{FrontEnd, address, doorbell, state};

const SPLIT: u64 = feature::VERSION_1 | feature::PROTOCOL_FEATURES;
const PACKED: u64 = SPLIT | feature::RING_PACKED;

fn set_up(features: u64) -> FrontEnd {
    let mut peer = FrontEnd::with_memory(features);
    peer.set_up(0);
    peer
}

#[test]
fn base_of_a_ring_that_never_started_is_the_stored_one() {
    let mut peer = FrontEnd::with_memory(SPLIT);
    peer.say(&state(Request::GetVringBase, 2, 0)).unwrap();
    assert_eq!(peer.heard_base(), (2, 0));
    peer.yes(&state(Request::SetVringBase, 2, 77));
    peer.say(&state(Request::GetVringBase, 2, 0)).unwrap();
    assert_eq!(peer.heard_base(), (2, 77));
}

#[test]
fn base_is_answered_only_after_the_data_side_stopped() {
    let mut peer = FrontEnd::running();
    let event = peer.say(&state(Request::GetVringBase, 0, 0)).unwrap();
    assert!(matches!(event, Some(Event::RingStopped { index: 0 })));
    assert_eq!(peer.machine.wanted(), 0);
    peer.silent();
    let base = RingBase::Split { avail: 9 };
    assert!(peer.machine.answer_vring_base(1, base).is_err(), "another ring");
    let nowhere = PackedIndex { index: 0, wrap: true };
    let packed = RingBase::Packed { avail: nowhere, used: nowhere };
    assert!(peer.machine.answer_vring_base(0, packed).is_err(), "another layout");
    peer.machine.answer_vring_base(0, base).unwrap();
    assert_eq!(peer.heard_base(), (0, 9));
}

#[test]
fn ring_restarts_where_it_stopped_and_without_its_old_doorbells() {
    let mut peer = FrontEnd::running();
    peer.yes(&doorbell(Request::SetVringCall, 0));
    peer.stop(0, RingBase::Split { avail: 0xFFFF });
    let ring = peer.start(0);
    assert_eq!((ring.base, ring.size), (RingBase::Split { avail: 0xFFFF }, 256));
    assert!(ring.call.is_none() && ring.kick.is_some());
}

#[test]
fn packed_base_of_virtio_user_means_nothing_in_flight() {
    let mut peer = set_up(PACKED);
    peer.yes(&state(Request::SetVringBase, 0, 0x8000));
    let first = PackedIndex { index: 0, wrap: true };
    assert_eq!(peer.start(0).base, RingBase::Packed { avail: first, used: first });
}

#[test]
fn packed_base_travels_in_32_bits() {
    let mut peer = set_up(PACKED);
    peer.yes(&state(Request::SetVringBase, 0, 0x8003_0005));
    let avail = PackedIndex { index: 5, wrap: false };
    let used = PackedIndex { index: 3, wrap: true };
    let base = RingBase::Packed { avail, used };
    assert_eq!(peer.start(0).base, base);
    peer.stop(0, base);
    assert_eq!(peer.start(0).base, base);
}

#[test]
fn packed_ring_that_nobody_set_begins_with_wrap_counters_set() {
    let mut peer = FrontEnd::with_memory(PACKED);
    peer.yes(&state(Request::SetVringNum, 0, 100));
    peer.yes(&Message::VringAddress(address(0)));
    let first = PackedIndex { index: 0, wrap: true };
    let ring = peer.start(0);
    assert_eq!((ring.base, ring.size), (RingBase::Packed { avail: first, used: first }, 100));
}

#[test]
fn base_outside_of_the_ring_is_refused() {
    let kick = doorbell(Request::SetVringKick, 0);
    for (features, base) in
        [(SPLIT, 0x1_0000), (SPLIT, u32::MAX), (PACKED, 0x8000_8100), (PACKED, 0x8100_8000)]
    {
        let mut peer = set_up(features);
        peer.yes(&state(Request::SetVringBase, 0, base));
        peer.no(&kick, PeerMisbehaved::RingBase { index: 0, base });
    }
}

#[test]
fn ring_size_is_a_power_of_two_unless_packed() {
    for size in [0, 3, 255, 1025, 2048, 0x1_0000, 0x1_0100, u32::MAX] {
        let why = PeerMisbehaved::RingSize { size, limit: 1024 };
        FrontEnd::with_memory(SPLIT).no(&state(Request::SetVringNum, 0, size), why);
    }
    for size in [1, 3, 255, 1024] {
        FrontEnd::with_memory(PACKED).yes(&state(Request::SetVringNum, 0, size));
    }
    for size in [0, 1025, 0x1_0001] {
        let why = PeerMisbehaved::RingSize { size, limit: 1024 };
        FrontEnd::with_memory(PACKED).no(&state(Request::SetVringNum, 0, size), why);
    }
}

#[test]
fn ring_size_set_for_the_other_layout_is_refused_at_the_start() {
    let mut peer = set_up(PACKED);
    peer.yes(&state(Request::SetVringNum, 0, 100));
    peer.yes(&Message::Number(Request::SetFeatures, SPLIT));
    let why = PeerMisbehaved::RingSize { size: 100, limit: 1024 };
    peer.no(&doorbell(Request::SetVringKick, 0), why);
}

#[test]
fn size_address_and_base_of_a_running_ring_are_refused() {
    let running = |request| PeerMisbehaved::RingRunning { request, index: 0 };
    let elsewhere = VringAddress { device_area: support::USER + 0x4000, ..address(0) };
    for message in [
        state(Request::SetVringNum, 0, 512),
        state(Request::SetVringBase, 0, 5),
        Message::VringAddress(elsewhere),
    ] {
        FrontEnd::running().no(&message, running(message.request()));
        FrontEnd::running().ends(&message, running(message.request()));
    }
}
