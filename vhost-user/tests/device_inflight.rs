//! Memory for chains in flight over a socket: a back-end ends, and the next one goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{
    Answer, FEATURES, Front, Hand, PACKED, Place, Raw, Served, exchange, frame, receive,
};
use ringport_bench::interop::census::Census;
use ringport_vhost_user::wire::{Inflight, Message, Request, VringState};
use ringport_vhost_user::{DeviceConfig, Event, Link};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::VhostUserInflight;

const LAYOUTS: [u64; 2] = [0, PACKED];
const SIZE: u16 = 64;
/// A packed ring's wrap counter, as in a base.
const WRAP: u32 = 1 << 15;

/// A front-end whose rings and memory outlive its devices.
struct Scene {
    place: Place,
    features: u64,
    front: Front,
    hands: [Hand; 2],
    device: Option<Served>,
    link: Option<Link>,
    memory: Option<(VhostUserInflight, File)>,
}

impl Scene {
    fn new(layout: u64) -> Self {
        let place = Place::new();
        let features = FEATURES | layout;
        let device = Served::listen(&place, DeviceConfig::default());
        let front = Front::connect_with(&place, 1, features);
        let hands = front.hands(0);
        let (device, link) = (Some(device), None);
        let mut scene = Self { place, features, front, hands, device, link, memory: None };
        let shape = VhostUserInflight { num_queues: 2, queue_size: SIZE, ..Default::default() };
        let (said, file) = scene.front.vhost.get_inflight_fd(&shape).unwrap();
        assert_eq!((said.num_queues, said.queue_size), (2, SIZE));
        assert!(file.metadata().unwrap().len() >= said.mmap_size);
        scene.memory = Some((said, file));
        scene.start();
        scene
    }

    /// Gives the memory back, and starts all rings at their very beginning, as a front-end does that
    /// does not know how far they are.
    fn start(&mut self) {
        let (said, file) = self.memory.as_ref().unwrap();
        self.front.vhost.set_inflight_fd(said, std::os::fd::AsRawFd::as_raw_fd(file)).unwrap();
        self.front.share();
        self.front.start_pair(0);
        self.link = Some(self.device.as_ref().unwrap().link_up());
    }

    /// The device ends in the middle of everything, and another one comes.
    fn restart(&mut self) {
        self.come_back();
        self.start();
    }

    /// Another device, for which no ring was started.
    fn come_back(&mut self) {
        self.link = None;
        drop(self.device.take());
        self.device = Some(Served::listen(&self.place, DeviceConfig::default()));
        let new = Front::connect_with(&self.place, 1, self.features);
        let guest = std::mem::replace(&mut self.front.guest, new.guest.again());
        self.front = Front { guest, ..new };
    }

    fn exchange(&mut self, seed: u32) {
        let link = self.link.as_mut().unwrap();
        exchange(&mut self.hands, &self.front.guest, link, 0, seed);
    }

    /// Bytes of a ring's region.
    fn region(&self, ring: u64, at: u64, len: usize) -> Vec<u8> {
        let (said, file) = self.memory.as_ref().unwrap();
        let mut bytes = vec![0; len];
        let start = said.mmap_offset + ring * (said.mmap_size / 2);
        file.read_exact_at(&mut bytes, start + at).unwrap();
        bytes
    }

    fn put(&self, ring: u64, at: u64, bytes: &[u8]) {
        let (said, file) = self.memory.as_ref().unwrap();
        let start = said.mmap_offset + ring * (said.mmap_size / 2);
        file.write_all_at(bytes, start + at).unwrap();
    }
}

#[test]
fn rings_go_on_where_the_device_ended_whatever_the_base() {
    for layout in LAYOUTS {
        let mut scene = Scene::new(layout);
        // So that the ring turns, and ends at all sorts of places.
        for turn in 0..30 {
            for seed in 0..7 {
                scene.exchange(turn * 7 + seed);
            }
            scene.restart();
        }
    }
}

