//! The control side of a TAP.

use super::device::Device;
use super::{TapConfig, TapError, TapRx, TapTx};
use crate::error::{CallError, QueueError};
use crate::link::LinkState;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

/// Marks of the descriptors that are waited for.
const START: u64 = 0;
const QUEUES: u64 = 1;
const DEVICE: u64 = 2;
/// More events at once than there are descriptors.
const EVENTS: usize = 4;

/// A TAP. Its queues come with [`poll`](Self::poll), as those of other ports do.
///
/// Dropping it ends nothing: the interface goes when the queues have gone too.
#[derive(Debug)]
pub struct Tap {
    device: Arc<Device>,
    link: Arc<LinkState>,
    epoll: Epoll,
    /// Readable until the queues were taken.
    start: EventFd,
    queues: Option<Box<TapLink>>,
    ended: bool,
}

/// What happened to a TAP.
#[derive(Debug)]
pub enum TapEvent {
    /// Packets may flow. Comes first, and once.
    LinkUp(Box<TapLink>),
    /// The interface was deleted. Comes last.
    LinkDown,
}

/// The queues of a TAP.
#[derive(Debug)]
pub struct TapLink {
    /// Delivers what the kernel sends out of the interface.
    pub rx: TapRx,
    /// What is sent here arrives at the interface.
    pub tx: TapTx,
}

impl Tap {
    /// Makes the interface, gives it MTU and addresses, and brings it up. Needs CAP_NET_ADMIN, except
    /// for an interface that is there, belongs to this user, is up and is left as it is.
    ///
    /// # Errors
    /// [`TapError`].
    pub fn open(config: &TapConfig) -> Result<Self, TapError> {
        let device = Arc::new(Device::make(config)?);
        let link = Arc::new(LinkState::new().map_err(CallError::io("make an eventfd"))?);
        let rx = TapRx::new(Arc::clone(&device), Arc::clone(&link))?;
        let tx = TapTx::new(Arc::clone(&device), Arc::clone(&link))?;
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let start = EventFd::from_value_and_flags(1, flags);
        let start = start.map_err(CallError::errno("make an eventfd"))?;
        let epoll = watch(&device, &link, &start).map_err(CallError::errno("make an epoll"))?;
        Ok(Self {
            device,
            link,
            epoll,
            start,
            queues: Some(Box::new(TapLink { rx, tx })),
            ended: false,
        })
    }

    /// The interface's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.device.name
    }

    /// Waits up to `timeout` for something to happen; `None` waits for ever. May return early without
    /// an event.
    ///
    /// # Errors
    /// [`CallError`]: the kernel does not let us wait.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<TapEvent>, CallError> {
        if let Some(link) = self.queues.take() {
            self.forget(self.start.as_fd())?;
            return Ok(Some(TapEvent::LinkUp(link)));
        }
        self.wait(timeout)?;
        if self.ended || self.link.is_up() {
            return Ok(None);
        }
        self.ended = true;
        self.forget(self.link.wake_fd())?;
        self.forget(self.device.fd.as_fd())?;
        Ok(Some(TapEvent::LinkDown))
    }

    /// Waits, and takes the link down when the interface is gone.
    fn wait(&self, timeout: Option<Duration>) -> Result<(), CallError> {
        let timeout = timeout.map_or(EpollTimeout::NONE, |timeout| {
            EpollTimeout::try_from(timeout).unwrap_or(EpollTimeout::MAX)
        });
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(CallError::errno("wait for the TAP")(errno)),
        };
        let mut ready = events.iter().take(count);
        if ready
            .any(|event| event.data() == DEVICE && event.events().contains(EpollFlags::EPOLLERR))
        {
            self.link.fail(QueueError::LinkDown);
        }
        Ok(())
    }

    fn forget(&self, fd: BorrowedFd<'_>) -> Result<(), CallError> {
        self.epoll.delete(fd).map_err(CallError::errno("change an epoll"))
    }
}

impl AsFd for Tap {
    /// Readable when [`poll`](Self::poll) has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

/// A descriptor for all that a control side waits for.
fn watch(device: &Device, link: &LinkState, start: &EventFd) -> Result<Epoll, Errno> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(start, EpollEvent::new(EpollFlags::EPOLLIN, START))?;
    epoll.add(link.wake_fd(), EpollEvent::new(EpollFlags::EPOLLIN, QUEUES))?;
    // The end of the interface is announced as if it were a packet; packets that wait make no noise.
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    epoll.add(&device.fd, EpollEvent::new(flags, DEVICE))?;
    Ok(epoll)
}
