//! Two drivers of ours on one bridge of VPP's.

use crate::lab::{Attached, Lab, Outcome, Row, name};
use crate::table;
use ringport::offload::{Checksum, Offload, Segmentation};
use ringport_bench::interop::echo::{self, EchoPlan, pump};
use ringport_bench::interop::wait_until;
use ringport_vhost_user::DownReason;
use std::fmt;
use std::time::Duration;

/// Lengths around everything that could matter, up to the longest that VPP's interfaces take.
const LENS: [usize; 10] = [64, 65, 127, 128, 1499, 1514, 2048, 2049, 4097, 9000];

/// The smallest buffers and the smallest ring that a row has: VPP drops what finds no room.
const BUFFER_MIN: usize = 512;
const RING_MIN: usize = 64;

/// Long enough for a burst.
const MOMENT: Duration = Duration::from_millis(1);

/// Two interfaces and their drivers.
#[derive(Debug, Clone, Copy)]
struct Pair([Row; 2]);

impl Pair {
    fn same(row: Row) -> Self {
        Self([row; 2])
    }

    fn attach(&self, lab: &Lab) -> Outcome<[Attached; 2]> {
        let Self([a, b]) = self;
        let a = lab.attach(a, 0, || lab.create_bridged(a, 0))?;
        Ok([a, lab.attach(b, 1, || lab.create_bridged(b, 1))?])
    }

    /// Frames from each to the other, on every queue, which VPP has counted as we have.
    fn exchange(&self, lab: &Lab, ends: &mut [Attached; 2], frames: u64) -> Outcome {
        // Until VPP has noticed both links, it counts nothing.
        exchange(ends, 0, 1)?;
        let before = uncounted(lab, ends)?;
        for queue in 0..self.0[0].pairs.min(self.0[1].pairs) {
            let outcome = exchange(ends, queue, frames);
            outcome.map_err(|error| format!("{error} on queue {queue}"))?;
        }
        let after = uncounted(lab, ends)?;
        if before == after {
            return Ok(());
        }
        Err(format!("VPP has not counted {before:?} frames, then {after:?}").into())
    }
}

fn exchange([a, b]: &mut [Attached; 2], queue: usize, frames: u64) -> Outcome {
    let (slot, slots_in_flight) = (BUFFER_MIN, RING_MIN);
    let plan = EchoPlan { lens: &LENS, frames, slots_in_flight, slot, ..EchoPlan::default() };
    echo::exchange(a.end(queue), b.end(queue), &plan)
}

/// For each interface, how many packets we have sent that VPP has not received.
fn uncounted(lab: &Lab, ends: &[Attached; 2]) -> Outcome<Vec<u64>> {
    let ours = |end: &Attached| end.link.tx.iter().map(|tx| tx.stats().packets).sum::<u64>();
    ends.iter().enumerate().map(|(number, end)| Ok(ours(end) - received(lab, number)?)).collect()
}

/// How many packets VPP has received on an interface.
fn received(lab: &Lab, interface: usize) -> Outcome<u64> {
    let said = lab.vpp.show(&format!("show interface {}", name(interface)))?;
    let count = said.split_once("rx packets").and_then(|(_, rest)| rest.split_whitespace().next());
    Ok(count.ok_or_else(|| format!("no count: {said}"))?.parse()?)
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.0[0], self.0[1])
    }
}

#[test]
fn two_drivers_on_one_bridge_exchange_frames_that_vpp_counts() {
    let [split, packed] = [false, true].map(|packed| Row::new(packed, true));
    let all = Row::all().map(Pair::same);
    let pairs = Row::layouts().map(|row| Row { ours: ",queues=4", pairs: 4, ..row });
    let asleep = Row::layouts().map(|row| Row { rx_mode: "interrupt", ..row });
    let rows = all.chain(pairs.chain(asleep).map(Pair::same)).chain([
        Pair([split, packed]),
        Pair([packed, Row { ours: ",ring-size=64,buffer-size=512", ..split }]),
        Pair([Row { ours: ",buffer-size=9216", ..split }, Row::new(true, false)]),
    ]);
    let test = "two_drivers_on_one_bridge_exchange_frames_that_vpp_counts";
    table(test, rows, |pair, install| {
        let mut lab = Lab::start(install)?;
        let mut ends = pair.attach(&lab)?;
        pair.exchange(&lab, &mut ends, 3000)?;
        lab.vpp.check_running()
    });
}

