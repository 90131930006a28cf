//! File descriptors over UNIX sockets: none lost, none leaked.
//!
//! A peer chooses how many descriptors it attaches to a message, and the kernel installs as many as
//! the receiver's control buffer has room for. A buffer sized for the one descriptor that the
//! protocol expects is not safe: padding and unused credential space hold more, which nobody then
//! closes. So [`recv`] always offers room for the most that the kernel passes
//! ([`FDS_MAX`]), and owns whatever arrives before anything is judged.
//!
//! Both calls work on `SOCK_SEQPACKET` (memif) and on `SOCK_STREAM` (vhost-user), and never block,
//! whatever `O_NONBLOCK` says.
#![expect(
    unsafe_code,
    reason = "recvmsg, and taking ownership of the descriptors that it installs"
)]

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{self, ControlMessage, MsgFlags, sockopt};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

/// The most descriptors that one message can carry (the kernel's `SCM_MAX_FD`).
pub const FDS_MAX: usize = 253;

/// Room for [`FDS_MAX`] descriptors (1032 bytes), and for what a socket option may add to a message:
/// credentials, a pidfd, time stamps, a security label.
const CONTROL_BYTES: usize = 4096;

/// A control buffer, aligned as `cmsghdr` asks.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Bytes of the kernel's `struct cmsghdr`: `size_t cmsg_len; int cmsg_level; int cmsg_type`.
const CMSG_HEADER: usize = size_of::<usize>() + 2 * size_of::<libc::c_int>();

/// The kernel's `SCM_PIDFD`: a pidfd of the sender, where the socket has `SO_PASSPIDFD`.
const SCM_PIDFD: libc::c_int = 4;

/// One message of a `SOCK_SEQPACKET` socket, or what a `SOCK_STREAM` socket had to read.
#[derive(Debug)]
pub struct Received {
    /// Bytes written to the caller's buffer.
    pub len: usize,
    /// Descriptors that came along, in the sender's order, close-on-exec. No allocation when none.
    ///
    /// On a stream, a read ends at the last byte that was sent together with them, but may begin
    /// with bytes that were sent before. A reader that asks for no more than the rest of the message
    /// at hand never takes the next one's descriptors.
    pub fds: Vec<OwnedFd>,
    /// The message was longer than the buffer; the rest is lost (`MSG_TRUNC`, seqpacket only).
    pub truncated: bool,
    /// Descriptors were lost (`MSG_CTRUNC`): this process is at its limit of open files. Those that
    /// were installed are in `fds`.
    pub fds_truncated: bool,
    /// The peer will send no more. Only ever set with `len` zero.
    ///
    /// A zero-length seqpacket message reads zero bytes too; it is told apart by the peer's end of
    /// the socket still being open. Sent just before the peer closes, it is reported as the end.
    pub eof: bool,
}

/// Who is at the other end of a UNIX socket, as of `connect` or `socketpair`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Process, as seen from our PID namespace; 0 when it has no number there.
    pub pid: i32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

