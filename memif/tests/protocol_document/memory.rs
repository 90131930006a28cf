//! Rings in memory: places, contents, indices.

use super::document::{blocks, number, size, table, vectors};
use ringport::error::QueueError;
use ringport::link::LinkState;
use ringport::ring::{Cursor, RingIdx};
use ringport_memif::control::{RingPlace, detect_cache_line};
use ringport_memif::queue::{ClientMemory, server_queues};
use ringport_memif::wire::COOKIE;
use ringport_memif::{
    BufferSpacing, CacheLine, ClientMemoryConfig, DataConfig, Direction, Offer, Queues,
    RegionOffer, RingOffer, RunParameters, RxMode, RxQueue, TxQueue,
};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;

const LINES: [CacheLine; 2] = [CacheLine::B64, CacheLine::B128];

/// What the vectors of rings are about: four slots, buffers of 256 bytes, one ring each way.
struct Scene {
    memory: File,
    /// The doorbell of the C2S ring.
    doorbell: File,
    made: ClientMemory,
    cache_line: CacheLine,
}

/// Both ends of a link, before anything moved.
struct Ends {
    client: Queues,
    server: Queues,
}

impl Scene {
    fn new(cache_line: CacheLine) -> Self {
        let params =
            RunParameters { c2s_rings: 1, s2c_rings: 1, log2_ring_size: 2, buffer_size: 256 };
        let config = ClientMemoryConfig {
            buffer_size: 256,
            spacing: BufferSpacing::Packed,
            cache_line,
            ..ClientMemoryConfig::default()
        };
        let made = ClientMemory::allocate(&params, &config).unwrap();
        let mut offer = made.offer("c").unwrap();
        let doorbell = File::from(offer.rings.swap_remove(0).doorbell);
        let memory = File::from(offer.regions.remove(0).fd);
        Self { memory, doorbell, made, cache_line }
    }

    /// The bytes of the C2S (0) or S2C (1) ring now.
    fn ring(&self, ring: u64) -> Vec<u8> {
        ring_bytes(&self.memory, ring, self.cache_line)
    }

    fn connect(self, rx_mode: RxMode) -> (File, File, Ends) {
        let data = DataConfig { rx_mode, ..DataConfig::default() };
        let offer = self.made.offer("c").unwrap();
        let link = || Arc::new(LinkState::new().unwrap());
        let server = server_queues(offer, self.cache_line, &link(), &data).unwrap();
        let client = self.made.into_queues(&link(), &data).unwrap();
        (self.memory, self.doorbell, Ends { client, server })
    }
}

fn ring_bytes(memory: &File, ring: u64, cache_line: CacheLine) -> Vec<u8> {
    let len = cache_line.ring_len(2);
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    memory.read_exact_at(&mut bytes, ring * len).unwrap();
    bytes
}

fn send(tx: &mut TxQueue, lens: &[usize]) {
    let mut burst = tx.tx_burst(8).unwrap();
    for &len in lens {
        burst.push(&vec![7; len]).unwrap();
    }
    assert_eq!(burst.commit(), lens.len());
}

fn receive(rx: &mut RxQueue) -> Vec<usize> {
    let burst = rx.rx_burst(8).unwrap();
    burst.packets().map(|packet| packet.detach().len()).collect()
}

#[test]
fn new_rings_are_the_vectors_in_both_layouts() {
    let vectors = vectors();
    assert_eq!(Scene::new(CacheLine::B64).ring(0), vectors["ring-c2s-new"].bytes);
    assert_eq!(Scene::new(CacheLine::B128).ring(0), vectors["ring-c2s-new-128"].bytes);
}

#[test]
fn packets_from_client_to_server_leave_the_ring_as_the_vectors_have_it() {
    let vectors = vectors();
    let (memory, _, mut ends) = Scene::new(CacheLine::B64).connect(RxMode::Polling);
    let ring = || ring_bytes(&memory, 0, CacheLine::B64);
    send(&mut ends.client.tx[0], &[100, 300]);
    assert_eq!(ring(), vectors["ring-c2s-sent"].bytes);
    assert_eq!(receive(&mut ends.server.rx[0]), [100, 300]);
    assert_eq!(ring(), vectors["ring-c2s-taken"].bytes);
}

#[test]
fn packets_from_server_to_client_leave_the_ring_as_the_vectors_have_it() {
    let vectors = vectors();
    let (memory, _, mut ends) = Scene::new(CacheLine::B64).connect(RxMode::Polling);
    let ring = || ring_bytes(&memory, 1, CacheLine::B64);
    assert_eq!(ring(), vectors["ring-s2c-offered"].bytes);
    send(&mut ends.server.tx[0], &[60]);
    assert_eq!(ring(), vectors["ring-s2c-filled"].bytes);
    assert_eq!(receive(&mut ends.client.rx[0]), [60]);
    assert_eq!(ring(), vectors["ring-s2c-recycled"].bytes);
}

