//! Descriptors that a front-end may send in place of others.
#![allow(unreachable_pub, reason = "several tests have it")]

use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::sys::eventfd::EventFd;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// One of each kind, with a name; files on a disk have `len` bytes.
pub fn kinds(len: u64) -> Vec<(&'static str, OwnedFd)> {
    let (read, write) = nix::unistd::pipe().unwrap();
    let (socket, _) = UnixStream::pair().unwrap();
    let open = |path: &str| File::options().read(true).write(true).open(path).unwrap();
    let mut kinds: Vec<(_, OwnedFd)> = vec![
        ("the end of a pipe that is read", read),
        ("the end of a pipe that is written", write),
        ("a socket", socket.into()),
        ("a device of zeros", open("/dev/zero").into()),
        ("a device of nothing", open("/dev/null").into()),
        ("a directory", File::open("/proc/self").unwrap().into()),
        ("a program", File::open(std::env::current_exe().unwrap()).unwrap().into()),
        ("an epoll set", Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap().0),
        ("memory", memfd_create("memory", MFdFlags::MFD_CLOEXEC).unwrap()),
        ("an eventfd", EventFd::new().unwrap().into()),
    ];
    // Long enough, and writable; but where even the disk is memory, that is what it is.
    let disk = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    disk.set_len(len).unwrap();
    if fstatfs(&disk).unwrap().filesystem_type() != TMPFS_MAGIC {
        kinds.push(("a file on a disk", disk.into()));
    }
    kinds
}
