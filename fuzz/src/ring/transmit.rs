//! Fills a burst of free slots, and checks what is published against a layout of its own.

use super::memory::Descriptor;
use super::receive::check_packet;
use super::scene::Scene;
use crate::input::Input;
use ringport::burst::{BURST_MAX, PushError, TxBurst};
use ringport::error::QueueError;
use std::sync::LazyLock;

/// What packets are made of.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..0x1_0100_u32).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 24).to_le_bytes()[0]).collect()
});

fn frame(len: usize, seed: u8) -> &'static [u8] {
    &PATTERN[usize::from(seed)..usize::from(seed) + len]
}

/// One written slot.
struct Written {
    bytes: Vec<u8>,
    more: bool,
}

/// The free slots of a burst, as the harness lays packets out over them.
struct Window {
    /// The buffer of each slot.
    slots: Vec<Descriptor>,
    chain_max: usize,
    written: Vec<Written>,
    packets: usize,
}

impl Window {
    /// How a packet of `len` bytes is divided.
    fn plan(&self, len: usize) -> Result<Vec<usize>, PushError> {
        if len == 0 {
            return Err(PushError::Empty);
        }
        let (mut left, mut parts) = (len, Vec::new());
        while left > 0 {
            if parts.len() == self.chain_max {
                return Err(PushError::TooLong { len, chain_max: self.chain_max });
            }
            let slot = self.slots.get(self.written.len() + parts.len()).ok_or(PushError::Full)?;
            let now = left.min(slot.len as usize);
            parts.push(now);
            left -= now;
        }
        Ok(parts)
    }

    /// Checks what became of a packet.
    fn pushed(&mut self, bytes: &[u8], outcome: Result<(), PushError>, burst: &TxBurst<'_>) {
        let plan = self.plan(bytes.len());
        match (plan, outcome) {
            (Ok(parts), Ok(())) => {
                let (mut rest, count) = (bytes, parts.len());
                for (nth, part) in parts.into_iter().enumerate() {
                    let (now, later) = rest.split_at(part);
                    self.written.push(Written { bytes: now.to_vec(), more: nth + 1 < count });
                    rest = later;
                }
                self.packets += 1;
            }
            (Err(PushError::TooLong { .. }), Err(PushError::TooLong { .. })) => {}
            (plan, outcome) => assert_eq!(plan.map(drop), outcome, "{} bytes", bytes.len()),
        }
        self.check(burst);
    }

    fn check(&self, burst: &TxBurst<'_>) {
        assert_eq!(burst.free(), self.slots.len() - self.written.len());
        assert_eq!(burst.packets(), self.packets);
    }
}

impl Scene {
    /// Arguments: most slots (0xff: no limit), then what to write, up to 2 (commit) or 3 (drop).
    pub(super) fn transmit(&mut self, input: &mut Input<'_>) {
        let max = input.u8();
        let Some(mut window) = self.reserve(max) else {
            return;
        };
        let mut burst = self.tx_queue.tx_burst(limit(max)).expect("as a moment ago");
        window.check(&burst);
        let (memory, lane) = (&self.memory, &self.tx);
        let mut committed = true;
        while input.more() {
            match input.u8() % 8 {
                0 => {
                    // As many packets of a byte as fit.
                    let frame = frame(1, 0);
                    for _ in 0..burst.free() {
                        let outcome = burst.push(frame);
                        window.pushed(frame, outcome, &burst);
                    }
                }
                1 => {
                    let frame = frame(usize::from(input.u8()), 1);
                    let outcome = burst.push(frame);
                    window.pushed(frame, outcome, &burst);
                }
                4 => {
                    let frame = frame(usize::from(input.u16()), 2);
                    let outcome = burst.push(frame);
                    window.pushed(frame, outcome, &burst);
                }
                5 | 6 => write_in_place(&mut burst, &mut window, input),
                7 => {
                    // The peer moves a buffer after it was checked.
                    self.honest = false;
                    let slot = lane.slot(usize::from(input.u8() % 64));
                    memory.write(lane.address(slot), &input.take::<16>());
                }
                kind => {
                    committed = kind == 2;
                    break;
                }
            }
        }
        if committed {
            assert_eq!(burst.commit(), window.packets);
            self.check_published(&window, true);
        }
    }

    /// Checks the slots that a burst will have, without taking them.
    fn reserve(&mut self, max: u8) -> Option<Window> {
        let free = self.tx_queue.tx_burst(limit(max)).map(|burst| burst.free());
        let free = match free {
            Ok(free) => free,
            Err(error) => {
                self.failed(error, |scene| &mut scene.tx);
                return None;
            }
        };
        assert_eq!(self.tx.error, None, "slots after an error");
        let chain_max = self.chain_max.clamp(1, self.tx.size);
        let capacity = usize::from(self.tx.size).min(BURST_MAX.max(usize::from(chain_max)));
        assert!(free <= limit(max) && free <= capacity);
        if self.memory.lost {
            // Nobody knows what the queue sees: exercise it, check nothing.
            if let Ok(mut burst) = self.tx_queue.tx_burst(limit(max)) {
                while burst.push(frame(60, 0)).is_ok() {}
                burst.commit();
            }
            return None;
        }
        let table = self.tx.table(&self.memory);
        let slots = (0..free).map(|at| self.buffer(&table, self.tx.slot(at))).collect();
        let (written, packets) = (Vec::new(), 0);
        Some(Window { slots, chain_max: usize::from(chain_max), written, packets })
    }

