//! Packets that are held while the front-end stops rings, changes its memory, and leaves. Nobody
//! polls the queue meanwhile, and nobody waits for the holder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{
    FEATURES, Front, Guest, Hand, PACKED, Place, Served, eventually, exchange, frame,
};
use ringport::error::QueueError;
use ringport_vhost_user::virtqueue::HeldPacket;
use ringport_vhost_user::{DeviceConfig, DownReason, Link};
use std::fs::File;
use std::os::unix::fs::MetadataExt;

struct Scene {
    device: Served,
    front: Front,
    link: Link,
    hands: [Hand; 2],
    held: Vec<HeldPacket>,
}

impl Scene {
    /// Three packets are held.
    fn new(place: &Place, features: u64, guest: Guest) -> Self {
        let device = Served::listen(place, DeviceConfig::default());
        let mut front = Front::connect_with(place, 1, features);
        front.guest = guest;
        front.share();
        front.start_pair(0);
        let link = device.link_up();
        assert_eq!(device.pairs_enabled(), 1);
        let hands = front.hands(0);
        let mut scene = Self { device, front, link, hands, held: Vec::new() };
        scene.hold();
        scene
    }

    /// Holds three packets more.
    fn hold(&mut self) {
        (0..3).for_each(|n| self.hands[1].send(&self.front.guest, &frame(1000, n)));
        let wanted = self.held.len() + 3;
        eventually("packets arrive", || {
            self.link.rx[0].hold(64, &mut self.held).unwrap();
            self.held.len() == wanted
        });
    }

    fn assert_copied(&self) {
        for (packet, n) in self.held.iter().zip((0..3).cycle()) {
            assert!(packet.is_copied());
            assert_eq!(packet.detach().unwrap(), frame(1000, n));
        }
    }
}

fn layouts() -> [u64; 2] {
    [FEATURES, FEATURES | PACKED]
}

/// Whether this process has the file mapped.
fn is_mapped(file: &File) -> bool {
    let inode = file.metadata().unwrap().ino().to_string();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    // Address, access, offset, device, inode.
    maps.lines().any(|line| line.split_whitespace().nth(4) == Some(&inode))
}

#[test]
fn ring_stops_at_once_behind_packets_that_are_held() {
    for features in layouts() {
        let place = Place::new();
        let mut scene = Scene::new(&place, features, Guest::new());
        for turn in 0..3 {
            let Scene { front, hands, held, .. } = &mut scene;
            assert_eq!(hands[1].used(&front.guest), [], "they are held");
            let base = front.stop_ring(1);
            assert_eq!(hands[1].used(&front.guest).len(), 3);
            assert!(held.iter().all(HeldPacket::is_copied));
            front.restart_ring(1, base);
            let Scene { front, hands, link, .. } = &mut scene;
            exchange(hands, &front.guest, link, 0, turn);
            hands[1].wait_used(&front.guest);
            scene.hold();
        }
        scene.front.stop_ring(1);
        scene.assert_copied();
    }
}

#[test]
fn memory_is_replaced_at_once_under_packets_that_are_held() {
    for features in layouts() {
        let place = Place::new();
        let mut scene = Scene::new(&place, features, Guest::unsealed());
        for turn in 0..3 {
            assert!(scene.held[3 * turn..].iter().all(|packet| !packet.is_copied()));
            // The same memory, which is another generation.
            scene.front.share();
            scene.assert_copied();
            assert_eq!(scene.hands[1].used(&scene.front.guest).len(), 3);
            scene.hold();
        }
        // What the front-end takes away is not kept.
        let copy = scene.front.guest.copy(0);
        let old = std::mem::replace(&mut scene.front.guest, copy);
        scene.front.share();
        scene.assert_copied();
        assert!(is_mapped(&old.file), "the queues have not looked");
        assert_eq!(scene.hands[1].used(&old).len(), 3);
        old.file.set_len(0).unwrap();
        scene.assert_copied();
        eventually("the memory is unmapped", || {
            scene.link.rx[0].rx_burst(8).unwrap();
            scene.link.tx[0].tx_burst(8).unwrap();
            !is_mapped(&old.file)
        });
        scene.assert_copied();
    }
}

#[test]
fn front_end_that_leaves_takes_nothing_from_packets_that_are_held() {
    for features in layouts() {
        let place = Place::new();
        let scene = Scene::new(&place, features, Guest::unsealed());
        let Scene { device, front, link, mut hands, held } = scene;
        let guest = front.guest.again();
        drop(front);
        assert!(matches!(device.link_down(), DownReason::PeerClosed));
        assert!(held.iter().all(HeldPacket::is_copied));
        assert_eq!(hands[1].used(&guest).len(), 3, "they are not to come again");
        guest.file.set_len(0).unwrap();
        drop((link, device));
        for (packet, n) in held.iter().zip(0..) {
            assert_eq!(packet.detach().unwrap(), frame(1000, n));
        }
    }
}

#[test]
fn memory_taken_back_under_packets_that_are_held_is_said_to_be_lost() {
    for features in layouts() {
        let place = Place::new();
        let mut scene = Scene::new(&place, features, Guest::unsealed());
        let copied = scene.held[0].detach().unwrap();
        scene.front.guest.file.set_len(0).unwrap();
        let mut to = [0; 1000];
        assert_eq!(scene.held[0].copy_to(&mut to), Err(QueueError::MemoryLost));
        let reason = scene.device.link_down();
        assert!(matches!(reason, DownReason::Fault(QueueError::MemoryLost)), "{reason:?}");
        let lost = scene.link.rx[0].hold(8, &mut Vec::new());
        assert_eq!(lost, Err(QueueError::MemoryLost));
        for packet in &scene.held {
            assert_eq!(packet.detach(), Err(QueueError::MemoryLost));
            assert_eq!((packet.len(), packet.is_copied()), (1000, true));
        }
        assert_eq!(copied, frame(1000, 0), "what was read before stays");
    }
}
