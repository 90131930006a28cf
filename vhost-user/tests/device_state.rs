//! What a device knows of its driver, on its way to the device that comes next: through pipes of
//! front-ends that are slow, wrong, or gone.
//!
//! Spec: vhost-user "Migrating back-end state".
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{FEATURES, Front, Hand, Place, SIZE, Served, WRITE, exchange};
use nix::sys::eventfd::EventFd;
use ringport_vhost_user::device::Filter;
use ringport_vhost_user::device::state::{SavedState, StateError};
use ringport_vhost_user::wire::{Command, DeviceState, Message, Request, feature};
use ringport_vhost_user::{DeviceConfig, DeviceError, Event, Link};
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;

const CONTROL: u64 =
    feature::CTRL_VQ | feature::CTRL_RX | feature::CTRL_VLAN | feature::CTRL_MAC_ADDR | feature::MQ;
/// Answer to SET_DEVICE_STATE_FD: the front-end's pipe is used.
const USED: u64 = 1 << 8;
/// The control queue, and whose place in memory it has.
const RING: usize = 4;
const PLACE: usize = 2;
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn config() -> DeviceConfig {
    DeviceConfig {
        control: true,
        queue_pairs: 2,
        answer_timeout: Duration::from_millis(500),
        ..DeviceConfig::default()
    }
}

/// A device with a driver that is stopped, or has not begun.
struct Scene {
    device: Served,
    front: Front,
    _place: Place,
}

impl Scene {
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: DeviceConfig) -> Self {
        let place = Place::new();
        let device = Served::listen(&place, config);
        let front = Front::connect_with(&place, 3, FEATURES | CONTROL);
        front.share();
        Self { device, front, _place: place }
    }

    /// Starts the first pair and the control queue, and gives commands.
    fn run(&mut self, commands: &[Command]) -> Link {
        self.front.start_pair(0);
        let link = self.device.link_up();
        self.front.start_ring_at(RING, 0, PLACE, SIZE);
        self.front.vhost.set_vring_enable(RING, true).unwrap();
        let mut hand = self.front.hand(PLACE);
        for command in commands {
            self.command(&mut hand, command);
        }
        link
    }

    /// Gives a command, which is reported.
    #[track_caller]
    fn command(&self, hand: &mut Hand, command: &Command) -> Event {
        let (at, guest) = (hand.place(), &self.front.guest);
        guest.put(at, &command.encode());
        let len = u32::try_from(command.encode().len()).unwrap();
        hand.offer(guest, &[(at, len, 0), (at + 0x3000, 1, WRITE)]);
        self.front.rings[RING].kick.write(1).unwrap();
        assert_eq!(hand.wait_used(guest), [1]);
        assert_eq!(guest.get(at + 0x3000, 1), [0], "{command:?}");
        self.device.news()
    }

    fn stop(&mut self) {
        for ring in [0, 1, RING] {
            self.front.stop_ring(ring);
        }
    }

    fn ask(&self, direction: u32, fd: BorrowedFd<'_>) -> u64 {
        let way = DeviceState { direction, phase: 0 };
        self.front.raw.ask(&Message::DeviceState(way), &[fd]).number()
    }

    fn check(&self) -> u64 {
        self.front.raw.ask(&Message::Plain(Request::CheckDeviceState), &[]).number()
    }

    #[track_caller]
    fn save(&self) -> Vec<u8> {
        let (mut reader, writer) = pipe().unwrap();
        assert_eq!(self.ask(0, writer.as_fd()), USED);
        drop(writer);
        let mut state = Vec::new();
        reader.read_to_end(&mut state).unwrap();
        assert_eq!(self.check(), 0);
        state
    }

    /// Begins to load.
    #[track_caller]
    fn begin_load(&self) -> PipeWriter {
        let (reader, writer) = pipe().unwrap();
        assert_eq!(self.ask(1, reader.as_fd()), USED);
        writer
    }

    #[track_caller]
    fn load(&self, state: &[u8]) -> u64 {
        let mut writer = self.begin_load();
        // It may have heard enough.
        let _ = writer.write_all(state);
        drop(writer);
        self.check()
    }

    #[track_caller]
    fn refused(&self) -> StateError {
        match self.device.news() {
            Event::RequestRefused(DeviceError::State(error)) => error,
            other => panic!("{other:?}"),
        }
    }
}

