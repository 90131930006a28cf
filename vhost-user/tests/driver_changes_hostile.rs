//! Devices that say on the second socket that their configuration changed, and what they may do
//! wrong with that: the driver reads what makes sense, and nobody waits.
//!
//! Spec: VIRTIO 1.3 §5.1.4, vhost-user "Back-end communication".
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod frontend_support;

use frontend_support::fake::{End, Fake, config, next};
use frontend_support::{MAC, back_config};
use ringport::scm;
use ringport_vhost_user::backend::BackendConfig;
use ringport_vhost_user::driver::{Event, Link};
use ringport_vhost_user::frontend::PeerMisbehaved;
use ringport_vhost_user::wire::{
    ChannelMessage, ConfigSpan, Reply, Request, VringFd, decode_channel_ack, feature,
};
use ringport_vhost_user::{ControlError, DeviceError, DownReason, Driver, DriverConfig};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ALL: u64 = feature::STATUS | feature::GUEST_ANNOUNCE;

fn space(status: u16, pairs: u16, mtu: u16) -> Vec<u8> {
    [&MAC[..], &[status, pairs, mtu].map(u16::to_le_bytes).concat()].concat()
}

/// A driver whose link is up, and its device, which is up and has an MTU of 1500.
#[track_caller]
fn running() -> (Driver, Box<Link>, Fake) {
    let back = BackendConfig { features: back_config().features | ALL, ..back_config() };
    let (mut fake, socket) = Fake::new(back);
    fake.space = space(1, 2, 1500);
    let timeout = Duration::from_secs(20);
    let mut driver = Driver::from_socket(socket, DriverConfig { timeout, ..config() }).unwrap();
    match next(&mut driver, &mut fake, End::Never) {
        Event::LinkUp(link) => {
            assert!(fake.channel.is_some(), "a second socket");
            (driver, link, fake)
        }
        other => panic!("{other:?}"),
    }
}

/// Runs both until the device has heard `count` of these.
#[track_caller]
fn until_heard(driver: &mut Driver, fake: &mut Fake, request: Request, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while fake.count(request) < count {
        fake.serve(End::Never);
        let event = driver.poll(Some(Duration::ZERO)).unwrap();
        assert!(event.is_none(), "{event:?}");
        assert!(Instant::now() < deadline, "{:?}", fake.said);
    }
}

/// Whether nothing happens, though both look a few times.
#[track_caller]
fn check_quiet(driver: &mut Driver, fake: &mut Fake) {
    for _ in 0..50 {
        fake.serve(End::Never);
        let event = driver.poll(Some(Duration::from_micros(200))).unwrap();
        assert!(event.is_none(), "{event:?}");
    }
}

#[test]
fn changes_are_reported_one_by_one() {
    let (mut driver, link, mut fake) = running();
    assert!(link.parameters.carrier);
    assert_eq!((link.parameters.queue_pairs_max, link.parameters.mtu), (Some(2), Some(1500)));
    fake.space = space(2, 2, 9000);
    fake.config_changed();
    let mut say = || next(&mut driver, &mut fake, End::Never);
    assert!(matches!(say(), Event::Carrier(false)));
    assert!(matches!(say(), Event::Mtu(9000)));
    assert!(matches!(say(), Event::AnnounceWanted));
    fake.config_changed();
    let mut say = || next(&mut driver, &mut fake, End::Never);
    assert!(matches!(say(), Event::AnnounceWanted), "still, or again: nobody could say so");
    fake.space = space(0, 2, 9000);
    fake.config_changed();
    check_quiet(&mut driver, &mut fake);
    assert_eq!(fake.count(Request::GetConfig), 4, "read, and the same as before");
}

#[test]
fn nonsense_in_the_configuration_changes_nothing() {
    let (mut driver, _link, mut fake) = running();
    let nonsense = [
        space(0xfffd, 2, 1500),
        space(1, 0, 1500),
        space(1, 0xffff, 1500),
        space(1, 2, 67),
        [&[1; 6][..], &space(1, 2, 0)[6..]].concat(),
        [&[0; 6][..], &space(1, 2, 1500)[6..]].concat(),
    ];
    for (space, turn) in nonsense.into_iter().zip(2..) {
        fake.space = space;
        fake.config_changed();
        until_heard(&mut driver, &mut fake, Request::GetConfig, turn);
        check_quiet(&mut driver, &mut fake);
    }
}

