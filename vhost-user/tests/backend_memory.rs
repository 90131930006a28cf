//! Memory tables, and regions one by one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use ringport_vhost_user::backend::{Event, Failed};
use ringport_vhost_user::error::{PeerMisbehaved, WireError};
use ringport_vhost_user::wire::{MemoryRegion, Message, Request};
use support::{FrontEnd, MIB, fds, marked, open_count, region};

fn add(region: MemoryRegion) -> Message {
    Message::MemRegion(Request::AddMemReg, region)
}

fn remove(region: MemoryRegion) -> Message {
    Message::MemRegion(Request::RemMemReg, region)
}

#[test]
fn table_arrives_with_its_descriptors_and_is_acked_last() {
    let mut peer = FrontEnd::acked();
    let event = peer.say(&Message::MemTable(vec![region(0), region(1)])).unwrap();
    let Some(Event::MemoryTable(regions)) = event else { panic!("{event:?}") };
    assert_eq!(regions.len(), 2);
    assert_eq!((regions[0].region, regions[1].region), (region(0), region(1)));
    peer.silent();
    peer.machine.answer_ack(Ok(())).unwrap();
    assert_eq!(peer.heard_number(Request::SetMemTable), 0);
}

#[test]
fn table_that_cannot_be_mapped_leaves_the_old_one() {
    let mut peer = FrontEnd::acked();
    peer.yes(&Message::MemTable(vec![region(0)]));
    peer.say(&Message::MemTable(vec![region(1)])).unwrap();
    peer.machine.answer_ack(Err(Failed)).unwrap();
    assert_ne!(peer.heard_number(Request::SetMemTable), 0);
    peer.yes(&remove(region(0)));
}

#[test]
fn table_replaces_a_table_while_rings_run() {
    let mut peer = FrontEnd::running();
    let event = peer.say(&Message::MemTable(vec![region(0), region(2)])).unwrap();
    assert!(matches!(event, Some(Event::MemoryTable(_))));
    assert_eq!(peer.machine.wanted(), 0);
    peer.machine.answer_ack(Ok(())).unwrap();
    assert_eq!(peer.heard_number(Request::SetMemTable), 0);
}

#[test]
fn table_with_another_number_of_descriptors_is_refused() {
    let table = Message::MemTable(vec![region(0), region(1)]);
    for got in [0, 1, 3, 8, 9, 33, 253] {
        let mut peer = FrontEnd::acked();
        let request = Request::SetMemTable;
        let why = PeerMisbehaved::FdCount { request, got, min: 2, max: 2 };
        let error = peer.say_with(&table, marked("vu-table", got)).unwrap_err();
        assert_eq!(error, why.into());
        assert_ne!(peer.heard_number(request), 0);
        assert_eq!(open_count("vu-table"), 0);
    }
}

#[test]
fn table_of_no_region_or_too_many_is_refused() {
    for count in [0, 9, 10, u32::MAX] {
        let mut bytes = Message::MemTable(vec![region(0)]).encode(true);
        bytes[12..16].copy_from_slice(&count.to_ne_bytes());
        let mut peer = FrontEnd::acked();
        let why = PeerMisbehaved::from(WireError::RegionCount { count, limit: 8 });
        assert_eq!(peer.say_bytes(&bytes, fds(1)).unwrap_err(), why.into());
        peer.heard(Request::SetMemTable);
    }
    let why = PeerMisbehaved::TooManyRegions { limit: 4 };
    let five = (0..5).map(region).map(|region| MemoryRegion { size: 4096, ..region });
    FrontEnd::acked().no(&Message::MemTable(five.collect()), why);
}

