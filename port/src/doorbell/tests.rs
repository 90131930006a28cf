use super::*;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::sync::mpsc;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(10);
const DEADLINE_MS: u16 = 10_000;

/// A doorbell of a peer, and the peer's own descriptor of it.
fn from_peer(flags: EfdFlags) -> (Doorbell, EventFd) {
    let theirs = EventFd::from_flags(flags | EfdFlags::EFD_CLOEXEC).unwrap();
    let fd = theirs.as_fd().try_clone_to_owned().unwrap();
    (Doorbell::from_peer(fd).unwrap(), theirs)
}

/// As [`from_peer`], rung by the helper thread.
fn from_peer_with_helper(flags: EfdFlags) -> (Doorbell, EventFd) {
    let (doorbell, theirs) = from_peer(flags);
    doorbell.helper().unwrap();
    (doorbell, theirs)
}

/// Does to an eventfd what stops a `write`.
fn fill_and_make_blocking(theirs: &EventFd) {
    theirs.write(u64::MAX - 1).unwrap();
    let flags = OFlag::from_bits_retain(fcntl(theirs, FcntlArg::F_GETFL).unwrap());
    fcntl(theirs, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK)).unwrap();
}

/// Runs `action` on another thread, which must finish in time.
fn in_time<T: Send + 'static>(action: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || done.send(action()));
    wait.recv_timeout(DEADLINE).expect("blocked by the peer")
}

fn await_ring(theirs: &EventFd) {
    let mut set = [PollFd::new(theirs.as_fd(), PollFlags::POLLIN)];
    assert_eq!(nix::poll::poll(&mut set, DEADLINE_MS).unwrap(), 1, "not rung");
}

#[test]
fn ring_wakes_a_poll() {
    for make in [from_peer, from_peer_with_helper] {
        let (doorbell, theirs) = make(EfdFlags::EFD_NONBLOCK);
        assert!(!is_ready(theirs.as_fd(), PollFlags::POLLIN).unwrap());
        let waiting = theirs.as_fd().try_clone_to_owned().unwrap();
        let waiter = std::thread::spawn(move || {
            let mut set = [PollFd::new(waiting.as_fd(), PollFlags::POLLIN)];
            nix::poll::poll(&mut set, DEADLINE_MS).unwrap()
        });
        doorbell.ring().unwrap();
        assert_eq!(waiter.join().unwrap(), 1);
        assert_eq!(theirs.read().unwrap(), 1);
    }
}

#[test]
fn kernel_rings_inline_and_counts_every_ring() {
    let (doorbell, theirs) = from_peer(EfdFlags::EFD_NONBLOCK);
    for _ in 0..10_000 {
        doorbell.ring().unwrap();
    }
    assert!(doorbell.helper.get().is_none(), "AIO is refused here: the helper was tested twice");
    assert_eq!(theirs.read().unwrap(), 10_000);
}

#[test]
fn full_blocking_counter_does_not_stop_ring() {
    for make in [from_peer, from_peer_with_helper] {
        let (doorbell, theirs) = make(EfdFlags::EFD_NONBLOCK);
        fill_and_make_blocking(&theirs);
        let doorbell = in_time(move || {
            (0..1000).for_each(|_| doorbell.ring().unwrap());
            doorbell
        });
        assert!(theirs.read().unwrap() >= u64::MAX - 1);
        // A ring that the helper was busy with may come late; after it, new ones must still arrive.
        doorbell.ring().unwrap();
        await_ring(&theirs);
    }
}

#[test]
fn helper_stopped_in_its_write_stops_nobody_and_ends_with_the_doorbell() {
    let (doorbell, theirs) = from_peer_with_helper(EfdFlags::EFD_NONBLOCK);
    let shared = Arc::downgrade(&doorbell.fd);
    // Filling in a loop wins the race against the helper's look at the counter now and then.
    let filler = std::thread::spawn(move || {
        for _ in 0..2000 {
            let _ = theirs.write(u64::MAX - 1);
            let _ = take(theirs.as_fd());
        }
        let _ = theirs.write(u64::MAX - 1);
        fcntl(&theirs, FcntlArg::F_SETFL(OFlag::O_RDWR)).unwrap();
        theirs
    });
    let doorbell = in_time(move || {
        (0..20_000).for_each(|_| doorbell.ring().unwrap());
        doorbell
    });
    let theirs = filler.join().unwrap();
    in_time(move || drop(doorbell));
    let deadline = std::time::Instant::now() + DEADLINE;
    while shared.strong_count() > 0 {
        assert!(std::time::Instant::now() < deadline, "the helper thread hangs");
        std::thread::yield_now();
    }
    drop(theirs);
}

#[test]
fn last_ring_before_drop_arrives() {
    for make in [from_peer, from_peer_with_helper] {
        let (doorbell, theirs) = make(EfdFlags::EFD_NONBLOCK);
        doorbell.ring().unwrap();
        drop(doorbell);
        await_ring(&theirs);
    }
}

