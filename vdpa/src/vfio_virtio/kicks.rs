//! How kicks reach doorbells: by the kernel, or by a thread where that refuses.
//!
//! The kernel refuses when it has no memory for it or no place left (1000 for a function), or the BAR is none that
//! it can map. Then the thread waits for the eventfds of those rings. A driver that signals without end keeps this
//! thread busy, and nobody else.

use super::function::{Bell, Doorbell, Function};
use crate::device::DeviceError;
use crate::vhost_vdpa::failed;
use crate::vhost_vdpa::watch::eventfd;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use ringport::doorbell::Doorbell as Eventfd;
use std::error::Error;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

/// What rings are kicked with. Dropping it ends the thread, and leaves what the kernel does.
#[derive(Debug)]
pub(super) struct Kicks {
    /// Of the rings that run.
    doorbells: Vec<Doorbell>,
    /// What the kernel refused.
    relayed: Vec<Arc<Relayed>>,
    thread: Option<KickThread>,
    /// Told when a doorbell cannot be rung.
    gone: Arc<EventFd>,
}

/// A ring that the thread kicks.
#[derive(Debug)]
struct Relayed {
    ring: u16,
    kick: Eventfd,
    bell: Box<dyn Bell>,
    why: String,
}

/// Ends when it is dropped.
#[derive(Debug)]
struct KickThread {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Kicks {
    pub(super) fn new(gone: Arc<EventFd>) -> Self {
        Self { doorbells: Vec::new(), relayed: Vec::new(), thread: None, gone }
    }

    /// Notes a ring that is to be kicked there.
    pub(super) fn add(&mut self, doorbell: Doorbell) {
        self.doorbells.push(doorbell);
    }

    /// The doorbell of a ring that runs.
    pub(super) fn doorbell(&self, ring: u16) -> Option<Doorbell> {
        self.doorbells.iter().copied().find(|doorbell| doorbell.ring == ring)
    }

    /// Why there is a thread, if there is one.
    pub(super) fn thread(&self) -> Option<&str> {
        self.relayed.first().map(|relayed| relayed.why.as_str())
    }

    /// Has all rings kicked by eventfds, in the order in which they were added.
    pub(super) fn connect<'k, F: Function>(
        &mut self,
        function: &F,
        kicks: impl Iterator<Item = &'k Arc<OwnedFd>>,
    ) -> Result<(), DeviceError> {
        for (doorbell, kick) in self.doorbells.clone().into_iter().zip(kicks) {
            self.connect_one(function, doorbell, kick)?;
        }
        self.start_thread()
    }

    /// Has a ring that runs kicked by another eventfd.
    pub(super) fn exchange<F: Function>(
        &mut self,
        function: &F,
        doorbell: Doorbell,
        kick: &Arc<OwnedFd>,
    ) -> Result<(), DeviceError> {
        // The kernel has none if the thread has it, or an eventfd before could not be set.
        let _ = function.set_doorbell(doorbell, None);
        self.thread = None;
        self.relayed.retain(|relayed| relayed.ring != doorbell.ring);
        let connected = self.connect_one(function, doorbell, kick);
        self.start_thread().and(connected)
    }

    /// Has no ring kicked any more.
    pub(super) fn disconnect<F: Function>(self, function: &F) {
        for doorbell in &self.doorbells {
            // Not all are the kernel's, or set where it failed to begin.
            let _ = function.set_doorbell(*doorbell, None);
        }
    }

    /// Has the thread ring nothing any more.
    pub(super) fn end_thread(&mut self) {
        self.thread = None;
        self.relayed.clear();
    }

    fn connect_one<F: Function>(
        &mut self,
        function: &F,
        doorbell: Doorbell,
        kick: &Arc<OwnedFd>,
    ) -> Result<(), DeviceError> {
        let Err(error) = function.set_doorbell(doorbell, Some(kick.as_fd())) else {
            return Ok(());
        };
        let own = kick.try_clone().map_err(failed("duplicate an eventfd"))?;
        let kick = Eventfd::from_peer(own).map_err(io::Error::other);
        let relayed = Relayed {
            ring: doorbell.ring,
            kick: kick.map_err(failed("wait for an eventfd"))?,
            bell: function.bell(doorbell)?,
            why: explain(&error),
        };
        self.relayed.push(Arc::new(relayed));
        Ok(())
    }

    fn start_thread(&mut self) -> Result<(), DeviceError> {
        if !self.relayed.is_empty() {
            let thread = KickThread::start(self.relayed.clone(), Arc::clone(&self.gone));
            self.thread = Some(thread.map_err(failed("start a thread for kicks"))?);
        }
        Ok(())
    }
}

impl KickThread {
    fn start(relayed: Vec<Arc<Relayed>>, gone: Arc<EventFd>) -> io::Result<Self> {
        let stop = Arc::new(eventfd()?);
        let told = Arc::clone(&stop);
        let thread = Builder::new().name("vdpa kicks".to_owned()).spawn(move || {
            if relay(&relayed, &told).is_err() {
                // Whoever has the device gives it up.
                let _ = gone.write(1);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for KickThread {
    fn drop(&mut self) {
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            // It panicked, and has ended as well.
            let _ = thread.join();
        }
    }
}

/// Rings doorbells as eventfds are signalled, until it is told to stop.
fn relay(relayed: &[Arc<Relayed>], stop: &EventFd) -> Result<(), DeviceError> {
    let kicks = relayed.iter().map(|relayed| relayed.kick.as_fd());
    let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds: Vec<_> = std::iter::once(stop.as_fd()).chain(kicks).map(readable).collect();
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(failed("wait for kicks")(errno.into())),
        }
        if fds[0].any() != Some(false) {
            return Ok(());
        }
        let told = fds[1..].iter().zip(relayed).filter(|(fd, _)| fd.any() != Some(false));
        told.map(|(_, relayed)| &**relayed).try_for_each(Relayed::pass_on)?;
    }
}

impl Relayed {
    fn pass_on(&self) -> Result<(), DeviceError> {
        let drained = self.kick.drain().map_err(io::Error::other);
        // Not after the doorbell: a kick in between would be lost.
        if drained.map_err(failed("read an eventfd"))? { self.bell.ring() } else { Ok(()) }
    }
}

/// What the kernel refused, and why.
fn explain(error: &DeviceError) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
