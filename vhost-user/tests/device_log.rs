//! The dirty log over a socket: what a front-end that migrates its guest relies on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{
    Answer, AtTheEnd, FEATURES, FRONT_END, Front, GUEST, Hand, LEN, PACKED, Place, Served,
    eventually, exchange, frame, send,
};
use nix::sys::eventfd::{EfdFlags, EventFd};
use ringport::shm::{Backing, OwnedMemory};
use ringport_vhost_user::wire::{LogArea, Message, Request, VringAddress};
use ringport_vhost_user::{DeviceConfig, DownReason, Event, Link};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use vhost::VhostBackend;

const LAYOUTS: [u64; 2] = [0, PACKED];
const PAGE: u64 = 4096;
const LOG_ALL: u64 = 1 << 26;
/// Byte of the log for the guest's first page.
const FIRST: u64 = GUEST / PAGE / 8;
/// Bytes of a log for all of the guest.
const LOG_LEN: u64 = FIRST + LEN / PAGE / 8;

/// A log that starts somewhere in its file.
struct Log {
    file: File,
    offset: u64,
}

impl Log {
    fn new(offset: u64) -> Self {
        // One page more, which must stay clean.
        let len = usize::try_from(offset + LOG_LEN + PAGE).unwrap();
        let memory = OwnedMemory::create("log", len, Backing::Pages).unwrap();
        Self { file: memory.fd().try_clone_to_owned().unwrap().into(), offset }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(LEN / PAGE / 8).unwrap()];
        self.file.read_exact_at(&mut bytes, self.offset + FIRST).unwrap();
        bytes
    }

    /// Pages of the guest that are marked; from now on they are not.
    fn take(&self) -> Vec<u64> {
        let bytes = self.bytes();
        self.file.write_all_at(&vec![0; bytes.len()], self.offset + FIRST).unwrap();
        let bits = (0..LEN / PAGE)
            .filter(|page| bytes[usize::try_from(page / 8).unwrap()] >> (page % 8) & 1 == 1);
        bits.collect()
    }

    /// Whether nothing outside of the guest's part was ever written.
    fn is_clean_elsewhere(&self) -> bool {
        let mut all = Vec::new();
        let len = usize::try_from(self.offset + LOG_LEN + PAGE).unwrap();
        all.resize(len, 0);
        self.file.read_exact_at(&mut all, 0).unwrap();
        let part = usize::try_from(self.offset + FIRST).unwrap();
        let (before, rest) = all.split_at(part);
        let after = &rest[usize::try_from(LEN / PAGE / 8).unwrap()..];
        before.iter().chain(after).all(|byte| *byte == 0)
    }

    fn base(&self) -> Message {
        Message::LogBase(LogArea { size: LOG_LEN, offset: self.offset })
    }
}

/// A device with a running pair.
struct Scene {
    device: Served,
    front: Front,
    link: Link,
    hands: [Hand; 2],
    features: u64,
}

impl Scene {
    fn new(place: &Place, layout: u64) -> Self {
        let device = Served::listen(place, DeviceConfig::default());
        let features = FEATURES | layout;
        let front = Front::running_with(place, 1, features);
        let link = device.link_up();
        assert_eq!(device.pairs_enabled(), 1);
        let hands = front.hands(0);
        Self { device, front, link, hands, features }
    }

    /// As QEMU does when migration starts: the log, each ring's place with its log, the feature.
    fn start_log(&self, log: &Log) {
        let raw = &self.front.raw;
        assert!(raw.ask(&log.base(), &[log.file.as_fd()]).is_yes());
        for index in [0, 1] {
            assert!(raw.ask(&self.address(index, true), &[]).is_yes());
        }
        self.set_features(LOG_ALL);
    }

    fn set_features(&self, more: u64) {
        let features = Message::Number(Request::SetFeatures, self.features | more);
        assert!(self.front.raw.ask(&features, &[]).is_yes());
    }

    fn address(&self, index: u32, log: bool) -> Message {
        let at = self.front.rings[index as usize].config();
        Message::VringAddress(VringAddress {
            index,
            log,
            descriptor_area: at.desc_table_addr,
            driver_area: at.avail_ring_addr,
            device_area: at.used_ring_addr,
            log_address: at.used_ring_addr - FRONT_END + GUEST,
        })
    }

    /// Sends a packet to the driver, and returns the pages that changed.
    fn change(&mut self, packet: &[u8]) -> Vec<u64> {
        let guest = &self.front.guest;
        let all = || guest.get(GUEST, usize::try_from(LEN).unwrap());
        self.hands[0].provide(guest);
        let before = all();
        send(&mut self.link.tx[0], &[packet.to_vec()]);
        let after = all();
        assert_eq!(self.hands[0].receive(guest, 1), [packet]);
        let pages = before.chunks(4096).zip(after.chunks(4096));
        (0..).zip(pages).filter(|(_, (a, b))| a != b).map(|(page, _)| page).collect()
    }
}

