//! Engines of transmit queues.

use super::buffer::{Written, mark_buffer};
use super::descriptor::Access;
use super::layout::{Ground, Layout, Ring, Walked};
use super::line::{Engine, Side};
use super::tx::{Tx, TxSide};
use super::{Called, RingFeatures};
use crate::memory::GuestMemory;
use crate::net::{self, HEADER, HEADER_LEN};
use ringport::burst::{BURST_MAX, CommitTx, Committed, TxBatch};
use ringport::error::QueueError;
use ringport::offload::Accepts;
use ringport::ring_view::RingView;
use ringport::stats::TxStats;
use std::sync::Arc;

/// The header of a packet in one buffer that asks for nothing.
const PLAIN: [u8; HEADER_LEN] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

#[derive(Debug)]
pub(super) struct Sender<L: Layout> {
    ring: L,
    /// The window's buffers, in order.
    buffers: Box<[Buffer<L::Chain>]>,
    /// What was written to each of them, in bytes, where that is not one slot each.
    lens: Box<[u32]>,
    /// The pieces of a window that is not of whole buffers.
    walked: Walked,
    /// Whether packets may ask anything of the driver.
    offloads: bool,
    stats: TxStats,
}

/// A receive buffer of the driver: one chain.
#[derive(Debug, Clone, Copy, Default)]
struct Buffer<C> {
    chain: C,
    /// Slots of the window that it takes.
    slots: u16,
}

/// What sends on `ring`.
pub(super) fn sender<L: Layout + 'static>(ring: L, features: &RingFeatures) -> Box<Engine<Tx>> {
    let slots = BURST_MAX.max(usize::from(ring.ground().walker.limit));
    let offloads = features.tx_offloads != Accepts::default();
    let batch = TxBatch::new(Arc::clone(ring.ground().memory.regions()), slots, slots)
        .behind(HEADER, !features.mergeable);
    let batch = if offloads { batch.with_offloads(features.tx_offloads) } else { batch };
    let side = Sender {
        ring,
        buffers: vec![Buffer::default(); slots].into(),
        lens: vec![0; slots].into(),
        walked: Walked::new(2 * slots + GuestMemory::REGIONS_MAX),
        offloads,
        stats: TxStats::default(),
    };
    Box::new(Engine { batch, side })
}

impl<L: Layout> TxSide for Sender<L> {
    #[inline]
    fn reserve(&mut self, batch: &mut TxBatch, max: usize) -> Result<(), QueueError> {
        batch.clear();
        let wanted = max.min(batch.burst_max());
        let count = self.ring.look(wanted)?;
        let mut ended = count == 0;
        let plain = self.ring.plain(Access::Write, &mut ended);
        let buffers = self.buffers.iter_mut().take(count).zip(plain);
        let pieces = buffers.map(|(slot, (chain, piece))| {
            *slot = Buffer { chain, slots: 1 };
            piece
        });
        let mut free = batch.reserve_behind(pieces);
        if free < count && !ended && self.ring.has(self.ring.place(free)) {
            free = self.reserve_odd(batch, count)?;
        }
        self.stats.ring_full += u64::from(free < wanted);
        batch.set_complete(free == usize::from(self.ring.size()));
        if free > 0 {
            self.ring.disarm();
        }
        Ok(())
    }
}

impl<L: Layout> Sender<L> {
    /// Reserves buffers of all kinds, in pieces, until enough descriptors were read, and returns how
    /// many. A bad one ends the window; the first is an error.
    #[inline(never)]
    fn reserve_odd(&mut self, batch: &mut TxBatch, wanted: usize) -> Result<usize, QueueError> {
        self.walked.clear();
        let (mut at, mut count) = (self.ring.place(0), 0);
        while count < wanted && !self.walked.is_enough() && self.ring.has(at) {
            let before = self.walked.pieces.len();
            let taken = self.take_buffer(at);
            let (chain, next) = match taken {
                Ok((chain, Some(next))) => (chain, next),
                Err(error) if count == 0 => return Err(error),
                Ok((_, None)) | Err(_) => {
                    self.walked.pieces.truncate(before);
                    break;
                }
            };
            if count == 0 {
                // What is beyond a whole burst stays unused.
                self.walked.pieces.truncate(batch.burst_max());
            } else if self.walked.pieces.len() > batch.burst_max() {
                self.walked.pieces.truncate(before);
                break;
            }
            let slots = mark_buffer(&mut self.walked.pieces[before..]);
            self.buffers[count] = Buffer { chain, slots };
            count += 1;
            at = next;
        }
        batch.reserve_pieces(&self.walked.pieces)?;
        Ok(count)
    }

