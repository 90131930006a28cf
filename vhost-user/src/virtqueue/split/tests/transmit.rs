use super::driver::WRITE;
use super::*;
use crate::net::{self, HEADER_LEN};
use crate::virtqueue::RingFeatures;
use ringport::burst::PushError;
use ringport::offload::{Accepts, Checksum, Offload, Segmentation};

const MERGEABLE: RingFeatures = RingFeatures {
    mergeable: true,
    indirect: true,
    event_idx: false,
    in_order: false,
    rx_offloads: false,
    tx_offloads: Accepts { checksum: false, tcp4: false, tcp6: false, ecn: false },
};

/// Receive buffers of a driver, one for each chain.
struct Buffers {
    /// Address and length of the pieces, by head.
    chains: Vec<Vec<(u64, u32)>>,
}

impl Buffers {
    /// Offers `count` buffers whose pieces have `lens` bytes each.
    fn offer(driver: &mut Driver, count: u16, lens: &[u32]) -> Self {
        let mut at = GUEST + DATA;
        let mut chains = Vec::new();
        for buffer in 0..count {
            let chain = lens.iter().map(|&len| {
                at += u64::from(len) + 3;
                (at - u64::from(len) - 3, len)
            });
            let chain = chain.collect::<Vec<_>>();
            let first = buffer * u16::try_from(lens.len()).unwrap();
            driver.chain(first, &chain, true, None);
            driver.offer(first);
            chains.resize(usize::from(first), Vec::new());
            chains.push(chain);
        }
        Self { chains }
    }

    /// The packets in buffers that were used, each with its header.
    fn packets(&self, driver: &mut Driver) -> Vec<(Vec<u8>, [u8; HEADER_LEN])> {
        let used = driver.used();
        let (mut packets, mut used) = (Vec::new(), used.iter());
        while let Some(&first) = used.next() {
            let mut whole = self.contents(driver, first);
            let header: [u8; HEADER_LEN] = whole[..12].try_into().unwrap();
            for _ in 1..u16::from_le_bytes([header[10], header[11]]) {
                whole.extend(self.contents(driver, *used.next().unwrap()));
            }
            packets.push((whole[12..].to_vec(), header));
        }
        packets
    }

    fn contents(&self, driver: &Driver, (head, len): (u32, u32)) -> Vec<u8> {
        let pieces = &self.chains[head as usize];
        let mut bytes: Vec<u8> =
            pieces.iter().flat_map(|&(at, len)| driver.get(at, len as usize)).collect();
        assert!(len as usize <= bytes.len(), "more than the buffer holds");
        bytes.truncate(len as usize);
        bytes
    }

    fn frames(&self, driver: &mut Driver) -> Vec<Vec<u8>> {
        self.packets(driver).into_iter().map(|(frame, _)| frame).collect()
    }
}

#[test]
fn packets_arrive_unchanged_with_their_header_through_many_wraps() {
    for (size, base) in [(1, 0xfffe), (8, 0xfff0), (256, 0x7f80), (1024, 0)] {
        let (mut driver, mut tx) = Setup { base, ..Setup::new(size) }.tx();
        for turn in 0..60u32 {
            let count = size.min(40);
            let buffers = Buffers::offer(&mut driver, count, &[1526]);
            let frames: Vec<_> = (0..u32::from(count))
                .map(|n| frame(1 + (turn * 40 + n) as usize % 1514, n))
                .collect();
            assert_eq!(send(&mut tx, &frames), frames.len());
            let packets = buffers.packets(&mut driver);
            assert!(
                packets.iter().all(|(_, header)| *header == net::encode(&Offload::default(), 1))
            );
            let received: Vec<_> = packets.into_iter().map(|(frame, _)| frame).collect();
            assert_eq!(received, frames);
        }
        assert_eq!(tx.stop(), u32::from(driver.published));
    }
}

#[test]
fn every_length_arrives_whole_through_chains_and_over_buffers() {
    let shapes: [&[u32]; 5] = [&[9100], &[12, 9000], &[1; 24], &[5, 7, 1, 300], &[100]];
    for (at, lens) in shapes.into_iter().enumerate() {
        let (mut driver, mut tx) = Setup { features: MERGEABLE, ..Setup::new(4096) }.tx();
        let holds = lens.iter().sum::<u32>();
        for len in (1..=9000usize).filter(|len| len % 5 == at || *len < 700 || *len > 8950) {
            let wanted = (len + 12).div_ceil(holds as usize);
            if wanted * lens.len() > 256 {
                break;
            }
            let buffers = Buffers::offer(&mut driver, u16::try_from(wanted).unwrap(), lens);
            let packet = frame(len, 3);
            let mut burst = tx.tx_burst(256).unwrap();
            burst.push(&packet).unwrap();
            burst.commit();
            let packets = buffers.packets(&mut driver);
            assert_eq!(packets.len(), 1, "{len} in {lens:?}");
            assert_eq!(packets[0].0, packet, "{len} in {lens:?}");
            assert_eq!(packets[0].1[10..], u16::try_from(wanted).unwrap().to_le_bytes());
        }
    }
}