#[test]
fn configuration_that_changes_while_it_is_read_is_read_again() {
    let (mut driver, _link, mut fake) = running();
    fake.answers_config = false;
    fake.config_changed();
    until_heard(&mut driver, &mut fake, Request::GetConfig, 2);
    for _ in 0..20 {
        fake.config_changed();
    }
    check_quiet(&mut driver, &mut fake);
    assert_eq!(fake.count(Request::GetConfig), 2, "one read at a time");
    fake.machine.answer_config(Ok(space(0, 2, 1500))).unwrap();
    fake.answers_config = true;
    fake.space = space(1, 2, 2000);
    fake.answer();
    let mut say = || next(&mut driver, &mut fake, End::Never);
    assert!(matches!(say(), Event::Carrier(false)));
    assert!(matches!(say(), Event::Carrier(true)), "what it is in the end");
    assert!(matches!(say(), Event::Mtu(2000)));
    check_quiet(&mut driver, &mut fake);
    assert_eq!(fake.count(Request::GetConfig), 3, "all of them were one change");
}

#[test]
fn configuration_of_another_size_ends_the_link() {
    let request = Request::GetConfig;
    let span = |size| ConfigSpan { offset: 0, size, flags: 0 };
    let other = Reply::Config(span(14), vec![0; 14]).encode(request as u32);
    let mut short = Reply::Config(span(12), vec![0; 12]).encode(request as u32);
    short.truncate(12 + 12 + 4);
    short[8] = 16;
    for reply in [other, short] {
        let (mut driver, _link, mut fake) = running();
        fake.answers_config = false;
        fake.config_changed();
        until_heard(&mut driver, &mut fake, request, 2);
        fake.say(&reply);
        let event = next(&mut driver, &mut fake, End::Never);
        let Event::LinkDown(DownReason::Protocol(DeviceError::Control(why))) = event else {
            panic!("{event:?}")
        };
        assert!(matches!(
            why,
            ControlError::PeerMisbehaved(
                PeerMisbehaved::OtherReply { .. } | PeerMisbehaved::BadPayload(_)
            )
        ));
    }
}

#[test]
fn device_that_never_says_what_changed_is_late() {
    let back = BackendConfig { features: back_config().features | ALL, ..back_config() };
    let (mut fake, socket) = Fake::new(back);
    let timeout = Duration::from_millis(200);
    let mut driver = Driver::from_socket(socket, DriverConfig { timeout, ..config() }).unwrap();
    let event = next(&mut driver, &mut fake, End::Never);
    assert!(matches!(event, Event::LinkUp(_)), "{event:?}");
    fake.answers_config = false;
    fake.config_changed();
    let event = next(&mut driver, &mut fake, End::Never);
    let Event::LinkDown(DownReason::Protocol(DeviceError::Control(why))) = event else {
        panic!("{event:?}")
    };
    assert_eq!(why, ControlError::Timeout { request: Request::GetConfig, waited: timeout });
}

/// Answers on the second socket that came so far.
fn answers(fake: &Fake) -> Vec<(u32, bool)> {
    let mut buffer = [0; 4096];
    let channel = fake.channel.as_ref().unwrap();
    let got = scm::recv(channel.as_fd(), &mut buffer).map_or(0, |received| received.len);
    buffer[..got].chunks(20).map(|ack| decode_channel_ack(ack).unwrap().unwrap()).collect()
}

#[test]
fn request_that_the_driver_does_not_serve_is_refused_and_the_next_one_is_served() {
    let (mut driver, _link, mut fake) = running();
    let ring = VringFd { index: 0, no_fd: false };
    let notifier = ChannelMessage::VringHostNotifier { ring, size: 4096, offset: 0 };
    let others = [notifier, ChannelMessage::VringCall { index: 0 }];
    for message in others.iter().chain(&[ChannelMessage::VringErr { index: 1 }]) {
        let bytes = message.encode(true);
        let (file, _) = std::io::pipe().unwrap();
        let fds = [file.as_fd()];
        let channel = fake.channel.as_ref().unwrap();
        assert_eq!(scm::send(channel.as_fd(), &bytes, &fds).unwrap(), bytes.len());
        check_quiet(&mut driver, &mut fake);
        assert_eq!(answers(&fake), [(message.request() as u32, false)]);
        fake.say_on_channel(&message.encode(false));
    }
    let unknown = [77u32, 9, 0].map(u32::to_ne_bytes).concat();
    fake.say_on_channel(&unknown);
    fake.say_on_channel(&ChannelMessage::ConfigChange.encode(true));
    check_quiet(&mut driver, &mut fake);
    assert_eq!(answers(&fake), [(77, false), (2, true)]);
    assert_eq!(fake.count(Request::GetConfig), 2);
}

