//! Messages that no front-end should send, to a device whose queues are in use: refused, and the
//! traffic goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{Answer, Front, Hand, Place, Served, exchange};
use nix::sys::eventfd::EventFd;
use ringport_vhost_user::wire::{Message, Request, VringAddress, VringFd, VringState};
use ringport_vhost_user::{DeviceConfig, DownReason, Event, Link};
use std::os::fd::{AsFd, BorrowedFd};

/// A device with a running pair.
struct Scene {
    device: Served,
    front: Front,
    link: Link,
    hands: [Hand; 2],
    seed: u32,
}

impl Scene {
    fn new(place: &Place) -> Self {
        let device = Served::listen(place, DeviceConfig::default());
        let front = Front::running(place, 1);
        let link = device.link_up();
        assert_eq!(device.pairs_enabled(), 1);
        let hands = front.hands(0);
        Self { device, front, link, hands, seed: 0 }
    }

    #[track_caller]
    fn exchange(&mut self) {
        self.seed += 1;
        exchange(&mut self.hands, &self.front.guest, &mut self.link, 0, self.seed);
    }

    /// Says something that is refused, and then that traffic goes on.
    #[track_caller]
    fn refused(&mut self, message: &Message, fds: &[BorrowedFd<'_>]) {
        let answer = self.front.raw.ask(message, fds);
        assert_ne!(answer.number(), 0, "{message:?}");
        let event = self.device.next();
        assert!(matches!(event, Event::RequestRefused(_)), "{message:?}: {event:?}");
        self.exchange();
    }
}

fn state(request: Request, index: u32, value: u32) -> Message {
    Message::VringState(request, VringState { index, value })
}

#[test]
fn ring_that_does_not_exist_is_refused_in_every_request() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let addresses = scene.front.rings[1].config();
    for index in [2, 3, 255, 256, 0xffff, 0x1_0000, 0x1_0001, u32::MAX] {
        for request in [Request::SetVringNum, Request::SetVringBase, Request::SetVringEnable] {
            scene.refused(&state(request, index, 1), &[]);
        }
        let address = VringAddress {
            index,
            log: false,
            descriptor_area: addresses.desc_table_addr,
            driver_area: addresses.avail_ring_addr,
            device_area: addresses.used_ring_addr,
            log_address: 0,
        };
        scene.refused(&Message::VringAddress(address), &[]);
    }
    let eventfd = EventFd::new().unwrap();
    for request in [Request::SetVringKick, Request::SetVringCall, Request::SetVringErr] {
        for index in [2, 128, 255] {
            let bell = Message::VringFd(request, VringFd { index, no_fd: false });
            scene.refused(&bell, &[eventfd.as_fd()]);
        }
    }
}

#[test]
fn base_of_a_ring_that_does_not_exist_cannot_be_had() {
    let place = Place::new();
    for index in [2, 0x1_0000, u32::MAX] {
        let scene = Scene::new(&place);
        // Its reply has no way of saying no.
        let answer = scene.front.raw.ask(&state(Request::GetVringBase, index, 0), &[]);
        assert_eq!(answer, Answer::Closed);
        assert!(matches!(scene.device.link_down(), DownReason::Protocol(_)));
    }
}

#[test]
fn size_place_and_base_of_a_running_ring_stay() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let at = scene.front.rings[1].config();
    let elsewhere = VringAddress {
        index: 1,
        log: false,
        descriptor_area: at.desc_table_addr + 0x1000,
        driver_area: at.avail_ring_addr,
        device_area: at.used_ring_addr,
        log_address: 0,
    };
    for index in [0, 1] {
        for size in [0, 1, 32, 64, 128, 32768, u32::MAX] {
            scene.refused(&state(Request::SetVringNum, index, size), &[]);
        }
        for base in [0, 1, 7, 0x1_0000] {
            scene.refused(&state(Request::SetVringBase, index, base), &[]);
        }
        scene.refused(&Message::VringAddress(VringAddress { index, ..elsewhere }), &[]);
    }
    let exchanged = scene.seed;
    assert_eq!(scene.front.stop_ring(1), exchanged);
}

#[test]
fn ring_of_an_impossible_size_is_refused_before_it_starts() {
    let place = Place::new();
    let _device = Served::listen(&place, DeviceConfig::default());
    let front = Front::connect(&place, 1);
    for size in [0, 3, 65, 0x8001, 0x1_0000, 0x1_0040, u32::MAX] {
        let answer = front.raw.ask(&state(Request::SetVringNum, 0, size), &[]);
        assert_ne!(answer.number(), 0, "{size}");
    }
    assert!(front.raw.ask(&state(Request::SetVringNum, 0, 0x8000), &[]).is_yes());
}

/// A request with an empty payload, or one of eight bytes, wanting an answer.
fn bare(number: u32, len: usize) -> Vec<u8> {
    let header = [number, 0x9, u32::try_from(len).unwrap()];
    [header.map(u32::to_ne_bytes).concat(), vec![0; len]].concat()
}

#[test]
fn request_without_a_meaning_here_is_refused() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    // NONE, IOTLB, byte order, crypto, postcopy, GPU, in-band kicks, shared objects, what is new.
    let meant_for_others = [0, 22, 23, 26, 27, 28, 29, 30, 33, 35, 41, 44, 45];
    for number in meant_for_others.into_iter().chain([46, 47, 255, 0x103, 0x1_0003, u32::MAX]) {
        for len in [0, 8] {
            scene.front.raw.send(&bare(number, len), &[]);
            assert_ne!(scene.front.raw.hear().number(), 0, "{number}");
            assert!(matches!(scene.device.next(), Event::RequestRefused(_)), "{number}");
            scene.exchange();
        }
    }
}
