//! The control queue, from the driver's side: one command at a time.
//!
//! It has memory of its own, so that nothing that a device does there reaches packets:
//!
//! | offset | bytes | part |
//! |---|---|---|
//! | 0 | | a ring of 64 entries, as those of packets |
//! | multiple of 4096 | 4096 | the command |
//! | behind that | 1 | what the device answers |
//!
//! Spec: VIRTIO 1.3 §5.1.6.5.

use super::chains::no_such_buffer;
use super::layout::{Buffer, Layout, Taken, Used};
use super::memory::{BufferPlace, Parts};
use super::plan::place;
use super::{LayoutError, QueueOptions, RingLayout, packed, split};
use crate::error::CommandError;
use crate::virtqueue::RingAddresses;
use crate::virtqueue::descriptor::{NEXT, WRITE};
use crate::wire::{COMMAND_MAX, Command, MemoryRegion};
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::link::LinkState;
use ringport::shm::{Backing, MemoryPolicy, OwnedMemory, Regions};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Entries of the ring.
const SIZE: u16 = 64;

/// Guest and front-end address of the first byte: below those of packets, and as far from one another.
const GUEST: u64 = 1 << 31;
const FRONT_END: u64 = 1 << 43;

const PAGE: u64 = 4096;

/// In the byte for the answer, before there is one.
const NO_ANSWER: u8 = 0xff;

/// A control queue.
#[derive(Debug)]
pub(crate) struct ControlQueue {
    memory: OwnedMemory,
    file: File,
    ring: Ring,
    addresses: RingAddresses,
    /// Where the command is, in bytes.
    command: u64,
    call: Arc<Doorbell>,
    /// Id of the next chain's first buffer.
    next: u16,
    /// The chain that the device has.
    under_way: Option<u16>,
    /// It broke, or never answered.
    lost: bool,
}

#[derive(Debug)]
enum Ring {
    Split(split::Ring),
    Packed(packed::Ring),
}

impl ControlQueue {
    /// Makes memory and a ring. `options` have both doorbells.
    pub(crate) fn new(
        layout: RingLayout,
        options: &QueueOptions,
        link: &Arc<LinkState>,
    ) -> Result<Self, LayoutError> {
        let mut end = 0;
        let place = place(layout, SIZE, &mut end);
        let command = end.next_multiple_of(PAGE);
        let len = command + COMMAND_MAX as u64 + PAGE;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let memory = OwnedMemory::create("ringport-vhost-control", len, Backing::Pages)?;
        let watches = memory.protect(MemoryPolicy::Guarded, link)?.into_iter().collect();
        let file = File::from(memory.fd().try_clone_to_owned()?);
        let parts = Parts {
            mapping: Arc::clone(memory.mapping()),
            place,
            layout,
            // A command has its place behind the ring.
            buffers: BufferPlace::none(),
            regions: Arc::new(Regions::new(Vec::new())),
            link: Arc::clone(link),
            watches,
        };
        let ring = match layout {
            RingLayout::Split => Ring::Split(split::Ring::new(&parts, options)?),
            RingLayout::Packed => Ring::Packed(packed::Ring::new(&parts, options)?),
        };
        let call = options.call.clone().map_or_else(|| Doorbell::create().map(Arc::new), Ok)?;
        let addresses = RingAddresses {
            size: SIZE,
            descriptor: FRONT_END + place.descriptor,
            driver: FRONT_END + place.driver,
            device: FRONT_END + place.device,
        };
        let (next, under_way, lost) = (0, None, false);
        Ok(Self { memory, file, ring, addresses, command, call, next, under_way, lost })
    }

    /// The memory, as messages describe it.
    pub(crate) fn region(&self) -> MemoryRegion {
        let size = self.memory.mapping().len() as u64;
        MemoryRegion { guest_address: GUEST, size, user_address: FRONT_END, mmap_offset: 0 }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.memory.fd()
    }

    pub(crate) fn addresses(&self) -> RingAddresses {
        self.addresses
    }

