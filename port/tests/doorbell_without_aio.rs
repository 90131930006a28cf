//! Doorbells in a process to which a seccomp filter refuses AIO. The filter stays for good, hence a
//! test binary of its own.
#![expect(clippy::unwrap_used, reason = "a test")]

use nix::libc;
use nix::sys::eventfd::{EfdFlags, EventFd};
use ringport::doorbell::Doorbell;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::Duration;

/// Makes `io_setup` fail with `EPERM` in this thread and those that it starts.
#[expect(unsafe_code, reason = "prctl")]
fn refuse_aio() {
    let statement =
        |code: u32, jt, jf, k| libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k };
    let number = u32::try_from(libc::SYS_io_setup).unwrap();
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, refused),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program =
        libc::sock_fprog { len: u16::try_from(filter.len()).unwrap(), filter: filter.as_mut_ptr() };
    // SAFETY: takes plain numbers.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(result, 0);
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the program points at a filter that outlives the call.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    assert_eq!(result, 0);
}

#[test]
fn ring_arrives_and_never_blocks() {
    refuse_aio();
    let theirs = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).unwrap();
    let fd = theirs.as_fd().try_clone_to_owned().unwrap();
    let doorbell = Doorbell::from_peer(fd).unwrap();
    doorbell.ring().unwrap();
    assert_eq!(theirs.read().unwrap(), 1);
    theirs.write(u64::MAX - 1).unwrap();
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        (0..1000).for_each(|_| doorbell.ring().unwrap());
        drop(doorbell);
        done.send(())
    });
    wait.recv_timeout(Duration::from_secs(10)).unwrap();
}
