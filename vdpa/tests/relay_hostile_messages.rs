//! Messages that a front-end should not send, to a relay with a fake device: each is refused or ends the
//! conversation, the device is told nothing of it, and the next front-end is served.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod relay_support;

use nix::sys::eventfd::EventFd;
use relay_support::{
    Answer, FRONT_END, FakeConfig, Front, LEN, READY, Raw, Scene, address, eventually, memory,
    region, scene, served_next,
};
use ringport_vhost_user::device::DownReason;
use ringport_vhost_user::wire::{
    MemoryRegion, Message, ProtocolFeatures, Request, VringAddress, VringFd, VringState, feature,
};
use std::os::fd::AsFd;

fn state(request: Request, index: u32, value: u32) -> Message {
    Message::VringState(request, VringState { index, value })
}

#[test]
fn ring_that_does_not_exist_is_refused_in_every_request_and_the_device_is_told_nothing() {
    let scene = Scene::new();
    for index in [2, 3, 255, 256, 0xffff, 0x1_0000, 0x1_0001, u32::MAX] {
        for request in [Request::SetVringNum, Request::SetVringBase, Request::SetVringEnable] {
            scene.refused(&state(request, index, 1), &[]);
        }
        scene.refused(&Message::VringAddress(address(index)), &[]);
    }
    let eventfd = EventFd::new().unwrap();
    for request in [Request::SetVringKick, Request::SetVringCall, Request::SetVringErr] {
        for index in [2, 128, 255] {
            let bell = Message::VringFd(request, VringFd { index, no_fd: false });
            scene.refused(&bell, &[eventfd.as_fd()]);
        }
    }
    scene.makes_way();
}

#[test]
fn base_of_a_ring_that_does_not_exist_ends_the_conversation_and_stops_the_device() {
    for index in [2, 0x1_0000, u32::MAX] {
        let scene = Scene::new();
        // Its reply has no way of saying no.
        let answer = scene.front.raw.ask(&state(Request::GetVringBase, index, 0), &[]);
        assert_eq!(answer, Answer::Closed);
        assert!(matches!(scene.relay.ended().reason, DownReason::Protocol(_)));
        assert!(!scene.device.runs());
        scene.makes_way();
    }
}

#[test]
fn size_place_and_base_of_a_running_ring_stay_and_the_device_is_told_nothing() {
    let scene = Scene::new();
    for index in [0, 1] {
        for size in [0, 1, 32, 64, 128, 32768, u32::MAX] {
            scene.refused(&state(Request::SetVringNum, index, size), &[]);
        }
        for base in [0, 1, 7, 0x1_0000] {
            scene.refused(&state(Request::SetVringBase, index, base), &[]);
        }
        let place = address(index);
        let elsewhere = VringAddress { descriptor_area: place.descriptor_area + 0x1000, ..place };
        scene.refused(&Message::VringAddress(elsewhere), &[]);
    }
    scene.makes_way();
}

#[test]
fn ring_of_a_size_that_the_device_does_not_have_is_refused_before_it_begins() {
    let (place, relay, device) = scene(FakeConfig::default());
    let front = Front::connect(&place, 0);
    for size in [0, 3, 65, 257, 512, 0x8000, 0x8001, 0x1_0000, 0x1_0040, u32::MAX] {
        assert!(!front.is_granted(&state(Request::SetVringNum, 0, size)), "{size}");
        relay.refused();
    }
    assert!(front.is_granted(&state(Request::SetVringNum, 0, 256)));
    front.run();
    relay.link_up();
    assert!(device.runs());
}

/// A request with an empty payload, or one of eight bytes, wanting an answer.
fn bare(number: u32, len: usize) -> Vec<u8> {
    let header = [number, 0x9, u32::try_from(len).unwrap()];
    [header.map(u32::to_ne_bytes).concat(), vec![0; len]].concat()
}