fn filter(event: Event) -> Filter {
    let Event::FilterChanged(filter) = event else { panic!("{event:?}") };
    *filter
}

fn commands() -> [Command; 5] {
    [
        Command::Promiscuous(false),
        Command::Address(OTHER),
        Command::Addresses { unicast: vec![], multicast: vec![[1; 6]] },
        Command::AddVlan(77),
        Command::QueuePairs(2),
    ]
}

#[test]
fn device_that_comes_next_knows_what_the_one_before_did() {
    let mut before = Scene::new();
    before.run(&commands());
    before.device.ask(|device| device.announce());
    before.stop();
    let state = before.save();
    assert_eq!(before.save(), state, "as often as one likes");
    for log in [feature::LOG_ALL, 0] {
        before.front.vhost.set_features(FEATURES | CONTROL | log).unwrap();
        assert_eq!(before.save(), state, "whether or not there is a log");
    }
    let mut after = Scene::new();
    assert_eq!(after.load(&state), 0);
    let known = filter(after.device.news());
    assert!(matches!(after.device.news(), Event::PairsWanted(2)));
    assert!(after.device.ask(|device| device.wants_announcement()));
    assert!(!known.promiscuous && known.mac == Some(OTHER) && known.has_vlan(77));
    assert_eq!(known.multicast, [[1; 6]]);
    after.front.vhost.set_features(FEATURES | CONTROL | feature::EVENT_IDX).unwrap();
    let mut link = after.run(&[]);
    let mut hand = after.front.hand(PLACE);
    let then = filter(after.command(&mut hand, &Command::AddVlan(78)));
    assert!(!then.promiscuous && then.has_vlan(77) && then.has_vlan(78));
    exchange(&mut after.front.hands(0), &after.front.guest, &mut link, 0, 1);
}

#[test]
fn state_comes_in_any_pieces() {
    let mut before = Scene::new();
    before.run(&commands());
    before.stop();
    let state = before.save();
    let after = Scene::new();
    let mut writer = after.begin_load();
    for bytes in state.chunks(7) {
        writer.write_all(bytes).unwrap();
        std::thread::yield_now();
    }
    drop(writer);
    assert_eq!(after.check(), 0);
    filter(after.device.news());
}

#[test]
fn state_that_is_wrong_fails_the_check_and_changes_nothing() {
    let mut scene = Scene::new();
    scene.run(&commands());
    scene.stop();
    let good = scene.save();
    let mut foreign = good.clone();
    foreign[24] |= 0x80;
    let more_pairs = {
        let mut filter = SavedState::decode(&good).unwrap().filter;
        filter.vlans = None;
        SavedState::new(feature::VERSION_1, 1, filter, Some(3)).encode()
    };
    let wrong = [
        Vec::new(),
        good[..good.len() - 1].to_vec(),
        [&good[..], &[0]].concat(),
        vec![0x55; 1000],
        foreign,
        more_pairs,
    ];
    for state in wrong {
        assert_eq!(scene.load(&state), 1, "{state:x?}");
        scene.refused();
        assert_eq!(scene.save(), good, "the old state stays");
    }
    assert_eq!(scene.load(&vec![0; 1 << 20]), 1);
    assert_eq!(scene.refused(), StateError::TooLong);
    assert_eq!(scene.load(&good), 0);
}

#[test]
fn state_for_a_device_that_offers_less_is_refused() {
    let mut before = Scene::new();
    before.run(&[]);
    before.stop();
    let state = before.save();
    let after = Scene::with(DeviceConfig { mergeable: true, ..config() });
    let saved = SavedState::decode(&state).unwrap();
    let bits = feature::GUEST_TSO4;
    let more = SavedState::new(saved.features | bits, 1, saved.filter, None).encode();
    assert_eq!(after.load(&more), 1);
    assert_eq!(after.refused(), StateError::Features { bits });
}