#[test]
fn drain_of_an_empty_blocking_eventfd_returns_at_once() {
    let (doorbell, theirs) = from_peer(EfdFlags::empty());
    let doorbell = in_time(move || {
        assert!(!doorbell.drain().unwrap());
        doorbell
    });
    theirs.write(3).unwrap();
    assert!(doorbell.drain().unwrap());
    assert!(!doorbell.drain().unwrap());
}

#[test]
fn drain_without_nowait_reads_answer_the_same() {
    let (doorbell, theirs) = from_peer(EfdFlags::empty());
    assert_eq!(poll_and_read(doorbell.as_fd()), Err(Errno::EAGAIN));
    theirs.write(3).unwrap();
    assert_eq!(poll_and_read(doorbell.as_fd()), Ok(()));
    assert_eq!(poll_and_read(doorbell.as_fd()), Err(Errno::EAGAIN));
}

#[test]
fn drain_of_a_full_counter_empties_it() {
    let (doorbell, theirs) = from_peer(EfdFlags::empty());
    theirs.write(u64::MAX - 1).unwrap();
    doorbell.ring().unwrap();
    doorbell.ring().unwrap();
    assert!(doorbell.drain().unwrap());
    assert!(!doorbell.drain().unwrap());
}

#[test]
fn drain_of_a_semaphore_is_bounded() {
    let (doorbell, theirs) = from_peer(EfdFlags::EFD_SEMAPHORE);
    theirs.write(u64::MAX - 1).unwrap();
    let doorbell = in_time(move || {
        assert!(doorbell.drain().unwrap());
        doorbell
    });
    assert!(is_ready(doorbell.as_fd(), PollFlags::POLLIN).unwrap());
    let (doorbell, theirs) = from_peer(EfdFlags::EFD_SEMAPHORE);
    theirs.write(5).unwrap();
    assert!(doorbell.drain().unwrap());
    // A kernel that does not say what is a semaphore has us take one at a time.
    if doorbell.semaphore {
        assert!(!doorbell.drain().unwrap());
    }
}

#[test]
fn own_doorbell_rings_through_a_cloned_descriptor() {
    let ours = Doorbell::create().unwrap();
    let theirs = Doorbell::from_peer(ours.try_clone_fd().unwrap()).unwrap();
    theirs.ring().unwrap();
    assert!(ours.drain().unwrap());
    assert!(!ours.drain().unwrap());
}

#[test]
fn what_is_not_an_eventfd_is_refused_by_name() {
    let (pipe, _write) = nix::unistd::pipe().unwrap();
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let file = tempfile::tempfile().unwrap();
    let fds: [(OwnedFd, &str); 3] =
        [(pipe, "pipe:["), (socket.into(), "socket:["), (file.into(), "(deleted)")];
    for (fd, name) in fds {
        assert_eq!(aio::accepts(fd.as_fd()), Ok(false), "{name}");
        let error = Doorbell::from_peer(fd).unwrap_err();
        assert!(matches!(error, DoorbellError::NotEventfd { .. }));
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn eventfd_is_recognized_without_being_rung() {
    let (doorbell, _theirs) = from_peer(EfdFlags::EFD_NONBLOCK);
    assert_eq!(aio::accepts(doorbell.as_fd()), Ok(true));
    assert!(!doorbell.drain().unwrap());
}

/// AIO contexts of this process: each has its ring mapped.
fn aio_contexts() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("/[aio]")).count()
}

#[test]
fn thousand_threads_leave_no_contexts_behind() {
    let (doorbell, theirs) = from_peer(EfdFlags::EFD_NONBLOCK);
    let doorbell = Arc::new(doorbell);
    for _ in 0..1000 {
        let doorbell = Arc::clone(&doorbell);
        std::thread::spawn(move || doorbell.ring().unwrap()).join().unwrap();
    }
    assert_eq!(theirs.read().unwrap(), 1000);
    // One for this test, and one for each of the others that ran at the same time.
    assert!((1..100).contains(&aio_contexts()), "{}", aio_contexts());
}

#[test]
fn thousand_helpers_leave_no_descriptors_behind() {
    let (first, theirs) = from_peer(EfdFlags::EFD_NONBLOCK);
    let mut weak = Vec::new();
    for _ in 0..1000 {
        let doorbell = Doorbell::from_peer(first.try_clone_fd().unwrap()).unwrap();
        doorbell.helper().unwrap().ring();
        weak.push(Arc::downgrade(&doorbell.fd));
    }
    let deadline = std::time::Instant::now() + DEADLINE;
    while weak.iter().any(|fd| fd.strong_count() > 0) {
        assert!(std::time::Instant::now() < deadline, "a helper thread hangs");
        std::thread::yield_now();
    }
    assert_eq!(theirs.read().unwrap(), 1000);
}
