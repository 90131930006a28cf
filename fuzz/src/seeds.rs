//! Inputs to begin with: whole conversations and well-formed traffic, and each rule broken once.
//!
//! They are replayed as they are, and written to the corpora for libFuzzer to vary
//! (`cargo test -p ringport-fuzz -- --ignored write_seeds`).

mod driver;
mod sockets;
mod state;
mod tools;
mod vdpa;
mod vhost;

use crate::control::{FDS_TRUNCATED, OWN_FDS, OWN_LENGTH, TRUNCATED};
use crate::input::Script;
use crate::ring::{EMPTY_SLOTS, POLICY, RX_MODE, UNSEALED_OR_POOL, WIDE_LINES};
use ringport_memif::wire::{
    AddRegion, AddRing, Disconnect, Hello, Init, Message, Reason, Secret, VERSION,
};
use ringport_memif::{Direction, Mode};

/// An input with its name.
pub type Seed = (&'static str, Vec<u8>);

/// The seeds of `target`.
#[must_use]
pub fn of(target: &str) -> Vec<Seed> {
    match target {
        "wire" => wire(),
        "control_server" => control_server(),
        "control_client" => control_client(),
        "memif_listener" => sockets::listener(),
        "memif_client" => sockets::client(),
        "ring_server" => ring_server(),
        "ring_client" => ring_client(),
        "vhost_messages" => vhost::messages(),
        "vhost_device" => vhost::device(),
        "vhost_state" => state::states(),
        "vhost_notes" => vhost::notes(),
        "vhost_split" => vhost::rings(false),
        "vhost_packed" => vhost::rings(true),
        "driver_split" | "driver_packed" => driver::rings(),
        "frontend_messages" => vhost::frontend(),
        "vhost_driver" => vhost::driver(),
        "relay_messages" => vhost::relay(),
        "pci_capabilities" => vdpa::capabilities(),
        "offloads" => tools::offloads(),
        "station" => tools::station(),
        "dump" => tools::dump(),
        "pktgen" => tools::pktgen(),
        "port_strings" => tools::port_strings(),
        _ => Vec::new(),
    }
}

/// The messages of one connection.
fn messages() -> [(&'static str, Message); 9] {
    let ring = |direction, offset| {
        let (index, region, log2_ring_size, private_header_size) = (0, 0, 10, 0);
        let ring =
            AddRing { direction, index, region, offset, log2_ring_size, private_header_size };
        Message::AddRing(ring)
    };
    let init = Init {
        version: VERSION,
        id: 7,
        mode: Mode::Ethernet.to_wire(),
        secret: Secret::new(b"s3cret").unwrap(),
        name: "rs-slave".into(),
    };
    let hello = Hello {
        name: "m-app".into(),
        min_version: VERSION,
        max_version: VERSION,
        max_region: 255,
        max_s2c_ring: 255,
        max_c2s_ring: 255,
        max_log2_ring_size: 14,
    };
    let bye = Disconnect { code: 0, text: Reason::new("Incorrect secret") };
    [
        ("ack", Message::Ack),
        ("hello", Message::Hello(hello)),
        ("init", Message::Init(init)),
        ("add-region", Message::AddRegion(AddRegion { index: 0, size: 0x40_8100 })),
        ("add-ring-c2s", ring(Direction::C2s, 0)),
        ("add-ring-s2c", ring(Direction::S2c, 0x4080)),
        ("connect", Message::Connect { if_name: "mif-s0".into() }),
        ("connected", Message::Connected { if_name: "mif-m0".into() }),
        ("disconnect", Message::Disconnect(bye)),
    ]
}

fn wire() -> Vec<Seed> {
    let mut seeds: Vec<Seed> =
        messages().into_iter().map(|(name, message)| (name, message.encode().to_vec())).collect();
    let filled = |message_type: u8| {
        let mut bytes = vec![0xff; 128];
        bytes[..2].copy_from_slice(&[message_type, 0]);
        bytes
    };
    let mut secret = messages()[2].1.encode().to_vec();
    secret[9..33].fill(b's');
    seeds.extend([
        ("10-bytes", vec![1; 10]),
        ("200-bytes", vec![1; 200]),
        ("nothing", Vec::new()),
        ("unknown-type", vec![9; 128]),
        ("secret-of-24-bytes", secret),
        ("hello-filled", filled(2)),
        ("init-filled", filled(3)),
        ("add-ring-filled", filled(5)),
        ("disconnect-filled", filled(8)),
    ]);
    seeds
}

/// Limits of 8 regions, 4 rings, log2 12; no limit of memory; cache line detected; 250 ms.
const SERVER: [u8; 8] = [7, 3, 3, 11, 0xff, 0, 250, 0];
/// INIT in its short form, and our answer.
const ADMITTED: [u8; 10] = [1, 0, 7, 0, b'a', b'b', b'x', 0, 0, 6];
/// A region of 16 pages.
const REGION: [u8; 3] = [14, 16, 0];
/// Two rings of 256 descriptors, back to back.
const RINGS: [u8; 14] = [15, 0, 0, 0, 0, 8, 0, 15, 1, 0, 0x08, 1, 8, 0];
/// CONNECT.
const CONNECT: [u8; 4] = [4, b'c', 0, 0];
/// Maps the offer, accepts it, sends everything.
const ACCEPT: [u8; 5] = [13, 8, b's', 0, 12];
/// Takes one message.
const TAKE: u8 = 11;

fn raw(message: &Message) -> Script {
    Script::new(&[0]).add(&message.encode()).add(&[0])
}

fn control_server() -> Vec<Seed> {
    let admitted = Script::new(&SERVER).add(&ADMITTED).add(&[0]);
    let announced = admitted.clone().add(&REGION).add(&RINGS);
    let up = announced.clone().add(&CONNECT).add(&ACCEPT);
    let at = |stage: &Script, then: &[u8]| stage.clone().add(then).bytes();
    let ring = |stage: &Script, ring: &[u8]| at(stage, &[&[3][..], ring, &[0]].concat());
    let odd_region = |kind: u8| {
        let script = admitted.clone().add(&[14, 16, OWN_FDS, kind]).add(&RINGS);
        script.add(&CONNECT).add(&ACCEPT).bytes()
    };
    let mut transcript = Script::new(&SERVER);
    for (_, message) in messages().into_iter().skip(2).filter(|(name, _)| *name != "connected") {
        transcript = transcript.join(&raw(&message)).add(&[6, 0, TAKE]).add(&ACCEPT);
    }
    let wide = [7, 3, 3, 11, 0xff, 2, 250, 1];
    let region_and = admitted.clone().add(&REGION);
    let mut seeds = vec![
        ("handshake", up.clone().add(&[5, 7, 0, b'b', 0, 0]).bytes()),
        ("transcript", transcript.bytes()),
        ("refused", Script::new(&SERVER).add(&ADMITTED[..9]).add(&[7, 12]).bytes()),
        ("wide-lines", {
            let rings = [15, 0, 0, 0, 0, 8, 0, 15, 1, 0, 0x10, 1, 8, 0];
            let script = Script::new(&wide).add(&ADMITTED).add(&[0]).add(&REGION).add(&rings);
            script.add(&CONNECT).add(&ACCEPT).bytes()
        }),
        ("disconnected-here", at(&up, &[9, 12, 12])),
        ("late", at(&admitted, &[10, 200, 10, 200, 12])),
        ("10-bytes", Script::new(&SERVER).add(&[1, 0, 7, 0, 0, 0, 0, 0, OWN_LENGTH, 10]).bytes()),
        ("200-bytes", Script::new(&SERVER).add(&[1, 0, 7, 0, 0, 0, 0, 0, OWN_LENGTH, 200]).bytes()),
        ("truncated", Script::new(&SERVER).add(&[1, 0, 7, 0, 0, 0, 0, 0, TRUNCATED]).bytes()),
        ("descriptors-truncated", at(&admitted, &[14, 16, FDS_TRUNCATED])),
        ("region-without-descriptor", at(&admitted, &[14, 16, OWN_FDS, 0])),
        ("region-with-2-descriptors", at(&admitted, &[14, 16, OWN_FDS, 2])),
        ("region-is-a-pipe", odd_region(0x41)),
        ("region-too-short", odd_region(0x21)),
        ("region-index-1", at(&admitted, &[2, 1, 0, 16, 0, 0, 0, 0, 0, 0, 0])),
        ("region-empty", at(&admitted, &[14, 0, 0])),
        ("second-init", at(&up, &ADMITTED[..9])),
        ("region-before-init", Script::new(&SERVER).add(&REGION).bytes()),
        ("connect-before-init", Script::new(&SERVER).add(&CONNECT).bytes()),
        ("ring-after-connect", at(&up, &RINGS[..7])),
        ("no-rings", at(&region_and, &CONNECT)),
        ("other-version", Script::new(&SERVER).add(&[1, 0x30, 7, 0, 0, 0, 0, 0, 0]).bytes()),
        ("mode-punt", Script::new(&SERVER).add(&[1, 0, 7, 2, 0, 0, 0, 0, 0]).bytes()),
        ("hello-to-a-server", at(&up, &[5, 1, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 10, 0])),
    ];
    // Way and private header, index, region, offset, log2 of the size.
    seeds.extend([
        ("ring-log2-15", ring(&region_and, &[0, 0, 0, 0, 0, 0, 0, 15])),
        ("ring-log2-255", ring(&region_and, &[0, 0, 0, 0, 0, 0, 0, 255])),
        ("ring-log2-0", ring(&region_and, &[0, 0, 0, 0, 0, 0, 0, 0])),
        ("ring-offset-runs-over", ring(&region_and, &[0, 0, 0, 0xf0, 0xff, 0xff, 0xff, 8])),
        ("ring-misaligned", ring(&region_and, &[0, 0, 0, 8, 0, 0, 0, 8])),
        ("ring-region-7", ring(&region_and, &[0, 0, 7, 0, 0, 0, 0, 8])),
        ("ring-index-1", ring(&region_and, &[0, 1, 0, 0, 0, 0, 0, 8])),
        ("ring-private-header", ring(&region_and, &[4, 0, 0, 0, 0, 0, 0, 8])),
        ("rings-overlap", {
            let rings = [15, 0, 0, 0, 0, 8, 0, 15, 1, 0, 0x07, 1, 8, 0];
            region_and.clone().add(&rings).add(&CONNECT).bytes()
        }),
        ("ring-without-cookie", {
            let rings = [15, 0, 0, 1, 0, 8, 0, 15, 1, 0, 0x09, 1, 8, 0];
            region_and.clone().add(&rings).add(&CONNECT).add(&ACCEPT).bytes()
        }),
        ("doorbell-is-a-socket", {
            let rings = [15, 0, 0, 0, 0, 8, OWN_FDS, 0x81, 15, 1, 0, 0x08, 1, 8, 0];
            region_and.clone().add(&rings).add(&CONNECT).add(&ACCEPT).bytes()
        }),
    ]);
    seeds
}

fn control_client() -> Vec<Seed> {
    // One region, two rings each way, log2 10, 250 ms.
    let header = [1, 2, 2, 10, 250];
    // Two-byte name, versions, regions, rings, log2.
    let hello = [2, b'm', 0, 0, 0, 255, 0, 255, 0, 255, 0, 14, 0];
    let start = Script::new(&header);
    let greeted = start.clone().add(&hello);
    let offered = greeted.clone().add(&[10, 2, 0, 2, 0, 10]).add(&[5, 9]);
    let acknowledged = offered.clone().add(&[11, 6, 9]);
    let up = acknowledged.clone().add(&[3, b's', 0, 0]);
    let at = |stage: &Script, then: &[u8]| stage.clone().add(then).bytes();
    let mut transcript = start.clone();
    for (name, message) in messages() {
        match name {
            "hello" => transcript = transcript.join(&raw(&message)).add(&[5, 9]),
            "connected" => transcript = transcript.add(&[11, 6]).join(&raw(&message)),
            "disconnect" => transcript = transcript.join(&raw(&message)),
            _ => {}
        }
    }
    vec![
        ("handshake", at(&up, &[4, 7, 0, b'b', 0, 0])),
        ("transcript", transcript.bytes()),
        ("one-by-one", at(&offered, &[1, 0, 8, 1, 0, 8, 1, 0, 8])),
        ("turned-away", at(&offered, &[4, 7, 3, b'n', b'o', 0, 9])),
        ("disconnected-here", at(&acknowledged, &[6, 9])),
        ("late", at(&offered, &[7, 200, 7, 200, 9])),
        ("hello-twice", at(&greeted, &hello)),
        ("hello-takes-less", at(&start, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 5, 9])),
        ("hello-takes-nothing", at(&start, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 1, 0, 1])),
        ("other-version", at(&start, &[2, 0, 0, 0x30, 0x40, 0, 0, 0, 0, 0, 0, 9, 0, 9])),
        ("ack-too-many", at(&acknowledged, &[1, 0, 9])),
        ("ack-first", at(&start, &[1, 0, 9])),
        ("connected-first", at(&offered, &[3, b's', 0, 0, 9])),
        ("ack-with-a-descriptor", at(&offered, &[1, OWN_FDS, 0x11, 9])),
        ("10-bytes", at(&offered, &[1, OWN_LENGTH, 10, 9])),
        ("truncated", at(&offered, &[1, TRUNCATED, 9])),
        ("init-to-a-client", at(&up, &[4, 2, 0, 7, 0, 0, 0, 0, 0, 0, 9])),
    ]
}

