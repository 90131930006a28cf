//! What the driver of a virtio function works on, and a function under VFIO as that.

use super::layout::{BARS, Layout};
use crate::device::DeviceError;
use ringport::vfio::{CONFIG_REGION, Interrupts, Region, VfioDoorbell, VfioFunction};
use std::fmt::Debug;
use std::os::fd::BorrowedFd;

/// `PCI_COMMAND` (2 bytes): memory accesses, bus mastering, no interrupts by pin.
const COMMAND_AT: u64 = 4;
const MEMORY: u16 = 1 << 1;
const BUS_MASTER: u16 = 1 << 2;
const NO_PIN: u16 = 1 << 10;

/// A structure in a BAR that is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The common configuration.
    Common,
    /// What is the device's own kind's.
    Device,
}

/// A virtio function. Tests have one that lies.
pub(super) trait Function {
    /// Reads a number of 1, 2 or 4 bytes, in one access, at a multiple of that.
    fn read(&self, part: Part, offset: u64, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Writes one likewise.
    fn write(&self, part: Part, offset: u64, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Has interrupts of the vectors from `start` on signal eventfds. As many as are set at first are
    /// there then.
    fn set_vectors(
        &self,
        start: u32,
        eventfds: &[Option<BorrowedFd<'_>>],
    ) -> Result<(), DeviceError>;

    /// Has none signal anything.
    fn clear_vectors(&self);

    /// Has the kernel write a ring's number to its doorbell when an eventfd is signalled, or no more.
    fn set_doorbell(
        &self,
        doorbell: Doorbell,
        kick: Option<BorrowedFd<'_>>,
    ) -> Result<(), DeviceError>;

    /// The same for a thread of ours to do.
    fn bell(&self, doorbell: Doorbell) -> Result<Box<dyn Bell>, DeviceError>;
}

/// A doorbell that a thread rings.
pub(super) trait Bell: Debug + Send + Sync {
    /// Writes its ring's number to it.
    fn ring(&self) -> Result<(), DeviceError>;
}

impl Bell for VfioDoorbell {
    fn ring(&self) -> Result<(), DeviceError> {
        Ok(Self::ring(self)?)
    }
}

/// Where a ring is kicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doorbell {
    pub(super) ring: u16,
    /// In bytes from where all doorbells begin, and within them.
    pub(super) offset: u64,
}

/// A function under VFIO.
#[derive(Debug)]
pub(super) struct VfioPci {
    function: VfioFunction,
    bars: [Region; BARS],
    layout: Layout,
}

impl VfioPci {
    pub(super) fn new(function: VfioFunction, bars: [Region; BARS], layout: Layout) -> Self {
        Self { function, bars, layout }
    }

    pub(super) fn vfio(&mut self) -> &mut VfioFunction {
        &mut self.function
    }

    /// Has it put nothing on the bus any more.
    pub(super) fn silence(&self) {
        let _ = command(&self.function, 0, BUS_MASTER);
    }

    fn place(&self, part: Part, offset: u64) -> Result<(Region, u64), DeviceError> {
        let structure = match part {
            Part::Common => Some(self.layout.common),
            Part::Device => self.layout.device,
        };
        let structure = structure.filter(|it| offset < it.len);
        let structure =
            structure.ok_or(DeviceError::Unable("be asked for what it does not have"))?;
        Ok((self.bars[structure.bar], structure.offset + offset))
    }

    fn doorbell_place(&self, doorbell: Doorbell) -> (Region, u64) {
        let notify = self.layout.notify;
        (self.bars[notify.bar], notify.offset + doorbell.offset)
    }
}

impl Function for VfioPci {
    fn read(&self, part: Part, offset: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let (region, at) = self.place(part, offset)?;
        Ok(self.function.read(region, at, bytes)?)
    }

    fn write(&self, part: Part, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let (region, at) = self.place(part, offset)?;
        Ok(self.function.write(region, at, bytes)?)
    }

    fn set_vectors(
        &self,
        start: u32,
        eventfds: &[Option<BorrowedFd<'_>>],
    ) -> Result<(), DeviceError> {
        Ok(self.function.set_eventfds(Interrupts::MsiX, start, eventfds)?)
    }

    fn clear_vectors(&self) {
        let _ = self.function.clear_eventfds(Interrupts::MsiX);
    }

    fn set_doorbell(
        &self,
        doorbell: Doorbell,
        kick: Option<BorrowedFd<'_>>,
    ) -> Result<(), DeviceError> {
        let (region, at) = self.doorbell_place(doorbell);
        Ok(self.function.set_doorbell(region, at, doorbell.ring, kick)?)
    }

    fn bell(&self, doorbell: Doorbell) -> Result<Box<dyn Bell>, DeviceError> {
        let (region, at) = self.doorbell_place(doorbell);
        Ok(Box::new(self.function.doorbell(region, at, doorbell.ring)?))
    }
}

/// Lets a function answer memory accesses, and access memory itself.
pub(super) fn enable(function: &VfioFunction) -> Result<(), DeviceError> {
    command(function, MEMORY | BUS_MASTER | NO_PIN, 0)
}

/// Sets and clears bits of the command register.
fn command(function: &VfioFunction, set: u16, clear: u16) -> Result<(), DeviceError> {
    let config = function.region(CONFIG_REGION)?;
    let mut bytes = [0; 2];
    function.read(config, COMMAND_AT, &mut bytes)?;
    let command = (u16::from_le_bytes(bytes) & !clear) | set;
    Ok(function.write(config, COMMAND_AT, &command.to_le_bytes())?)
}
