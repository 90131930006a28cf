//! [`crate::offloads()`].
//!
//! Input: a byte of flags (bit 0: a VLAN tag in the metadata; bit 1: the packet comes in pieces), the
//! virtio-net header, the tag, length of a piece, bytes to append in units of 32, the packet.

use crate::input::Input;
use crate::sum::sum;
use ringport::burst::{FillLimits, Piece, ReleaseRx, Released, RxBatch, RxBurst, Shape};
use ringport::offload::{Checksum, Offload, Segmentation};
use ringport::shm::{Backing, OwnedMemory, Regions};
use ringport::virtio_net::{HEADER_LEN, decode, encode};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

const VLAN: u8 = 1;
const PIECES: u8 = 2;
const HEAD: usize = 1 + HEADER_LEN + 4;
const TYPE_AT: usize = 12;

pub(crate) fn run(data: &[u8]) {
    let Some((head, packet)) = data.split_at_checked(HEAD) else { return };
    let mut input = Input::new(head);
    let (flags, header, tag) = (input.u8(), input.take::<HEADER_LEN>(), input.u16());
    let [piece, more] = input.take().map(usize::from);
    let mut packet = packet.to_vec();
    packet.extend((0..more * 32).map(|at| at.to_le_bytes()[0]));
    if packet.is_empty() {
        return;
    }
    let offload = Offload {
        vlan: (flags & VLAN != 0).then_some(tag),
        ..metadata(&header, u32::try_from(packet.len()).unwrap())
    };
    let piece = if flags & PIECES == 0 { packet.len() } else { 1 + piece };
    match finish(&packet, offload, piece) {
        None => assert!(!offload.is_plain(), "nothing was asked for"),
        Some(finished) if offload.segmentation == Segmentation::None => {
            assert_eq!(finished, [whole(&packet, offload)]);
        }
        Some(finished) => check_segments(&packet, offload, &finished),
    }
}

/// What a header says lies in its packet, and is written as it is read.
fn metadata(header: &[u8; HEADER_LEN], len: u32) -> Offload {
    let Ok(offload) = decode(header, len) else { return Offload::default() };
    if let Checksum::Partial { start, offset } = offload.checksum {
        assert!(u32::from(start) + u32::from(offset) + 2 <= len);
    }
    if let Some((header_len, size)) = cut(&offload) {
        assert!(u32::from(header_len) < len && size > 0);
        assert!(matches!(offload.checksum, Checksum::Partial { .. }));
    }
    assert_eq!(decode(&encode(&offload, 1), len), Ok(offload));
    offload
}

/// Bytes of headers and of each segment's payload.
fn cut(offload: &Offload) -> Option<(u16, u16)> {
    match offload.segmentation {
        Segmentation::None => None,
        Segmentation::Tcp4 { header_len, segment_size, .. }
        | Segmentation::Tcp6 { header_len, segment_size, .. } => Some((header_len, segment_size)),
    }
}

/// The packets that one packet stands for; `None` when it is not what its metadata says.
fn finish(packet: &[u8], offload: Offload, piece: usize) -> Option<Vec<Vec<u8>>> {
    let memory = OwnedMemory::create("fuzz", packet.len(), Backing::Pages).unwrap();
    let file = File::from(memory.fd().try_clone_to_owned().unwrap());
    file.write_all_at(packet, 0).unwrap();
    let regions = Arc::new(Regions::new(vec![Arc::clone(memory.mapping())]));
    let mut batch = RxBatch::new(regions, packet.len()).with_offloads();
    let ends = (0..packet.len()).step_by(piece).map(|start| {
        let len = piece.min(packet.len() - start);
        let shape = Shape::new(0, u32::try_from(len).unwrap(), start + len < packet.len());
        Piece::alone(start as u64, shape)
    });
    let limits = FillLimits { packets_max: 1, chain_max: packet.len(), piece_len_max: u32::MAX };
    batch.fill(ends, limits).unwrap();
    batch.set_offload(0, offload);
    let mut owner = Owner;
    let burst = RxBurst::new(&mut batch, &mut owner);
    let packet = burst.packets().next().expect("one packet");
    let finished = packet.finished().ok()?;
    let announced = finished.len();
    let finished: Vec<_> = finished.map(|bytes| bytes.to_vec()).collect();
    assert!(finished.len() == announced && announced > 0);
    Some(finished)
}