#[test]
fn packets_that_were_not_used_are_delivered_by_the_next_device_once() {
    for layout in LAYOUTS {
        let mut scene = Scene::new(layout);
        for turn in 0..20 {
            let [_, from_driver] = &mut scene.hands;
            let frames: Vec<_> = (0..5).map(|n| frame(100, 10 * turn + n)).collect();
            frames.iter().for_each(|packet| from_driver.send(&scene.front.guest, packet));
            let rx = &mut scene.link.as_mut().unwrap().rx[0];
            // Seen, and not released.
            #[expect(clippy::mem_forget, reason = "the device ends in the middle of a burst")]
            std::mem::forget(rx.rx_burst(3).unwrap());
            scene.restart();
            let rx = &mut scene.link.as_mut().unwrap().rx[0];
            assert_eq!(receive(rx, 5), frames);
            scene.exchange(turn);
        }
    }
}

/// The device ended after it had announced a batch, and before the driver could see it.
#[test]
fn batch_that_was_announced_and_not_published_is_done_again() {
    let mut scene = Scene::new(PACKED);
    (0..3).for_each(|seed| scene.exchange(seed));
    assert_eq!(scene.region(1, 16, 6), [3, 0, 3, 0, 1, 1]);
    scene.hands[1].send(&scene.front.guest, &frame(99, 1));
    scene.come_back();
    scene.put(1, 16, &[4, 0, 3, 0, 1, 1]);
    scene.start();
    assert_eq!(receive(&mut scene.link.as_mut().unwrap().rx[0], 1), [frame(99, 1)]);
    assert_eq!(scene.region(1, 16, 6), [4, 0, 4, 0, 1, 1]);
    scene.exchange(7);
}

/// The same, when the driver could see it.
#[test]
fn batch_that_was_published_and_not_noted_is_not_done_again() {
    let mut scene = Scene::new(PACKED);
    (0..3).for_each(|seed| scene.exchange(seed));
    scene.come_back();
    scene.put(1, 16, &[3, 0, 2, 0, 1, 1]);
    scene.start();
    scene.exchange(7);
    assert_eq!(scene.region(1, 16, 6), [4, 0, 4, 0, 1, 1]);
}

#[test]
fn rings_that_were_stopped_go_on_as_well() {
    for layout in LAYOUTS {
        let mut scene = Scene::new(layout);
        (0..5).for_each(|seed| scene.exchange(seed));
        for ring in [0, 1] {
            let at = scene.front.stop_ring(ring);
            assert_eq!(at & 0x7fff, 5);
            scene.front.restart_ring(ring, at);
        }
        scene.exchange(9);
    }
}

#[test]
fn device_reset_forgets_the_memory() {
    let mut scene = Scene::new(PACKED);
    (0..5).for_each(|seed| scene.exchange(seed));
    assert!(scene.front.raw.ask(&Message::Plain(Request::ResetDevice), &[]).is_yes());
    scene.hands.iter_mut().for_each(|hand| hand.reset(&scene.front.guest));
    scene.front.start_pair(0);
    scene.exchange(1);
    assert_eq!(scene.region(1, 16, 2), [5, 0], "left as it was");
}

fn started(scene: &Scene, ring: usize) -> bool {
    let base = if scene.features & PACKED != 0 { WRAP } else { 0 };
    let rings = &scene.front.rings;
    let vhost = &scene.front.vhost;
    let state = VringState { index: u32::try_from(ring).unwrap(), value: base };
    vhost.set_vring_num(ring, SIZE).unwrap();
    vhost.set_vring_addr(ring, &rings[ring].config()).unwrap();
    assert!(scene.front.raw.ask(&Message::VringState(Request::SetVringBase, state), &[]).is_yes());
    vhost.set_vring_kick(ring, &rings[ring].kick).is_ok()
}

