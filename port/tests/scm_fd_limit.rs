//! Descriptors beyond the limit of open files. The limit belongs to the process, hence a test binary
//! of its own.
#![expect(clippy::unwrap_used, reason = "a test")]

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use ringport::scm;
use std::os::fd::{AsFd, AsRawFd};

/// Limits this process to `limit` open files.
#[expect(unsafe_code, reason = "setrlimit")]
fn limit_open_files(limit: libc::rlim_t) {
    let limits = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: the address of a valid rlimit.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) };
    assert_eq!(result, 0);
}

/// The descriptor number that the next open gets.
fn lowest_free() -> libc::rlim_t {
    let fd = nix::unistd::dup(std::io::stdin()).unwrap();
    libc::rlim_t::try_from(fd.as_raw_fd()).unwrap()
}

#[test]
fn fds_beyond_the_limit_are_reported_and_the_others_owned() {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    scm::send(theirs.as_fd(), b"x", &vec![null.as_fd(); 100]).unwrap();
    let before = lowest_free();
    limit_open_files(before + 10);
    let received = scm::recv(ours.as_fd(), &mut [0; 8]).unwrap();
    assert!(received.fds_truncated);
    assert!((1..=10).contains(&received.fds.len()), "{}", received.fds.len());
    drop(received);
    assert_eq!(lowest_free(), before, "all are closed");
}
