//! Front-ends that say what they like, to a relay with a fake device: what is wrong is refused with its reason,
//! nothing of it reaches the device, and what ran goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod relay_support;

use nix::sys::eventfd::{EfdFlags, EventFd};
use relay_support::{
    Answer, FRONT_END, FakeConfig, Front, Handle, LEN, Place, READY, Raw, Scene, Served, Told,
    eventually, memory, region, scene,
};
use ringport_vhost_user::wire::{
    ConfigSpan, LogArea, MemoryRegion, Message, Request, VringAddress, VringFd, VringState, feature,
};
use std::os::fd::AsFd;

fn running() -> (Place, Served, Handle, Front) {
    let Scene { place, relay, device, front } = Scene::new();
    (place, relay, device, front)
}

fn starts(device: &Handle) -> usize {
    device.calls().iter().filter(|told| matches!(told, Told::Start { .. })).count()
}

#[test]
fn memory_at_guest_address_zero_is_memory_like_any_other() {
    let (_place, _relay, device, _front) = running();
    assert_eq!(device.mapped(), [0..=LEN - 1]);
}

#[test]
fn memory_under_a_running_device_may_grow_and_shrink_but_keeps_what_it_uses() {
    let (_place, relay, device, front) = running();
    let more = memory();
    let add = Message::MemRegion(Request::AddMemReg, region(LEN));
    assert!(front.raw.ask(&add, &[more.as_fd()]).is_yes());
    assert_eq!(device.mapped(), [0..=LEN - 1, LEN..=2 * LEN - 1]);
    let remove = |at| Message::MemRegion(Request::RemMemReg, region(at));
    assert!(!front.is_granted(&remove(0)), "its rings are there");
    assert!(relay.refused().contains("while the device uses it"));
    assert!(front.is_granted(&remove(LEN)));
    assert_eq!(device.mapped(), [0..=LEN - 1]);
    // A table without the rings' memory, and one with other memory in its place.
    assert!(!front.raw.ask(&Message::MemTable(vec![region(LEN)]), &[more.as_fd()]).is_yes());
    assert!(relay.refused().contains("while the device uses it"));
    assert!(!front.raw.ask(&Message::MemTable(vec![region(0)]), &[more.as_fd()]).is_yes());
    assert!(relay.refused().contains("while the device uses it"));
    // The same once more is nothing new.
    device.calls();
    assert!(front.share());
    assert_eq!(device.calls(), []);
    assert!(device.runs());
}

#[test]
fn memory_that_is_not_in_whole_pages_or_does_not_fit_its_file_is_not_mapped() {
    let (place, relay, device) = scene(FakeConfig::default());
    let front = Front::connect(&place, 0);
    let wrong = [
        MemoryRegion { guest_address: 0x800, ..region(0) },
        MemoryRegion { size: LEN - 1, ..region(0) },
        MemoryRegion { mmap_offset: 0x10, size: 0x1000, ..region(0) },
        MemoryRegion { size: 2 * LEN, ..region(0) },
        MemoryRegion { mmap_offset: 1 << 45, ..region(0) },
    ];
    for said in wrong {
        let table = Message::MemTable(vec![said]);
        assert!(!front.raw.ask(&table, &[front.file.as_fd()]).is_yes(), "{said:?}");
        relay.refused();
        assert_eq!(device.mapped(), []);
    }
    front.run();
    relay.link_up();
}

#[test]
fn ring_outside_of_memory_or_out_of_line_is_refused_by_its_part() {
    let (place, relay, device) = scene(FakeConfig::default());
    let front = Front::connect(&place, 0);
    assert!(front.share());
    let good = front.addresses(0);
    let wrong = [
        ("descriptor area", VringAddress { descriptor_area: FRONT_END + LEN - 16, ..good }),
        ("descriptor area", VringAddress { descriptor_area: FRONT_END + 8, ..good }),
        ("driver area", VringAddress { driver_area: FRONT_END + 1, ..good }),
        ("driver area", VringAddress { driver_area: 0, ..good }),
        ("device area", VringAddress { device_area: FRONT_END + 2, ..good }),
        ("device area", VringAddress { device_area: FRONT_END + LEN - 8, ..good }),
        ("device area", VringAddress { device_area: u64::MAX - 3, ..good }),
    ];
    for (part, said) in wrong {
        front.prepare(0);
        // Some are refused as soon as they are said.
        if front.is_granted(&Message::VringAddress(said)) {
            assert!(!front.kick(0), "{said:?}");
            let why = relay.refused();
            assert!(why.contains(part) && why.contains("ring 0"), "{why}");
        } else {
            relay.refused();
        }
    }
    assert!(!device.runs());
    front.run();
    relay.link_up();
}