/// Receives everything in every way.
const RECEIVE: [u8; 4] = [15, 0xff, 0x0f, 0xff];
/// Sends a packet in each free slot.
const TRANSMIT: [u8; 4] = [14, 0xff, 0, 2];

/// Well-formed traffic of either role, by the bytes that the header ends with.
fn traffic(own: [u8; 2]) -> Vec<Seed> {
    let header =
        |log2: u8, flags: u8, chain: u8| Script::new(&[log2 - 1, log2 - 1, flags, chain]).add(&own);
    let adaptive = 2 * RX_MODE;
    let small = header(2, adaptive, 0);
    let exchange = [6, 4, 60, 0, 0, 11, 4, 7, 4, 6, 3, 60, 0, 0, 11, 2, 11, 4];
    vec![
        ("traffic", small.clone().add(&[6, 3, 60, 0, 0]).add(&RECEIVE).add(&TRANSMIT).bytes()),
        ("chains", {
            let chains = [6, 9, 200, 0, 3, 15, 1, 0, 0xff, 15, 2, 0, 1, 15, 0xff, 0, 0xff];
            header(6, adaptive, 0).add(&chains).add(&[14, 0xff, 4, 0xe8, 3, 1, 60, 2]).bytes()
        }),
        ("wide-lines", {
            let script = header(3, adaptive | WIDE_LINES, 4).add(&[6, 3, 60, 0, 0]);
            script.add(&RECEIVE).add(&TRANSMIT).bytes()
        }),
        ("writer", {
            // Append 20 bytes, overwrite, append 200, finish; then drop one.
            let write = [14, 0xff, 5, 2, 20, 0x25, 3, 3, 100, 0, 6, 2, 9, 1, 2];
            header(4, adaptive, 0).add(&write).bytes()
        }),
        ("writer-runs-out-of-slots", {
            let write = [14, 2, 1, 200, 5, 4, 200, 4, 200, 4, 10, 0, 1, 9, 2];
            header(4, adaptive, 0).add(&write).bytes()
        }),
        ("writer-without-a-slot", {
            let write = [14, 1, 1, 200, 5, 2, 40, 2, 40, 0, 2];
            header(4, adaptive, 0).add(&write).bytes()
        }),
        ("dropped", small.clone().add(&[14, 0xff, 0, 3]).add(&TRANSMIT).bytes()),
        ("sleep", small.clone().add(&[10, 9, 1, 6, 1, 60, 0, 0, 10]).add(&RECEIVE).bytes()),
        ("doorbell-full", small.clone().add(&[9, 0xff, 10]).add(&TRANSMIT).bytes()),
        ("spin", header(9, adaptive, 0).add(&[8, 7, 8, 7, 8, 7]).bytes()),
        ("forward", header(3, adaptive, 0).add(&exchange).bytes()),
        ("relay", header(5, 0, 0).add(&[6, 9, 60, 0, 1, 12, 4, 9, 4, 12, 9, 9, 9]).bytes()),
        ("closed", header(3, RX_MODE, 0).add(&[6, 5, 60, 0, 0, 13, 0]).add(&RECEIVE).bytes()),
        ("closed-inside-a-chain", {
            let chain = [2, 2, 0, 0, 60, 0, 0, 32, 1, 1, 13, 0];
            header(3, adaptive, 0).add(&chain).add(&RECEIVE).bytes()
        }),
        ("runaway", small.clone().add(&[0, 0, 9, 0]).add(&RECEIVE).add(&RECEIVE).bytes()),
        ("credit-runaway", small.clone().add(&[0, 1, 9, 0x80]).add(&TRANSMIT).bytes()),
        ("own-indices-scribbled", {
            let words = [0, 2, 0x34, 0x12, 0, 3, 0x34, 0x12, 6, 3, 60, 0, 0];
            small.clone().add(&words).add(&RECEIVE).add(&TRANSMIT).bytes()
        }),
        ("scribbled", header(5, adaptive, 0).add(&[4, 99, 1, 2, 1, 20]).add(&RECEIVE).bytes()),
    ]
}

