//! Front-ends that keep a relay busy, or stall: no call waits for them, memory does not grow with what they say,
//! and the next front-end is served.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod relay_support;

use relay_support::{
    Fake, FakeConfig, Front, Handle, PATIENCE, Place, Raw, Scene, Told, eventually, scene,
    served_next,
};
use ringport_bench::interop::census::resident_kb;
use ringport_vdpa::relay::Event;
use ringport_vdpa::{Relay, RelayConfig};
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::wire::{ConfigSpan, Message, Request, VringFd, VringState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long `poll` is given, and how much longer it may take on a busy machine.
const TIMEOUT: Duration = Duration::from_millis(5);
const SLACK: Duration = Duration::from_secs(2);
/// How long each flood lasts.
const A_WHILE: Duration = Duration::from_millis(150);
/// Kilobytes that the process may grow by while it is flooded.
const GROWTH_MAX: u64 = 32 << 10;

/// Ends what others do when this goes.
struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A relay whose `poll` is called here.
struct Polled {
    place: Place,
    relay: Relay,
    device: Handle,
}

impl Polled {
    fn new() -> Self {
        let (place, config) = (Place::new(), RelayConfig::default());
        let (fake, device) = Fake::new(FakeConfig::default());
        let role = SocketRole::default();
        let relay = Relay::open(&place.address(), role, config, Box::new(fake)).unwrap();
        Self { place, relay, device }
    }

    fn turn(&mut self) -> Option<Event> {
        let before = Instant::now();
        let event = self.relay.poll(Some(TIMEOUT)).unwrap();
        assert!(before.elapsed() < TIMEOUT + SLACK, "poll took {:?}", before.elapsed());
        event
    }

    /// Polls while `front` goes on elsewhere, and until it has ended.
    fn attend<T: Send>(&mut self, front: impl FnOnce(&Place) -> T + Send) -> T {
        let place = self.place.again();
        std::thread::scope(|scope| {
            let front = scope.spawn(move || front(&place));
            let deadline = Instant::now() + PATIENCE;
            while !front.is_finished() {
                assert!(Instant::now() < deadline, "it does not end");
                self.turn();
            }
            front.join().unwrap()
        })
    }
}

/// Of each request that may be said again and again one that does nothing, or is refused.
fn messages() -> Vec<Message> {
    use Request as R;
    let state = |request, value| Message::VringState(request, VringState { index: 0, value });
    let no_fd = |request| Message::VringFd(request, VringFd { index: 0, no_fd: true });
    let plain = [R::GetFeatures, R::SetOwner, R::GetQueueNum, R::GetMaxMemSlots, R::GetStatus];
    let mut all: Vec<_> = plain.into_iter().map(Message::Plain).collect();
    all.extend([
        Message::Number(R::NetSetMtu, 1500),
        Message::Number(R::SetStatus, 15),
        state(R::SetVringNum, 64),
        state(R::SetVringBase, 0),
        state(R::SetVringEnable, 1),
        no_fd(R::SetVringCall),
        no_fd(R::SetVringErr),
        Message::Rarp([2, 0, 0, 0, 0, 1]),
        Message::GetConfig(ConfigSpan { offset: 0, size: 64, flags: 0 }),
    ]);
    all
}

#[test]
fn flood_of_any_request_with_answers_that_nobody_reads_holds_nobody_up() {
    let resident = resident_kb();
    for message in messages() {
        for need_reply in [false, true] {
            let mut polled = Polled::new();
            let bytes = message.encode(need_reply).repeat(100);
            polled.attend(|place| {
                let front = Front::connect(place, 0);
                front.run();
                let stop = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    let _stop = AtTheEnd(&stop);
                    scope.spawn(|| front.raw.flood(&bytes, &stop));
                    std::thread::sleep(A_WHILE);
                });
            });
            let device = polled.device.clone();
            eventually("the device has nothing any more", || {
                polled.turn();
                !device.runs() && device.mapped().is_empty()
            });
            polled.attend(|place| Front::connect(place, 0).run());
        }
    }
    let growth = resident_kb().saturating_sub(resident);
    assert!(growth < GROWTH_MAX, "{growth} kB more");
}

#[test]
fn rings_enabled_and_disabled_without_end_start_and_stop_the_device_in_turns() {
    let scene = Scene::new();
    for turn in 0..500 {
        assert!(scene.front.set(Request::SetVringEnable, turn % 2, 0));
        assert!(!scene.device.runs());
        assert!(scene.front.set(Request::SetVringEnable, turn % 2, 1));
        assert!(scene.device.runs());
    }
    let starts = scene.device.calls().into_iter().filter(|it| matches!(it, Told::Start { .. }));
    assert_eq!(starts.count(), 501);
    scene.makes_way();
}

#[test]
fn message_that_drips_byte_by_byte_is_answered() {
    let scene = Scene::new();
    for byte in Message::Plain(Request::GetQueueNum).encode(false) {
        scene.front.raw.send(&[byte], &[]);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(scene.front.raw.hear().number(), 1);
    scene.makes_way();
}

#[test]
fn front_end_that_stalls_within_a_message_meets_the_deadline_and_leaves_nothing() {
    let config =
        RelayConfig { answer_timeout: Duration::from_millis(50), ..RelayConfig::default() };
    let whole = Message::Number(Request::SetStatus, 15).encode(true);
    for cut in [1, 11, 12, whole.len() - 1] {
        let scene = Scene::with(config);
        scene.front.raw.send(&whole[..cut], &[]);
        let ended = scene.relay.ended();
        assert!(ended.reason.to_string().contains("is not whole after"), "{:?}", ended.reason);
        assert!(!scene.device.runs());
        assert_eq!(scene.device.mapped(), []);
        scene.makes_way();
    }
}

#[test]
fn silent_front_ends_make_room_for_one_that_speaks() {
    let (place, relay, device) = scene(FakeConfig::default());
    let silent: Vec<_> = (0..20).map(|_| Raw::connect(&place)).collect();
    served_next(&place, &relay, &device);
    drop(silent);
    for _ in 0..300 {
        drop(Raw::connect(&place));
    }
    served_next(&place, &relay, &device);
}

#[test]
fn front_end_beside_one_that_is_served_waits_and_is_served_then() {
    let scene = Scene::new();
    let second = Raw::connect(&scene.place);
    assert!(scene.front.raw.still_answers() && scene.device.runs(), "it keeps its place");
    let Scene { place, relay, device, front } = scene;
    drop(front);
    second.send(&Message::Plain(Request::GetQueueNum).encode(false), &[]);
    assert_eq!(second.hear().number(), 1);
    drop(second);
    served_next(&place, &relay, &device);
}