    /// Where the buffer of a slot is: a good one, as the queue has checked it.
    fn buffer(&self, table: &[Descriptor], slot: u16) -> Descriptor {
        let buffer = self.tx.buffers.as_deref().unwrap_or(table)[usize::from(slot)];
        let len = self.own.as_ref().map_or(buffer.len, |own| own.capacity);
        assert!(len > 0, "slot {slot} has no buffer");
        let region = self.memory.regions.get(usize::from(buffer.region)).expect("a region");
        assert!(u64::from(buffer.offset) + u64::from(len) <= region.len, "{buffer:?}");
        Descriptor { len, ..buffer }
    }

    /// Checks descriptors, contents and index of a burst that was committed.
    fn check_published(&mut self, window: &Window, contents: bool) {
        let contents = contents && self.disjoint(window);
        let table = self.tx.table(&self.memory);
        for (at, (written, buffer)) in window.written.iter().zip(&window.slots).enumerate() {
            let found = table[usize::from(self.tx.slot(at))];
            let len = u32::try_from(written.bytes.len()).expect("fits its buffer");
            assert_eq!((found.len, found.more, found.region), (len, written.more, buffer.region));
            // A client writes only what the server may have changed; scribbles remain.
            if self.own.is_some() && self.honest {
                assert_eq!(found.offset, buffer.offset, "not our buffer");
            }
            if contents {
                let offset = u64::from(buffer.offset);
                let there = self.memory.read(buffer.region, offset, written.bytes.len());
                assert!(there == written.bytes, "contents of slot number {at}");
            }
        }
        self.tx.went_on(&self.memory, window.written.len());
    }

    /// Whether no two buffers overlap, and none overlaps the rings. (A packet that was not finished
    /// leaves bytes in slots behind those that were written.)
    fn disjoint(&self, window: &Window) -> bool {
        let range = |slot: &Descriptor| {
            let start = u64::from(slot.offset);
            (slot.region, start, start + u64::from(slot.len))
        };
        let rings = (0, 0, self.rings_end);
        let mut ranges: Vec<_> = window.slots.iter().map(range).chain([rings]).collect();
        ranges.sort_unstable();
        ranges.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].2 <= pair[1].1)
    }

    /// Receives and sends on with one copy. Arguments: most packets, most slots, packets to release.
    pub(super) fn relay(&mut self, input: &mut Input<'_>) {
        let [packets, slots, release] = input.take();
        let Some(mut window) = self.reserve(slots) else {
            return;
        };
        match self.relay_burst(&mut window, packets, slots, release) {
            Ok(returned) => self.released(returned),
            Err(error) => return self.failed(error, |scene| &mut scene.rx),
        }
        // A client may have us send from and to the same memory.
        self.check_published(&window, self.own.is_some());
    }

    /// Returns how many slots went back.
    fn relay_burst(
        &mut self,
        window: &mut Window,
        packets: u8,
        slots: u8,
        release: u8,
    ) -> Result<usize, QueueError> {
        let received = self.rx_queue.rx_burst(usize::from(packets))?;
        let mut burst = self.tx_queue.tx_burst(limit(slots)).expect("as a moment ago");
        let (mut taken, mut returned) = (0, 0);
        let table = self.rx.table(&self.memory);
        // All of them first: a client may have us write over the descriptors.
        for (nth, packet) in received.packets().enumerate() {
            taken += check_packet(&mut self.memory, &self.rx, &table, taken, &packet, 0);
            if nth < usize::from(release) {
                returned = taken;
            }
        }
        for packet in received.packets() {
            let bytes = packet.detach();
            let outcome = burst.push_packet(&packet);
            window.pushed(&bytes, outcome, &burst);
        }
        assert_eq!(burst.commit(), window.packets);
        received.release(usize::from(release));
        Ok(returned)
    }
}

fn limit(max: u8) -> usize {
    if max == 0xff { usize::MAX } else { usize::from(max) }
}

/// Writes one packet in place. Each byte of the input is a step: append, overwrite, finish, drop.
fn write_in_place(burst: &mut TxBurst<'_>, window: &mut Window, input: &mut Input<'_>) {
    let mut writer = burst.writer();
    let mut bytes = Vec::new();
    let mut broken = None;
    loop {
        let step = input.u8();
        match step % 8 {
            0 => break,
            1 => return window.check(burst),
            2..=4 => {
                let part = frame(usize::from(input.u8()) << (step % 8 - 2), step);
                let outcome = writer.append(part);
                if broken.is_some() {
                    assert!(part.is_empty() || outcome.is_err(), "appended behind what was lost");
                    continue;
                }
                match outcome {
                    Ok(()) => bytes.extend_from_slice(part),
                    Err(error) => broken = Some(error),
                }
                if broken.is_none() {
                    assert_eq!(writer.len(), bytes.len());
                }
            }
            _ => {
                let (offset, part) = (usize::from(input.u8()), frame(usize::from(step / 8), step));
                let offset = if offset == 0xff { usize::MAX } else { offset };
                let inside = offset.checked_add(part.len()).is_some_and(|end| end <= writer.len());
                assert_eq!(writer.overwrite(offset, part), inside);
                if inside && broken.is_none() {
                    bytes[offset..offset + part.len()].copy_from_slice(part);
                }
            }
        }
        if !input.more() {
            break;
        }
    }
    let finished = writer.finish();
    match broken {
        None => window.pushed(&bytes, finished, burst),
        Some(_) => {
            assert!(finished.is_err(), "finished, although a part is missing");
            window.check(burst);
        }
    }
}