#[test]
fn pages_that_change_while_rings_run_are_marked_from_the_answer_on() {
    for layout in LAYOUTS {
        for offset in [0, 0x5000] {
            let place = Place::new();
            let mut scene = Scene::new(&place, layout);
            let log = Log::new(offset);
            scene.change(&frame(100, 1));
            scene.start_log(&log);
            for turn in 0..70 {
                log.take();
                let changed = scene.change(&frame(60 + 20 * turn as usize, turn));
                let marked = log.take();
                assert!(!changed.is_empty());
                assert!(
                    changed.iter().all(|page| marked.contains(page)),
                    "{changed:?}, {marked:?}"
                );
                assert!(marked.len() <= changed.len() + 2, "{changed:?}, {marked:?}");
            }
            exchange(&mut scene.hands, &scene.front.guest, &mut scene.link, 0, 5);
            scene.set_features(0);
            log.take();
            scene.change(&frame(100, 2));
            assert_eq!(log.take(), [0u64; 0], "migration is over");
            assert!(log.is_clean_elsewhere());
        }
    }
}

#[test]
fn log_is_exchanged_for_another_while_rings_run() {
    for layout in LAYOUTS {
        let place = Place::new();
        let mut scene = Scene::new(&place, layout);
        let (first, second) = (Log::new(0), Log::new(0x1000));
        scene.start_log(&first);
        assert!(!scene.change(&frame(60, 1)).is_empty());
        assert!(!first.take().is_empty());
        assert!(scene.front.raw.ask(&second.base(), &[second.file.as_fd()]).is_yes());
        let changed = scene.change(&frame(60, 2));
        assert_eq!(first.take(), [0u64; 0]);
        let marked = second.take();
        assert!(changed.iter().all(|page| marked.contains(page)));
        // Without the log of its device area, a ring marks packets only.
        assert!(scene.front.raw.ask(&scene.address(0, false), &[]).is_yes());
        scene.change(&frame(60, 3));
        assert_eq!(second.take().len(), 1);
    }
}

#[test]
fn ring_that_starts_during_migration_is_logged() {
    for layout in LAYOUTS {
        let place = Place::new();
        let mut scene = Scene::new(&place, layout);
        let log = Log::new(0);
        scene.start_log(&log);
        let base = scene.front.stop_ring(0);
        let raw = &scene.front.raw;
        assert!(raw.ask(&scene.address(0, true), &[]).is_yes());
        let state = ringport_vhost_user::wire::VringState { index: 0, value: base };
        assert!(raw.ask(&Message::VringState(Request::SetVringBase, state), &[]).is_yes());
        scene.front.vhost.set_vring_kick(0, &scene.front.rings[0].kick).unwrap();
        log.take();
        let changed = scene.change(&frame(60, 1));
        let marked = log.take();
        assert!(changed.iter().all(|page| marked.contains(page)), "{changed:?}, {marked:?}");
    }
}

/// The driver must not see a packet whose pages migration does not know of.
#[test]
fn page_of_a_packet_is_marked_when_the_driver_can_see_the_packet() {
    for layout in LAYOUTS {
        let place = Place::new();
        let mut scene = Scene::new(&place, layout);
        let log = Log::new(0);
        scene.start_log(&log);
        let (guest, hand) = (&scene.front.guest, &mut scene.hands[0]);
        let tx = &mut scene.link.tx[0];
        let stop = AtomicBool::new(false);
        std::thread::scope(|threads| {
            let _stop = AtTheEnd(&stop);
            threads.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let mut burst = tx.tx_burst(BURST).unwrap();
                    while burst.free() == BURST && burst.push(&[7; 60]).is_ok() {}
                    while burst.packets() > 0 && burst.push(&[7; 60]).is_ok() {}
                    burst.commit();
                }
            });
            for _ in 0..500 {
                let mut pages = Vec::new();
                for _ in 0..BURST {
                    pages.push((hand.place() - GUEST) / PAGE);
                    hand.provide(guest);
                }
                let mut used = 0;
                eventually("the packets are there", || {
                    used += spin(|| hand.used(guest));
                    used >= 1
                });
                let marked = log.take();
                assert!(
                    pages[..used].iter().all(|page| marked.contains(page)),
                    "{used}, {marked:?}"
                );
                eventually("all of them", || {
                    used += hand.used(guest).len();
                    used == BURST
                });
                log.take();
            }
        });
    }
}

/// Packets of a burst, so that marking them takes a while.
const BURST: usize = 60;

