//! Drivers that write to the ring of the control queue what is no command, or commands without end:
//! packets go on, and the next command is served.
//!
//! Spec: VIRTIO 1.3 §5.1.6.5.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{AtTheEnd, FEATURES, Front, Hand, INDIRECT, NEXT, PACKED, Place, Served};
use device_support::{WRITE, eventually, exchange};
use ringport_vhost_user::wire::{Command, feature};
use ringport_vhost_user::{DeviceConfig, Event, Link};
use std::sync::atomic::{AtomicBool, Ordering};
use vhost::vhost_user::VhostUserFrontend;

/// The ring of commands.
const RING: usize = 2;
const CONTROL: u64 = feature::CTRL_VQ
    | feature::CTRL_RX
    | feature::CTRL_VLAN
    | feature::CTRL_MAC_ADDR
    | feature::INDIRECT_DESC;

struct Scene {
    device: Served,
    front: Front,
    link: Link,
    hands: [Hand; 2],
    commands: Hand,
    seed: u32,
}

impl Scene {
    fn new(place: &Place, packed: bool) -> Self {
        let config = DeviceConfig { control: true, ..DeviceConfig::default() };
        let device = Served::listen(place, config);
        let features = FEATURES | CONTROL | if packed { PACKED } else { 0 };
        let mut front = Front::connect_with(place, 2, features);
        front.share();
        front.start_pair(0);
        let link = device.link_up();
        front.start_ring(RING, if packed { 0x8000 } else { 0 }).unwrap();
        front.vhost.set_vring_enable(RING, true).unwrap();
        let (hands, commands) = (front.hands(0), front.hand(RING));
        Self { device, front, link, hands, commands, seed: 0 }
    }

    #[track_caller]
    fn exchange(&mut self) {
        self.seed += 1;
        exchange(&mut self.hands, &self.front.guest, &mut self.link, 0, self.seed);
    }

    fn kick(&self) {
        self.front.rings[RING].kick.write(1).unwrap();
    }

    /// Gives a chain, and waits for it: how many bytes the device has written.
    #[track_caller]
    fn offer(&mut self, chain: &[device_support::Descriptor]) -> u32 {
        self.commands.offer(&self.front.guest, chain);
        self.kick();
        let used = self.commands.wait_used(&self.front.guest);
        assert_eq!(used.len(), 1);
        used[0]
    }

    /// Gives a command, and returns the answer.
    #[track_caller]
    fn command(&mut self, bytes: &[u8]) -> u8 {
        let at = self.commands.place();
        self.front.guest.put(at, bytes);
        self.front.guest.put(at + 0x3000, &[0xee]);
        let len = u32::try_from(bytes.len()).unwrap();
        assert_eq!(self.offer(&[(at, len, 0), (at + 0x3000, 1, WRITE)]), 1);
        self.front.guest.get(at + 0x3000, 1)[0]
    }

    #[track_caller]
    fn check_good(&mut self) {
        assert_eq!(self.command(&Command::AddVlan(5).encode()), 0);
        let event = self.device.news();
        assert!(matches!(event, Event::FilterChanged(_)), "{event:?}");
        self.exchange();
    }
}

#[test]
fn chain_that_is_no_command_is_given_back_as_it_came_and_the_next_one_is_served() {
    for packed in [false, true] {
        let place = Place::new();
        let mut scene = Scene::new(&place, packed);
        scene.check_good();
        let at = scene.commands.place() + 0x1000;
        let command = Command::Promiscuous(true).encode();
        scene.front.guest.put(at, &command);
        let nowhere = 0x10_0000;
        let chains: [&[device_support::Descriptor]; 10] = [
            &[(at, 3, 0)],
            &[(at, 3, 0), (at, 0, WRITE)],
            &[(at + 8, 1, WRITE), (at, 3, 0)],
            &[(at, 2, 0), (at + 8, 1, WRITE), (at + 2, 1, 0)],
            &[(at, 3, 0), (nowhere, 1, WRITE)],
            &[(nowhere, 3, 0), (at + 8, 1, WRITE)],
            &[(u64::MAX, 3, 0), (at + 8, 1, WRITE)],
            &[(at, u32::MAX, 0), (at + 8, 1, WRITE)],
            &[(at, 0, INDIRECT)],
            &[(at, 17, INDIRECT)],
        ];
        for chain in chains {
            assert_eq!(scene.offer(chain), 0, "{chain:x?}");
            assert_eq!(scene.front.guest.get(at, 3), command, "nothing was written");
        }
        scene.check_good();
    }
}