#[test]
fn request_without_a_meaning_for_a_relay_is_refused_and_the_device_is_told_nothing() {
    let scene = Scene::new();
    scene.device.calls();
    // NONE, log, IOTLB, byte order, crypto, postcopy, inflight, GPU, in-band kicks, state, objects, what is new.
    let meant_for_others =
        [0, 6, 7, 19, 22, 23, 26, 27, 28, 29, 30, 31, 32, 33, 35, 41, 42, 43, 44, 45];
    for number in meant_for_others.into_iter().chain([46, 255, 0x103, 0x1_0003, u32::MAX]) {
        for len in [0, 8] {
            scene.front.raw.send(&bare(number, len), &[]);
            assert_ne!(scene.front.raw.hear().number(), 0, "{number}");
            scene.relay.refused();
        }
    }
    assert_eq!(scene.device.calls(), []);
    assert!(scene.device.runs());
    scene.makes_way();
}

#[test]
fn region_that_cannot_be_is_refused_and_the_memory_before_stays() {
    let scene = Scene::new();
    let good = region(2 * LEN);
    let wrong = [
        MemoryRegion { size: 0, ..good },
        MemoryRegion { guest_address: u64::MAX - LEN + 2, ..good },
        MemoryRegion { guest_address: (u64::MAX - LEN + 1) & !0xfff, size: 2 * LEN, ..good },
        MemoryRegion { user_address: u64::MAX - 0xfff, ..good },
        MemoryRegion { mmap_offset: !0xfff, ..good },
        MemoryRegion { size: 1 << 50, ..good },
        // Over memory that is there, by either address.
        MemoryRegion { guest_address: LEN - 0x1000, ..good },
        MemoryRegion { user_address: FRONT_END + LEN - 0x1000, ..good },
        region(0),
    ];
    let file = memory();
    for said in wrong {
        scene.refused(&Message::MemRegion(Request::AddMemReg, said), &[file.as_fd()]);
        let both = Message::MemTable(vec![region(0), said]);
        scene.refused(&both, &[scene.front.file.as_fd(), file.as_fd()]);
    }
    // One that is not there cannot go.
    for gone in [good, MemoryRegion { size: LEN / 2, ..region(0) }] {
        scene.refused(&Message::MemRegion(Request::RemMemReg, gone), &[]);
    }
    scene.makes_way();
}

#[test]
fn regions_beyond_the_slots_are_refused_and_all_before_go_with_the_front_end() {
    let scene = Scene::new();
    let slots = scene.front.raw.ask(&Message::Plain(Request::GetMaxMemSlots), &[]).number();
    let file = memory();
    let add = |number: u64| Message::MemRegion(Request::AddMemReg, region(number * LEN));
    for number in 1..slots {
        assert!(scene.front.raw.ask(&add(number), &[file.as_fd()]).is_yes(), "{number}");
    }
    scene.refused(&add(slots), &[file.as_fd()]);
    assert_eq!(scene.device.mapped().len() as u64, slots);
    scene.makes_way();
}

#[test]
fn features_that_change_under_a_running_device_are_refused() {
    let scene = Scene::new();
    let agreed = feature::VERSION_1 | feature::PROTOCOL_FEATURES;
    for features in [agreed | feature::MRG_RXBUF, agreed | 1 << 63, agreed | feature::RING_PACKED] {
        scene.refused(&Message::Number(Request::SetFeatures, features), &[]);
    }
    assert!(scene.front.is_granted(&Message::Number(Request::SetFeatures, agreed)));
    scene.makes_way();
}

#[test]
fn front_end_without_version_1_is_told_and_starts_nothing() {
    let (place, relay, device) = scene(FakeConfig::default());
    let raw = Raw::acked(&place);
    let legacy = Message::Number(Request::SetFeatures, feature::PROTOCOL_FEATURES);
    assert!(!raw.ask(&legacy, &[]).is_yes());
    assert!(relay.refused().contains("0x100000000 are required"));
    drop(raw);
    served_next(&place, &relay, &device);
}