#[test]
fn second_socket_that_breaks_its_rules_ends_and_the_link_goes_on() {
    type Breaks = fn(&mut Fake);
    let breaks: [Breaks; 4] = [
        |fake| fake.say_on_channel(&Reply::Number(0).encode(2)),
        |fake| fake.say_on_channel(&[0xff; 12]),
        |fake| {
            let bytes = ChannelMessage::ConfigChange.encode(false);
            let (file, _) = std::io::pipe().unwrap();
            let channel: &OwnedFd = fake.channel.as_ref().unwrap();
            scm::send(channel.as_fd(), &bytes, &[file.as_fd()]).unwrap();
        },
        |fake| fake.channel = None,
    ];
    for end in breaks {
        let (mut driver, mut link, mut fake) = running();
        end(&mut fake);
        let event = next(&mut driver, &mut fake, End::Never);
        assert!(matches!(event, Event::ChannelEnded(_)), "{event:?}");
        check_quiet(&mut driver, &mut fake);
        assert!(link.rx[0].rx_burst(1).unwrap().is_empty(), "the link is up");
    }
}

/// Sends whole messages on the second socket, as fast as they are taken.
fn flood(channel: &OwnedFd, stop: &AtomicBool) {
    let message = ChannelMessage::ConfigChange.encode(true);
    let mut rest = &message[..];
    while !stop.load(Ordering::Relaxed) {
        match scm::send(channel.as_fd(), rest, &[]) {
            Ok(sent) => rest = &rest[sent..],
            Err(_) => std::thread::yield_now(),
        }
        if rest.is_empty() {
            rest = &message;
        }
    }
}

#[test]
fn changes_and_interrupts_without_end_hold_nobody_up() {
    for reads_answers in [false, true] {
        let (mut driver, mut link, mut fake) = running();
        let calls: Vec<_> = fake.rings.iter_mut().map(|ring| ring.call.take().unwrap()).collect();
        let channel = fake.channel.as_ref().unwrap().try_clone().unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| flood(&channel, &stop));
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for call in &calls {
                        let _ = nix::unistd::write(call, &1u64.to_ne_bytes());
                    }
                }
            });
            let _end = AtTheEnd(&stop);
            let start = Instant::now();
            let mut turns = 0;
            while fake.count(Request::GetConfig) < 50 {
                fake.serve(End::Never);
                if reads_answers {
                    answers_any(&fake);
                }
                let event = driver.poll(Some(Duration::ZERO)).unwrap();
                assert!(event.is_none(), "{event:?}");
                assert!(!link.rx[0].arm().unwrap(), "there is no packet");
                assert!(link.rx[1].rx_burst(8).unwrap().is_empty());
                turns += 1;
                let late = start.elapsed() > Duration::from_secs(20);
                // A device that reads no answers is not heard for ever.
                if !reads_answers && (fake.count(Request::GetConfig) > 5 || turns > 20_000) {
                    break;
                }
                assert!(!late, "{turns} turns");
            }
        });
        fake.space = space(0, 2, 1500);
        if reads_answers {
            let event = next(&mut driver, &mut fake, End::Never);
            assert!(matches!(event, Event::Carrier(false)), "{event:?}");
        }
        driver.set_queue_pairs(1).unwrap();
        let event = loop {
            match next(&mut driver, &mut fake, End::Never) {
                Event::Carrier(_) => {}
                event => break event,
            }
        };
        assert!(matches!(event, Event::PairsEnabled(1)), "{event:?}");
    }
}

fn answers_any(fake: &Fake) {
    let mut buffer = [0; 4096];
    let _ = scm::recv(fake.channel.as_ref().unwrap().as_fd(), &mut buffer);
}

/// Sets a flag when it goes, also by a panic.
struct AtTheEnd<'f>(&'f AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn pairs_are_enabled_and_disabled_as_the_driver_is_told() {
    let (mut driver, _link, mut fake) = running();
    driver.set_queue_pairs(1).unwrap();
    assert!(matches!(next(&mut driver, &mut fake, End::Never), Event::PairsEnabled(1)));
    assert_eq!(fake.enabled, [(0, true), (1, true), (2, true), (3, true), (2, false), (3, false)]);
    driver.set_queue_pairs(2).unwrap();
    assert!(matches!(next(&mut driver, &mut fake, End::Never), Event::PairsEnabled(2)));
    assert_eq!(fake.enabled[6..], [(2, true), (3, true)]);
    for wrong in [0, 3, u16::MAX] {
        assert!(matches!(driver.set_queue_pairs(wrong), Err(DeviceError::Config(_))));
    }
    drop(fake);
    assert!(matches!(driver.poll(None).unwrap(), Some(Event::LinkDown(_))));
    assert!(matches!(driver.set_queue_pairs(1), Err(DeviceError::Control(_))));
}
