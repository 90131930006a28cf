use super::*;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, setsockopt, socketpair};
use std::os::fd::AsFd;

/// Both ends of a new socket.
fn pair(kind: SockType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).unwrap()
}

/// Waits for what `events` says. A peer's end that was just closed may live on for a moment in a
/// process that another test is starting.
fn await_events(socket: &OwnedFd, events: PollFlags) {
    let mut set = [PollFd::new(socket.as_fd(), events)];
    assert_eq!(nix::poll::poll(&mut set, 10_000_u16).unwrap(), 1, "waited in vain");
}

/// An open file whose name nobody else uses, so that its descriptors can be counted while other
/// tests open and close theirs.
struct Marked {
    name: &'static str,
    fd: OwnedFd,
}

impl Marked {
    fn new(name: &'static str) -> Self {
        Self { name, fd: memfd_create(name, MFdFlags::MFD_CLOEXEC).unwrap() }
    }

    fn many(&self, count: usize) -> Vec<BorrowedFd<'_>> {
        vec![self.fd.as_fd(); count]
    }

    /// How many descriptors of this process refer to the file.
    fn open_count(&self) -> usize {
        let wanted = format!("/memfd:{} (deleted)", self.name);
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        open.filter(|entry| {
            let link = std::fs::read_link(entry.as_ref().unwrap().path());
            link.is_ok_and(|link| link.to_str() == Some(&wanted))
        })
        .count()
    }
}

#[test]
fn message_with_most_fds_delivers_all_and_leaks_none() {
    for kind in [SockType::SeqPacket, SockType::Stream] {
        let (ours, theirs) = pair(kind);
        let file = Marked::new("scm-most");
        assert_eq!(send(theirs.as_fd(), b"x", &file.many(FDS_MAX)).unwrap(), 1);
        let received = recv(ours.as_fd(), &mut [0; 128]).unwrap();
        assert_eq!((received.len, received.fds.len()), (1, FDS_MAX));
        assert!(!received.truncated && !received.fds_truncated && !received.eof);
        assert_eq!(file.open_count(), 1 + FDS_MAX);
        drop(received);
        assert_eq!(file.open_count(), 1);
    }
}

#[test]
fn received_fds_are_close_on_exec() {
    let (ours, theirs) = pair(SockType::Stream);
    let file = Marked::new("scm-cloexec");
    send(theirs.as_fd(), b"x", &file.many(1)).unwrap();
    let received = recv(ours.as_fd(), &mut [0; 1]).unwrap();
    let flags = nix::fcntl::fcntl(&received.fds[0], nix::fcntl::FcntlArg::F_GETFD).unwrap();
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
}

#[test]
fn credentials_beside_fds_cost_no_fd() {
    for kind in [SockType::SeqPacket, SockType::Stream] {
        let (ours, theirs) = pair(kind);
        setsockopt(&ours, sockopt::PassCred, &true).unwrap();
        let file = Marked::new("scm-passcred");
        send(theirs.as_fd(), b"xyz", &file.many(FDS_MAX)).unwrap();
        let received = recv(ours.as_fd(), &mut [0; 3]).unwrap();
        assert_eq!((received.len, received.fds.len()), (3, FDS_MAX));
        assert!(!received.fds_truncated);
        drop(received);
        assert_eq!(file.open_count(), 1);
        drop(theirs);
        await_events(&ours, PollFlags::POLLIN);
        assert!(recv(ours.as_fd(), &mut [0; 3]).unwrap().eof);
    }
}

#[test]
fn pidfd_of_sender_is_closed() {
    const SO_PASSPIDFD: libc::c_int = 76;
    let (ours, theirs) = pair(SockType::SeqPacket);
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int, whose address and size are passed.
    let set = unsafe {
        let size = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap();
        libc::setsockopt(
            ours.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSPIDFD,
            (&raw const on).cast(),
            size,
        )
    };
    if set != 0 {
        eprintln!("SKIPPED: this kernel has no SO_PASSPIDFD");
        return;
    }
    let open = |kind: &str| {
        let fds = std::fs::read_dir("/proc/self/fd").unwrap();
        fds.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
            .filter(|link| link.to_str().is_some_and(|link| link.contains(kind)))
            .count()
    };
    let file = Marked::new("scm-pidfd");
    for _ in 0..50 {
        send(theirs.as_fd(), b"x", &file.many(2)).unwrap();
        assert_eq!(recv(ours.as_fd(), &mut [0; 3]).unwrap().fds.len(), 2);
    }
    // Other tests start processes, which may hold a pidfd each.
    assert!(open("pidfd") < 10);
    assert_eq!(file.open_count(), 1);
}

#[test]
fn oversize_message_reports_truncation_and_keeps_fds() {
    let (ours, theirs) = pair(SockType::SeqPacket);
    let file = Marked::new("scm-oversize");
    send(theirs.as_fd(), &[7; 200], &file.many(3)).unwrap();
    let received = recv(ours.as_fd(), &mut [0; 128]).unwrap();
    assert_eq!((received.len, received.fds.len()), (128, 3));
    assert!(received.truncated && !received.fds_truncated);
    drop(received);
    assert_eq!(file.open_count(), 1);
}