#[test]
fn long_packet_is_refused_where_buffers_are_not_mergeable() {
    let (mut driver, mut tx) = Setup::new(16).tx();
    let buffers = Buffers::offer(&mut driver, 4, &[112]);
    let mut burst = tx.tx_burst(16).unwrap();
    let refused = burst.push(&frame(101, 1));
    assert_eq!(refused, Err(PushError::TooLong { len: 101, chain_max: 1 }));
    burst.push(&frame(100, 2)).unwrap();
    assert_eq!(burst.commit(), 1);
    assert_eq!(buffers.frames(&mut driver), [frame(100, 2)]);
    let (mut driver, mut tx) = Setup::new(16).tx();
    let buffers = Buffers::offer(&mut driver, 2, &[12, 50, 50]);
    let mut burst = tx.tx_burst(16).unwrap();
    let refused = burst.push(&frame(101, 1));
    assert_eq!(refused, Err(PushError::TooLong { len: 101, chain_max: 3 }));
    burst.push(&frame(100, 2)).unwrap();
    burst.push(&frame(30, 3)).unwrap();
    assert_eq!(burst.commit(), 2);
    assert_eq!(buffers.frames(&mut driver), [frame(100, 2), frame(30, 3)]);
}

#[test]
fn full_ring_takes_no_more_until_the_driver_offers_buffers() {
    let (mut driver, mut tx) = Setup::new(4).tx();
    assert_eq!(tx.tx_burst(1).unwrap().free(), 0);
    let buffers = Buffers::offer(&mut driver, 4, &[200]);
    let frames: Vec<_> = (0..6).map(|n| frame(60, n)).collect();
    assert_eq!(send(&mut tx, &frames), 4);
    assert_eq!(tx.stats().ring_full, 2);
    assert_eq!(buffers.frames(&mut driver), frames[..4]);
    let buffers = Buffers::offer(&mut driver, 2, &[200]);
    assert_eq!(send(&mut tx, &frames[4..]), 2);
    assert_eq!(buffers.frames(&mut driver), frames[4..]);
}

#[test]
fn packet_beyond_the_whole_ring_is_refused_for_good() {
    let (mut driver, mut tx) = Setup { features: MERGEABLE, ..Setup::new(4) }.tx();
    let buffers = Buffers::offer(&mut driver, 4, &[100]);
    let mut burst = tx.tx_burst(3).unwrap();
    assert_eq!(burst.push(&frame(389, 1)), Err(PushError::Full), "more slots may do");
    drop(burst);
    let mut burst = tx.tx_burst(8).unwrap();
    let too_long = PushError::TooLong { len: 389, chain_max: 4 };
    assert_eq!(burst.push(&frame(389, 1)), Err(too_long));
    burst.push(&frame(388, 2)).unwrap();
    assert_eq!(burst.push(&frame(60, 3)), Err(PushError::Full));
    assert_eq!(burst.commit(), 1);
    assert_eq!(buffers.frames(&mut driver), [frame(388, 2)]);
}

#[test]
fn dropped_burst_publishes_nothing() {
    let (mut driver, mut tx) = Setup::new(4).tx();
    let buffers = Buffers::offer(&mut driver, 4, &[200]);
    tx.tx_burst(4).unwrap().push(&frame(40, 1)).unwrap();
    assert_eq!(driver.used_index(), 0);
    assert_eq!(send(&mut tx, &[frame(41, 2)]), 1);
    assert_eq!(buffers.frames(&mut driver), [frame(41, 2)]);
}

#[test]
fn buffers_in_tables_and_across_regions_are_filled() {
    let (mut driver, mut tx) = Setup::new(8).tx();
    let boundary = GUEST + driver.setup.second_region;
    let chain = vec![(GUEST + DATA + 100, 100), (GUEST + DATA, 50)];
    driver.chain(0, &chain, true, Some(GUEST + DATA + 4096));
    driver.offer(0);
    driver.describe(1, boundary - 700, 900, WRITE, 0);
    driver.offer(1);
    let buffers = Buffers { chains: vec![chain, vec![(boundary - 700, 900)]] };
    assert_eq!(send(&mut tx, &[frame(138, 1), frame(888, 2)]), 2);
    assert_eq!(buffers.frames(&mut driver), [frame(138, 1), frame(888, 2)]);
}

#[test]
fn packet_written_in_place_is_patched_behind_its_header() {
    for lens in [&[512][..], &[5, 7, 20, 480], &[12, 500], &[100, 100, 100, 100]] {
        let (mut driver, mut tx) = Setup { features: MERGEABLE, ..Setup::new(64) }.tx();
        let buffers = Buffers::offer(&mut driver, 3, lens);
        let mut burst = tx.tx_burst(16).unwrap();
        let mut writer = burst.writer();
        writer.append(&[0; 90]).unwrap();
        writer.append(&[7; 20]).unwrap();
        assert!(writer.overwrite(86, &[1, 2, 3, 4, 5, 6]));
        assert!(!writer.overwrite(108, &[0; 3]), "beyond what was appended");
        writer.finish().unwrap();
        burst.writer().append(&[9; 30]).unwrap();
        assert_eq!(burst.commit(), 1, "an unfinished packet is not sent");
        let expected = [&[0; 86][..], &[1, 2, 3, 4, 5, 6], &[7; 18]].concat();
        assert_eq!(buffers.frames(&mut driver), [expected], "{lens:?}");
    }
}

