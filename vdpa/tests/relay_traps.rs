//! What goes wrong easily between front-ends and devices, though nobody is hostile: orders in which front-ends
//! say things, and what devices cannot do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod relay_support;

use nix::sys::eventfd::{EfdFlags, EventFd};
use relay_support::{
    Fake, FakeConfig, Front, Handle, LEN, Place, READY, Raw, Scene, Served, Told, address,
    eventually, memory, region, scene,
};
use ringport_vhost_user::wire::{MemoryRegion, Message, Request, VringFd, VringState, feature};
use std::os::fd::AsFd;

fn starts(device: &Handle) -> Vec<Told> {
    let calls = device.calls().into_iter();
    calls.filter(|told| matches!(told, Told::Start { .. })).collect()
}

fn bell(request: Request, index: u8) -> Message {
    Message::VringFd(request, VringFd { index, no_fd: false })
}

fn eventfd() -> EventFd {
    EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap()
}

#[test]
fn ring_that_lies_in_two_regions_is_refused_though_they_are_neighbours() {
    let (place, relay, device) = scene(FakeConfig::default());
    let front = Front::connect(&place, 0);
    // The descriptors of ring 1 go on behind the cut.
    let cut = (front.addresses(1).descriptor_area & (LEN - 1)) + 0x1000;
    let first = MemoryRegion { size: cut, ..region(0) };
    let second = MemoryRegion { size: LEN - cut, mmap_offset: cut, ..region(cut) };
    let files = [front.file.as_fd(), front.file.as_fd()];
    assert!(front.raw.ask(&Message::MemTable(vec![first, second]), &files).is_yes());
    front.prepare(0);
    assert!(front.kick(0));
    front.prepare(1);
    let across = relay_support::FRONT_END + cut - 16;
    let said = ringport_vhost_user::wire::VringAddress { descriptor_area: across, ..address(1) };
    assert!(front.is_granted(&Message::VringAddress(said)));
    assert!(!front.kick(1));
    assert!(relay.refused().contains("descriptor area of ring 1"));
    assert!(!device.runs());
}

#[test]
fn device_begins_when_the_last_of_what_it_needs_was_said_in_any_order() {
    type Step = fn(&Front) -> bool;
    let steps: [Step; 5] = [
        |front| front.kick(0),
        |front| front.kick(1),
        |front| front.set(Request::SetVringEnable, 0, 1),
        |front| front.set(Request::SetVringEnable, 1, 1),
        |front| front.status(READY),
    ];
    let (place, _relay, device) = scene(FakeConfig::default());
    for order in orders(steps.len()) {
        let front = Front::connect(&place, 0);
        assert!(front.share());
        front.prepare(0);
        front.prepare(1);
        for (said, step) in (1..).zip(&order) {
            assert!(steps[*step](&front));
            assert_eq!(device.runs(), said == steps.len(), "{order:?}");
        }
        assert_eq!(starts(&device).len(), 1);
        drop(front);
        eventually("the device has nothing any more", || {
            !device.runs() && device.mapped().is_empty()
        });
    }
}

/// All orders of so many things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else { return vec![vec![]] };
    let with_last = |order: Vec<usize>| {
        (0..count).map(move |at| {
            let mut order = order.clone();
            order.insert(at, last);
            order
        })
    };
    orders(last).into_iter().flat_map(with_last).collect()
}

#[test]
fn front_end_that_enables_first_and_is_ready_last_begins_once_and_its_stop_begins_nothing() {
    // As QEMU does: enabled long before there are addresses, other calls later, ready at the end.
    let (place, relay, device) = scene(FakeConfig::default());
    let front = Front::connect(&place, 0);
    for ring in [0, 1] {
        assert!(front.set(Request::SetVringEnable, ring, 1));
    }
    assert!(front.share());
    for ring in [0, 1] {
        front.prepare(ring);
        assert!(front.kick(ring));
    }
    let call = eventfd();
    assert!(front.raw.ask(&bell(Request::SetVringCall, 0), &[call.as_fd()]).is_yes());
    assert!(!device.runs());
    assert!(front.status(READY));
    relay.link_up();
    device.call(0);
    assert!(call.read().is_ok(), "the device has the later eventfd");
    assert_eq!(starts(&device).len(), 1);
    // It stops by asking where the rings are, resets, and enables them once more.
    assert_eq!([front.stop(0), front.stop(1)], [0, 0]);
    assert!(front.status(0));
    for ring in [0, 1] {
        assert!(front.set(Request::SetVringEnable, ring, 1));
    }
    assert!(!device.runs());
    assert_eq!(starts(&device), []);
}