    /// Whether a command can be given.
    pub(crate) fn is_ready(&self) -> bool {
        self.under_way.is_none() && !self.lost
    }

    /// Whether a command waits for its answer.
    pub(crate) fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// Gives the device a command. There is none under way.
    ///
    /// # Errors
    /// When the memory cannot be written.
    pub(crate) fn give(&mut self, command: &Command) -> io::Result<()> {
        let bytes = command.encode();
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if bytes.len() > COMMAND_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.file.write_all_at(&bytes, self.command)?;
        self.file.write_all_at(&[NO_ANSWER], self.answer_at())?;
        let (head, second) = (self.next, self.next + 1);
        self.next = (self.next + 2) % SIZE;
        self.under_way = Some(head);
        let asked = Buffer {
            id: head,
            head,
            address: GUEST + self.command,
            len,
            flags: NEXT,
            next: second,
        };
        let address = GUEST + self.answer_at();
        let answer = Buffer { id: second, head, address, len: 1, flags: WRITE, next: 0 };
        match &mut self.ring {
            Ring::Split(ring) => ring.offer([asked, answer].into_iter()),
            Ring::Packed(ring) => ring.offer([asked, answer].into_iter()),
        };
        Ok(())
    }

    /// What became of the command, if the device has answered. Takes its calls.
    pub(crate) fn take_answer(&mut self) -> Option<Result<(), CommandError>> {
        if self.lost {
            return None;
        }
        // Rings are looked at whatever it says.
        let _ = self.call.drain();
        match self.look() {
            Ok(false) => None,
            Ok(true) => Some(self.read_answer()),
            Err(error) => {
                self.lost = true;
                self.under_way = None;
                Some(Err(CommandError::Broken(error)))
            }
        }
    }

    /// The device has had its time.
    pub(crate) fn give_up(&mut self) {
        self.lost = true;
        self.under_way = None;
    }

    /// Whether the chain has come back. The device is asked to call otherwise.
    fn look(&mut self) -> Result<bool, QueueError> {
        let mut expected = self.under_way;
        for _ in 0..2 {
            let take = |used| take(&mut expected, used);
            let waits = match &mut self.ring {
                Ring::Split(ring) => look(ring, take)?,
                Ring::Packed(ring) => look(ring, take)?,
            };
            if !waits {
                break;
            }
        }
        let came = self.under_way.is_some() && expected.is_none();
        self.under_way = expected;
        Ok(came)
    }

    fn read_answer(&self) -> Result<(), CommandError> {
        let mut answer = [NO_ANSWER];
        // Ours, and as long as it was made; what it says then is no answer.
        let _ = self.file.read_exact_at(&mut answer, self.answer_at());
        match answer {
            [0] => Ok(()),
            [1] => Err(CommandError::Refused),
            [answer] => Err(CommandError::Answer { answer }),
        }
    }

    fn answer_at(&self) -> u64 {
        self.command + COMMAND_MAX as u64
    }
}

impl AsFd for ControlQueue {
    /// Readable once the device called.
    fn as_fd(&self) -> BorrowedFd<'_> {
        (*self.call).as_fd()
    }
}

/// Takes what the device has used, and asks it to call. Returns whether there is more.
fn look(
    ring: &mut impl Layout,
    take: impl FnMut(Used) -> Result<Taken, QueueError>,
) -> Result<bool, QueueError> {
    ring.take_used(1, take)?;
    ring.disarm();
    ring.arm()
}

/// Takes back the chain that the device has, if that is the one which it names.
fn take(expected: &mut Option<u16>, used: Used) -> Result<Taken, QueueError> {
    let id = u16::try_from(used.id).ok().filter(|id| *id < SIZE);
    let id = id.ok_or_else(|| no_such_buffer(used.id, SIZE.into()))?;
    if *expected != Some(id) {
        return Err(QueueError::NotInFlight { id });
    }
    if used.len > 1 {
        return Err(QueueError::LengthExceedsBuffer { len: used.len, capacity: 1 });
    }
    *expected = None;
    Ok(Taken { chains: 1, entries: 2 })
}