#[test]
fn offloads_go_into_headers_and_what_was_not_agreed_on_is_refused() {
    let accepts = Accepts { checksum: true, tcp4: true, ..Accepts::default() };
    let features = RingFeatures { tx_offloads: accepts, ..MERGEABLE };
    let (mut driver, mut tx) = Setup { features, ..Setup::new(16) }.tx();
    let checksum = Checksum::Partial { start: 14, offset: 6 };
    let tcp = |ecn| Segmentation::Tcp4 { header_len: 54, segment_size: 1000, ecn };
    let wanted = Offload { checksum, segmentation: tcp(false), vlan: None };
    let buffers = Buffers::offer(&mut driver, 4, &[300]);
    let mut burst = tx.tx_burst(8).unwrap();
    for refused in [
        Offload { vlan: Some(1), ..wanted },
        Offload { segmentation: tcp(true), ..wanted },
        Offload {
            segmentation: Segmentation::Tcp6 { header_len: 74, segment_size: 1000, ecn: false },
            ..wanted
        },
    ] {
        assert_eq!(burst.set_offload(refused), Err(PushError::Offload));
    }
    burst.set_offload(wanted).unwrap();
    burst.push(&frame(500, 1)).unwrap();
    burst.push(&frame(60, 2)).unwrap();
    assert_eq!(burst.commit(), 2);
    let headers: Vec<_> = buffers.packets(&mut driver).into_iter().map(|(_, h)| h).collect();
    assert_eq!(headers, [net::encode(&wanted, 2), net::encode(&Offload::default(), 1)]);
    // Nor does the next burst remember any of it.
    let buffers = Buffers::offer(&mut driver, 4, &[300]);
    assert_eq!(send(&mut tx, &[frame(60, 3)]), 1);
    assert_eq!(buffers.packets(&mut driver)[0].1, net::encode(&Offload::default(), 1));
}

#[test]
fn packets_are_forwarded_between_rings_with_their_offloads() {
    let features = RingFeatures { rx_offloads: true, ..RingFeatures::default() };
    let (mut from, mut rx) = Setup { features, ..Setup::new(16) }.rx();
    let accepts = Accepts { checksum: true, ..Accepts::default() };
    let features = RingFeatures { tx_offloads: accepts, ..RingFeatures::default() };
    let (mut to, mut tx) = Setup { features, ..Setup::new(16) }.tx();
    let buffers = Buffers::offer(&mut to, 8, &[700]);
    let checksum = Checksum::Partial { start: 34, offset: 16 };
    let wanted = Offload { checksum, ..Offload::default() };
    from.send_cut(0, &frame(100, 1), &[], GUEST + DATA);
    from.put(GUEST + DATA, &net::encode(&wanted, 0));
    from.send_cut(2, &frame(300, 2), &[12, 100], GUEST + DATA + 4096);
    let done = ringport::burst::forward(&mut *rx, &mut *tx, 64).unwrap();
    assert_eq!((done.packets, done.dropped), (2, 0));
    let packets = buffers.packets(&mut to);
    assert_eq!(packets[0], (frame(100, 1), net::encode(&wanted, 1)));
    assert_eq!(packets[1], (frame(300, 2), net::encode(&Offload::default(), 1)));
    assert_eq!(from.used(), [(0, 0), (2, 0)]);
}

#[test]
fn checksum_that_the_driver_does_not_take_is_computed_and_stored_behind_the_header() {
    for lens in [&[700][..], &[5, 7, 20, 400], &[30, 30, 30, 30], &[12, 500]] {
        let features = RingFeatures { rx_offloads: true, ..RingFeatures::default() };
        let (mut from, mut rx) = Setup { features, ..Setup::new(16) }.rx();
        let (mut to, mut tx) = Setup { features: MERGEABLE, ..Setup::new(16) }.tx();
        let buffers = Buffers::offer(&mut to, 4, lens);
        let checksum = Checksum::Partial { start: 34, offset: 16 };
        let wanted = Offload { checksum, ..Offload::default() };
        let mut packet = frame(100, 1);
        from.send_cut(0, &packet, &[], GUEST + DATA);
        from.put(GUEST + DATA, &net::encode(&wanted, 0));
        let done = ringport::burst::forward(&mut rx.queue, &mut tx.queue, 64).unwrap();
        assert_eq!((done.packets, done.finished, done.dropped), (1, 1, 0));
        let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair[1]);
        let sum = packet[34..].chunks(2).map(word).sum::<u32>() % 0xffff;
        packet[50..52].copy_from_slice(&(!u16::try_from(sum).unwrap()).to_be_bytes());
        let (arrived, header) = buffers.packets(&mut to).remove(0);
        assert_eq!(arrived, packet, "{lens:?}");
        assert_eq!(header[..10], [0; 10], "{lens:?}");
    }
}
