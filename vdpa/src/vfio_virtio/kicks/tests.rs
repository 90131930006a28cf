//! With a function whose doorbells the kernel does not ring.

use super::super::fake::{Fake, Lies};
use super::super::start::stop;
use super::super::tests::{FEATURES, begin, ring};
use super::*;
use crate::device::Setup;
use nix::sys::eventfd::EfdFlags;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    fake: Fake,
    setup: Setup,
    changed: EventFd,
    gone: Arc<EventFd>,
}

impl Bench {
    fn new(lies: Lies) -> Self {
        let (changed, gone) = (eventfd().unwrap(), Arc::new(eventfd().unwrap()));
        let setup = Setup { features: FEATURES, rings: vec![ring(0), ring(1)] };
        Self { fake: Fake::new(lies), setup, changed, gone }
    }

    fn start(&self) -> Kicks {
        begin(&self.fake, &self.setup, &self.changed, &self.gone).unwrap()
    }

    /// Waits until threads have rung doorbells of these rings, and no others.
    #[track_caller]
    fn has_rung(&self, rings: &[u16]) {
        let end = Instant::now() + PATIENCE;
        let rung = Arc::clone(&self.fake.state().rung);
        while *rung.lock().unwrap() != rings {
            assert!(Instant::now() < end, "{rung:?}, and not {rings:?}");
            std::thread::yield_now();
        }
    }
}

fn kick(eventfd: &Arc<OwnedFd>) {
    nix::unistd::write(eventfd, &1_u64.to_ne_bytes()).unwrap();
}

fn is_ready(fd: BorrowedFd<'_>, patience: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::try_from(patience).unwrap()).unwrap() == 1
}

fn refusing(ring: u16) -> Lies {
    Lies { refuses_doorbell: Some(ring), ..Lies::default() }
}

#[test]
fn doorbell_that_the_kernel_refuses_is_rung_by_a_thread_until_the_device_stops() {
    let bench = Bench::new(refusing(1));
    let [taken, refused] = [0, 1].map(|ring| Arc::clone(&bench.setup.rings[ring].kick));
    // As some drivers do before the device begins.
    kick(&refused);
    let kicks = bench.start();
    let why = kicks.thread().unwrap();
    assert!(why.contains("ring a doorbell: Inappropriate ioctl"), "{why}");
    bench.has_rung(&[1]);
    kick(&taken);
    kick(&refused);
    bench.has_rung(&[1, 1]);
    assert!(is_ready(taken.as_fd(), Duration::ZERO), "it is the kernel's");
    stop(&bench.fake, kicks, PATIENCE).unwrap();
    kick(&refused);
    assert!(is_ready(refused.as_fd(), Duration::ZERO));
    bench.has_rung(&[1, 1]);
    assert_eq!(Arc::strong_count(&bench.gone), 1, "the thread has ended");
}

#[test]
fn eventfd_that_is_exchanged_falls_silent_and_the_new_one_is_heard() {
    let bench = Bench::new(refusing(1));
    let mut kicks = bench.start();
    let (old, new) = (&bench.setup.rings[1].kick, Arc::new(eventfd().unwrap().into()));
    let doorbell = kicks.doorbell(1).unwrap();
    kicks.exchange(&bench.fake, doorbell, &new).unwrap();
    kick(old);
    kick(&new);
    bench.has_rung(&[1]);
    assert!(is_ready(old.as_fd(), Duration::ZERO) && !is_ready(new.as_fd(), Duration::ZERO));
    // The kernel has a place again, and there is no thread any more.
    bench.fake.state().lies.refuses_doorbell = None;
    kicks.exchange(&bench.fake, doorbell, old).unwrap();
    assert_eq!(kicks.thread(), None);
    // And none again, for the other.
    bench.fake.state().lies.refuses_doorbell = Some(0);
    let (other, doorbell) = (&bench.setup.rings[0].kick, kicks.doorbell(0).unwrap());
    kicks.exchange(&bench.fake, doorbell, other).unwrap();
    kick(other);
    bench.has_rung(&[1, 0]);
}

#[test]
fn doorbell_that_cannot_be_rung_has_the_device_given_up() {
    let bench = Bench::new(Lies { breaks_bells: true, ..refusing(0) });
    let kicks = bench.start();
    assert!(!is_ready(bench.gone.as_fd(), Duration::ZERO));
    kick(&bench.setup.rings[0].kick);
    assert!(is_ready(bench.gone.as_fd(), PATIENCE));
    stop(&bench.fake, kicks, PATIENCE).unwrap();
}

#[test]
fn eventfd_of_a_hostile_driver_keeps_nobody_from_stopping_the_thread() {
    // It waits in reads, counts down one by one, and is full.
    let flags = EfdFlags::EFD_SEMAPHORE | EfdFlags::EFD_CLOEXEC;
    let hostile = EventFd::from_value_and_flags(u32::MAX, flags).unwrap();
    hostile.write(u64::MAX - 1 - u64::from(u32::MAX)).unwrap();
    let mut bench = Bench::new(refusing(0));
    bench.setup.rings[0].kick = Arc::new(hostile.into());
    let kicks = bench.start();
    let rung = Arc::clone(&bench.fake.state().rung);
    let end = Instant::now() + PATIENCE;
    while rung.lock().unwrap().len() < 3 {
        assert!(Instant::now() < end, "{rung:?}");
        std::thread::yield_now();
    }
    stop(&bench.fake, kicks, PATIENCE).unwrap();
    assert_eq!(Arc::strong_count(&bench.gone), 1, "the thread has ended");
}
