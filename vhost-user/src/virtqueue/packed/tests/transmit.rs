use super::*;
use crate::net::{self, HEADER_LEN};

#[test]
fn packets_are_sent_in_buffers_of_any_shape_through_many_wraps() {
    let shapes: [&[u32]; 4] = [&[300], &[12, 288], &[5, 7, 1, 287], &[100, 100, 100]];
    for size in [4u16, 9, 64] {
        for (turn, len) in (1..2000usize).step_by(17).enumerate() {
            let lens = shapes[turn % 4];
            let wanted = (len + 12).div_ceil(300);
            if wanted * lens.len() > usize::from(size) {
                continue;
            }
            let mut driver = Packed::new(size);
            let mut tx = driver.tx(FEATURES);
            for _ in 0..5 {
                let (mut at, mut buffers) = (GUEST + DATA, Vec::new());
                for id in 0..u16::try_from(wanted).unwrap() {
                    let chain: Vec<_> =
                        lens.iter().map(|&len| (at + 300 - u64::from(len), len, WRITE)).collect();
                    let chain: Vec<_> =
                        (0..).zip(chain).map(|(n, (_, len, f))| (at + 400 * n, len, f)).collect();
                    driver.offer(id, &chain);
                    buffers.push(chain);
                    at += 2000;
                }
                let packet = frame(len, 5);
                let mut burst = tx.tx_burst(256).unwrap();
                burst.push(&packet).unwrap();
                assert_eq!(burst.commit(), 1);
                let mut whole = Vec::new();
                for (id, len) in driver.used() {
                    let pieces = buffers[usize::from(id)].iter();
                    let mut part: Vec<u8> = pieces
                        .flat_map(|&(at, len, _)| driver.memory.get(at, len as usize))
                        .collect();
                    part.truncate(len as usize);
                    whole.extend(part);
                }
                let header: [u8; HEADER_LEN] = whole[..12].try_into().unwrap();
                let buffers = u16::try_from(wanted).unwrap();
                assert_eq!(header, net::encode(&Default::default(), buffers), "{len} in {lens:?}");
                assert_eq!(whole[12..], packet, "{len} in {lens:?}");
            }
        }
    }
}

#[test]
fn full_ring_takes_no_more_until_the_driver_offers_buffers() {
    let mut driver = Packed::new(5);
    let mut tx = driver.tx(FEATURES);
    let frames: Vec<_> = (0..7).map(|n| frame(60, n)).collect();
    assert_eq!(send(&mut tx, &frames), 0);
    for turn in 0..20u16 {
        (0..5).for_each(|id| driver.offer(id, &[(GUEST + DATA + 400 * u64::from(id), 300, WRITE)]));
        assert_eq!(send(&mut tx, &frames), 5, "{turn}");
        for (id, len) in driver.used() {
            let buffer = GUEST + DATA + 400 * u64::from(id);
            assert_eq!(driver.memory.get(buffer, len as usize)[12..], frames[usize::from(id)]);
        }
        assert_eq!(send(&mut tx, &frames), 0);
    }
}

#[test]
fn dropped_burst_publishes_nothing() {
    let mut driver = Packed::new(4);
    let mut tx = driver.tx(FEATURES);
    driver.offer(0, &[(GUEST + DATA, 300, WRITE)]);
    tx.tx_burst(4).unwrap().push(&frame(40, 1)).unwrap();
    assert_eq!(driver.used(), []);
    assert_eq!(send(&mut tx, &[frame(41, 2)]), 1);
    assert_eq!(driver.used(), [(0, 53)]);
}

#[test]
fn bad_buffer_waits_until_the_good_ones_before_it_are_used() {
    let mut driver = Packed::new(4);
    let mut tx = driver.tx(FEATURES);
    driver.offer(0, &[(GUEST + DATA, 300, WRITE)]);
    driver.offer(1, &[(GUEST + DATA, 5, WRITE)]);
    assert_eq!(send(&mut tx, &[frame(60, 1), frame(60, 2)]), 1);
    let error = ringport::error::QueueError::TooShort { len: 5, header: 12 };
    assert_eq!(tx.error(), error);
    assert_eq!(driver.used(), [(0, 72)]);
}
