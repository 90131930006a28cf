//! A device whose link to the network goes down and up, and that wants to be announced: what its
//! driver hears, and what front-ends can do to the socket on which it is told.
//!
//! Spec: VIRTIO 1.3 §5.1.4.2, vhost-user "Back-end communication".
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{Front, Hand, Place, Served, eventually, exchange, frame, receive, send};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use ringport::retry::Reconnect;
use ringport::scm;
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::driver;
use ringport_vhost_user::frontend::PeerMisbehaved;
use ringport_vhost_user::wire::{
    ChannelMessage, ConfigSpan, Message, Reply, Request, encode_channel_ack,
};
use ringport_vhost_user::{
    ControlError, DeviceConfig, DeviceError, DownReason, Driver, DriverConfig, Event, Link,
};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

const SOON: Reconnect =
    Reconnect::Backoff { initial: Duration::from_millis(5), max: Duration::from_millis(20) };

fn drive(place: &Place) -> Served<Driver> {
    let config = DriverConfig { ring_size: 64, ..DriverConfig::default() };
    Served::open(place, SocketRole::Connect(SOON), config)
}

/// Both ends with their links up.
fn linked(place: &Place) -> (Served, Link, Served<Driver>, driver::Link) {
    let device = Served::listen(place, DeviceConfig::default());
    let driver = drive(place);
    let (theirs, ours) = (device.link_up(), driver.link_up());
    (device, theirs, driver, ours)
}

#[track_caller]
fn carrier(driver: &Served<Driver>) -> bool {
    match driver.news() {
        Event::Carrier(up) => up,
        other => panic!("{other:?}"),
    }
}

#[test]
fn link_that_goes_down_is_told_to_the_driver_and_loses_packets_until_it_is_up() {
    let place = Place::new();
    let (device, mut theirs, driver, mut ours) = linked(&place);
    assert!(ours.parameters.carrier && theirs.parameters.carrier);
    device.ask(|device| device.set_link(false));
    assert!(!carrier(&driver));
    send(&mut ours.tx[0], &[frame(60, 1)]);
    eventually("the packet is lost", || {
        assert!(theirs.rx[0].rx_burst(8).unwrap().is_empty());
        theirs.rx[0].stats().discarded == 1
    });
    assert!(theirs.tx[0].tx_burst(8).unwrap().push(&[0; 60]).is_err(), "nothing can be sent");
    device.ask(|device| device.set_link(true));
    assert!(carrier(&driver));
    send(&mut ours.tx[0], &[frame(60, 2)]);
    assert_eq!(receive(&mut theirs.rx[0], 1), [frame(60, 2)]);
    send(&mut theirs.tx[0], &[frame(60, 3)]);
    assert_eq!(receive(&mut ours.rx[0], 1), [frame(60, 3)]);
}

#[test]
fn link_that_is_down_stays_so_for_the_driver_that_comes_next() {
    let place = Place::new();
    let (device, mut theirs, driver, _) = linked(&place);
    device.ask(|device| device.set_link(false));
    assert!(!carrier(&driver));
    drop(driver);
    assert!(matches!(device.link_down(), DownReason::PeerClosed));
    let driver = drive(&place);
    let mut ours = driver.link_up();
    assert!(!ours.parameters.carrier);
    assert!(theirs.rx[0].rx_burst(1).is_err(), "of the link before");
    theirs = device.link_up();
    send(&mut ours.tx[0], &[frame(60, 1)]);
    eventually("the packet is lost", || {
        assert!(theirs.rx[0].rx_burst(8).unwrap().is_empty());
        theirs.rx[0].stats().discarded == 1
    });
    device.ask(|device| device.set_link(true));
    assert!(carrier(&driver));
    assert!(device.ask(|device| device.link_is_up()));
}

#[test]
fn announcement_is_wanted_until_a_driver_has_read_so() {
    let place = Place::new();
    let (device, _theirs, driver, _ours) = linked(&place);
    for _ in 0..3 {
        device.ask(|device| device.announce());
        assert!(matches!(driver.news(), Event::AnnounceWanted));
        assert!(!device.ask(|device| device.wants_announcement()));
    }
    drop(driver);
    device.link_down();
    device.ask(|device| device.announce());
    let driver = drive(&place);
    driver.link_up();
    assert!(matches!(driver.news(), Event::AnnounceWanted), "it was not there to hear of it");
    assert!(!device.ask(|device| device.wants_announcement()));
}

/// A device whose front-end has given it a second socket.
struct Scene {
    device: Served,
    front: Front,
    link: Link,
    channel: OwnedFd,
    hands: [Hand; 2],
    seed: u32,
}

fn channel() -> (OwnedFd, OwnedFd) {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socketpair(AddressFamily::Unix, SockType::Stream, None, flags).unwrap()
}

/// Reads the status, as front-ends do.
fn read_status(front: &Front) -> u16 {
    let span = ConfigSpan { offset: 0, size: 12, flags: 0 };
    let device_support::Answer::Payload(bytes) = front.raw.ask(&Message::GetConfig(span), &[])
    else {
        panic!("closed")
    };
    u16::from_le_bytes([bytes[12 + 6], bytes[12 + 7]])
}

impl Scene {
    fn new(place: &Place) -> Self {
        let device = Served::listen(place, DeviceConfig::default());
        let front = Front::running(place, 1);
        let link = device.link_up();
        assert_eq!(device.pairs_enabled(), 1);
        let (ours, theirs) = channel();
        let give = Message::Plain(Request::SetBackendReqFd);
        assert!(front.raw.ask(&give, &[theirs.as_fd()]).is_yes());
        let hands = front.hands(0);
        Self { device, front, link, channel: ours, hands, seed: 0 }
    }