#[test]
fn ring_whose_memory_says_what_cannot_be_does_not_start_and_the_others_do() {
    // Where in a region, and what.
    let cases: [(u64, u64, &[u8]); 7] = [
        (PACKED, 16, &[64, 0]),
        (PACKED, 18, &[0xff, 0x7f]),
        (PACKED, 8, &[2]),
        (PACKED, 32, &[1]),
        (PACKED, 32 + 32 * 63, &[0xff]),
        (0, 8, &[0xff, 0xff]),
        (0, 16 + 16 * 5, &[2]),
    ];
    for (layout, at, bytes) in cases {
        let mut scene = Scene::new(layout);
        scene.exchange(1);
        scene.come_back();
        scene.put(1, at, bytes);
        let (said, file) = scene.memory.as_ref().unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(file);
        scene.front.vhost.set_inflight_fd(said, fd).unwrap();
        scene.front.share();
        assert!(!started(&scene, 1), "{bytes:?} at {at}");
        let refused = scene.device.as_ref().unwrap().next();
        assert!(matches!(refused, Event::RequestRefused(_)), "{refused:?}");
        assert!(started(&scene, 0), "{bytes:?} at {at}");
    }
}

#[test]
fn ring_outside_of_the_memory_does_not_start() {
    for (packed, len) in [(PACKED, 64 * 32 + 31 + 64 * 32), (0, 64 * 16 + 15 + 64 * 16)] {
        let mut scene = Scene::new(packed);
        scene.come_back();
        let (said, file) = scene.memory.as_mut().unwrap();
        said.mmap_size = len;
        let fd = std::os::fd::AsRawFd::as_raw_fd(file);
        scene.front.vhost.set_inflight_fd(said, fd).unwrap();
        scene.front.share();
        assert!(!started(&scene, 1));
        assert!(started(&scene, 0));
    }
}

#[test]
fn memory_that_is_none_or_does_not_fit_its_file_is_refused() {
    let place = Place::new();
    let device = Served::listen(&place, DeviceConfig::default());
    let raw = Raw::acked(&place);
    let guest = device_support::Guest::new();
    let pipe = nix::unistd::pipe().unwrap().0;
    let shape = |mmap_size, mmap_offset, queues, queue_size| Inflight {
        mmap_size,
        mmap_offset,
        queues,
        queue_size,
        padded: true,
    };
    for (fd, said) in [
        (guest.file.as_fd(), shape(0, 0, 2, 64)),
        (guest.file.as_fd(), shape(device_support::LEN + 1, 0, 2, 64)),
        (guest.file.as_fd(), shape(4096, device_support::LEN, 2, 64)),
        (guest.file.as_fd(), shape(u64::MAX, 0, 2, 64)),
        (guest.file.as_fd(), shape(4096, u64::MAX, 2, 64)),
        (guest.file.as_fd(), shape(4096, 0, u16::MAX, u16::MAX)),
        (guest.file.as_fd(), shape(4096, 0, 0, 64)),
        (guest.file.as_fd(), shape(4096, 0, 2, 0)),
        (guest.file.as_fd(), shape(4096, 0, 3, 64)),
        (pipe.as_fd(), shape(4096, 0, 2, 64)),
    ] {
        let answer = raw.ask(&Message::Inflight(Request::SetInflightFd, said), &[fd]);
        assert_ne!(answer.number(), 0, "{said:?}");
        assert!(matches!(device.next(), Event::RequestRefused(_)), "{said:?}");
    }
    assert!(raw.still_answers());
}

#[test]
fn memory_asked_for_and_given_again_and_again_leaves_nothing_behind() {
    let place = Place::new();
    let _device = Served::listen(&place, DeviceConfig::default());
    let raw = Raw::acked(&place);
    let shape = Inflight { mmap_size: 0, mmap_offset: 0, queues: 2, queue_size: 64, padded: true };
    let wanted = Message::Inflight(Request::GetInflightFd, shape);
    let guest = device_support::Guest::new();
    let given = Inflight { mmap_size: 8192, ..shape };
    let mut before = None;
    for turn in 0..3000 {
        // What comes along is not taken out of the socket, and the kernel closes it.
        assert_ne!(raw.ask(&wanted, &[]), Answer::Closed);
        let given = Message::Inflight(Request::SetInflightFd, given);
        assert!(raw.ask(&given, &[guest.file.as_fd()]).is_yes());
        if turn == 10 {
            before = Some(Census::take());
        }
    }
    before.unwrap().compare().unwrap();
}