#[test]
fn nothing_is_moved_while_rings_run_and_nothing_is_there_to_be_checked() {
    let mut scene = Scene::new();
    let mut link = scene.run(&[]);
    let (reader, writer) = pipe().unwrap();
    for (direction, fd) in [(0, writer.as_fd()), (1, reader.as_fd())] {
        assert_eq!(scene.ask(direction, fd), USED | 1);
        let event = scene.device.news();
        assert!(matches!(event, Event::RequestRefused(_)), "{event:?}");
    }
    assert_eq!(scene.check(), 1);
    assert_eq!(scene.refused(), StateError::None);
    exchange(&mut scene.front.hands(0), &scene.front.guest, &mut link, 0, 1);
}

#[test]
fn what_is_no_pipe_is_refused() {
    let scene = Scene::new();
    let file = tempfile::tempfile().unwrap();
    let (socket, _other) = UnixStream::pair().unwrap();
    let eventfd = EventFd::new().unwrap();
    for direction in [0, 1] {
        for fd in [file.as_fd(), socket.as_fd(), eventfd.as_fd()] {
            assert_eq!(scene.ask(direction, fd), USED | 1);
            assert_eq!(scene.refused(), StateError::NotAPipe);
        }
        assert_eq!(scene.check(), 1);
        assert_eq!(scene.refused(), StateError::None);
    }
}

/// A pipe that takes nothing more.
fn full() -> (PipeReader, PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    let blocking = nix::fcntl::OFlag::empty();
    let set = |flags| nix::fcntl::fcntl(&writer, nix::fcntl::F_SETFL(flags)).unwrap();
    set(nix::fcntl::OFlag::O_NONBLOCK);
    while (&writer).write(&[0; 4096]).is_ok() {}
    while (&writer).write(&[0]).is_ok() {}
    set(blocking);
    (reader, writer)
}

#[test]
fn front_end_that_neither_reads_nor_writes_is_late_and_holds_nobody_up() {
    let scene = Scene::new();
    let (mut reader, writer) = full();
    let start = Instant::now();
    assert_eq!(scene.ask(0, writer.as_fd()), USED);
    assert_eq!(scene.check(), 1, "answered, and late");
    assert_eq!(scene.refused(), StateError::Late);
    let mut bytes = [0; 4096];
    let _ = reader.read(&mut bytes).unwrap();
    let mut idle = scene.begin_load();
    idle.write_all(b"RING").unwrap();
    assert!(scene.front.raw.still_answers(), "it does other things meanwhile");
    assert_eq!(scene.check(), 1);
    assert_eq!(scene.refused(), StateError::Late);
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(idle.write_all(b"PORT").is_err(), "the device has let go of it");
    let state = scene.save();
    assert_eq!(scene.load(&state), 0);
}

#[test]
fn pipe_that_drains_slowly_gets_all_of_the_state() {
    let mut scene =
        Scene::with(DeviceConfig { answer_timeout: Duration::from_secs(20), ..config() });
    scene.run(&commands());
    scene.stop();
    let state = scene.save();
    let (mut reader, writer) = full();
    assert_eq!(scene.ask(0, writer.as_fd()), USED);
    drop(writer);
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    assert_eq!(all[all.len() - state.len()..], state);
    assert_eq!(scene.check(), 0);
}

#[test]
fn pipe_whose_other_end_is_gone_fails_the_check() {
    let scene = Scene::new();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    assert_eq!(scene.ask(0, writer.as_fd()), USED);
    assert_eq!(scene.check(), 1);
    assert!(matches!(scene.refused(), StateError::Pipe(_)));
    drop(scene.begin_load());
    assert_eq!(scene.check(), 1);
    assert!(matches!(scene.refused(), StateError::Length { got: 0, .. }));
}

#[test]
fn transfer_that_is_begun_again_takes_the_place_of_the_one_before() {
    let scene = Scene::new();
    let state = scene.save();
    let before = scene.begin_load();
    let mut then = scene.begin_load();
    then.write_all(&state).unwrap();
    drop(then);
    assert_eq!(scene.check(), 0);
    drop(before);
    assert_eq!(scene.check(), 1, "it was said once");
}
