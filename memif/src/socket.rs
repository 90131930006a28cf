//! SEQPACKET sockets: connect, listen, accept, and the socket file's life.
//!
//! A server that was killed leaves its file behind, and a later bind fails. The file is removed if it
//! is a socket that nobody listens on. Two servers that do this at once must not remove each other's
//! fresh file, so the directory is locked (`flock`) from the check until the new socket listens:
//! unlike a lock file that leaves nothing behind, and unlike binding to a temporary name and renaming
//! it never takes the path from a server that came to life in between.

use crate::address::SocketAddress;
use crate::error::{ConfigError, ControlError};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen,
    socket, sockopt,
};
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How a listening socket is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketOptions {
    /// Permission bits of the socket file; whoever may write it may connect. `None` leaves it to
    /// the umask.
    pub mode: Option<u32>,
    /// User that owns the socket file.
    pub uid: Option<u32>,
    /// Group that owns the socket file.
    pub gid: Option<u32>,
    /// Connections that wait to be accepted, 1 to 4096.
    pub backlog: u16,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { mode: None, uid: None, gid: None, backlog: 64 }
    }
}

/// Connects without blocking.
pub(crate) fn connect_to(address: &SocketAddress) -> Result<OwnedFd, ControlError> {
    let unix = address.to_unix()?;
    let fd = seqpacket()?;
    connect(fd.as_raw_fd(), &unix).map_err(ControlError::errno("connect"))?;
    Ok(fd)
}

/// Checks that a socket made by somebody else is one that memif can use.
pub(crate) fn check_socket(fd: BorrowedFd<'_>) -> Result<(), ControlError> {
    let kind = getsockopt(&fd, sockopt::SockType).map_err(ControlError::errno("getsockopt"))?;
    if kind != SockType::SeqPacket {
        return Err(ConfigError::NotSeqpacket.into());
    }
    Ok(())
}

/// A listening socket. Removes its file when it goes, if the file is still the one that it made.
#[derive(Debug)]
pub(crate) struct ListenSocket {
    /// Goes before `listener`: while the socket listens nobody takes the file for stale.
    _file: Option<SocketFile>,
    /// Any kind of UNIX socket; it accepts what it listens for.
    listener: UnixListener,
}

impl ListenSocket {
    pub(crate) fn bind(
        address: &SocketAddress,
        options: &SocketOptions,
    ) -> Result<Self, ControlError> {
        let unix = address.to_unix()?;
        let fd = seqpacket()?;
        let SocketAddress::Path(path) = address else {
            bind(fd.as_raw_fd(), &unix).map_err(|errno| bind_error(errno, address))?;
            return Self::listen(fd, options, None);
        };
        let _lock = lock_directory(path)?;
        let mut bound = bind(fd.as_raw_fd(), &unix);
        if bound == Err(Errno::EADDRINUSE) {
            remove_stale(path, &unix)?;
            bound = bind(fd.as_raw_fd(), &unix);
        }
        bound.map_err(|errno| bind_error(errno, address))?;
        let file = SocketFile::made_at(path)?;
        // Permissions first: until it listens nobody can connect.
        set_access(path, options).map_err(ControlError::io("socket file permissions"))?;
        Self::listen(fd, options, Some(file))
    }

    fn listen(
        fd: OwnedFd,
        options: &SocketOptions,
        file: Option<SocketFile>,
    ) -> Result<Self, ControlError> {
        let backlog = i32::from(options.backlog.clamp(1, BACKLOG_MAX));
        Backlog::new(backlog)
            .and_then(|backlog| listen(&fd, backlog))
            .map_err(ControlError::errno("listen"))?;
        Ok(Self { _file: file, listener: fd.into() })
    }

    /// Accepts one connection; `None` when none waits.
    pub(crate) fn accept(&self) -> io::Result<Option<OwnedFd>> {
        match self.listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                Ok(Some(stream.into()))
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::ConnectionAborted => Ok(None),
                _ => Err(error),
            },
        }
    }
}

impl AsFd for ListenSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

fn seqpacket() -> Result<OwnedFd, ControlError> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
        .map_err(ControlError::errno("socket"))
}

fn bind_error(errno: Errno, address: &SocketAddress) -> ControlError {
    if errno == Errno::EADDRINUSE {
        return taken(address, "another server listens there");
    }
    ControlError::errno("bind")(errno)
}

fn taken(address: &SocketAddress, why: &'static str) -> ControlError {
    ConfigError::AddressTaken { address: address.to_string(), why }.into()
}

/// Locks the directory of `path` against other servers that look for stale files. A directory that
/// cannot be locked, such as one that we may not read, is used without.
fn lock_directory(path: &Path) -> Result<Option<Flock<File>>, ControlError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let Ok(mut file) = File::open(directory) else {
        return Ok(None);
    };
    let start = Instant::now();
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) => file = back,
            Err(_) => return Ok(None),
        }
        if start.elapsed() > LOCK_PATIENCE {
            return Err(ControlError::errno("lock the socket's directory")(Errno::EWOULDBLOCK));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Removes the file at `path` if it is a socket that nobody listens on.
fn remove_stale(path: &Path, unix: &UnixAddr) -> Result<(), ControlError> {
    let address = SocketAddress::Path(path.to_owned());
    let file = fs::symlink_metadata(path).map_err(ControlError::io("look at the socket file"))?;
    if !file.file_type().is_socket() {
        return Err(taken(&address, "a file that is no socket is there"));
    }
    // A live server sees a connection that closes at once; a socket of another kind answers with
    // EPROTOTYPE, one that is busy with EAGAIN, one that is not ours to enter with EACCES.
    match connect(seqpacket()?.as_raw_fd(), unix) {
        Err(Errno::ECONNREFUSED) => {
            fs::remove_file(path).map_err(ControlError::io("remove the stale socket file"))
        }
        Err(Errno::EACCES) => Err(taken(&address, "a socket that we may not enter is there")),
        _ => Err(taken(&address, "another server listens there")),
    }
}

fn set_access(path: &Path, options: &SocketOptions) -> io::Result<()> {
    if options.uid.is_some() || options.gid.is_some() {
        lchown(path, options.uid, options.gid)?;
    }
    match options.mode {
        Some(mode) => fs::set_permissions(path, Permissions::from_mode(mode)),
        None => Ok(()),
    }
}

/// A socket file that we made.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn made_at(path: &Path) -> Result<Self, ControlError> {
        let file = fs::symlink_metadata(path).map_err(ControlError::io("look at our socket"))?;
        // A later change of directory must not lead the removal astray.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { path, device: file.dev(), inode: file.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == (self.device, self.inode));
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "socket file stays");
        }
    }
}

const BACKLOG_MAX: u16 = 4096;

/// How long to wait for another server that is binding in the same directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