    #[track_caller]
    fn exchange(&mut self) {
        self.seed += 1;
        exchange(&mut self.hands, &self.front.guest, &mut self.link, 0, self.seed);
    }

    /// What waits in the socket.
    fn heard(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(received) = scm::recv(self.channel.as_fd(), &mut buffer)
            && !received.eof
        {
            bytes.extend_from_slice(&buffer[..received.len]);
        }
        bytes
    }

    fn say(&self, bytes: &[u8]) {
        assert_eq!(scm::send(self.channel.as_fd(), bytes, &[]).unwrap(), bytes.len());
    }

    #[track_caller]
    fn channel_ended(&self) -> DownReason {
        match self.device.news() {
            Event::ChannelEnded(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    fn set_link(&self, up: bool) {
        self.device.ask(move |device| device.set_link(up));
    }
}

fn change() -> Vec<u8> {
    ChannelMessage::ConfigChange.encode(false)
}

#[test]
fn change_is_told_once_and_not_before_another_one() {
    let place = Place::new();
    let scene = Scene::new(&place);
    assert_eq!(scene.heard(), b"", "it knows");
    scene.set_link(false);
    assert_eq!(scene.heard(), change());
    scene.set_link(false);
    assert_eq!(scene.heard(), b"", "it was told");
    assert_eq!(read_status(&scene.front), 0);
    scene.set_link(true);
    scene.set_link(false);
    assert_eq!(scene.heard(), [change(), change()].concat());
}

#[test]
fn change_that_comes_before_the_second_socket_or_without_rings_is_told_later() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    scene.front.stop_ring(0);
    scene.front.stop_ring(1);
    scene.set_link(false);
    assert_eq!(scene.heard(), b"", "no ring runs");
    scene.front.start_ring(0, 0).unwrap();
    assert_eq!(scene.heard(), change());
    scene.set_link(true);
    let (ours, theirs) = channel();
    scene.heard();
    scene.set_link(false);
    scene.heard();
    assert_eq!(read_status(&scene.front), 0);
    let before = std::mem::replace(&mut scene.channel, ours);
    drop(before);
    scene.channel_ended();
    scene.set_link(true);
    let give = Message::Plain(Request::SetBackendReqFd);
    assert!(scene.front.raw.ask(&give, &[theirs.as_fd()]).is_yes());
    assert_eq!(scene.heard(), change(), "nobody could be told before");
}

#[test]
fn second_socket_that_nobody_reads_holds_nobody_up() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let start = Instant::now();
    scene.device.ask(|device| {
        for turn in 0..10_000 {
            device.set_link(turn % 2 == 0);
        }
    });
    assert!(start.elapsed() < Duration::from_secs(20), "it waited");
    scene.set_link(true);
    scene.exchange();
    let heard = scene.heard();
    assert!(heard.len() < 1 << 20, "{} bytes", heard.len());
    assert!(heard.chunks(12).all(|message| message == change()));
    assert_eq!(read_status(&scene.front), 1);
    scene.set_link(false);
    eventually("changes are told again, now that somebody reads", || {
        let rest = scene.heard();
        assert!(rest.chunks(12).all(|message| message == change()));
        !rest.is_empty()
    });
    assert_eq!(read_status(&scene.front), 0);
}

#[test]
fn acknowledgement_on_the_second_socket_is_dropped_and_one_too_many_ends_it() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let ack = encode_channel_ack(2, true);
    for up in [false, true] {
        scene.set_link(up);
        assert_eq!(scene.heard(), change());
        scene.say(&ack[..7]);
        scene.say(&ack[7..]);
        scene.exchange_if(up);
    }
    scene.say(&ack);
    let reason = scene.channel_ended();
    let unasked = ControlError::PeerMisbehaved(PeerMisbehaved::Unasked { request: 2 });
    let DownReason::Protocol(DeviceError::Control(why)) = reason else { panic!("{reason:?}") };
    assert_eq!(why, unasked);
    scene.exchange();
}

impl Scene {
    #[track_caller]
    fn exchange_if(&mut self, up: bool) {
        if up {
            self.exchange();
        }
    }
}

#[test]
fn anything_but_acknowledgements_on_the_second_socket_ends_it_and_not_the_link() {
    let place = Place::new();
    let answer_to_another = encode_channel_ack(4, true);
    let of_another_length = Reply::Empty.encode(2);
    for bytes in [change(), answer_to_another, of_another_length, vec![0xff; 12]] {
        let mut scene = Scene::new(&place);
        scene.set_link(false);
        scene.say(&bytes);
        assert!(matches!(scene.channel_ended(), DownReason::Protocol(_)), "{bytes:?}");
        scene.set_link(true);
        scene.exchange();
        drop(scene);
    }
    let mut scene = Scene::new(&place);
    scene.channel = channel().0;
    assert!(matches!(scene.channel_ended(), DownReason::PeerClosed));
    scene.exchange();
}

#[test]
fn second_socket_that_is_none_is_refused_and_the_one_before_stays() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let datagrams = socketpair(
        AddressFamily::Unix,
        SockType::Datagram,
        None,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
    );
    let (pipe, _write) = std::io::pipe().unwrap();
    let file = std::fs::File::open("/proc/self/status").unwrap();
    let give = Message::Plain(Request::SetBackendReqFd);
    for fd in [datagrams.unwrap().0.as_fd(), pipe.as_fd(), file.as_fd()] {
        assert_ne!(scene.front.raw.ask(&give, &[fd]).number(), 0);
        let event = scene.device.news();
        assert!(matches!(event, Event::RequestRefused(_)), "{event:?}");
        scene.exchange();
    }
    scene.set_link(false);
    assert_eq!(scene.heard(), change());
}
