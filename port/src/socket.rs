//! UNIX sockets that ports speak through: connect, listen, accept, and the socket file's life.
//!
//! A server that was killed leaves its file behind, and a later bind fails. The file is removed if it
//! is a socket that nobody listens on. Two servers that do this at once must not remove each other's
//! fresh file, so the directory is locked (`flock`) from the check until the new socket listens:
//! unlike a lock file that leaves nothing behind, and unlike binding to a temporary name and renaming
//! it never takes the path from a server that came to life in between.

mod address;

pub use address::{ADDRESS_MAX, SocketAddress};

use crate::error::CallError;
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
use thiserror::Error;

/// What a protocol's sockets are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketKind {
    /// `SOCK_SEQPACKET`: memif.
    SeqPacket,
    /// `SOCK_STREAM`: vhost-user.
    Stream,
}

/// An address that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is too long for the kernel.
    #[error("socket address {address:?} of {len} bytes, at most {limit} fit")]
    TooLong {
        /// Address given.
        address: String,
        /// Its length, in bytes.
        len: usize,
        /// Longest one, in bytes.
        limit: usize,
    },
    /// It is empty, or contains a NUL byte.
    #[error("socket address {address:?} is empty or contains a NUL byte")]
    Bad {
        /// Address given.
        address: String,
    },
    /// A running server, or a file that is no socket, has it.
    #[error("socket address {address:?}: {why}")]
    Taken {
        /// The address.
        address: String,
        /// What is there.
        why: &'static str,
    },
    /// The system lets nobody listen there, or not us: no such directory, no permission.
    #[error("cannot listen at socket address {address:?}: {why}")]
    Refused {
        /// The address.
        address: String,
        /// In the system's words.
        why: String,
    },
    /// A socket given to us is not of the kind that the protocol uses.
    #[error("socket is not of type {expected}")]
    WrongKind {
        /// The kind, as the system calls name it.
        expected: &'static str,
    },
}

/// Why there is no socket: by the caller's fault, or by the system's.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The system refused a call.
    #[error(transparent)]
    Call(#[from] CallError),
}

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

impl SocketKind {
    fn open(self) -> Result<OwnedFd, CallError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        socket(AddressFamily::Unix, self.to_type(), flags, None).map_err(CallError::errno("socket"))
    }

    fn to_type(self) -> SockType {
        match self {
            Self::SeqPacket => SockType::SeqPacket,
            Self::Stream => SockType::Stream,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::SeqPacket => "SOCK_SEQPACKET",
            Self::Stream => "SOCK_STREAM",
        }
    }
}

/// Connects without blocking.
///
/// # Errors
/// [`SocketError`].
pub fn connect_to(address: &SocketAddress, kind: SocketKind) -> Result<OwnedFd, SocketError> {
    let unix = address.to_unix()?;
    let fd = kind.open()?;
    connect(fd.as_raw_fd(), &unix).map_err(CallError::errno("connect"))?;
    Ok(fd)
}

/// Checks that a socket made by somebody else is of the right kind.
///
/// # Errors
/// [`AddressError::WrongKind`], and [`SocketError::Call`] for what is no socket.
pub fn check_socket(fd: BorrowedFd<'_>, kind: SocketKind) -> Result<(), SocketError> {
    let found = getsockopt(&fd, sockopt::SockType).map_err(CallError::errno("getsockopt"))?;
    if found != kind.to_type() {
        return Err(AddressError::WrongKind { expected: kind.name() }.into());
    }
    Ok(())
}

/// A listening socket. Removes its file when it goes, if the file is still the one that it made.
#[derive(Debug)]
pub struct ListenSocket {
    /// Goes before `listener`: while the socket listens nobody takes the file for stale.
    _file: Option<SocketFile>,
    /// Any kind of UNIX socket; it accepts what it listens for.
    listener: UnixListener,
}

impl ListenSocket {
    /// Binds `address` and listens. A socket file that nobody listens on is replaced.
    ///
    /// # Errors
    /// [`AddressError::Taken`] when a server listens there or a file that is no socket is in the
    /// way, [`AddressError::Refused`] when the system does not let us, and any other [`SocketError`].
    pub fn bind(
        address: &SocketAddress,
        kind: SocketKind,
        options: &SocketOptions,
    ) -> Result<Self, SocketError> {
        let unix = address.to_unix()?;
        let fd = kind.open()?;
        let SocketAddress::Path(path) = address else {
            bind(fd.as_raw_fd(), &unix).map_err(|errno| bind_error(errno, address))?;
            return Self::listen(fd, options, None);
        };
        let _lock = lock_directory(path)?;
        let mut bound = bind(fd.as_raw_fd(), &unix);
        if bound == Err(Errno::EADDRINUSE) {
            remove_stale(path, &unix, kind)?;
            bound = bind(fd.as_raw_fd(), &unix);
        }
        bound.map_err(|errno| bind_error(errno, address))?;
        let file = SocketFile::made_at(path)?;
        // Permissions first: until it listens nobody can connect.
        set_access(path, options).map_err(CallError::io("socket file permissions"))?;
        Self::listen(fd, options, Some(file))
    }

    fn listen(
        fd: OwnedFd,
        options: &SocketOptions,
        file: Option<SocketFile>,
    ) -> Result<Self, SocketError> {
        let backlog = i32::from(options.backlog.clamp(1, BACKLOG_MAX));
        Backlog::new(backlog)
            .and_then(|backlog| listen(&fd, backlog))
            .map_err(CallError::errno("listen"))?;
        Ok(Self { _file: file, listener: fd.into() })
    }

    /// Accepts one connection, which does not block; `None` when none waits.
    ///
    /// # Errors
    /// When the system has run out of something.
    pub fn accept(&self) -> io::Result<Option<OwnedFd>> {
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

fn bind_error(errno: Errno, address: &SocketAddress) -> SocketError {
    if errno == Errno::EADDRINUSE {
        return taken(address, "another server listens there");
    }
    let why = io::Error::from(errno).to_string();
    AddressError::Refused { address: address.to_string(), why }.into()
}

fn taken(address: &SocketAddress, why: &'static str) -> SocketError {
    AddressError::Taken { address: address.to_string(), why }.into()
}

/// Locks the directory of `path` against other servers that look for stale files. A directory that
/// cannot be locked, such as one that we may not read, is used without.
fn lock_directory(path: &Path) -> Result<Option<Flock<File>>, CallError> {
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
            return Err(CallError::errno("lock the socket's directory")(Errno::EWOULDBLOCK));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Removes the file at `path` if it is a socket that nobody listens on.
fn remove_stale(path: &Path, unix: &UnixAddr, kind: SocketKind) -> Result<(), SocketError> {
    let address = SocketAddress::Path(path.to_owned());
    let file = fs::symlink_metadata(path).map_err(CallError::io("look at the socket file"))?;
    if !file.file_type().is_socket() {
        return Err(taken(&address, "a file that is no socket is there"));
    }
    // A live server sees a connection that closes at once; a socket of another kind answers with
    // EPROTOTYPE, one that is busy with EAGAIN, one that is not ours to enter with EACCES.
    match connect(kind.open()?.as_raw_fd(), unix) {
        Err(Errno::ECONNREFUSED) => {
            Ok(fs::remove_file(path).map_err(CallError::io("remove the stale socket file"))?)
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
    fn made_at(path: &Path) -> Result<Self, CallError> {
        let file = fs::symlink_metadata(path).map_err(CallError::io("look at our socket"))?;
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
