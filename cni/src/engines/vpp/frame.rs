//! Messages on a stream.
//!
//! Each has a header of 16 bytes before it, of which only the length counts:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | a pointer of VPP's; 0 from us |
//! | 8 | 4 | length of the message, big-endian |
//! | 12 | 4 | 0 |
//!
//! Spec: VPP, `msgbuf_t` of the socket transport.

use super::VppError;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Most bytes of one message: the table of a full build has a few hundred thousand.
const MESSAGE_MAX: usize = 4 << 20;
const HEADER_LEN: usize = 16;
const READ_SIZE: usize = 64 << 10;
/// How long to wait before connecting again to a socket whose queue is full.
const QUEUE_PAUSE: Duration = Duration::from_millis(2);

/// A connection, and the time by which everything on it must be done.
#[derive(Debug)]
pub struct Frames {
    stream: UnixStream,
    received: Vec<u8>,
    deadline: Instant,
    timeout: Duration,
    /// What is being waited for, for the error.
    asked: &'static str,
}

impl Frames {
    /// Connects; everything until the end of the connection may take `timeout`.
    ///
    /// # Errors
    /// [`VppError::Connect`]
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, VppError> {
        let deadline = Instant::now() + timeout;
        let stream = connect_by(path, deadline)
            .map_err(|source| VppError::Connect { path: path.to_owned(), source })?;
        Ok(Self { stream, received: Vec::new(), deadline, timeout, asked: "connect" })
    }

    /// Gives what follows this much time at most.
    pub fn hurry(&mut self, most: Duration) {
        self.deadline = self.deadline.min(Instant::now() + most);
    }

    /// Sends messages. `asked` names them in errors, until the next ones.
    ///
    /// # Errors
    /// [`VppError::Silent`] when VPP does not take them in time; those of the connection.
    pub fn send(&mut self, asked: &'static str, messages: &[&[u8]]) -> Result<(), VppError> {
        self.asked = asked;
        let mut bytes = Vec::new();
        for message in messages {
            let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
            bytes.extend([0; 8]);
            bytes.extend(len.to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend_from_slice(message);
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            self.bound()?;
            match self.stream.write(rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(e) => self.or_silent(e)?,
            }
        }
        Ok(())
    }

    /// The next message.
    ///
    /// # Errors
    /// [`VppError::Silent`] when none comes in time, [`VppError::Malformed`] when it is too long;
    /// those of the connection.
    pub fn receive(&mut self) -> Result<Vec<u8>, VppError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            self.bound()?;
            let mut bytes = [0; READ_SIZE];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(VppError::Closed),
                Ok(n) => self.received.extend_from_slice(bytes.get(..n).unwrap_or_default()),
                Err(e) => self.or_silent(e)?,
            }
        }
    }

    fn take(&mut self) -> Result<Option<Vec<u8>>, VppError> {
        let Some(header) = self.received.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let [_, _, _, _, _, _, _, _, a, b, c, d, _, _, _, _] = *header;
        let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if len > MESSAGE_MAX {
            let what = format!("a message of {len} bytes; at most {MESSAGE_MAX} are taken");
            return Err(VppError::Malformed { what });
        }
        let end = HEADER_LEN + len;
        let Some(message) = self.received.get(HEADER_LEN..end).map(<[u8]>::to_vec) else {
            return Ok(None);
        };
        self.received.drain(..end);
        Ok(Some(message))
    }

    /// Bounds the next read or write by what is left of the time.
    fn bound(&self) -> Result<(), VppError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.silent());
        }
        self.stream.set_read_timeout(Some(left))?;
        Ok(self.stream.set_write_timeout(Some(left))?)
    }

    const fn silent(&self) -> VppError {
        VppError::Silent { message: self.asked, waited: self.timeout }
    }

    /// Lets an interrupted call be tried again.
    fn or_silent(&self, error: io::Error) -> Result<(), VppError> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Err(self.silent()),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Err(VppError::Closed),
            _ => Err(VppError::Io(error)),
        }
    }
}

/// A VPP that hangs lets the queue of its socket fill up, and connecting would then wait for ever.
fn connect_by(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let address = UnixAddr::new(path)?;
    loop {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        match connect(fd.as_raw_fd(), &address) {
            Ok(()) => {
                let stream = UnixStream::from(fd);
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(Errno::EAGAIN) if Instant::now() < deadline => std::thread::sleep(QUEUE_PAUSE),
            Err(Errno::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
