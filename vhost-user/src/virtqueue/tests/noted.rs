//! Rings that note what they write to, and how far they are.

use super::*;
use crate::backend::{InflightMemory, PackedIndex, RingBase};
use crate::inflight::{InflightArea, area_len};
use crate::log::{DirtyLog, PAGE, RingLog};
use crate::virtqueue::RingStart;
use crate::virtqueue::split::tests::{GUEST, frame};
use ringport::shm::{Backing, Mapping, OwnedMemory, SharedBitmap};
use std::sync::Arc;

for_both_layouts! {
    every_page_that_a_burst_changes_is_marked
    packet_over_several_buffers_marks_all_of_them
    nothing_is_marked_before_or_after
    log_that_begins_in_the_middle_of_a_burst_has_all_of_it_or_what_follows
    ring_whose_own_writes_are_not_logged_marks_packets_only
    received_packets_mark_the_ring_only
    buffers_of_held_packets_go_back_with_a_mark_whoever_gives_them_back
    position_is_kept_after_each_burst
    log_goes_along_into_another_memory
}

/// Bytes of a log for all of the guest.
const LOG_LEN: u64 = (GUEST + 0x100_0000) / PAGE / 8;

/// A dirty log, to look at.
struct Log {
    mapping: Arc<Mapping>,
    log: DirtyLog,
}

impl Log {
    fn new() -> Self {
        let memory = OwnedMemory::create("log", LOG_LEN.try_into().unwrap(), Backing::Pages);
        let mapping = Arc::clone(memory.unwrap().mapping());
        let log = DirtyLog::new(&mapping, 0, LOG_LEN).unwrap();
        Self { mapping, log }
    }

    fn ring(&self, device_area: Option<u64>) -> Option<RingLog> {
        Some(RingLog { log: self.log.clone(), device_area })
    }

    /// Pages of the guest, counted from its first.
    fn marked(&self) -> Vec<u64> {
        let bits = SharedBitmap::new(&self.mapping, 0, LOG_LEN).unwrap();
        let first = GUEST / PAGE;
        (0..0x400).filter(|page| bits.get(first + page) == Some(true)).collect()
    }
}

/// Guest address of the device area.
fn device_area<P: Peer>(peer: &P) -> u64 {
    let place = peer.guest().at_front_end(peer.start().addresses.device, 4).unwrap();
    peer.guest().guest_address(place).unwrap()
}

/// The guest's pages now.
fn pages<P: Peer>(peer: &P) -> Vec<Vec<u8>> {
    let bytes = peer.memory().all();
    bytes.chunks(4096).map(<[u8]>::to_vec).collect()
}

/// Those that are different.
fn changed<P: Peer>(peer: &P, before: &[Vec<u8>]) -> Vec<u64> {
    let now = pages(peer);
    (0..).zip(now.iter().zip(before)).filter(|(_, (a, b))| a != b).map(|(page, _)| page).collect()
}

fn assert_all_marked(log: &Log, changed: &[u64]) {
    let marked = log.marked();
    assert!(!changed.is_empty());
    assert!(changed.iter().all(|page| marked.contains(page)), "{changed:?} in {marked:?}");
}

fn every_page_that_a_burst_changes_is_marked<P: Peer>() {
    let mut peer = P::new();
    let log = Log::new();
    let mut tx = peer.tx();
    tx.control.set_log(log.ring(Some(device_area(&peer))));
    // Often enough for each slot, and for the ring's turns.
    for turn in 0..20 {
        for _ in 0..5 {
            peer.offer();
        }
        let log = Log::new();
        tx.control.set_log(log.ring(Some(device_area(&peer))));
        let before = pages(&peer);
        let frames: Vec<_> = (0..5).map(|n| frame(60 + 300 * n, turn)).collect();
        assert_eq!(send(&mut tx, &frames), 5);
        let changed = changed(&peer, &before);
        assert_all_marked(&log, &changed);
        assert!(log.marked().len() <= changed.len() + 1, "{:?}, {changed:?}", log.marked());
        assert_eq!(peer.given_back(), frames);
        // Asking for kicks is a write as well.
        let before = pages(&peer);
        let log = Log::new();
        tx.control.set_log(log.ring(Some(device_area(&peer))));
        assert!(!tx.queue.arm().unwrap());
        assert!(self::changed(&peer, &before).iter().all(|page| log.marked().contains(page)));
        assert!(!log.marked().is_empty());
    }
}

