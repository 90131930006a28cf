//! Where the database listens.

use super::OvsError;
use super::tls::{Credentials, TlsStream};
use crate::plan::OvsDb;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Address of a database.
#[derive(Debug, Clone)]
pub enum Address {
    /// `unix:PATH`
    Unix(PathBuf),
    /// `tcp:HOST:PORT`
    Tcp(String),
    /// `ssl:HOST:PORT`, and by what both ends know each other.
    Tls(String, Credentials),
}

impl Address {
    /// Connects.
    ///
    /// # Errors
    /// [`OvsError::Connect`]; with TLS [`OvsError::Tls`] and [`OvsError::Silent`] as well.
    pub fn connect(&self, timeout: Duration) -> Result<Stream, OvsError> {
        let deadline = Instant::now() + timeout;
        let cannot = |source| OvsError::Connect { address: self.to_string(), source };
        match self {
            Self::Unix(path) => UnixStream::connect(path).map(Stream::Unix).map_err(cannot),
            Self::Tcp(host) => connect_tcp(host, deadline).map(Stream::Tcp).map_err(cannot),
            Self::Tls(host, credentials) => {
                let socket = connect_tcp(host, deadline).map_err(cannot)?;
                let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
                let agreed = TlsStream::connect(Timed { socket, deadline }, name, credentials);
                agreed.map(|stream| Stream::Tls(Box::new(stream))).map_err(|error| match error {
                    OvsError::Io(error) if is_late(&error) => OvsError::Silent { waited: timeout },
                    other => other,
                })
            }
        }
    }
}

fn connect_tcp(host: &str, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// What is left until a deadline.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Whether the time of a read or write was over.
pub(super) fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp:{host}"),
            Self::Tls(host, _) => write!(f, "ssl:{host}"),
        }
    }
}

/// An address that needs nothing else.
impl FromStr for Address {
    type Err = OvsError;

    fn from_str(given: &str) -> Result<Self, OvsError> {
        Self::try_from(&OvsDb { db: given.to_owned(), tls: None })
    }
}

/// Files are read: an address is one that can be used.
impl TryFrom<&OvsDb> for Address {
    type Error = OvsError;

    fn try_from(given: &OvsDb) -> Result<Self, OvsError> {
        match (given.db.split_once(':'), &given.tls) {
            (Some(("unix", path)), None) if !path.is_empty() => Ok(Self::Unix(path.into())),
            (Some(("tcp", host)), None) if host.contains(':') => Ok(Self::Tcp(host.to_owned())),
            (Some(("ssl", host)), Some(files)) if host.contains(':') => {
                Ok(Self::Tls(host.to_owned(), Credentials::read(files)?))
            }
            _ => Err(OvsError::Address { given: given.db.clone() }),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// On this machine.
    Unix(UnixStream),
    /// On another one, perhaps.
    Tcp(TcpStream),
    /// The same, encrypted.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Bounds the next read and write.
    ///
    /// # Errors
    /// When the time is zero.
    pub fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Unix(s) => {
                s.set_read_timeout(Some(timeout)).and_then(|()| s.set_write_timeout(Some(timeout)))
            }
            Self::Tcp(s) => {
                s.set_read_timeout(Some(timeout)).and_then(|()| s.set_write_timeout(Some(timeout)))
            }
            Self::Tls(s) => {
                s.set_deadline(Instant::now() + timeout);
                Ok(())
            }
        }
    }

    /// What an error of reading or writing means.
    pub(super) fn failure(&self, error: io::Error) -> OvsError {
        match self {
            Self::Tls(s) => s.failure(error),
            Self::Unix(_) | Self::Tcp(_) => OvsError::Io(error),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(s) => s.read(into),
            Self::Tcp(s) => s.read(into),
            Self::Tls(s) => s.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(s) => s.write(from),
            Self::Tcp(s) => s.write(from),
            Self::Tls(s) => s.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Unix(_) | Self::Tcp(_) => Ok(()),
            Self::Tls(s) => s.flush(),
        }
    }
}

/// A socket below TLS. One read there takes as many of the socket as the other end likes, so each of
/// them gets no more than what is left.
#[derive(Debug)]
pub struct Timed {
    socket: TcpStream,
    deadline: Instant,
}

impl Timed {
    /// Sets by when the next reading or writing must be done.
    pub const fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(left(self.deadline)?))?;
        self.socket.read(into)
    }
}

impl Write for Timed {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(left(self.deadline)?))?;
        self.socket.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
