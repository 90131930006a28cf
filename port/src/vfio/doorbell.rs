//! Doorbells that a thread rings, where the kernel does not.

use super::function::place;
use super::{Region, VfioFunction};
use crate::error::CallError;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Two bytes of a BAR that are written with always the same number, by any thread. It keeps the function's file
/// open: who waits for the function waits until this is dropped, too.
#[derive(Debug)]
pub struct VfioDoorbell {
    pub(super) device: Arc<File>,
    /// In the file.
    pub(super) at: u64,
    pub(super) value: u16,
}

impl VfioFunction {
    /// What [`set_doorbell`](Self::set_doorbell) has the kernel do, to be done by a thread of ours.
    ///
    /// # Errors
    /// The region ends before ([`std::io::ErrorKind::InvalidInput`]).
    pub fn doorbell(
        &self,
        region: Region,
        offset: u64,
        value: u16,
    ) -> Result<VfioDoorbell, CallError> {
        let at = place("ring a doorbell", region, offset, size_of_val(&value))?;
        Ok(VfioDoorbell { device: Arc::clone(&self.device), at, value })
    }
}

impl VfioDoorbell {
    /// Writes the number, little-endian, by a system call: the kernel does it in one access where the place is
    /// a multiple of 2.
    ///
    /// # Errors
    /// `EIO`: memory accesses are disabled in the command register. Of a function that has left the bus there
    /// is no error.
    pub fn ring(&self) -> Result<(), CallError> {
        let written = self.device.write_all_at(&self.value.to_le_bytes(), self.at);
        written.map_err(CallError::io("ring a doorbell"))
    }
}