/// Tries for a while: sleeping would be too late to see anything. Returns how many came.
fn spin(mut take: impl FnMut() -> Vec<(u16, u32)>) -> usize {
    (0..10_000).map(|_| take().len()).find(|count| *count > 0).unwrap_or(0)
}

#[test]
fn doorbell_of_the_log_is_rung_after_pages_were_marked() {
    let place = Place::new();
    let mut scene = Scene::new(&place, 0);
    let log = Log::new(0);
    let bell = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap();
    assert!(scene.front.raw.ask(&Message::Plain(Request::SetLogFd), &[bell.as_fd()]).is_yes());
    scene.change(&frame(60, 1));
    assert!(bell.read().is_err(), "there is no log yet");
    scene.start_log(&log);
    scene.change(&frame(60, 2));
    bell.read().unwrap();
}

/// The answer to it cannot say no, and a guest must not migrate without it.
#[test]
fn log_that_is_no_memory_or_does_not_fit_its_file_ends_the_link() {
    let place = Place::new();
    let short = Log::new(0);
    let pipe = nix::unistd::pipe().unwrap().0;
    let areas = [
        (short.file.as_fd(), 0, LOG_LEN + 2 * PAGE),
        (short.file.as_fd(), 2 * PAGE, LOG_LEN),
        (short.file.as_fd(), 1 << 40, 1),
        (short.file.as_fd(), 0, 0),
        (short.file.as_fd(), 0, u64::MAX),
        (short.file.as_fd(), u64::MAX, 0x1000),
        (short.file.as_fd(), 1 << 63, 1 << 63),
        (pipe.as_fd(), 0, LOG_LEN),
    ];
    for (fd, offset, size) in areas {
        let scene = Scene::new(&place, 0);
        let base = Message::LogBase(LogArea { size, offset });
        assert_eq!(scene.front.raw.ask(&base, &[fd]), Answer::Closed, "{size} at {offset}");
        assert!(matches!(scene.device.link_down(), DownReason::Protocol(_)));
    }
    assert_eq!(short.take(), [0u64; 0]);
}

#[test]
fn doorbell_of_the_log_that_is_no_eventfd_is_refused() {
    let place = Place::new();
    let mut scene = Scene::new(&place, 0);
    let pipe = nix::unistd::pipe().unwrap().1;
    let bell = Message::Plain(Request::SetLogFd);
    assert_ne!(scene.front.raw.ask(&bell, &[pipe.as_fd()]).number(), 0);
    assert!(matches!(scene.device.next(), Event::RequestRefused(_)));
    scene.change(&frame(60, 1));
}

/// Also where the guest lies behind what the log has bits for.
#[test]
fn pages_that_the_log_has_no_bits_for_are_left_out() {
    let place = Place::new();
    let mut scene = Scene::new(&place, 0);
    let log = Log::new(0x1000);
    let short = LogArea { size: FIRST + 1, offset: 0x1000 };
    assert!(scene.front.raw.ask(&Message::LogBase(short), &[log.file.as_fd()]).is_yes());
    let far = Message::VringAddress(VringAddress {
        index: 0,
        log: true,
        log_address: u64::MAX - 7,
        descriptor_area: scene.front.rings[0].config().desc_table_addr,
        driver_area: scene.front.rings[0].config().avail_ring_addr,
        device_area: scene.front.rings[0].config().used_ring_addr,
    });
    assert!(scene.front.raw.ask(&far, &[]).is_yes());
    scene.set_features(LOG_ALL);
    for turn in 0..10 {
        scene.change(&frame(60, turn));
    }
    let mut all = vec![0; usize::try_from(LOG_LEN + 2 * PAGE).unwrap()];
    log.file.read_exact_at(&mut all, 0).unwrap();
    let marked = all.iter().filter(|byte| **byte != 0).count();
    // The one byte that there is stands for eight pages, and nothing lies there.
    assert_eq!(marked, 0);
}

#[test]
fn log_that_is_taken_back_ends_the_link_and_not_the_process() {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let place = Place::new();
    let mut scene = Scene::new(&place, 0);
    let file: File = memfd_create("log", MFdFlags::MFD_CLOEXEC).unwrap().into();
    file.set_len(LOG_LEN).unwrap();
    let log = Log { file, offset: 0 };
    scene.start_log(&log);
    scene.change(&frame(60, 1));
    log.file.set_len(0).unwrap();
    let (guest, hand) = (&scene.front.guest, &mut scene.hands[0]);
    eventually("the link ends", || {
        hand.provide(guest);
        match scene.link.tx[0].tx_burst(1) {
            Ok(mut burst) => {
                let _ = burst.push(&[1; 60]);
                burst.commit();
                false
            }
            Err(_) => true,
        }
    });
    scene.device.link_down();
}
