//! A [`Port`] in a tokio runtime.

use crate::driver::{Event, Port};
use crate::error::ControlError;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A port whose events can be awaited.
///
/// Only the control side: packets go through the link's queues, on whatever thread has them.
#[derive(Debug)]
pub struct AsyncPort {
    port: Port,
    /// A second descriptor of the port's epoll set.
    ready: AsyncFd<OwnedFd>,
}

impl AsyncPort {
    /// Registers the port with the current runtime.
    ///
    /// # Errors
    /// [`ControlError::Io`].
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O driver enabled, as [`AsyncFd`] does.
    #[allow(deprecated, reason = "the replacement is unsafe; an `OwnedFd` keeps its promise")]
    pub fn new(port: Port) -> Result<Self, ControlError> {
        let fd = port.as_fd().try_clone_to_owned().map_err(ControlError::io("duplicate"))?;
        let ready = AsyncFd::with_interest(fd, Interest::READABLE)
            .map_err(ControlError::io("register with the runtime"))?;
        Ok(Self { port, ready })
    }

    /// Waits for the next event. Cancel safe. For a client that does not reconnect and has nothing
    /// left to do, that is for ever.
    ///
    /// # Errors
    /// As [`Port::poll`].
    pub async fn next_event(&mut self) -> Result<Event, ControlError> {
        loop {
            if let Some(event) = self.port.poll(Some(Duration::ZERO))? {
                return Ok(event);
            }
            let mut guard =
                self.ready.readable().await.map_err(ControlError::io("wait in the runtime"))?;
            // Cleared before the port is polled: what happens in between makes it ready again.
            guard.clear_ready();
        }
    }

    /// The port itself.
    #[must_use]
    pub fn into_inner(self) -> Port {
        self.port
    }
}
