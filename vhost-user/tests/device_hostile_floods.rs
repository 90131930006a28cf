//! Messages that drip, flood, or are never answered for: `poll` returns in time, and traffic goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{AtTheEnd, Front, Hand, PATIENCE, Place, exchange};
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::wire::{Message, Request, VringState};
use ringport_vhost_user::{Device, DeviceConfig, Event, Link};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// How long `poll` is given, and how much longer it may take on a busy machine.
const TIMEOUT: Duration = Duration::from_millis(5);
const SLACK: Duration = Duration::from_secs(2);

/// A device whose `poll` is called here, with what happens in between.
struct Scene {
    device: Device,
    front: Front,
    link: Link,
    hands: [Hand; 2],
    seed: u32,
}

impl Scene {
    fn new(place: &Place) -> Self {
        let config = DeviceConfig::default();
        let mut device = Device::open(&place.address(), SocketRole::default(), config).unwrap();
        std::thread::scope(|scope| {
            let front = scope.spawn(|| Front::running(place, 1));
            let deadline = Instant::now() + PATIENCE;
            let mut link = None;
            while !front.is_finished() {
                assert!(Instant::now() < deadline);
                if let Some(Event::LinkUp(up)) = device.poll(Some(TIMEOUT)).unwrap() {
                    link = Some(*up);
                }
            }
            let front = front.join().unwrap();
            let link = link.expect("a link");
            let hands = front.hands(0);
            Self { device, front, link, hands, seed: 0 }
        })
    }

    /// Polls, and has packets go both ways, until `done`. Returns the events.
    fn run(&mut self, done: impl Fn() -> bool) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let mut events = 0;
        while !done() {
            assert!(Instant::now() < deadline, "not over within ten seconds");
            let before = Instant::now();
            let event = self.device.poll(Some(TIMEOUT)).unwrap();
            assert!(before.elapsed() < TIMEOUT + SLACK, "poll took {:?}", before.elapsed());
            events += usize::from(event.is_some());
            if let Some(Event::LinkDown(reason)) = event {
                panic!("{reason}");
            }
            self.seed += 1;
            exchange(&mut self.hands, &self.front.guest, &mut self.link, 0, self.seed);
        }
        events
    }
}

/// Sends `messages` on a thread of its own, over and over, for a while. Returns the events.
fn flooded(scene: &mut Scene, messages: &[u8]) -> usize {
    let (raw, stop) = (scene.front.raw.try_clone(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| raw.flood(messages, &stop));
        let start = Instant::now();
        // Also when it fails: the thread must not run for ever.
        let _stop = AtTheEnd(&stop);
        scene.run(|| start.elapsed() > A_WHILE)
    })
}

const A_WHILE: Duration = Duration::from_millis(500);

#[test]
fn message_that_drips_byte_by_byte_holds_nobody_up() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let raw = scene.front.raw.try_clone();
    std::thread::scope(|scope| {
        let dripped = scope.spawn(move || {
            for _ in 0..5 {
                for byte in Message::Plain(Request::GetFeatures).encode(false) {
                    raw.send(&[byte], &[]);
                    std::thread::sleep(Duration::from_millis(5));
                }
                raw.hear().number();
            }
        });
        scene.run(|| dripped.is_finished());
        dripped.join().unwrap();
    });
    assert!(scene.seed > 50, "{} exchanges", scene.seed);
}

#[test]
fn half_a_message_holds_nobody_up() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let table = Message::MemTable(vec![scene.front.guest.said()]).encode(true);
    scene.front.raw.send(&table[..30], &[]);
    let start = Instant::now();
    scene.run(|| start.elapsed() > A_WHILE);
}

#[test]
fn flood_of_questions_whose_answers_nobody_reads_holds_nobody_up() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let questions = Message::Plain(Request::GetFeatures).encode(false).repeat(100);
    flooded(&mut scene, &questions);
}

#[test]
fn flood_of_requests_without_an_answer_holds_nobody_up() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let enable = VringState { index: 0, value: 1 };
    let enables = Message::VringState(Request::SetVringEnable, enable).encode(false).repeat(100);
    flooded(&mut scene, &enables);
}

#[test]
fn flood_of_refused_requests_is_told_piece_by_piece_and_holds_nobody_up() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    // Not offered, and no answer wanted: such requests are passed over.
    let number = |n: u32| n.to_ne_bytes();
    let unknown = [number(99), number(1), number(0)].concat().repeat(100);
    let events = flooded(&mut scene, &unknown);
    assert!(events > 0);
    // The caller has them one by one, and no more wait than one turn brings.
    let waiting = std::iter::from_fn(|| scene.device.poll(Some(Duration::ZERO)).unwrap());
    assert!(waiting.take(1_000_000).count() < 1_000_000);
}

#[test]
fn flood_of_announcements_holds_nobody_up() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let announcements = Message::Rarp([2, 0, 0, 0, 0, 1]).encode(false).repeat(100);
    let events = flooded(&mut scene, &announcements);
    assert!(events > 0);
}