#[test]
fn ring_that_was_used_before_is_refused_with_where_it_is() {
    let (place, relay, device) = scene(FakeConfig::default());
    let front = Front::connect(&place, 0);
    assert!(front.share());
    front.prepare(1);
    front.set_used(1, 5);
    assert!(!front.kick(1));
    let why = relay.refused();
    assert!(why.contains("ring 1 was used up to 5"), "{why}");
    assert!(!device.runs());
    front.set_used(1, 0);
    front.run();
    relay.link_up();
}

#[test]
fn first_ring_that_stops_stops_the_device_and_each_says_where_it_is() {
    let (_place, _relay, device, front) = running();
    front.set_used(0, 7);
    front.set_used(1, 9);
    assert_eq!(front.stop(1), 9);
    assert!(!device.runs());
    assert_eq!(front.stop(0), 7);
    assert_eq!(device.mapped().len(), 1, "memory stays");
}

#[test]
fn driver_that_resets_the_device_by_its_status_begins_anew() {
    let (_place, _relay, device, front) = running();
    assert_eq!(starts(&device), 1);
    assert!(front.status(0));
    assert!(!device.runs());
    assert!(front.status(3) && front.status(0xb));
    assert!(!device.runs());
    assert!(front.status(READY));
    assert!(device.runs());
    let answer = front.raw.ask(&Message::Plain(Request::GetStatus), &[]);
    assert_eq!(answer.number(), READY, "its own words");
    // What it says once more changes nothing.
    device.calls();
    assert!(front.status(READY));
    assert_eq!(device.calls(), []);
}

#[test]
fn ring_that_is_disabled_stops_the_device_and_enabled_begins_anew() {
    let (_place, relay, device, front) = running();
    assert!(front.set(Request::SetVringEnable, 0, 0));
    assert!(!device.runs());
    assert!(front.set(Request::SetVringEnable, 0, 1));
    assert!(device.runs());
    assert!(front.set(Request::SetVringEnable, 1, 0));
    front.set_used(0, 1);
    assert!(!front.set(Request::SetVringEnable, 1, 1), "it cannot go on there");
    // Half of the conversation would be about a device that runs.
    assert!(relay.link_down().contains("ring 0 was used up to 1"));
    assert!(!device.runs());
    assert!(!front.raw.still_answers());
}

#[test]
fn device_that_does_not_begin_ends_the_conversation_whether_or_not_an_answer_was_asked_for() {
    let (place, relay, device) = scene(FakeConfig { starts: false, ..FakeConfig::default() });
    for asks in [true, false] {
        let front = Front::connect(&place, 0);
        assert!(front.share());
        for ring in [0, 1] {
            front.prepare(ring);
            assert!(front.kick(ring) && front.set(Request::SetVringEnable, ring, 1));
        }
        let ready = Message::Number(Request::SetStatus, READY);
        match asks {
            true => assert!(!front.is_granted(&ready)),
            false => front.raw.send(&ready.encode(false), &[]),
        }
        assert!(relay.not_linked().contains("refuses features"));
        assert!(!device.runs());
        assert_eq!(device.mapped(), []);
    }
}

#[test]
fn packed_ring_goes_on_where_the_device_stopped() {
    let mut config = FakeConfig::default();
    config.capabilities.starts_midway = true;
    config.capabilities.tells_base = true;
    config.capabilities.features |= feature::RING_PACKED;
    let (place, relay, device) = scene(config);
    let front = Front::connect_with(&place, 0, feature::RING_PACKED);
    front.run();
    relay.link_up();
    device.pretend_stopped_at(0x8003_8003);
    assert!(front.set(Request::SetVringEnable, 0, 0));
    device.calls();
    assert!(front.set(Request::SetVringEnable, 0, 1));
    assert_eq!(device.started_at(), [0x8003_8003; 2]);
    assert_eq!(front.stop(1), 0x8003_8003);
}

#[test]
fn reset_of_the_device_forgets_the_status() {
    let (_place, _relay, device, front) = running();
    assert!(front.is_granted(&Message::Plain(Request::ResetDevice)));
    assert!(!device.runs());
    for ring in [0, 1] {
        front.prepare(ring);
        assert!(front.kick(ring) && front.set(Request::SetVringEnable, ring, 1));
    }
    assert!(!device.runs(), "the driver has not said that it is ready");
    assert!(front.status(READY));
    assert!(device.runs());
}