fn packet_over_several_buffers_marks_all_of_them<P: Peer>() {
    let mut peer = P::new();
    let log = Log::new();
    let mut start = peer.start();
    start.features.mergeable = true;
    start.log = log.ring(Some(device_area(&peer)));
    let mut tx = Ring::tx(peer.ends(), peer.guest(), start);
    (0..6).for_each(|_| peer.offer());
    let before = pages(&peer);
    assert_eq!(send(&mut tx, &[frame(5000, 1), frame(2100, 2)]), 2);
    let changed = changed(&peer, &before);
    assert_all_marked(&log, &changed);
    assert!(log.marked().len() <= changed.len() + 1, "{:?}, {changed:?}", log.marked());
    assert_eq!(peer.given_back().len(), 5);
}

#[test]
fn packet_in_a_chain_marks_its_header_and_the_pieces_that_it_reaches() {
    use crate::virtqueue::split::tests::{DATA, Driver};
    const NEXT: u16 = 1;
    const WRITE: u16 = 2;
    for header in [&[12][..], &[5, 7], &[1, 1, 10]] {
        let mut driver = Driver::new();
        let log = Log::new();
        let start = RingStart { log: log.ring(None), ..driver.start_at(0) };
        let mut tx = Ring::tx(&driver.ends, &driver.guest, start);
        let lens: Vec<u32> = [header, &[1000, 100, 3000]].concat();
        for (at, len) in (0..).zip(&lens) {
            // Each in a page of its own.
            let address = GUEST + DATA + PAGE * u64::from(at);
            let last = usize::from(at) + 1 == lens.len();
            driver.describe(at, address, *len, if last { WRITE } else { NEXT | WRITE }, at + 1);
        }
        driver.offer(0);
        // Into the second piece of data, not into the third.
        assert_eq!(send(&mut tx, &[frame(1050, 1)]), 1);
        let pages = header.len() as u64 + 2;
        assert_eq!(log.marked(), (0..pages).map(|at| DATA / PAGE + at).collect::<Vec<_>>());
    }
}

fn nothing_is_marked_before_or_after<P: Peer>() {
    let mut peer = P::new();
    let log = Log::new();
    let mut tx = peer.tx();
    peer.offer();
    assert_eq!(send(&mut tx, &[frame(60, 1)]), 1);
    tx.control.set_log(log.ring(Some(device_area(&peer))));
    tx.control.set_log(None);
    peer.offer();
    assert_eq!(send(&mut tx, &[frame(60, 2)]), 1);
    assert_eq!(log.marked(), [0u64; 0]);
    assert!(tx.control.is_settled());
    let Log { mapping, log } = log;
    let weak = Arc::downgrade(&mapping);
    drop((mapping, log));
    assert!(weak.upgrade().is_none(), "the log is let go");
}

fn log_that_begins_in_the_middle_of_a_burst_has_all_of_it_or_what_follows<P: Peer>() {
    let mut peer = P::new();
    let log = Log::new();
    let mut tx = peer.tx();
    peer.offer();
    peer.offer();
    let Ring { queue, control, .. } = &mut tx;
    let mut burst = queue.tx_burst(1).unwrap();
    burst.push(&frame(60, 1)).unwrap();
    control.set_log(log.ring(Some(device_area(&peer))));
    assert!(!control.is_settled(), "the front-end is not told yet");
    burst.commit();
    assert!(control.is_settled());
    let before = pages(&peer);
    assert_eq!(send(queue, &[frame(60, 2)]), 1);
    assert_all_marked(&log, &changed(&peer, &before));
}