struct Owner;

impl ReleaseRx for Owner {
    fn release(&mut self, _: Released<'_>) {}
}

/// The packet with its checksum, and then its tag.
fn whole(packet: &[u8], offload: Offload) -> Vec<u8> {
    let mut expected = packet.to_vec();
    if let Checksum::Partial { start, offset } = offload.checksum {
        let (start, offset) = (usize::from(start), usize::from(offset));
        let checksum = match !sum(&[&packet[start..]]) {
            // UDP's, where zero means that there is none.
            0 if offset == 6 => 0xffff,
            checksum => checksum,
        };
        expected[start + offset..start + offset + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    if let Some(tag) = offload.vlan {
        let [high, low] = tag.to_be_bytes();
        expected.splice(TYPE_AT..TYPE_AT, [0x81, 0, high, low]);
    }
    expected
}

fn check_segments(packet: &[u8], offload: Offload, segments: &[Vec<u8>]) {
    let Checksum::Partial { start, offset: 16 } = offload.checksum else { panic!("not TCP's") };
    let moved = if offload.vlan.is_some() { 4 } else { 0 };
    let tcp = usize::from(start) + moved;
    let len = tcp + usize::from(packet[tcp - moved + 12] >> 4) * 4;
    let (_, size) = cut(&offload).expect("to be cut");
    let mut payload = Vec::new();
    for (n, segment) in segments.iter().enumerate() {
        let last = n + 1 == segments.len();
        let part = &segment[len..];
        assert!(part.len() == usize::from(size) || last && part.len() <= size.into());
        check_segment(segment, tcp);
        let sequence = |packet: &[u8], tcp: usize| {
            u32::from_be_bytes(packet[tcp + 4..tcp + 8].try_into().unwrap())
        };
        let behind = u32::try_from(payload.len()).unwrap();
        let first = sequence(packet, tcp - moved);
        assert_eq!(sequence(segment, tcp), first.wrapping_add(behind));
        let (flags, had) = (segment[tcp + 13], packet[tcp - moved + 13]);
        let dropped = if last { 0 } else { 0x09 } | if n == 0 { 0 } else { 0x80 };
        assert_eq!(flags, had & !dropped, "FIN and PSH in the last, CWR in the first");
        payload.extend_from_slice(part);
    }
    assert_eq!(payload, packet[len - moved..], "payload got lost");
}

/// Lengths and checksums of a segment are right.
fn check_segment(segment: &[u8], tcp: usize) {
    let mut ip = TYPE_AT;
    while [[0x81, 0], [0x88, 0xa8]].contains(&[segment[ip], segment[ip + 1]]) {
        ip += 4;
    }
    ip += 2;
    let said =
        |at: usize| usize::from(u16::from_be_bytes([segment[ip + at], segment[ip + at + 1]]));
    let addresses = if segment[ip] >> 4 == 4 {
        assert_eq!(said(2), segment.len() - ip);
        assert_eq!(sum(&[&segment[ip..tcp]]), 0xffff);
        ip + 12..ip + 20
    } else {
        assert_eq!(said(4), segment.len() - ip - 40);
        ip + 8..ip + 40
    };
    let [high, low] = u16::try_from(segment.len() - tcp).unwrap().to_be_bytes();
    let pseudo = [&segment[addresses], &[0, 6, high, low]].concat();
    assert_eq!(sum(&[&pseudo, &segment[tcp..]]), 0xffff);
}
