//! How VPP receives from an interface: in which mode, and which worker does it.
//!
//! Mode and worker are those of a queue. The queues of a memif come with each connection and go with
//! it; that of a vhost-user interface is there before, and takes no mode but polling then.

use super::message::{RX_DUMP, SET_RX_MODE, SET_RX_PLACEMENT};
use super::wire::Fields;
use super::{Session, VppError};
use crate::conf::RxMode;

/// A queue that VPP receives from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RxQueue {
    /// Its number on the interface.
    pub id: u32,
    /// Thread that receives: 0 is the main one, 1 the first worker.
    pub thread: u32,
    /// The mode: see [`number_of`].
    pub mode: u32,
}

/// VPP's number of a mode.
#[must_use]
pub const fn number_of(mode: RxMode) -> u32 {
    match mode {
        RxMode::Polling => 1,
        RxMode::Interrupt => 2,
        RxMode::Adaptive => 3,
    }
}

/// VPP's number of the thread that is a worker; workers count from 0.
#[must_use]
pub const fn thread_of(worker: u32) -> u32 {
    worker.saturating_add(1)
}

impl Session {
    /// The queues of an interface.
    ///
    /// # Errors
    /// See [`Session::dump`].
    pub fn rx_queues(&mut self, sw_if_index: u32) -> Result<Vec<RxQueue>, VppError> {
        let answers = self.dump(RX_DUMP, &Fields::new().u32(sw_if_index))?;
        let read = answers.iter().map(|answer| {
            let mut fields = answer.reader();
            fields.skip(4)?;
            Ok(RxQueue { id: fields.u32()?, thread: fields.u32()?, mode: fields.u32()? })
        });
        read.collect()
    }

    /// Sets the mode of a queue.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn set_rx_mode(&mut self, sw_if_index: u32, queue: u32, mode: u32) -> Result<(), VppError> {
        // This queue alone.
        let fields = Fields::new().u32(sw_if_index).bool(true).u32(queue).u32(mode);
        self.call(SET_RX_MODE, &fields).map(|_| ())
    }

    /// Has a worker receive from a queue. A VPP without workers gives it to the main thread.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn set_rx_worker(
        &mut self,
        sw_if_index: u32,
        queue: u32,
        worker: u32,
    ) -> Result<(), VppError> {
        let fields = Fields::new().u32(sw_if_index).u32(queue).u32(worker).bool(false);
        self.call(SET_RX_PLACEMENT, &fields).map(|_| ())
    }
}
