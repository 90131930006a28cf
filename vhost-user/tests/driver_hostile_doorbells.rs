//! Doorbells of a driver in a device's hands: filled, blocking, rung without end. Neither the thread that
//! moves packets nor the one that polls the driver ever waits for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{AtTheEnd, Place, Served, frame, in_time, overhear, receive, send};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringport::retry::Reconnect;
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::driver::{self, CallMode};
use ringport_vhost_user::virtqueue::KickMode;
use ringport_vhost_user::wire::Request;
use ringport_vhost_user::{DeviceConfig, DownReason, Driver, DriverConfig, Link};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// A driver, its device, and what the device was given to ring with.
struct Joined {
    driver: Served<Driver>,
    ours: driver::Link,
    _device: Served,
    theirs: Link,
    bells: Vec<(Request, OwnedFd)>,
}

impl Joined {
    /// Both layouts; calls and kicks are wanted for everything.
    fn both() -> [Self; 2] {
        [false, true].map(|packed| {
            let place = Place::new();
            let kicks = KickMode::Interrupt;
            let device = Served::listen(&place, DeviceConfig { kicks, ..DeviceConfig::default() });
            let (relayed, bells) = overhear(&place);
            let calls = CallMode::Interrupt;
            let config = DriverConfig { packed, calls, ..DriverConfig::default() };
            let connects = SocketRole::Connect(Reconnect::Never);
            let driver = Served::open(&relayed, connects, config);
            let (ours, theirs) = (driver.link_up(), device.link_up());
            let bells: Vec<_> = bells.try_iter().collect();
            assert_eq!(bells.len(), 6, "three for each of two rings");
            Self { driver, ours, _device: device, theirs, bells }
        })
    }

    fn bells(&self, wanted: Request) -> Vec<OwnedFd> {
        let bells = self.bells.iter().filter(|(bell, _)| *bell == wanted);
        bells.map(|(_, fd)| fd.try_clone().unwrap()).collect()
    }

    /// One packet each way, with a look at the doorbells in between.
    #[track_caller]
    fn exchange(&mut self, seed: u32) {
        let packet = frame(60 + seed as usize % 1400, seed);
        let (ours, theirs) = (&mut self.ours, &mut self.theirs);
        ours.rx[0].arm().unwrap();
        send(&mut theirs.tx[0], std::slice::from_ref(&packet));
        assert_eq!(receive(&mut ours.rx[0], 1), [&packet[..]], "from the device");
        ours.tx[0].arm().unwrap();
        send(&mut ours.tx[0], std::slice::from_ref(&packet));
        assert_eq!(receive(&mut theirs.rx[0], 1), [&packet[..]], "to the device");
    }
}

fn ring(bells: &[OwnedFd]) {
    for bell in bells {
        // Full is as loud as it gets.
        let _ = nix::unistd::write(bell, &1_u64.to_ne_bytes());
    }
}

/// Runs `action` while another thread rings `bells` without end.
fn while_ringing(bells: &[OwnedFd], action: impl FnOnce()) {
    let over = AtomicBool::new(false);
    in_time(|| {
        std::thread::scope(|scope| {
            let _over = AtTheEnd(&over);
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    ring(bells);
                }
            });
            action();
        });
    });
}

#[test]
fn doorbells_of_a_driver_that_are_full_and_blocking_stop_nobody() {
    for joined in Joined::both() {
        for (_, bell) in &joined.bells {
            let _ = nix::unistd::write(bell, &(u64::MAX - 1 - 10).to_ne_bytes());
            let flags = OFlag::from_bits_retain(fcntl(bell, FcntlArg::F_GETFL).unwrap());
            fcntl(bell, FcntlArg::F_SETFL(flags & !OFlag::O_NONBLOCK)).unwrap();
        }
        // The err of each ring has rung with that: the link is about to end, and its queues are of no use.
        let reason = in_time(|| joined.driver.link_down());
        assert!(matches!(reason, DownReason::RingGivenUp), "{reason}");
    }
    for mut joined in Joined::both() {
        for bell in [Request::SetVringCall, Request::SetVringKick] {
            for bell in joined.bells(bell) {
                let _ = nix::unistd::write(&bell, &(u64::MAX - 1 - 10).to_ne_bytes());
                let flags = OFlag::from_bits_retain(fcntl(&bell, FcntlArg::F_GETFL).unwrap());
                fcntl(&bell, FcntlArg::F_SETFL(flags & !OFlag::O_NONBLOCK)).unwrap();
            }
        }
        in_time(|| (0..500).for_each(|seed| joined.exchange(seed)));
        assert!(joined.ours.tx[0].stats().doorbells >= 500, "each was kicked for");
    }
}

#[test]
fn calls_without_end_keep_no_packets_back_and_can_be_slept_after() {
    for mut joined in Joined::both() {
        let calls = joined.bells(Request::SetVringCall);
        while_ringing(&calls, || (0..500).for_each(|seed| joined.exchange(seed)));
        assert!(joined.driver.happened().is_none(), "the link is still up");
        let rx = &mut joined.ours.rx[0];
        while rx.arm().unwrap() {}
        let mut set = [PollFd::new(rx.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut set, PollTimeout::from(20_u8)).unwrap(), 0, "it is quiet again");
    }
}

#[test]
fn err_without_end_ends_one_link_once() {
    for joined in Joined::both() {
        let errs = joined.bells(Request::SetVringErr);
        while_ringing(&errs, || {
            let reason = joined.driver.link_down();
            assert!(matches!(reason, DownReason::RingGivenUp), "{reason}");
            assert!(joined.driver.happened().is_none(), "it has ended already");
            // Nothing watches the doorbell any more.
            let driver = joined.driver.into_inner();
            assert!(driver.is_finished());
            let mut set = [PollFd::new(driver.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut set, PollTimeout::from(20_u8)).unwrap(), 0);
        });
    }
}