#[test]
fn region_that_is_empty_or_wraps_around_is_refused() {
    let whole = region(0);
    let odd = [
        MemoryRegion { size: 0, ..whole },
        MemoryRegion { size: u64::MAX, ..whole },
        MemoryRegion { guest_address: u64::MAX - MIB + 2, ..whole },
        MemoryRegion { user_address: u64::MAX - 1, ..whole },
        MemoryRegion { mmap_offset: u64::MAX - 1, ..whole },
    ];
    for region in odd {
        let why = PeerMisbehaved::RegionExtent { size: region.size };
        FrontEnd::acked().no(&Message::MemTable(vec![region]), why);
        FrontEnd::acked().no(&add(region), why);
        FrontEnd::acked().ends(&Message::MemTable(vec![region]), why);
    }
}

#[test]
fn regions_that_overlap_are_refused() {
    let inside = MemoryRegion { guest_address: region(0).guest_address + MIB - 1, ..region(3) };
    let (first, second) = (region(0).guest_address, inside.guest_address);
    let why = PeerMisbehaved::RegionsOverlap { first, second };
    FrontEnd::acked().no(&Message::MemTable(vec![region(0), inside]), why);
    let inside = MemoryRegion { user_address: region(0).user_address + 1, ..region(3) };
    let why = PeerMisbehaved::RegionsOverlap { first, second: region(3).guest_address };
    FrontEnd::acked().no(&Message::MemTable(vec![region(0), inside]), why);
    FrontEnd::acked().yes(&Message::MemTable(vec![region(0), region(1)]));
}

#[test]
fn regions_larger_than_accepted_are_refused() {
    let large = MemoryRegion { size: 5 * MIB, ..region(0) };
    let why = PeerMisbehaved::TooMuchMemory { bytes: 5 * MIB, limit: 4 * MIB };
    FrontEnd::acked().no(&Message::MemTable(vec![large]), why);
    FrontEnd::acked().no(&add(large), why);
}

#[test]
fn slots_are_announced_and_kept_to() {
    let mut peer = FrontEnd::acked();
    peer.say(&Message::Plain(Request::GetMaxMemSlots)).unwrap();
    assert_eq!(peer.heard_number(Request::GetMaxMemSlots), 4);
    for number in 0..4 {
        let event = peer.say(&add(region(number))).unwrap();
        let Some(Event::AddRegion(offer)) = event else { panic!("{event:?}") };
        assert_eq!(offer.region, region(number));
        peer.machine.answer_ack(Ok(())).unwrap();
        assert_eq!(peer.heard_number(Request::AddMemReg), 0);
    }
    peer.no(&add(region(4)), PeerMisbehaved::TooManyRegions { limit: 4 });
}

#[test]
fn region_is_removed_by_addresses_and_size_and_its_descriptor_closed() {
    let mut peer = FrontEnd::acked();
    peer.yes(&add(region(0)));
    for other in [
        region(1),
        MemoryRegion { size: 4096, ..region(0) },
        MemoryRegion { user_address: 0, ..region(0) },
    ] {
        let MemoryRegion { guest_address, size, .. } = other;
        peer.no(&remove(other), PeerMisbehaved::NoSuchRegion { guest_address, size });
    }
    let same = MemoryRegion { mmap_offset: 4096, ..region(0) };
    let event = peer.say_with(&remove(same), marked("vu-rem", 1)).unwrap();
    assert!(matches!(event, Some(Event::RemoveRegion(_))));
    assert_eq!(open_count("vu-rem"), 0);
    peer.machine.answer_ack(Ok(())).unwrap();
    assert_eq!(peer.heard_number(Request::RemMemReg), 0);
    assert!(peer.say(&remove(same)).is_err());
}

#[test]
fn region_under_a_running_ring_stays_when_the_data_side_needs_it() {
    let mut peer = FrontEnd::running();
    peer.say(&remove(region(0))).unwrap();
    peer.machine.answer_ack(Err(Failed)).unwrap();
    assert_ne!(peer.heard_number(Request::RemMemReg), 0);
    let (first, second) = (region(0).guest_address, region(0).guest_address);
    peer.no(&add(region(0)), PeerMisbehaved::RegionsOverlap { first, second });
}