#[test]
fn protocol_features_that_are_not_offered_are_refused_and_no_other_is_offered() {
    let (place, relay, _device) = scene(FakeConfig::default());
    let raw = Raw::connect(&place);
    raw.send(&Message::Plain(Request::GetProtocolFeatures).encode(false), &[]);
    let offered = raw.hear().number();
    drop(raw);
    relay.ended();
    // Dirty log, memory for chains in flight, pages to ring doorbells in, postcopy, the device's state.
    for (bit, name) in
        [(1, "log"), (12, "inflight"), (11, "notifier"), (8, "postcopy"), (19, "state")]
    {
        assert_eq!(offered & 1 << bit, 0, "{name}");
        let raw = Raw::acked(&place);
        let all = Message::Number(Request::SetProtocolFeatures, offered | 1 << bit);
        assert!(!raw.ask(&all, &[]).is_yes(), "{name}");
        drop(raw);
        assert!(relay.ended().refused, "{name}");
    }
    assert_eq!(offered & !ProtocolFeatures::ALL.bits(), 0);
}

#[test]
fn one_pair_of_rings_is_offered_however_many_the_device_has() {
    let mut config = FakeConfig::default();
    config.capabilities.rings = 17;
    config.capabilities.features |= feature::MQ | feature::CTRL_VQ;
    let (place, relay, device) = scene(config);
    let front = Front::connect(&place, 0);
    assert_eq!(front.raw.ask(&Message::Plain(Request::GetQueueNum), &[]).number(), 1);
    let features = front.raw.ask(&Message::Plain(Request::GetFeatures), &[]).number();
    assert_eq!(features & (feature::MQ | feature::CTRL_VQ), 0);
    assert!(!front.is_granted(&state(Request::SetVringNum, 2, 64)));
    relay.refused();
    front.run();
    relay.link_up();
    assert!(device.runs());
}

#[test]
fn status_of_any_bits_runs_the_device_only_while_the_driver_is_ready() {
    let scene = Scene::new();
    for status in [0x100, 0xffff_ffff, u64::MAX] {
        scene.refused(&Message::Number(Request::SetStatus, status), &[]);
    }
    for status in 0..=0xff {
        assert!(scene.front.status(status));
        let ready = status & 4 != 0 && status & 0x80 == 0;
        assert_eq!(scene.device.runs(), ready, "{status:#x}");
        let told = scene.front.raw.ask(&Message::Plain(Request::GetStatus), &[]);
        assert_eq!(told.number(), status, "its own word");
    }
    assert!(scene.front.status(READY));
    scene.makes_way();
}

#[test]
fn packet_length_beyond_the_devices_is_refused_with_both() {
    let mut config = FakeConfig::default();
    config.capabilities.features |= feature::MTU;
    config.space[10..12].copy_from_slice(&1500_u16.to_le_bytes());
    let (place, relay, _device) = scene(config);
    let front = Front::connect_with(&place, 0, feature::MTU);
    let mtu = |mtu| front.is_granted(&Message::Number(Request::NetSetMtu, mtu));
    assert!(!mtu(1501));
    let why = relay.refused();
    assert!(why.contains("1501") && why.contains("1500"), "{why}");
    for absurd in [0, 67, 65536, u64::MAX] {
        assert!(!mtu(absurd), "{absurd}");
        relay.refused();
    }
    assert!(mtu(1500));
}

#[test]
fn message_of_a_length_that_its_request_does_not_have_is_never_granted() {
    for (number, len) in (0..48).flat_map(|number| [(number, 1), (number, 7), (number, 300)]) {
        let scene = Scene::new();
        scene.front.raw.send(&bare(number, len), &[]);
        // It is refused, or ends the conversation.
        let answer = scene.front.raw.hear();
        assert!(!answer.is_yes(), "{number} of {len} bytes");
        drop(scene.front);
        eventually("the device has nothing any more", || {
            !scene.device.runs() && scene.device.mapped().is_empty()
        });
    }
}