/// Receives bytes and every descriptor that came with them. Never blocks.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when there is nothing to read; otherwise what `recvmsg` reports.
pub fn recv(socket: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<Received> {
    let mut control = Control([0; CONTROL_BYTES]);
    let (len, control_len, flags) = recvmsg(socket, buf, &mut control)?;
    let mut received = Received {
        len,
        fds: Vec::new(),
        truncated: flags & libc::MSG_TRUNC != 0,
        fds_truncated: flags & libc::MSG_CTRUNC != 0,
        eof: false,
    };
    let used = control.0.get(..control_len).unwrap_or_default();
    // SAFETY: these are the bytes that recvmsg wrote just now, and nobody walked them before.
    unsafe { take_fds(used, &mut received.fds) };
    received.eof =
        len == 0 && !buf.is_empty() && received.fds.is_empty() && peer_has_closed(socket)?;
    Ok(received)
}

/// Sends bytes with descriptors attached. Never blocks, never raises `SIGPIPE`.
///
/// Returns how many bytes were taken: all on a seqpacket socket, perhaps fewer on a stream. The
/// descriptors travel with the first byte, so the rest of a partial write is sent without them.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when the socket is full (nothing was sent);
/// [`io::ErrorKind::InvalidInput`] for more than [`FDS_MAX`] descriptors, or for descriptors without
/// a byte to carry them; otherwise what `sendmsg` reports.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if fds.len() > FDS_MAX || (bytes.is_empty() && !fds.is_empty()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[] } else { &rights[..] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    loop {
        let data = [IoSlice::new(bytes)];
        match socket::sendmsg::<()>(socket.as_raw_fd(), &data, control, flags, None) {
            Err(Errno::EINTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

/// Who is at the other end of `socket` (`SO_PEERCRED`).
///
/// # Errors
/// What `getsockopt` reports: `socket` is not a connected UNIX socket.
pub fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<PeerCredentials> {
    let found = socket::getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(PeerCredentials { pid: found.pid(), uid: found.uid(), gid: found.gid() })
}

/// What `fd` is, in the kernel's words (`pipe:[4711]`, `anon_inode:[eventfd]`, a path). Asks only
/// /proc, never the file system that the descriptor comes from, which may be the peer's.
pub(crate) fn describe(fd: BorrowedFd<'_>) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/thread-self/fd/{}", fd.as_raw_fd()))
}

/// One `recvmsg`, repeated when a signal interrupts it. Returns the bytes read, the bytes of control
/// data, and the message's flags.
fn recvmsg(
    socket: BorrowedFd<'_>,
    buf: &mut [u8],
    control: &mut Control,
) -> io::Result<(usize, usize, libc::c_int)> {
    let mut data = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: msghdr is integers and pointers, for all of which zero is a value (some C libraries
    // have private padding fields in it, so it cannot be written as a literal).
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut data;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    loop {
        header.msg_controllen = CONTROL_BYTES as _;
        // SAFETY: `header` points at `data`, which describes `buf`, and at `control` with its true
        // size; all three are exclusively borrowed for the call and outlive it.
        let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
        match Errno::result(result) {
            Ok(len) => {
                // A size_t or a socklen_t, as the C library pleases; at most what was offered.
                #[allow(clippy::unnecessary_cast, reason = "not everywhere the same type")]
                let control_len = header.msg_controllen as usize;
                return Ok((len.unsigned_abs(), control_len, header.msg_flags));
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Takes ownership of every descriptor that the kernel installed according to `control`.
///
/// Walked by hand: the usual iterators stop at, or skip, a message cut short by `MSG_CTRUNC`, whose
/// descriptors are installed all the same.
///
/// # Safety
/// `control` is what one `recvmsg` wrote, and is passed here once: each descriptor named in it is
/// open and has no other owner.
unsafe fn take_fds(mut control: &[u8], fds: &mut Vec<OwnedFd>) {
    while let Some((len, level, kind)) = read_header(control) {
        let data = control.get(CMSG_HEADER..len).unwrap_or_default();
        if level == libc::SOL_SOCKET && (kind == libc::SCM_RIGHTS || kind == SCM_PIDFD) {
            let installed = data.chunks_exact(size_of::<RawFd>()).filter_map(read_fd);
            // SAFETY: the caller vouches that these are open and ours alone.
            let owned = installed.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
            if kind == libc::SCM_RIGHTS {
                fds.extend(owned);
            } else {
                owned.for_each(drop);
            }
        }
        let next = len.max(CMSG_HEADER).next_multiple_of(size_of::<usize>());
        control = control.get(next..).unwrap_or_default();
    }
}

/// Length (with header), level and type of the control message at the start of `control`.
fn read_header(control: &[u8]) -> Option<(usize, libc::c_int, libc::c_int)> {
    let (len, rest) = control.split_first_chunk()?;
    let (level, rest) = rest.split_first_chunk()?;
    let (kind, _) = rest.split_first_chunk()?;
    let len = usize::from_ne_bytes(*len).min(control.len());
    Some((len, libc::c_int::from_ne_bytes(*level), libc::c_int::from_ne_bytes(*kind)))
}

/// A descriptor number; what is negative is not one (a pidfd that the kernel could not install).
fn read_fd(bytes: &[u8]) -> Option<RawFd> {
    let fd = RawFd::from_ne_bytes(bytes.try_into().ok()?);
    (fd >= 0).then_some(fd)
}

/// Whether the peer closed or shut down its sending side.
fn peer_has_closed(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let closed = PollFlags::from_bits_retain(libc::POLLRDHUP);
    let mut set = [PollFd::new(socket, closed)];
    loop {
        match nix::poll::poll(&mut set, PollTimeout::ZERO) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(seen) => return Ok(seen > 0),
        }
    }
}

#[cfg(test)]
mod tests;
