//! Interrupts that signal eventfds, and eventfds that ring doorbells.

use super::function::{place, refused};
use super::sys::{self, InterruptInfo, InterruptSet, IoEventfd};
use super::{Region, VfioFunction};
use crate::error::CallError;
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

pub use super::sys::VECTORS_MAX;

/// `VFIO_IRQ_SET_DATA_NONE`, `VFIO_IRQ_SET_DATA_EVENTFD`, `VFIO_IRQ_SET_ACTION_TRIGGER`.
const NOTHING: u32 = 1;
const EVENTFDS: u32 = 1 << 2;
const TRIGGER: u32 = 1 << 5;
/// `VFIO_DEVICE_IOEVENTFD_16`.
const TWO_BYTES: u32 = 1 << 1;

/// A kind of interrupts, or of news from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupts {
    /// The function's own, by vectors. All that are set at first are all that there are until they are
    /// cleared; each can be pointed elsewhere meanwhile.
    MsiX,
    /// The function has failed (one vector; PCI Express only).
    Error,
    /// The kernel wants the function back, and waits until it is closed (one vector).
    Request,
}

impl Interrupts {
    /// `VFIO_PCI_MSIX_IRQ_INDEX`, `VFIO_PCI_ERR_IRQ_INDEX`, `VFIO_PCI_REQ_IRQ_INDEX`.
    const fn index(self) -> u32 {
        match self {
            Self::MsiX => 2,
            Self::Error => 3,
            Self::Request => 4,
        }
    }
}

impl VfioFunction {
    /// Vectors that there are; 0 where there are no such interrupts.
    ///
    /// # Errors
    /// The kernel's.
    pub fn vectors(&self, kind: Interrupts) -> Result<u32, CallError> {
        let mut info = InterruptInfo { index: kind.index(), count: 0 };
        match self.call("ask for interrupts", sys::GET_INTERRUPT_INFO, 0, &mut info) {
            Ok(_) => Ok(info.count),
            Err(error) if error.source.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Has interrupts of the vectors from `start` on signal eventfds, or nothing.
    ///
    /// # Errors
    /// `EINVAL`: there are no such vectors, or one is no eventfd; `ENOSPC`: the machine has no vectors
    /// left. More than [`VECTORS_MAX`], or none: [`io::ErrorKind::InvalidInput`].
    pub fn set_eventfds(
        &self,
        kind: Interrupts,
        start: u32,
        eventfds: &[Option<BorrowedFd<'_>>],
    ) -> Result<(), CallError> {
        let operation = "set eventfds of interrupts";
        let mut set = none(kind);
        set.start = start;
        let places = set.eventfds.get_mut(..eventfds.len()).filter(|places| !places.is_empty());
        let count = u32::try_from(eventfds.len()).ok();
        let (Some(places), Some(count)) = (places, count) else {
            let why = "none, or more than there can be";
            return Err(refused(operation, io::ErrorKind::InvalidInput, why));
        };
        for (place, eventfd) in places.iter_mut().zip(eventfds) {
            *place = eventfd.map_or(-1, |eventfd| eventfd.as_raw_fd());
        }
        set.count = count;
        self.call(operation, sys::SET_INTERRUPTS, EVENTFDS | TRIGGER, &mut set).map(drop)
    }

    /// Has no interrupt of this kind signal anything any more. The kernel gives back the eventfds.
    ///
    /// # Errors
    /// `EINVAL`: none does.
    pub fn clear_eventfds(&self, kind: Interrupts) -> Result<(), CallError> {
        let operation = "clear eventfds of interrupts";
        self.call(operation, sys::SET_INTERRUPTS, NOTHING | TRIGGER, &mut none(kind)).map(drop)
    }

    /// Has the kernel write the 16 bits of `value` to a BAR, at byte `offset`, whenever an eventfd is
    /// signalled, or no more. An eventfd that was signalled before counts. To exchange it, take back the
    /// one before.
    ///
    /// # Errors
    /// The region ends before ([`io::ErrorKind::InvalidInput`]); `EINVAL`: it is no BAR, or it has
    /// the vectors there; `EEXIST`: one is set; `ENODEV`: none is; `ENOSPC`: there are 1000; `ENOTTY`: the
    /// kernel is too old (before 4.17).
    pub fn set_doorbell(
        &self,
        region: Region,
        offset: u64,
        value: u16,
        eventfd: Option<BorrowedFd<'_>>,
    ) -> Result<(), CallError> {
        let operation = "have the kernel ring a doorbell (VFIO_DEVICE_IOEVENTFD)";
        let offset = place(operation, region, offset, size_of_val(&value))?;
        let eventfd = eventfd.map_or(-1, |eventfd| eventfd.as_raw_fd());
        let mut doorbell = IoEventfd { offset, value: value.into(), eventfd, unused: 0 };
        self.call(operation, sys::IOEVENTFD, TWO_BYTES, &mut doorbell).map(drop)
    }
}

fn none(kind: Interrupts) -> InterruptSet {
    InterruptSet { index: kind.index(), start: 0, count: 0, eventfds: [-1; VECTORS_MAX] }
}