#[test]
fn doorbell_reads_as_its_vector() {
    let (_, doorbell, mut ends) = Scene::new(CacheLine::B64).connect(RxMode::Interrupt);
    send(&mut ends.client.tx[0], &[60]);
    let mut bytes = vec![0; 8];
    std::io::Read::read_exact(&mut &doorbell, &mut bytes).unwrap();
    assert_eq!(bytes, vectors()["doorbell"].bytes);
}

/// A server's receive queue over a C2S ring that a client left in `memory`, and regions behind it.
fn server_on(memory: File, others: Vec<File>, log2_ring_size: u8) -> Queues {
    let ring_len = u32::try_from(CacheLine::B64.ring_len(log2_ring_size)).unwrap();
    let ring = |direction, offset| RingOffer {
        direction,
        index: 0,
        region: 0,
        offset,
        log2_ring_size,
        doorbell: super::handshakes::eventfd(),
    };
    let region = |file: File| RegionOffer { size: file.metadata().unwrap().len(), fd: file.into() };
    let offer = Offer {
        if_name: "c".into(),
        regions: [memory].into_iter().chain(others).map(region).collect(),
        rings: vec![ring(Direction::C2s, 0), ring(Direction::S2c, ring_len)],
    };
    let link = Arc::new(LinkState::new().unwrap());
    server_queues(offer, CacheLine::B64, &link, &DataConfig::default()).unwrap()
}

fn memory(len: u64) -> File {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd: OwnedFd = memfd_create("protocol", flags).unwrap();
    let file = File::from(fd);
    file.set_len(len).unwrap();
    file
}

#[test]
fn descriptor_of_the_vector_is_followed_to_its_region_and_offset() {
    let vector = &vectors()["descriptor"].bytes;
    let rings = memory(2 * CacheLine::B64.ring_len(2));
    for at in [0, CacheLine::B64.ring_len(2)] {
        rings.write_all_at(&COOKIE.to_le_bytes(), at).unwrap();
    }
    let (offset, len) = (0x030d_8800, 1500);
    let packets = memory(offset + 2 * len);
    packets.write_all_at(&[0xab; 1500], offset).unwrap();
    rings.write_all_at(vector, 128).unwrap();
    // The packet goes on: the same buffer once more, without NEXT.
    rings.write_all_at(&[&[0, 0], &vector[2..]].concat(), 144).unwrap();
    rings.write_all_at(&[2, 0], 6).unwrap();
    let mut server = server_on(rings, vec![memory(4096), packets], 2);
    let burst = server.rx[0].rx_burst(8).unwrap();
    let packet = burst.packets().next().unwrap().detach();
    assert_eq!(packet.to_vec(), vec![0xab; 3000]);
}

#[test]
fn fields_of_a_descriptor_lie_where_its_table_says() {
    let values = [("flags", 1), ("region", 2), ("length", 1500), ("offset", 0x030d_8800)];
    let values: Vec<(_, u64)> = values.into_iter().chain([("metadata", 0)]).collect();
    let rows = table("Descriptors");
    let names: Vec<_> = rows.iter().map(|row| row[2].as_str()).collect();
    assert_eq!(names, values.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let mut bytes = Vec::new();
    for (row, (name, value)) in rows.iter().zip(values) {
        let size = size(&row[1]);
        assert_eq!(number(&row[0]), bytes.len() as u64, "{name}");
        assert_eq!(row[3], format!("u{}", 8 * size), "{name}");
        bytes.extend_from_slice(&value.to_le_bytes()[..size]);
    }
    assert_eq!(bytes, vectors()["descriptor"].bytes);
}

/// What a server makes of a ring that a peer left in memory.
#[derive(Debug, PartialEq, Eq)]
enum Holds {
    /// Packets of these lengths.
    Packets(Vec<usize>),
    /// So many empty buffers.
    Buffers(usize),
}

/// Maps the ring twice, as a C2S and as an S2C one; its buffers lie in regions of 128 MiB.
fn server_finds(ring: &[u8], packets: bool) -> Holds {
    let rings = memory(128 << 20);
    for at in [0, 192] {
        rings.write_all_at(ring, at).unwrap();
    }
    let mut server = server_on(rings, vec![memory(128 << 20)], 2);
    if packets {
        Holds::Packets(receive(&mut server.rx[0]))
    } else {
        Holds::Buffers(server.tx[0].tx_burst(8).unwrap().free())
    }
}

#[test]
fn rings_that_peers_left_in_memory_are_taken_as_they_were_meant() {
    let mut count = 0;
    for block in blocks("vector") {
        let Some(&from) = block.attributes.get("from") else { continue };
        let ring = &vectors()[block.attributes["name"]].bytes;
        let (expected, packets) =
            match (block.attributes.get("packets"), block.attributes.get("buffers")) {
                (Some(lens), None) => {
                    let lens = lens.split(',').filter(|len| !len.is_empty());
                    (Holds::Packets(lens.map(size).collect()), true)
                }
                (None, Some(count)) => (Holds::Buffers(size(count)), false),
                _ => continue,
            };
        assert_eq!(server_finds(ring, packets), expected, "{from}");
        count += 1;
    }
    assert!(count >= 4, "{count} rings");
}

#[test]
fn parts_of_a_ring_lie_where_their_table_says() {
    let rows = table("Rings");
    for (at, cache_line) in LINES.into_iter().enumerate() {
        let offset = |field: &str| {
            let row = rows.iter().find(|row| row[0] == field).expect(field);
            number(&row[2 + at])
        };
        assert_eq!(offset("tail"), cache_line.bytes());
        assert_eq!(offset("descriptors"), cache_line.header_len());
        let scene = Scene::new(cache_line);
        let field = |ring: &[u8], name: &str, len: usize| {
            let start = usize::try_from(offset(name)).unwrap();
            ring[start..start + len].to_vec()
        };
        assert_eq!(field(&scene.ring(0), "cookie", 4), COOKIE.to_le_bytes());
        let (memory, _, mut ends) = scene.connect(RxMode::Polling);
        send(&mut ends.client.tx[0], &[60]);
        send(&mut ends.client.tx[0], &[60, 60]);
        assert_eq!(receive(&mut ends.server.rx[0]), [60; 3]);
        send(&mut ends.client.tx[0], &[61]);
        let ring = ring_bytes(&memory, 0, cache_line);
        assert_eq!(field(&ring, "flags", 2), [1, 0]);
        assert_eq!(field(&ring, "head", 2), [4, 0]);
        assert_eq!(field(&ring, "tail", 2), [3, 0]);
        let last = field(&ring, "descriptors", 64);
        assert_eq!(last[48 + 4..48 + 8], [61, 0, 0, 0]);
    }
    assert_eq!(rows.len(), 5);
}

/// A line of `key=value` words; those without a value are `true`.
fn word<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_whitespace().find_map(|word| match word.split_once('=') {
        Some((found, value)) => (found == key).then_some(value),
        None => (word == key).then_some(""),
    })
}