fn ring_whose_own_writes_are_not_logged_marks_packets_only<P: Peer>() {
    let mut peer = P::new();
    let log = Log::new();
    let mut tx = peer.tx();
    tx.control.set_log(log.ring(None));
    peer.offer();
    assert_eq!(send(&mut tx, &[frame(60, 1)]), 1);
    let data = crate::virtqueue::split::tests::DATA / PAGE;
    assert_eq!(log.marked(), [data]);
}

fn received_packets_mark_the_ring_only<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    for turn in 0..20 {
        peer.send(&frame(3000, turn));
        let log = Log::new();
        rx.control.set_log(log.ring(Some(device_area(&peer))));
        let before = pages(&peer);
        assert_eq!(receive(&mut rx), [frame(3000, turn)]);
        assert_all_marked(&log, &changed(&peer, &before));
        let data = crate::virtqueue::split::tests::DATA / PAGE;
        assert!(log.marked().iter().all(|page| *page < data), "{:?}", log.marked());
        peer.given_back();
    }
}

fn buffers_of_held_packets_go_back_with_a_mark_whoever_gives_them_back<P: Peer>() {
    for polled in [true, false] {
        let mut peer = P::new();
        let log = Log::new();
        let mut rx = peer.rx();
        peer.send(&frame(60, 1));
        peer.send(&frame(60, 2));
        let mut held = Vec::new();
        assert_eq!(rx.queue.hold(8, &mut held).unwrap(), 2);
        rx.control.set_log(log.ring(Some(device_area(&peer))));
        let before = pages(&peer);
        if polled {
            held.clear();
            assert!(rx.queue.rx_burst(8).unwrap().is_empty());
        } else {
            rx.control.stop();
            assert!(rx.control.is_settled());
        }
        assert_all_marked(&log, &changed(&peer, &before));
        assert_eq!(peer.given_back().len(), 2);
    }
}

fn position_is_kept_after_each_burst<P: Peer>() {
    let mut peer = P::new();
    let packed = matches!(peer.start().base, RingBase::Packed { .. });
    let len = area_len(packed, 1, 8);
    let memory = OwnedMemory::create("inflight", len.try_into().unwrap(), Backing::Pages).unwrap();
    let fd = memory.fd().try_clone_to_owned().unwrap();
    let said = InflightMemory { fd, size: len, offset: 0, queues: 1, queue_size: 8 };
    let area = InflightArea::new(Arc::clone(memory.mapping()), &said);
    let found = area.find(0, packed).unwrap().unwrap();
    let inflight = Some(found.start(peer.start().base, 8).unwrap());
    let start = RingStart { inflight, ..peer.start() };
    let mut rx = Ring::rx(peer.ends(), peer.guest(), start);
    for count in 1..20u32 {
        peer.send(&frame(100, count));
        assert_eq!(receive(&mut rx), [frame(100, count)]);
        peer.given_back();
        if packed {
            let kept = area.find(0, true).unwrap().unwrap().position(8, |_| unreachable!());
            let (index, wrap) = (u16::try_from(count % 8).unwrap(), count / 8 % 2 == 0);
            assert_eq!(kept.unwrap(), Some(PackedIndex { index, wrap }));
        } else {
            let mut used = [0; 4];
            let regions = ringport::shm::Regions::new(vec![Arc::clone(memory.mapping())]);
            regions.read(0, 12, &mut used).unwrap();
            assert_eq!(used, [0, 0, count.to_le_bytes()[0], 0]);
        }
    }
}

fn log_goes_along_into_another_memory<P: Peer>() {
    let mut peer = P::new();
    let log = Log::new();
    let mut tx = peer.tx();
    tx.control.set_log(log.ring(Some(device_area(&peer))));
    peer.memory_mut().move_memory();
    tx.control.apply(tx.control.retranslated(peer.guest()).unwrap());
    peer.offer();
    let before = pages(&peer);
    assert_eq!(send(&mut tx, &[frame(60, 1)]), 1);
    assert_all_marked(&log, &changed(&peer, &before));
}
