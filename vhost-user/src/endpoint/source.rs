//! Where connections come from.

use crate::error::DeviceError;
use ringport::error::CallError;
use ringport::retry::{Reconnect, Retry};
use ringport::socket::{ListenSocket, SocketAddress, SocketKind, SocketOptions, connect_to};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Which side of the socket a port is; independent of who is the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketRole {
    /// Listens; one peer at a time is served, the next one waits. One that says nothing makes room
    /// for it after a quarter of a second.
    Listen(SocketOptions),
    /// Connects to a peer that listens.
    Connect(Reconnect),
}

impl Default for SocketRole {
    fn default() -> Self {
        Self::Listen(SocketOptions::default())
    }
}

/// Where connections come from.
#[derive(Debug)]
pub(super) enum Source {
    Listen {
        socket: ListenSocket,
        /// When to accept again after the system ran out of something, or a connection ended.
        accept_again: Option<Instant>,
        /// Whether it had when we accepted last.
        exhausted: bool,
    },
    Connect {
        address: SocketAddress,
        retry: Retry,
    },
    /// There are no more.
    None,
}

/// None can be accepted for a while; why, unless that was said already.
pub(super) struct Wait(pub(super) Option<CallError>);

impl Source {
    pub(super) fn open(address: &SocketAddress, socket: SocketRole) -> Result<Self, DeviceError> {
        Ok(match socket {
            SocketRole::Listen(options) => Self::Listen {
                socket: ListenSocket::bind(address, SocketKind::Stream, &options)?,
                accept_again: None,
                exhausted: false,
            },
            SocketRole::Connect(reconnect) => {
                let mut retry = Retry::new(reconnect);
                retry.at = Some(Instant::now());
                Self::Connect { address: address.clone(), retry }
            }
        })
    }

    /// The socket that is readable when a peer waits.
    pub(super) fn listener(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Listen { socket, .. } => Some(socket.as_fd()),
            Self::Connect { .. } | Self::None => None,
        }
    }

    /// Takes the next peer that waits.
    pub(super) fn accept(&mut self) -> Result<Option<OwnedFd>, Wait> {
        let Self::Listen { socket, accept_again, exhausted } = self else { return Ok(None) };
        let accepted = socket.accept().map_err(|error| {
            // Out of descriptors or memory: level-triggered, it would be reported without end.
            *accept_again = Instant::now().checked_add(ACCEPT_PAUSE);
            Wait((!*exhausted).then(|| CallError::io("accept")(error)))
        });
        *exhausted = accepted.is_err();
        accepted
    }

    /// Has the next peer wait a little, so that peers that come and go without end leave most of the
    /// time to others.
    pub(super) fn pause(&mut self) {
        if let Self::Listen { accept_again, .. } = self {
            *accept_again = Instant::now().checked_add(PAUSE_BETWEEN);
        }
    }

    /// Connects, which was due; `None` for a source that does not.
    pub(super) fn connect(&mut self) -> Option<Result<OwnedFd, DeviceError>> {
        let Self::Connect { address, retry } = self else { return None };
        retry.at = None;
        Some(connect_to(address, SocketKind::Stream).map_err(DeviceError::from))
    }

    /// Plans the next attempt to connect after a link that was up since then, or none.
    pub(super) fn retry_after(&mut self, up: Option<Instant>) {
        let Self::Connect { retry, .. } = self else { return };
        let now = Instant::now();
        if let Some(up) = up {
            retry.link_lasted(now.saturating_duration_since(up));
        }
        retry.schedule(now);
    }

    /// Whether a pause in accepting is over now.
    pub(super) fn may_accept_again(&mut self, now: Instant) -> bool {
        let Self::Listen { accept_again, .. } = self else { return false };
        accept_again.take_if(|again| now >= *again).is_some()
    }

    /// Whether an attempt to connect is due.
    pub(super) fn may_connect(&self, now: Instant) -> bool {
        let Self::Connect { retry, .. } = self else { return false };
        retry.at.is_some_and(|at| now >= at)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Listen { accept_again, .. } => *accept_again,
            Self::Connect { retry, .. } => retry.at,
            Self::None => None,
        }
    }

    /// Whether no connection comes any more, unless one that ends is followed by another.
    pub(super) fn is_finished(&self) -> bool {
        match self {
            Self::Listen { .. } => false,
            Self::Connect { retry, .. } => retry.at.is_none(),
            Self::None => true,
        }
    }
}

/// How long to wait from the end of one connection to the beginning of the next. To set one up takes
/// some fifty microseconds.
const PAUSE_BETWEEN: Duration = Duration::from_millis(1);

/// How long to wait when no connection can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