/// Bad descriptors: how, region, slot, length, offset.
fn descriptors() -> [(&'static str, [u8; 7]); 8] {
    [
        ("region-9", [0, 9, 0, 60, 0, 0, 32]),
        ("one-byte-beyond", [0, 0, 0, 1, 0, 0xff, 0xff]),
        ("offset-and-length-wrap", [8, 0, 0, 0x20, 0, 0xff, 0xff]),
        ("length-4-gib", [4, 0, 0, 0xff, 0xff, 0, 32]),
        ("length-0", [0, 0, 0, 0, 0, 0, 32]),
        ("all-zero", [0, 0, 0, 0, 0, 0, 0]),
        ("endless-chain", [2, 0, 0, 60, 0, 0, 32]),
        ("second-region", [0, 1, 0, 60, 0, 0, 16]),
    ]
}

fn bad_descriptors(own: [u8; 2]) -> Vec<Seed> {
    let in_ring = |ring: u8, [how, region, _, len0, len1, offset0, offset1]: [u8; 7]| {
        let mut script = Script::new(&[1, 1, 2 * RX_MODE, 0]).add(&own);
        for slot in 0..4 {
            script = script.add(&[2, how | ring, region, slot, len0, len1, offset0, offset1]);
        }
        let published = if ring == 0 { 4 } else { 0 };
        script
            .add(&[1, published])
            .add(&RECEIVE)
            .add(&TRANSMIT)
            .add(&RECEIVE)
            .add(&TRANSMIT)
            .bytes()
    };
    let names = ["tx-region-9", "tx-one-byte-beyond", "tx-wraps", "tx-length-4-gib"];
    let names = names.into_iter().chain(["tx-length-0", "tx-all-zero", "tx-chain", "tx-second"]);
    let tx = names.zip(descriptors()).map(|(name, (_, words))| (name, in_ring(1, words)));
    descriptors().into_iter().map(|(name, words)| (name, in_ring(0, words))).chain(tx).collect()
}

fn ring_server() -> Vec<Seed> {
    let own = [1, 0];
    let unsealed =
        |policy: u8| Script::new(&[2, 2, (2 * RX_MODE) | UNSEALED_OR_POOL | policy, 0]).add(&own);
    let taken = [6, 3, 60, 0, 0, 5, 0, 0, 15, 0xff, 0, 0xff, 14, 0xff, 0, 2, 15, 0xff, 0, 0xff];
    let mut seeds = traffic(own);
    seeds.extend(bad_descriptors(own));
    seeds.extend([
        ("memory-taken-back", unsealed(0).add(&taken).bytes()),
        ("memory-refused", unsealed(POLICY).add(&taken).bytes()),
        ("memory-sealed", Script::new(&[2, 2, 0, 0, 9, 9]).add(&taken).bytes()),
        ("no-buffers", Script::new(&[1, 1, EMPTY_SLOTS, 0, 1, 0]).add(&TRANSMIT).bytes()),
        ("no-buffers-but-credit", {
            Script::new(&[1, 1, EMPTY_SLOTS, 0, 1, 0]).add(&[0, 1, 4, 0]).add(&TRANSMIT).bytes()
        }),
        ("writer-runs-out-of-unequal-slots", {
            let small = [2, 1, 0, 0, 16, 0, 0, 32];
            let write = [14, 1, 5, 2, 100, 2, 40, 0, 2];
            Script::new(&[1, 1, 0, 0, 1, 0]).add(&small).add(&write).bytes()
        }),
        ("buffer-moved-after-its-check", {
            let moved = [7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
            let script = Script::new(&[1, 1, 0, 0, 1, 0]).add(&[14, 2]).add(&moved);
            script.add(&[0, 0, 0, 0, 1, 60, 2]).bytes()
        }),
    ]);
    seeds
}

fn ring_client() -> Vec<Seed> {
    // Buffers of 256 bytes with a headroom of 64.
    let own = [15, 64];
    let pool = |log2: u8| Script::new(&[log2, log2, (2 * RX_MODE) | UNSEALED_OR_POOL, 0]).add(&own);
    let exchange = [6, 4, 60, 0, 0, 11, 4, 7, 4, 6, 3, 60, 0, 0, 11, 2, 11, 4];
    let mut seeds = traffic(own);
    seeds.extend(bad_descriptors(own));
    seeds.extend([
        ("pool", pool(2).add(&[6, 3, 60, 0, 0]).add(&RECEIVE).add(&TRANSMIT).bytes()),
        ("exchange", pool(2).add(&exchange).add(&RECEIVE).add(&TRANSMIT).bytes()),
        ("exchange-chains", pool(4).add(&[6, 5, 60, 0, 2, 11, 9, 7, 9]).add(&exchange).bytes()),
        ("exchange-spin", pool(1).add(&exchange).add(&[8, 5]).add(&exchange).bytes()),
        ("tiny-buffers", Script::new(&[3, 3, 0, 3, 0, 15]).add(&TRANSMIT).bytes()),
    ]);
    seeds
}
