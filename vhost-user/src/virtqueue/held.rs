//! Packets that are held beyond their burst, in the driver's buffers.
//!
//! Each is in a slot, which its holder shares with the ring's ledger: there it lies in the driver's
//! buffer, or in memory of our own once it was copied out. A lock on the slot is held while somebody
//! reads, and for that copy; nobody ever waits for more.

use bytes::Bytes;
use ringport::burst::{HeldMemory, RxPacket};
use ringport::error::QueueError;
use ringport::link::{LinkState, LinkStatus};
use ringport::offload::Offload;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A received packet that outlives its burst: see [`RxQueue::hold`](super::RxQueue::hold).
///
/// As long as it lies in the driver's buffer, the driver can write to it, so it is never lent as
/// `&[u8]`; length and metadata stay what they were. It may live on any thread, and longer than its
/// queue. When it is dropped, its buffer goes back with the queue's next call.
#[derive(Debug)]
pub struct HeldPacket {
    slot: Arc<Slot>,
    len: usize,
    offload: Offload,
}

/// What a holder and the ring share of one packet.
#[derive(Debug)]
pub(super) struct Slot {
    content: Mutex<Content>,
    link: Arc<LinkState>,
}

#[derive(Debug)]
enum Content {
    /// In the driver's buffer, which must not go back.
    Shared(HeldMemory),
    /// In memory of our own.
    Own(Bytes),
    /// Nowhere: the driver took its memory back before it was copied out.
    Lost(QueueError),
}

impl HeldPacket {
    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a packet is never empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The packet's offload metadata.
    #[must_use]
    pub fn offload(&self) -> Offload {
        self.offload
    }

    /// Whether it was copied out, and keeps no buffer of the driver back.
    #[must_use]
    pub fn is_copied(&self) -> bool {
        !self.slot.is_shared()
    }

    /// Copies the packet's first bytes to `to`, as many as fit, and returns how many.
    ///
    /// # Errors
    /// [`QueueError::MemoryLost`]: the driver took back the memory that the packet is in, or was in
    /// when it was copied out. What `to` has then means nothing.
    pub fn copy_to(&self, to: &mut [u8]) -> Result<usize, QueueError> {
        self.copy_range(0, to)
    }

    /// Copies bytes from `offset` on to `to`, as many as there are and fit, and returns how many.
    ///
    /// # Errors
    /// As [`copy_to`](Self::copy_to).
    pub fn copy_range(&self, offset: usize, to: &mut [u8]) -> Result<usize, QueueError> {
        match &*self.slot.lock() {
            Content::Shared(memory) => self.slot.unless_lost(memory.copy_range(offset, to)),
            Content::Own(bytes) => {
                let from = bytes.get(offset..).unwrap_or_default();
                let len = from.len().min(to.len());
                to[..len].copy_from_slice(&from[..len]);
                Ok(len)
            }
            Content::Lost(error) => Err(*error),
        }
    }

    /// Reads `N` bytes at `offset`, or `None` when the packet ends before them.
    ///
    /// # Errors
    /// As [`copy_to`](Self::copy_to).
    pub fn read_at<const N: usize>(&self, offset: usize) -> Result<Option<[u8; N]>, QueueError> {
        let mut value = [0; N];
        let len = self.copy_range(offset, &mut value)?;
        Ok((len == N).then_some(value))
    }

    /// The packet in a buffer of its own. It is the one that the packet is in, if it was copied out.
    ///
    /// # Errors
    /// As [`copy_to`](Self::copy_to).
    pub fn detach(&self) -> Result<Bytes, QueueError> {
        match &*self.slot.lock() {
            Content::Shared(memory) => self.slot.unless_lost(copy_of(memory)),
            Content::Own(bytes) => Ok(bytes.clone()),
            Content::Lost(error) => Err(*error),
        }
    }

    /// A packet that is in nobody's ring.
    pub(super) fn copied(packet: &RxPacket<'_>, link: &Arc<LinkState>) -> Self {
        let slot = Slot::new(Content::Own(packet.detach()), link);
        Self { slot, len: packet.len(), offload: packet.offload() }
    }

    /// `packet`, in one of the `spare` slots if there are any.
    pub(super) fn new(
        packet: &RxPacket<'_>,
        link: &Arc<LinkState>,
        spare: &mut Vec<Arc<Slot>>,
    ) -> Self {
        let content = Content::Shared(packet.hold());
        let slot = match spare.pop() {
            Some(slot) => {
                *slot.lock() = content;
                slot
            }
            None => Slot::new(content, link),
        };
        Self { slot, len: packet.len(), offload: packet.offload() }
    }

    pub(super) fn slot(&self) -> Arc<Slot> {
        Arc::clone(&self.slot)
    }
}

impl Drop for HeldPacket {
    /// The buffer may go back.
    fn drop(&mut self) {
        self.slot.put(Content::Own(Bytes::new()));
    }
}

impl Slot {
    fn new(content: Content, link: &Arc<LinkState>) -> Arc<Self> {
        Arc::new(Self { content: Mutex::new(content), link: Arc::clone(link) })
    }

    /// Whether the driver's buffer is in use.
    pub(super) fn is_shared(&self) -> bool {
        matches!(*self.lock(), Content::Shared(_))
    }

    /// Has the driver's buffer be in use no more.
    pub(super) fn copy_out(&self) {
        let mut content = self.lock();
        if let Content::Shared(memory) = &*content {
            let copied = self.unless_lost(copy_of(memory));
            *content = copied.map_or_else(Content::Lost, Content::Own);
        }
    }

    /// `read`, unless what was read may be what replaced memory that was lost.
    fn unless_lost<T>(&self, read: T) -> Result<T, QueueError> {
        match self.link.status() {
            // Control may have to be told.
            LinkStatus::MemoryLost => Err(self.link.reason()),
            _ => Ok(read),
        }
    }

    fn put(&self, content: Content) {
        let before = std::mem::replace(&mut *self.lock(), content);
        // Behind the lock: it may unmap memory.
        drop(before);
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn copy_of(memory: &HeldMemory) -> Bytes {
    let mut bytes = vec![0; memory.len()];
    memory.copy_range(0, &mut bytes);
    bytes.into()
}