    /// Appends the pieces of the buffer at `at`. Returns its chain, and where the next one begins.
    fn take_buffer(&mut self, at: L::Place) -> Result<(L::Chain, Option<L::Place>), QueueError> {
        let (chain, len) = self.ring.walk(at, &mut self.walked)?;
        match len? {
            len if len <= HEADER => Err(QueueError::TooShort { len, header: HEADER }),
            _ => Ok((chain, self.ring.behind(at, chain))),
        }
    }

    /// Gives buffers of one slot back, of which each holds a packet.
    #[inline]
    fn publish_plain(&mut self, committed: &Committed<'_>) -> Called {
        let Self { ring, buffers, offloads, stats, .. } = self;
        if *offloads {
            for at in 0..committed.slots {
                committed.batch.write_front(at, &net::encode(&committed.batch.offload(at), 1));
            }
        } else {
            committed.batch.write_fronts(committed.slots, &PLAIN);
        }
        let mut bytes = 0;
        let called =
            ring.give_back(buffers.iter().zip(committed.shapes()).map(|(buffer, shape)| {
                bytes += u64::from(shape.len());
                (buffer.chain, shape.len() + HEADER)
            }));
        stats.bytes += bytes;
        called
    }

    /// As [`publish_plain`](Self::publish_plain), for packets and buffers of any kind, and while
    /// writes are logged: headers are there before anything is noted.
    #[inline(never)]
    fn publish_odd(&mut self, committed: &Committed<'_>) -> Called {
        let mut shapes = committed.shapes();
        let (mut slots, mut count) = (0, 0);
        let (mut packet, mut packet_buffers) = (0, 0u16);
        for (buffer, len) in self.buffers.iter().zip(&mut self.lens) {
            if slots >= committed.slots {
                break;
            }
            let written = Written::sum(shapes.by_ref().take(buffer.slots.into()));
            *len = written.len + if packet_buffers == 0 { HEADER } else { 0 };
            slots += usize::from(buffer.slots);
            (count, packet_buffers) = (count + 1, packet_buffers + 1);
            self.stats.bytes += u64::from(written.len);
            if written.ends {
                let offload = committed.batch.offload(packet);
                committed.batch.write_front(packet, &net::encode(&offload, packet_buffers));
                (packet, packet_buffers) = (slots, 0);
            }
        }
        let Ground { memory, notes, .. } = self.ring.ground();
        notes.packets(memory, committed);
        let used = self.buffers.iter().zip(&self.lens).take(count);
        self.ring.give_back(used.map(|(buffer, len)| (buffer.chain, *len)))
    }
}

impl<L: Layout> CommitTx for Sender<L> {
    #[inline]
    fn commit(&mut self, committed: Committed<'_>) {
        self.stats.packets += committed.packets as u64;
        let plain = committed.packets == committed.slots && !self.ring.ground().notes.log();
        let called = match plain {
            true => self.publish_plain(&committed),
            false => self.publish_odd(&committed),
        };
        match called {
            Called::Yes => self.stats.doorbells += 1,
            Called::Suppressed => self.stats.doorbells_suppressed += 1,
            Called::Never => {}
        }
        self.ring.leave();
    }

    #[inline]
    fn end(&mut self) {
        self.ring.leave();
    }
}

impl<L: Layout> Side<TxStats> for Sender<L> {
    fn ring(&mut self) -> &mut dyn Ring {
        &mut self.ring
    }

    fn stats(&self) -> &TxStats {
        &self.stats
    }

    fn view(&self) -> RingView {
        self.ring.view()
    }

    fn stats_mut(&mut self) -> &mut TxStats {
        &mut self.stats
    }
}
