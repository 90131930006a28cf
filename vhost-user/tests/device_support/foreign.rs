//! A driver that others wrote: the queues and the front-end of the `virtio-driver` crate.
//!
//! The crate has no network device, but its queues and its vhost-user front-end serve any: what it
//! calls a request is here a packet with its header. What it does not do:
//! * It does not say how much the device has written, and in packed rings it insists on as many
//!   bytes as the buffer has. So buffers are as long as the packet that is due.
//! * In packed rings it says of a chain of one descriptor that another follows. So there header and
//!   packet have a descriptor each, as all its requests have several.
//! * `VIRTIO_F_IN_ORDER` has a name there, but every chain waits for a used element of its own: it
//!   cannot be agreed on. Indirect tables neither.
//! * In packed rings it counts, in 16 bits, the descriptors since the device last named a position
//!   that it wants a kick for. This device never does: a ring lives for 65535 of them here.
//! * With event indices it cannot ask for no call at all, only for none behind the next one.
//! * Its front-end starts packed rings at 0, which is the turn before the first one (vhost-user
//!   SET_VRING_BASE: bit 15 is the wrap counter, and 1 at first). A relay corrects that.
#![expect(unsafe_code, reason = "queues in memory of their transport's")]

use super::Place;
use super::relay::correct_bases;
use ringport_bench::interop::frames::{FRAME_MIN, fill};
use ringport_vhost_user::{RxQueue, TxQueue};
use std::os::fd::AsFd;
use std::sync::Arc;
use virtio_driver::virtqueue::{Virtqueue, VirtqueueLayout};
use virtio_driver::{
    EventFd, Le64, QueueNotifier, VhostUser, VirtioFeatureFlags, VirtioTransport, iovec,
};

const HEADER: usize = 12;
const FRAME_MAX: usize = 1514;

/// Room for a packet and its header.
#[derive(Clone, Copy)]
pub struct Room([u8; HEADER + FRAME_MAX]);

/// One direction of the driver.
pub struct Queue {
    queue: Virtqueue<'static, Room>,
    kick: Box<dyn QueueNotifier>,
    call: Arc<EventFd>,
    packed: bool,
    /// Packets that the ring has room for.
    room: u64,
    /// Packets handed over so far, and taken back.
    given: u64,
    taken: u64,
}

/// A driver with one pair of queues.
pub struct Foreign {
    /// What the driver receives from.
    pub rx: Queue,
    /// What it sends to.
    pub tx: Queue,
    /// Dropped behind the queues, which lie in its memory.
    transport: VhostUser<Le64, Room>,
}

impl Foreign {
    /// Connects, and starts both rings.
    pub fn connect(place: &Place, features: VirtioFeatureFlags, size: u16) -> Self {
        let features = features | VirtioFeatureFlags::VERSION_1;
        let packed = features.contains(VirtioFeatureFlags::RING_PACKED);
        let relayed = packed.then(|| correct_bases(place));
        let path = relayed.as_ref().unwrap_or(place).path.to_str().unwrap();
        let mut transport = VhostUser::<Le64, Room>::new(path, features.bits()).unwrap();
        let agreed = VirtioFeatureFlags::from_bits_truncate(transport.get_features());
        assert!(agreed.contains(features));
        let layout = VirtqueueLayout::new::<Room>(2, size.into(), agreed).unwrap();
        let translators = [transport.iova_translator(), transport.iova_translator()];
        let memory = transport.alloc_queue_mem(&layout).unwrap();
        let parts = memory.chunks_exact_mut(layout.end_offset);
        let queues = parts.zip(translators).map(|(part, translator)| {
            // SAFETY: the transport maps the memory, hands it out once, and is dropped behind the
            // queues; each queue has a part of its own.
            let part: &'static mut [u8] = unsafe { &mut *std::ptr::from_mut(part) };
            Virtqueue::new(translator, part, size, agreed).unwrap()
        });
        let queues: Vec<_> = queues.collect();
        transport.setup_queues(&queues).unwrap();
        let mut queues = (0..).zip(queues).map(|(number, queue)| Queue {
            queue,
            kick: transport.get_submission_notifier(number),
            call: transport.get_completion_fd(number),
            packed,
            room: u64::from(size) / if packed { 2 } else { 1 },
            given: 0,
            taken: 0,
        });
        let (mut rx, mut tx) = (queues.next().unwrap(), queues.next().unwrap());
        drop(queues);
        rx.ask_for_calls(false);
        tx.ask_for_calls(false);
        Self { rx, tx, transport }
    }

    /// The first eight bytes of the configuration space: the network address, and the status.
    pub fn config(&self) -> u64 {
        self.transport.get_config().unwrap().to_native()
    }
}