#[test]
fn front_end_without_protocol_features_begins_with_its_kicks() {
    let (place, relay, device) = scene(FakeConfig::default());
    let raw = Raw::connect(&place);
    let say = |message: &Message| raw.send(&message.encode(false), &[]);
    say(&Message::Plain(Request::SetOwner));
    say(&Message::Number(Request::SetFeatures, feature::VERSION_1));
    let file = memory();
    raw.send(&Message::MemTable(vec![region(0)]).encode(false), &[file.as_fd()]);
    let bells = [eventfd(), eventfd()];
    for ring in [0, 1] {
        let state = |request, value| {
            say(&Message::VringState(request, VringState { index: ring.into(), value }));
        };
        state(Request::SetVringNum, 64);
        state(Request::SetVringBase, 0);
        say(&Message::VringAddress(address(ring.into())));
        raw.send(&bell(Request::SetVringKick, ring).encode(false), &[bells[0].as_fd()]);
    }
    relay.link_up();
    assert!(device.runs());
}

#[test]
fn ring_without_a_call_begins_with_an_eventfd_and_gets_its_own_later() {
    let (place, relay, device) = scene(FakeConfig::default());
    let front = Front::connect(&place, 0);
    assert!(front.share());
    let none = VringFd { index: 0, no_fd: true };
    for ring in [0, 1] {
        front.prepare(ring);
        assert!(front.kick_without_call(ring));
        assert!(front.set(Request::SetVringEnable, ring, 1));
    }
    assert!(front.status(READY));
    relay.link_up();
    device.call(0);
    device.calls();
    let call = eventfd();
    assert!(front.raw.ask(&bell(Request::SetVringCall, 0), &[call.as_fd()]).is_yes());
    assert_eq!(device.calls(), [Told::SetCall(0)], "it runs on");
    assert_eq!(call.read().unwrap(), 1, "a call may have been lost in between");
    device.call(0);
    assert_eq!(call.read().unwrap(), 1);
    assert!(front.is_granted(&Message::VringFd(Request::SetVringCall, none)));
    device.call(0);
    assert!(call.read().is_err(), "it is not called any more");
}

#[test]
fn base_that_a_front_end_remembers_is_not_believed_over_its_memory() {
    let (place, relay, device) = scene(FakeConfig::default());
    let front = Front::connect(&place, 0);
    assert!(front.share());
    for ring in [0, 1] {
        front.prepare(ring);
        // Of before its driver was reset.
        assert!(front.set(Request::SetVringBase, ring, 4711));
        assert!(front.kick(ring) && front.set(Request::SetVringEnable, ring, 1));
    }
    assert!(front.status(READY));
    relay.link_up();
    assert_eq!(device.started_at(), [0, 0]);
}

#[test]
fn device_behind_an_iommu_is_told_to_heed_it_and_nothing_of_the_protocol() {
    let mut config = FakeConfig::default();
    config.capabilities.translated = true;
    config.capabilities.features |= 1 << 33;
    let place = Place::new();
    let (fake, device) = Fake::new(config);
    let relay = Served::listen(&place, fake);
    let front = Front::connect_with(&place, 0, feature::MRG_RXBUF);
    front.run();
    relay.link_up();
    let features = feature::VERSION_1 | feature::MRG_RXBUF | 1 << 33;
    assert_eq!(starts(&device), [Told::Start { features, rings: 2 }]);
}

#[test]
fn device_is_stopped_before_it_gives_memory_back_and_never_told_to_disable_a_ring() {
    let scene = Scene::new();
    scene.device.calls();
    assert!(scene.front.set(Request::SetVringEnable, 1, 0));
    assert_eq!(scene.device.calls(), [Told::Stop]);
    assert!(scene.front.set(Request::SetVringEnable, 1, 1));
    let Scene { front, relay, device, .. } = scene;
    drop(front);
    relay.ended();
    let calls = device.calls();
    let range = 0..=LEN - 1;
    assert_eq!(calls[calls.len() - 2..], [Told::Stop, Told::Unmap(vec![range])], "{calls:?}");
}