#[test]
fn layouts_are_told_apart_as_the_document_has_it() {
    let mut count = 0;
    for line in blocks("layout").into_iter().flat_map(|block| block.lines) {
        let log2_ring_size = u8::try_from(number(word(line, "log2").unwrap())).unwrap();
        let place = |offset: &str| RingPlace {
            region: 0,
            offset: u32::try_from(number(offset)).unwrap(),
            log2_ring_size,
        };
        let rings: Vec<_> = word(line, "offsets").unwrap().split(',').map(place).collect();
        let expected = number(word(line, "line").unwrap());
        assert_eq!(detect_cache_line(&rings).bytes(), expected, "{line}");
        count += 1;
    }
    assert!(count >= 6);
}

#[test]
fn indices_count_as_the_document_has_it() {
    let mut count = 0;
    for line in blocks("indices").into_iter().flat_map(|block| block.lines) {
        let value = |key| word(line, key).map(|value| u16::try_from(number(value)).unwrap());
        let (size, head, tail) =
            (value("size").unwrap(), value("head").unwrap(), value("tail").unwrap());
        let mut server = Cursor::new(size, 0, 0);
        server.restart_at(RingIdx(tail));
        let used = server.load_peer(&AtomicU16::new(head)).ok();
        assert_eq!(used, value("used"), "{line}");
        assert_eq!(used.is_none(), word(line, "invalid").is_some(), "{line}");
        if let Some(slots) = word(line, "slots") {
            let slot = |at| RingIdx(tail).ahead(at).slot(size - 1).to_string();
            let counted: Vec<_> = (0..used.unwrap()).map(slot).collect();
            assert_eq!(counted.join(","), slots);
        }
        count += 1;
    }
    assert!(count >= 6);
}

#[test]
fn indices_that_cannot_be_fault_the_link_in_both_directions() {
    for line in blocks("indices").into_iter().flat_map(|block| block.lines) {
        if word(line, "invalid").is_none() || word(line, "tail") != Some("0") {
            continue;
        }
        let head = u16::try_from(number(word(line, "head").unwrap())).unwrap();
        let (memory, _, mut ends) = Scene::new(CacheLine::B64).connect(RxMode::Polling);
        for ring in 0..2 {
            memory.write_all_at(&head.to_le_bytes(), ring * 192 + 6).unwrap();
        }
        let runaway = QueueError::IndexRunaway { queued: head, ring_size: 4 };
        assert_eq!(ends.server.rx[0].rx_burst(8).unwrap_err(), runaway);
        let (memory, _, mut ends) = Scene::new(CacheLine::B64).connect(RxMode::Polling);
        memory.write_all_at(&head.to_le_bytes(), 192 + 6).unwrap();
        assert_eq!(ends.server.tx[0].tx_burst(8).unwrap_err(), runaway);
    }
}