impl Queue {
    /// Sends the next frame, of `len` bytes; false when the ring is full.
    pub fn send(&mut self, len: usize) -> bool {
        assert!((FRAME_MIN..=FRAME_MAX).contains(&len));
        let number = self.given;
        self.give(len, false, |room| {
            room[..HEADER].fill(0);
            fill(&mut room[HEADER..], 0, number);
        })
    }

    /// Provides room for a frame of `len` bytes; false when the ring is full.
    pub fn provide(&mut self, len: usize) -> bool {
        self.give(len, true, |room| room.fill(0))
    }

    /// Takes everything back that the device has used; returns how much that was.
    pub fn take_back(&mut self) -> u64 {
        let count = self.queue.completions().count() as u64;
        self.taken += count;
        count
    }

    /// Takes the frames that have arrived, and compares each with the one that is due.
    #[track_caller]
    pub fn receive(&mut self, len_of: impl Fn(u64) -> usize) -> u64 {
        let mut due = [0; FRAME_MAX];
        let before = self.taken;
        for done in self.queue.completions() {
            let due = &mut due[..len_of(self.taken)];
            fill(due, 0, self.taken);
            assert!(done.req.0[HEADER..][..due.len()] == *due, "frame {} is another", self.taken);
            self.taken += 1;
        }
        self.taken - before
    }

    /// Asks for calls, or for no more of them.
    pub fn ask_for_calls(&mut self, wanted: bool) {
        self.queue.set_used_notif_enabled(wanted);
    }

    /// Kicks the device if it asks for that; says whether it did.
    pub fn kick_if_wanted(&mut self) -> bool {
        let wanted = self.queue.avail_notif_needed();
        if wanted {
            self.kick.notify().unwrap();
        }
        wanted
    }

    /// Whether the device has used something that was not taken back.
    pub fn has_used(&mut self) -> bool {
        self.queue.completions().has_next()
    }

    /// The device's calls.
    pub fn call(&self) -> &EventFd {
        &self.call
    }

    pub fn given(&self) -> u64 {
        self.given
    }

    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Waits for a call, at most as long as anything may take.
    pub fn wait_call(&self) {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut set = [PollFd::new(self.call.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(super::PATIENCE).unwrap();
        assert!(poll(&mut set, patience).unwrap() > 0, "no call within ten seconds");
        self.call.read().unwrap();
    }

    fn give(&mut self, len: usize, write: bool, prepare: impl FnOnce(&mut [u8])) -> bool {
        if self.given - self.taken == self.room {
            return false;
        }
        let packed = self.packed;
        let added = self.queue.add_request(|room, add| {
            let room = &mut room.0[..HEADER + len];
            prepare(room);
            let (header, packet) = room.split_at_mut(if packed { HEADER } else { 0 });
            for part in [header, packet] {
                if !part.is_empty() {
                    let iov_base = part.as_mut_ptr().cast();
                    add(iovec { iov_base, iov_len: part.len() }, write)?;
                }
            }
            Ok(())
        });
        added.unwrap();
        self.given += 1;
        true
    }
}

/// Layouts and suppressions that the driver knows.
pub const LAYOUTS: [VirtioFeatureFlags; 4] = {
    use VirtioFeatureFlags as F;
    let packed = F::RING_PACKED.bits() | F::RING_EVENT_IDX.bits();
    [F::VERSION_1, F::RING_EVENT_IDX, F::RING_PACKED, F::from_bits_truncate(packed)]
};

/// Has the driver send `rounds` bursts of frames of `len` bytes, which are received and counted.
pub fn bursts_from_driver(driver: &mut Queue, rx: &mut RxQueue, rounds: u64, len: usize) {
    let mut to = [0; FRAME_MAX];
    for _ in 0..rounds {
        let before = driver.given();
        while driver.send(len) {}
        let mut received = 0;
        while received < driver.given() - before {
            let burst = rx.rx_burst(16).unwrap();
            assert!(burst.packets().all(|packet| packet.copy_to(&mut to) == len));
            received += burst.len() as u64;
        }
        assert_eq!(driver.take_back(), received);
    }
}

/// Sends `rounds` times as many frames of `len` bytes as the driver has room for, which looks at
/// them.
pub fn bursts_to_driver(tx: &mut TxQueue, driver: &mut Queue, rounds: u64, len: usize) {
    let mut frame = [0; FRAME_MAX];
    for _ in 0..rounds {
        let mut sent = driver.given();
        while driver.provide(len) {}
        while sent < driver.given() {
            let mut burst = tx.tx_burst(16).unwrap();
            loop {
                fill(&mut frame[..len], 0, sent);
                if burst.push(&frame[..len]).is_err() {
                    break;
                }
                sent += 1;
            }
            burst.commit();
        }
        driver.receive(|_| len);
        assert_eq!(driver.taken(), sent);
    }
}