#[test]
fn command_that_says_what_cannot_be_is_answered_with_no_and_changes_nothing() {
    for packed in [false, true] {
        let place = Place::new();
        let mut scene = Scene::new(&place, packed);
        let bad: [&[u8]; 9] = [
            &[0],
            &[0, 0],
            &[0, 0, 2],
            &[0, 9, 1],
            &[1, 0, 255, 255, 255, 255, 0, 0, 0, 0],
            &[1, 1, 1, 0, 0, 0, 0, 1],
            &[2, 0, 0, 16],
            &[9; 64],
            // Not agreed on.
            &[4, 0, 1, 0],
        ];
        for bytes in bad {
            assert_eq!(scene.command(bytes), 1, "{bytes:x?}");
        }
        assert_eq!(scene.command(&[1; 4097]), 1, "longer than any");
        assert_eq!(scene.command(&[1; 4096]), 1);
        assert!(scene.device.happened().is_none() || scene.device.happened().is_none());
        scene.check_good();
    }
}

#[test]
fn command_in_many_pieces_and_in_a_table_is_put_together() {
    for packed in [false, true] {
        let place = Place::new();
        let mut scene = Scene::new(&place, packed);
        let guest = scene.front.guest.again();
        let at = scene.commands.place() + 0x1000;
        guest.put(at, &Command::Address([2, 0, 0, 0, 0, 9]).encode());
        let pieces = (0..8).map(|byte| (at + byte, 1, 0));
        let chain: Vec<_> = pieces.chain([(at + 64, 3, WRITE), (at + 128, 1, WRITE)]).collect();
        assert_eq!(scene.offer(&chain), 1);
        let Event::FilterChanged(filter) = scene.device.news() else { panic!("no address") };
        assert_eq!(filter.mac, Some([2, 0, 0, 0, 0, 9]));
        let table = at + 0x2000;
        let entry = |at: u64, len: u32, last: [u16; 2]| {
            let words = last.map(u16::to_le_bytes).concat();
            [&at.to_le_bytes()[..], &len.to_le_bytes(), &words].concat()
        };
        let entries = match packed {
            false => [entry(at, 8, [NEXT, 1]), entry(at + 64, 1, [WRITE, 0])],
            true => [entry(at, 8, [0, 0]), entry(at + 64, 1, [0, WRITE])],
        };
        guest.put(table, &entries.concat());
        guest.put(at + 64, &[0xee]);
        assert_eq!(scene.offer(&[(table, 32, INDIRECT)]), 1);
        assert_eq!(guest.get(at + 64, 1), [0]);
        assert!(matches!(scene.device.news(), Event::FilterChanged(_)));
    }
}

#[test]
fn ring_of_commands_that_breaks_costs_commands_only() {
    let place = Place::new();
    let mut scene = Scene::new(&place, false);
    scene.check_good();
    scene.commands.publish(&scene.front.guest, 1000);
    scene.kick();
    let (ring, _) = scene.device.ring_broken();
    assert_eq!(usize::from(ring), RING);
    scene.exchange();
    scene.front.stop_ring(RING);
    scene.commands.reset(&scene.front.guest);
    scene.front.start_ring(RING, 0).unwrap();
    scene.check_good();
}

#[test]
fn link_that_is_down_and_pairs_that_are_not_used_leave_commands_alone() {
    let place = Place::new();
    let mut scene = Scene::new(&place, true);
    scene.device.ask(|device| device.set_link(false));
    assert_eq!(scene.command(&Command::AddVlan(5).encode()), 0);
    scene.device.news();
    scene.front.vhost.set_vring_enable(RING, false).unwrap();
    let at = scene.commands.place();
    scene.front.guest.put(at, &Command::AddVlan(6).encode());
    scene.commands.offer(&scene.front.guest, &[(at, 4, 0), (at + 64, 1, WRITE)]);
    scene.kick();
    assert!(scene.device.happened().is_none(), "it is disabled");
    scene.front.vhost.set_vring_enable(RING, true).unwrap();
    let Event::FilterChanged(filter) = scene.device.news() else { panic!("no command") };
    assert!(filter.has_vlan(5) && filter.has_vlan(6));
}

#[test]
fn commands_and_kicks_without_end_hold_nobody_up() {
    for packed in [false, true] {
        let place = Place::new();
        let mut scene = Scene::new(&place, packed);
        let stop = AtomicBool::new(false);
        let guest = scene.front.guest.again();
        let kick = scene.front.rings[RING].kick.try_clone().unwrap();
        let mut commands = std::mem::replace(&mut scene.commands, Hand::new(packed, RING));
        std::thread::scope(|scope| {
            let _end = AtTheEnd(&stop);
            scope.spawn(|| {
                let at = commands.start() + 0x1_0000;
                guest.put(at, &Command::Promiscuous(false).encode());
                while !stop.load(Ordering::Relaxed) {
                    while commands.outstanding() < 30 {
                        commands.offer(&guest, &[(at, 3, 0), (at + 64, 1, WRITE)]);
                    }
                    let _ = kick.write(1);
                    commands.used(&guest);
                }
            });
            for _ in 0..200 {
                scene.exchange();
                while scene.device.happened_already().is_some() {}
            }
            let answer = scene.front.vhost.set_vring_enable(0, true);
            answer.expect("messages are answered");
        });
        eventually("events end", || scene.device.happened_already().is_none());
        scene.exchange();
    }
}
