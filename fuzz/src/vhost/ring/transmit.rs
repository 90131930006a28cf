//! Sends a burst, and reads it as the driver would.

use super::lane::{Expected, contents, used_at};
use super::layout::{Chain, Place, Ring, View};
use super::memory::{Piece, apart};
use super::scene::{Scene, behind as place_behind};
use crate::input::Input;
use ringport::burst::{BURST_MAX, PushError, TxBurst};
use ringport::doorbell::Doorbell;
use ringport::offload::{Accepts, Checksum, Offload, Segmentation};
use std::sync::Arc;

/// Most packets of a burst.
const PACKETS_MAX: u8 = 48;

/// A packet that was taken.
struct Frame {
    bytes: Vec<u8>,
    /// The header in front of it, but for the number of buffers.
    header: [u8; 10],
}

/// The ring as it was when a burst began.
struct Held {
    ring: Ring,
    place: Place,
    starts: u32,
    /// The harness knew where the queue was.
    known: bool,
    call: Option<Arc<Doorbell>>,
}

impl Scene {
    /// Arguments: most slots (255: no limit), how many packets (bit 7: they are not sent), how much
    /// else happens before that; then length and offload of each packet.
    pub(super) fn transmit(&mut self, input: &mut Input<'_>) {
        let [max, count, acts] = input.take();
        let limit = if max == 0xff { usize::MAX } else { usize::from(max) };
        let lane = &self.world.lanes[1];
        lane.begin(&self.world.memory);
        let before = self.world.memory.view();
        let live = lane.is_live() && lane.enabled;
        let expected = match live && lane.known {
            true => lane.expected(self.world.view(&before), limit, usize::MAX),
            false => Expected::default(),
        };
        if live {
            self.ask_oracle(1, &expected.chains, &before);
        }
        let mut burst = match self.tx.tx_burst(limit) {
            Ok(burst) => burst,
            Err(error) => return self.world.check_down(error),
        };
        let lane = &self.world.lanes[1];
        let (ring, place, starts) = (lane.ring, lane.next, lane.starts);
        let free = burst.free();
        // The slots of a buffer are its pieces, and at most as many buffers are reserved as asked for.
        let slots: usize =
            expected.chains.iter().flat_map(|chain| &chain.pieces).map(Vec::len).sum();
        assert!(!lane.known || free <= slots.min(BURST_MAX.max(usize::from(ring.size.min(1024)))));
        assert!(live || free == 0, "slots without a ring");
        let exact = lane.known && (ring.packed || lane.honest_index);
        assert!(!exact || free > 0 || limit == 0 || expected.chains.is_empty(), "no slots");
        assert!(!lane.known || free == 0 || !expected.chains.is_empty(), "slots from nowhere");
        let held = Held { ring, place, starts, known: lane.known, call: lane.call.clone() };
        let frames = self.world.push_all(&mut burst, count % PACKETS_MAX, &expected, input);
        let world = &mut self.world;
        world.open = true;
        (0..acts % 4).for_each(|_| world.act(input));
        world.open = false;
        held.take_calls();
        let asked = world.memory.view();
        let frames = match count & 0x80 {
            0 => {
                assert_eq!(burst.commit(), frames.len());
                &frames[..]
            }
            _ => {
                drop(burst);
                &[]
            }
        };
        self.counts[1] += frames.len() as u64;
        // What was written may have been written over since.
        let sure = acts % 4 == 0 || self.world.lanes[1].honest;
        if held.known {
            self.check_sent(&held, &expected, frames, &asked, sure);
        }
        if self.world.lanes[1].starts == held.starts {
            self.check_fault(1, expected.broken || expected.bad);
        }
    }

    /// Checks what was sent on the ring that was there when the burst began.
    fn check_sent(
        &mut self,
        held: &Held,
        expected: &Expected,
        frames: &[Frame],
        asked: &[u8],
        sure: bool,
    ) {
        let after = self.world.memory.view();
        let (view, mergeable) = (self.world.view(&after), self.world.features.mergeable);
        let used = check_frames(view, held, &expected.chains, frames, mergeable, sure);
        let lane = &mut self.world.lanes[1];
        if lane.starts != held.starts {
            return;
        }
        let Some(used) = used else {
            // What was written lies over what says how much.
            lane.known = false;
            return lane.spoil();
        };
        if lane.honest && !used.is_empty() && lane.on && held.call.is_some() {
            let view = View { bytes: asked, table: &self.world.table };
            let last = place_behind(&held.ring, held.place, used);
            let wanted = held.ring.wants_call(view, held.place, last);
            assert_eq!(held.take_calls(), wanted, "called or not");
        }
        lane.went_on(used);
    }
}

impl Held {
    fn take_calls(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.drain().unwrap())
    }
}

