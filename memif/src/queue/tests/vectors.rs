//! Ring memory byte for byte: the states that every implementation agrees on.

use super::*;

/// The 192 bytes of a ring of 4 slots, read as the peer sees them.
fn ring_bytes(pair: &Pair, ring: u64) -> Vec<u8> {
    let table = DescTable::new(&pair.region0, 0, 128).unwrap();
    let first = u16::try_from(ring * 192 / 16).unwrap();
    (first..first + 12).flat_map(|at| table.load(at)).flat_map(u64::to_le_bytes).collect()
}

/// A ring image from its non-zero lines: offset and bytes.
fn image(lines: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 192];
    for (at, line) in lines {
        bytes[*at..*at + line.len()].copy_from_slice(line);
    }
    bytes
}

fn descriptor(flags: u16, len: u32, offset: u32) -> Vec<u8> {
    let mut bytes = flags.to_le_bytes().to_vec();
    bytes.extend([0, 0]);
    bytes.extend(len.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes.extend([0; 4]);
    bytes
}

fn polled_pair() -> Pair {
    let mut setup = Setup::new(2);
    (setup.client.rx_mode, setup.server.rx_mode) = (RxMode::Polling, RxMode::Polling);
    setup.connect()
}

#[test]
fn c2s_ring_with_a_single_and_a_chained_packet() {
    let mut pair = polled_pair();
    send(&mut pair.client.tx[0], &[frame(100, 1), frame(300, 2)]);
    let expected = image(&[
        (0x00, &[0x20, 0x1f, 0xe3, 0x03, 1, 0, 3, 0]),
        (0x80, &descriptor(0, 100, 0x180)),
        (0x90, &descriptor(1, 256, 0x280)),
        (0xa0, &descriptor(0, 44, 0x380)),
        (0xb0, &descriptor(0, 256, 0x480)),
    ]);
    assert_eq!(ring_bytes(&pair, 0), expected);
    receive(&mut pair.server.rx[0]);
    assert_eq!(ring_bytes(&pair, 0)[0x40..0x42], [3, 0]);
}

#[test]
fn s2c_ring_prefilled_then_used_then_recycled() {
    let mut pair = polled_pair();
    let prefilled = |head: u8, tail: u8, len: u32| {
        image(&[
            (0x00, &[0x20, 0x1f, 0xe3, 0x03, 1, 0, head, 0]),
            (0x40, &[tail, 0]),
            (0x80, &descriptor(0, len, 0x580)),
            (0x90, &descriptor(0, 256, 0x680)),
            (0xa0, &descriptor(0, 256, 0x780)),
            (0xb0, &descriptor(0, 256, 0x880)),
        ])
    };
    assert_eq!(ring_bytes(&pair, 1), prefilled(4, 0, 256));
    send(&mut pair.server.tx[0], &[frame(60, 1)]);
    assert_eq!(ring_bytes(&pair, 1), prefilled(4, 1, 60));
    receive(&mut pair.client.rx[0]);
    assert_eq!(ring_bytes(&pair, 1), prefilled(5, 1, 256));
}