#[test]
fn unread_fds_are_closed_with_the_socket() {
    let (ours, theirs) = pair(SockType::SeqPacket);
    let file = Marked::new("scm-unread");
    send(theirs.as_fd(), b"x", &file.many(5)).unwrap();
    drop(theirs);
    drop(ours);
    assert_eq!(file.open_count(), 1);
}

#[test]
fn fds_of_a_stream_split_over_reads_arrive_once() {
    let (ours, theirs) = pair(SockType::Stream);
    let file = Marked::new("scm-stream");
    send(theirs.as_fd(), b"abcdef", &file.many(4)).unwrap();
    send(theirs.as_fd(), b"gh", &file.many(1)).unwrap();
    let mut buf = [0; 4];
    let first = recv(ours.as_fd(), &mut buf).unwrap();
    assert_eq!((first.len, first.fds.len(), &buf), (4, 4, b"abcd"));
    let rest = recv(ours.as_fd(), &mut buf[..2]).unwrap();
    assert_eq!((rest.len, rest.fds.len(), &buf[..2]), (2, 0, &b"ef"[..]));
    let next = recv(ours.as_fd(), &mut buf).unwrap();
    assert_eq!((next.len, next.fds.len(), &buf[..2]), (2, 1, &b"gh"[..]));
    drop((first, rest, next));
    assert_eq!(file.open_count(), 1);
}

#[test]
fn stream_read_past_a_message_brings_the_fds_of_the_next() {
    let (ours, theirs) = pair(SockType::Stream);
    let file = Marked::new("scm-glued");
    send(theirs.as_fd(), b"ab", &[]).unwrap();
    send(theirs.as_fd(), b"cd", &file.many(1)).unwrap();
    send(theirs.as_fd(), b"ef", &file.many(2)).unwrap();
    let received = recv(ours.as_fd(), &mut [0; 64]).unwrap();
    assert_eq!((received.len, received.fds.len()), (4, 1), "and stops after them");
}

#[test]
fn message_without_fds_allocates_no_vector() {
    let (ours, theirs) = pair(SockType::SeqPacket);
    send(theirs.as_fd(), b"x", &[]).unwrap();
    assert_eq!(recv(ours.as_fd(), &mut [0; 8]).unwrap().fds.capacity(), 0);
}

#[test]
fn empty_socket_would_block_though_it_is_blocking() {
    for kind in [SockType::SeqPacket, SockType::Stream] {
        let (ours, _theirs) = pair(kind);
        let error = recv(ours.as_fd(), &mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn full_socket_would_block_though_it_is_blocking() {
    let (_ours, theirs) = pair(SockType::SeqPacket);
    let failed = (0..100_000).find_map(|_| send(theirs.as_fd(), &[0; 512], &[]).err());
    assert_eq!(failed.unwrap().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn zero_length_message_is_not_the_end() {
    let (ours, theirs) = pair(SockType::SeqPacket);
    send(theirs.as_fd(), b"", &[]).unwrap();
    let received = recv(ours.as_fd(), &mut [0; 8]).unwrap();
    assert_eq!((received.len, received.eof), (0, false));
}

#[test]
fn closed_peer_is_the_end() {
    for kind in [SockType::SeqPacket, SockType::Stream] {
        let (ours, theirs) = pair(kind);
        send(theirs.as_fd(), b"last", &[]).unwrap();
        drop(theirs);
        assert!(!recv(ours.as_fd(), &mut [0; 8]).unwrap().eof);
        await_events(&ours, PollFlags::POLLIN);
        assert!(recv(ours.as_fd(), &mut [0; 8]).unwrap().eof);
        let (ours, theirs) = pair(kind);
        socket::shutdown(theirs.as_raw_fd(), Shutdown::Write).unwrap();
        assert!(recv(ours.as_fd(), &mut [0; 8]).unwrap().eof);
    }
}

#[test]
fn closed_peer_fails_the_sender_without_a_signal() {
    let (ours, theirs) = pair(SockType::Stream);
    drop(ours);
    await_events(&theirs, PollFlags::POLLHUP);
    let error = send(theirs.as_fd(), b"x", &[]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn too_many_fds_or_no_byte_to_carry_them_are_refused() {
    let (ours, theirs) = pair(SockType::Stream);
    let file = Marked::new("scm-refused");
    for (bytes, count) in [(&b"x"[..], FDS_MAX + 1), (b"", 1)] {
        let error = send(theirs.as_fd(), bytes, &file.many(count)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    assert!(recv(ours.as_fd(), &mut [0; 8]).is_err(), "nothing was sent");
}

#[test]
fn peer_credentials_are_ours_on_a_socketpair() {
    let (ours, _theirs) = pair(SockType::SeqPacket);
    let found = peer_credentials(ours.as_fd()).unwrap();
    assert_eq!(found.pid.unsigned_abs(), std::process::id());
    assert_eq!(found.uid, nix::unistd::geteuid().as_raw());
    assert_eq!(found.gid, nix::unistd::getegid().as_raw());
}