impl super::world::World {
    /// Pushes packets; returns those that were taken.
    fn push_all(
        &self,
        burst: &mut TxBurst<'_>,
        count: u8,
        expected: &Expected,
        input: &mut Input<'_>,
    ) -> Vec<Frame> {
        let mut frames = Vec::new();
        for nth in 0..count {
            let (len, kind) = (usize::from(input.u16()) % 0x3000, input.u8());
            let bytes = frame(len, nth.wrapping_add(kind));
            let (offload, header) = offload(kind, len);
            let (free, packets) = (burst.free(), burst.packets());
            let outcome = burst.set_offload(offload).and_then(|()| burst.push(&bytes));
            let accepted = self.accepts(&offload);
            match outcome {
                Ok(()) => {
                    assert!(accepted && len > 0 && free > 0);
                    assert_eq!(burst.packets(), packets + 1);
                    assert!(burst.free() < free);
                    // Nothing is said to a driver that takes no offloads.
                    let says = self.features.tx_offloads != Accepts::default();
                    let header = if says { header } else { [0; 10] };
                    frames.push(Frame { bytes, header });
                }
                Err(error) => {
                    assert_eq!((burst.free(), burst.packets()), (free, packets));
                    match error {
                        PushError::Offload => assert!(!accepted),
                        PushError::Empty => assert_eq!(len, 0),
                        // The first buffer has room for a byte behind the header.
                        _ => assert!(len > 1 || free == 0 || packets > 0, "{error:?}"),
                    }
                    // The next packet must not have this one's offload.
                    if accepted {
                        let _ = burst.set_offload(Offload::default());
                    }
                    let room: usize = expected.chains.iter().map(Chain::len).sum();
                    let fits = len > 0 && free == expected.chains.len() && packets == 0;
                    let first = expected.chains.first().map_or(0, Chain::len);
                    let fits = fits && accepted && len + 12 <= first.min(room);
                    assert!(!fits, "{error:?}, although {len} bytes fit the first buffer");
                }
            }
        }
        frames
    }

    fn accepts(&self, offload: &Offload) -> bool {
        match self.features.tx_offloads == Accepts::default() {
            true => offload.is_plain(),
            false => self.features.tx_offloads.allows(offload),
        }
    }
}

/// Reads `frames` from the buffers that were used, and returns which ones these are; `None` when
/// buffers overlap what says so. The contents count where they are `sure`.
fn check_frames<'e>(
    view: View<'_>,
    held: &Held,
    chains: &'e [Chain],
    frames: &[Frame],
    mergeable: bool,
    sure: bool,
) -> Option<&'e [Chain]> {
    let (ring, mut at, mut used) = (&held.ring, held.place, 0);
    let mut whole: Vec<Piece> = Vec::new();
    let mut disjoint = sure;
    // As many as can have been used.
    let reach: Vec<Piece> =
        chains.iter().flat_map(|c| c.pieces.iter().flatten()).copied().collect();
    if !frames.is_empty() && !apart(&ring.written(), &reach) {
        return None;
    }
    for chain in chains {
        let pieces = chain.pieces.as_deref().unwrap_or_default();
        disjoint &=
            apart(pieces, &whole) && (1..pieces.len()).all(|n| apart(&pieces[n..=n], &pieces[..n]));
        whole.extend(pieces);
    }
    for frame in frames {
        let mut received: Vec<u8> = Vec::new();
        let mut buffers = 0u16;
        while received.len() < frame.bytes.len() + 12 {
            let chain = chains.get(used).expect("a buffer that the driver provided");
            let (id, len) = used_at(ring, view, at);
            let len = len as usize;
            assert_eq!(id, u32::from(chain.id), "another buffer is used");
            assert!(len <= chain.len() && len > 0, "{len} bytes in a buffer of {}", chain.len());
            assert!(len >= 12 || buffers > 0, "less than a header");
            received.extend(&contents(view, chain)[..len]);
            at = ring.ahead(at, chain.entries);
            (used, buffers) = (used + 1, buffers + 1);
        }
        assert_eq!(received.len(), frame.bytes.len() + 12, "length of a packet");
        assert!(mergeable || buffers == 1, "a packet in several buffers");
        // A frame need not end in its last buffer's chain; whoever comes next has a header.
        if disjoint {
            assert_eq!(received[..10], frame.header, "header");
            assert_eq!(received[10..12], buffers.to_le_bytes(), "number of buffers");
            assert!(received[12..] == frame.bytes, "contents");
        }
    }
    if !ring.packed && used > 0 {
        assert_eq!(view.u16(ring.areas[2] + 2), at.at, "published index");
    }
    Some(&chains[..used])
}

/// Bytes that differ from those of other frames.
fn frame(len: usize, seed: u8) -> Vec<u8> {
    let seed = usize::from(seed).wrapping_mul(97);
    let byte = |at: usize| (at.wrapping_mul(31) ^ seed ^ at >> 8).to_le_bytes()[0];
    (0..len).map(byte).collect()
}

/// An offload, and the header that says so.
fn offload(kind: u8, len: usize) -> (Offload, [u8; 10]) {
    let ecn = kind & 0x80 != 0;
    let none = Offload::default();
    let checksum = Checksum::Partial { start: 34, offset: 16 };
    let (header_len, segment_size) = (54, 1460);
    match kind % 8 {
        1 => (Offload { checksum: Checksum::Verified, ..none }, [2, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        2 if len > 60 => (Offload { checksum, ..none }, [1, 0, 0, 0, 0, 0, 34, 0, 16, 0]),
        3 if len > 60 => {
            let segmentation = Segmentation::Tcp4 { header_len, segment_size, ecn };
            let kind = 1 | if ecn { 0x80 } else { 0 };
            let offload = Offload { checksum, segmentation, ..none };
            (offload, [1, kind, 54, 0, 0xB4, 5, 34, 0, 16, 0])
        }
        4 if len > 60 => {
            let segmentation = Segmentation::Tcp6 { header_len, segment_size, ecn };
            let kind = 4 | if ecn { 0x80 } else { 0 };
            let offload = Offload { checksum, segmentation, ..none };
            (offload, [1, kind, 54, 0, 0xB4, 5, 34, 0, 16, 0])
        }
        5 => (Offload { vlan: Some(5), ..none }, [0; 10]),
        _ => (none, [0; 10]),
    }
}