#[test]
fn eventfds_are_exchanged_while_the_device_runs_and_what_is_none_is_refused() {
    let (_place, relay, device, front) = running();
    device.calls();
    let other = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap();
    let said = VringFd { index: 1, no_fd: false };
    for request in [Request::SetVringCall, Request::SetVringKick] {
        let message = Message::VringFd(request, said);
        assert!(front.raw.ask(&message, &[other.as_fd()]).is_yes());
        if request == Request::SetVringCall {
            assert_eq!(other.read().unwrap(), 1, "a call may have been lost in between");
        }
        assert!(!front.raw.ask(&message, &[front.file.as_fd()]).is_yes(), "memory is no eventfd");
        relay.refused();
    }
    assert_eq!(device.calls(), [Told::SetCall(1), Told::SetKick(1)]);
    let none = VringFd { index: 1, no_fd: true };
    assert!(front.is_granted(&Message::VringFd(Request::SetVringCall, none)), "it is not called");
    assert!(!front.is_granted(&Message::VringFd(Request::SetVringKick, none)));
    assert!(relay.refused().contains("a device does not poll"));
    assert!(device.runs());
}

#[test]
fn ring_that_is_to_be_polled_is_refused() {
    let (place, relay, _device) = scene(FakeConfig::default());
    let front = Front::connect(&place, 0);
    assert!(front.share());
    front.prepare(0);
    let none = VringFd { index: 0, no_fd: true };
    assert!(!front.is_granted(&Message::VringFd(Request::SetVringKick, none)));
    assert!(relay.refused().contains("ring 0 has no eventfd for kicks"));
    front.run();
    relay.link_up();
}

#[test]
fn configuration_is_the_devices_and_zeros_behind_it() {
    let (_place, _relay, _device, front) = running();
    for (offset, size) in [(0, 6), (6, 6), (8, 20), (12, 4), (200, 56)] {
        let span = ConfigSpan { offset, size, flags: 0 };
        let Answer::Payload(bytes) = front.raw.ask(&Message::GetConfig(span), &[]) else {
            panic!("closed");
        };
        let mut expected = vec![0; 256];
        expected[..12].copy_from_slice(&FakeConfig::default().space);
        let (from, to) = (offset as usize, (offset + size) as usize);
        assert_eq!(bytes[12..], expected[from..to]);
    }
    let span = ConfigSpan { offset: 0, size: 6, flags: 0 };
    assert!(!front.is_granted(&Message::SetConfig(span, vec![2; 6])), "it is not the driver's");
}

#[test]
fn what_a_relay_does_not_have_is_refused_and_the_device_runs_on() {
    let (_place, _relay, device, front) = running();
    let refused = [
        Message::LogBase(LogArea { size: 4096, offset: 0 }),
        Message::Rarp([2, 0, 0, 0, 0, 1]),
        Message::Plain(Request::CheckDeviceState),
        Message::Number(Request::SetFeatures, feature::VERSION_1 | feature::LOG_ALL),
        Message::Number(Request::SetFeatures, feature::VERSION_1 | 1 << 33),
        Message::VringState(Request::SetVringNum, VringState { index: 2, value: 64 }),
        Message::VringState(Request::SetVringEnable, VringState { index: 77, value: 1 }),
        Message::VringState(Request::SetVringNum, VringState { index: 0, value: 128 }),
    ];
    for message in refused {
        assert!(!front.is_granted(&message), "{message:?}");
        assert!(device.runs(), "{message:?}");
    }
    assert!(front.raw.still_answers());
}

/// All that a front-end says, one after the other, until it dies.
#[test]
fn front_end_that_dies_at_any_message_leaves_the_device_stopped_and_without_memory() {
    let (place, relay, device) = scene(FakeConfig::default());
    let steps: [fn(&Front) -> bool; 9] = [
        |front| front.share(),
        |front| {
            front.prepare(0);
            true
        },
        |front| front.kick(0),
        |front| front.set(Request::SetVringEnable, 0, 1),
        |front| {
            front.prepare(1);
            true
        },
        |front| front.kick(1),
        |front| front.set(Request::SetVringEnable, 1, 1),
        |front| front.status(READY),
        |front| front.stop(0) == 0,
    ];
    for last in 0..=steps.len() {
        let front = Front::connect(&place, 0);
        assert!(steps[..last].iter().all(|step| step(&front)));
        assert_eq!(device.runs(), last == 8);
        drop(front);
        eventually("the device has nothing any more", || {
            !device.runs() && device.mapped().is_empty()
        });
    }
    // One that says nothing at all makes room.
    let _silent = Raw::connect(&place);
    let front = Front::connect(&place, 0);
    front.run();
    eventually("the link is up", || device.runs());
    drop(relay);
}