#[test]
fn vpp_that_is_killed_under_traffic_and_comes_back_carries_frames_again() {
    let test = "vpp_that_is_killed_under_traffic_and_comes_back_carries_frames_again";
    table(test, Row::all().map(Pair::same), |pair, install| {
        let mut lab = Lab::start(install)?;
        let mut ends = pair.attach(&lab)?;
        for round in 0..3 {
            pair.exchange(&lab, &mut ends, 1000).map_err(|e| format!("round {round}: {e}"))?;
            for Attached { link, .. } in &mut ends {
                pump(&mut link.rx, &mut link.tx, MOMENT)?;
            }
            lab = lab.restart()?;
            let [a, b] = ends;
            let Pair([first, second]) = pair;
            ends = [again(&lab, first, 0, a)?, again(&lab, second, 1, b)?];
        }
        pair.exchange(&lab, &mut ends, 1000)?;
        lab.vpp.check_running()
    });
}

/// Waits for the end of a link, and the one after it, on an interface of VPP's successor.
fn again(lab: &Lab, row: &Row, number: usize, end: Attached) -> Outcome<Attached> {
    let Attached { driver, mut link } = end;
    wait_until("the end of the link", || {
        Ok(pump(&mut link.rx, &mut link.tx, MOMENT).is_err().then_some(()))
    })?;
    let reason = driver.link_down();
    if !matches!(reason, DownReason::PeerClosed) {
        return Err(format!("{}: {reason}", name(number)).into());
    }
    drop(link);
    lab.create_bridged(row, number)?;
    let link = row.next_link(&driver)?;
    Ok(Attached { driver, link })
}

/// A TCP segment of 20,000 bytes behind all of its headers, whose checksum is left to others: it holds the
/// sum of the pseudo-header.
fn long_segment() -> Vec<u8> {
    let mut frame = vec![0; 54 + 20_000];
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0]);
    frame[12..14].copy_from_slice(&[0x08, 0]);
    let total = u16::try_from(frame.len() - 14).unwrap();
    frame[14..18].copy_from_slice(&[0x45, 0, (total >> 8) as u8, total as u8]);
    frame[22..24].copy_from_slice(&[64, 6]);
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    frame[46..50].copy_from_slice(&[0x50, 0x10, 0xff, 0xff]);
    for (at, byte) in frame[54..].iter_mut().enumerate() {
        *byte = (at % 251) as u8;
    }
    frame
}

#[test]
fn segment_that_is_to_be_cut_passes_vpp_whole_and_with_what_it_asks_for() {
    let ours = ",offload=segmentation";
    let rows = Row::layouts().map(|row| Pair::same(Row { theirs: " gso", ours, ..row }));
    let test = "segment_that_is_to_be_cut_passes_vpp_whole_and_with_what_it_asks_for";
    table(test, rows, |pair, install| {
        let mut lab = Lab::start(install)?;
        let mut ends = pair.attach(&lab)?;
        exchange(&mut ends, 0, 10)?;
        let [a, b] = &mut ends;
        let frame = long_segment();
        let segmentation = Segmentation::Tcp4 { header_len: 54, segment_size: 1448, ecn: false };
        let checksum = Checksum::Partial { start: 34, offset: 16 };
        let offload = Offload { checksum, segmentation, vlan: None };
        let mut burst = a.link.tx[0].tx_burst(64)?;
        burst.set_offload(offload)?;
        burst.push(&frame)?;
        burst.commit();
        let (got, asks) = wait_until("the segment", || {
            let burst = b.link.rx[0].rx_burst(64)?;
            let found = burst.packets().next();
            Ok(found.map(|packet| (packet.detach(), packet.offload())))
        })?;
        // How long headers are is a hint, which VPP leaves at zero.
        let cut = matches!(asks.segmentation, Segmentation::Tcp4 { segment_size: 1448, .. });
        if asks.checksum != checksum || !cut {
            return Err(format!("{asks:?}").into());
        }
        // VPP fills in both sums that are its own to compute: of IP, and of the pseudo-header.
        let same = |range: std::ops::Range<usize>| got.get(range.clone()) == frame.get(range);
        if !(same(0..24) && same(26..50) && same(52..frame.len()) && got.len() == frame.len()) {
            return Err(format!("{} bytes, others than {}", got.len(), frame.len()).into());
        }
        lab.vpp.check_running()
    });
}
