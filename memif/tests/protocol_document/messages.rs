//! The messages: table, fields, constants, and a vector of each.

use super::document::{Vector, anchors, number, size, table, vectors};
use ringport_memif::Direction;
use ringport_memif::control::{ClientMachine, Incoming, Limits, Refusal, ServerMachine};
use ringport_memif::error::PeerMisbehaved;
use ringport_memif::wire::{
    AddRegion, AddRing, Disconnect, Hello, Init, MESSAGE_LEN, Message, MessageType, Secret, VERSION,
};
use ringport_memif::{ControlError, Mode};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// What the vectors beside the messages say.
fn described() -> Vec<(&'static str, Message)> {
    let hello = Hello {
        name: "m-app".into(),
        min_version: VERSION,
        max_version: VERSION,
        max_region: 255,
        max_s2c_ring: 255,
        max_c2s_ring: 255,
        max_log2_ring_size: 14,
    };
    let init = Init {
        version: VERSION,
        id: 7,
        mode: 0,
        secret: Secret::new(b"s3cret").unwrap(),
        name: "rs-slave".into(),
    };
    let c2s = AddRing {
        direction: Direction::C2s,
        index: 0,
        region: 0,
        offset: 0,
        log2_ring_size: 10,
        private_header_size: 0,
    };
    let s2c = AddRing { direction: Direction::S2c, offset: 0x4080, ..c2s };
    let refused = Disconnect { code: 0, text: "Incorrect secret".into() };
    vec![
        ("hello", Message::Hello(hello)),
        ("init", Message::Init(init)),
        ("ack", Message::Ack),
        ("add-region", Message::AddRegion(AddRegion { index: 0, size: 4_227_328 })),
        ("add-ring-c2s", Message::AddRing(c2s)),
        ("add-ring-s2c", Message::AddRing(s2c)),
        ("connect", Message::Connect { if_name: "mif-s0".into() }),
        ("connected", Message::Connected { if_name: "mif-m0".into() }),
        ("disconnect", Message::Disconnect(refused)),
    ]
}

/// A message of each kind, in which no two fields have the same bytes.
fn unmistakable() -> Vec<Message> {
    vec![
        Message::Hello(Hello {
            name: "server".into(),
            min_version: 0x1101,
            max_version: 0x1202,
            max_region: 0x1303,
            max_s2c_ring: 0x1404,
            max_c2s_ring: 0x1505,
            max_log2_ring_size: 0x16,
        }),
        Message::Init(Init {
            version: 0x2101,
            id: 0x2205_0403,
            mode: 0x23,
            secret: Secret::new(b"a secret of 23 bytes...").unwrap(),
            name: "client".into(),
        }),
        Message::AddRegion(AddRegion { index: 0x3101, size: 0x3203_0405_0607_0809 }),
        Message::AddRing(AddRing {
            direction: Direction::C2s,
            index: 0x4102,
            region: 0x4203,
            offset: 0x4304_0506,
            log2_ring_size: 0x44,
            private_header_size: 0x4507,
        }),
        Message::Connect { if_name: "connects".into() },
        Message::Connected { if_name: "connected".into() },
        Message::Disconnect(Disconnect { code: 0x8102_0304, text: "bye".into() }),
    ]
}

/// Every field of a message by its name, as it lies in the message; of a text what comes before its
/// NUL. Nothing may be left out here: a new field does not compile.
fn fields(message: &Message) -> Vec<(&'static str, Vec<u8>)> {
    match message {
        Message::Ack => Vec::new(),
        Message::Hello(hello) => {
            let Hello { name, min_version, max_version, max_region, .. } = hello;
            let Hello { max_s2c_ring, max_c2s_ring, max_log2_ring_size, .. } = hello;
            vec![
                ("name", name.as_bytes().to_vec()),
                ("min_version", min_version.to_le_bytes().into()),
                ("max_version", max_version.to_le_bytes().into()),
                ("max_region", max_region.to_le_bytes().into()),
                ("max_s2c_ring", max_s2c_ring.to_le_bytes().into()),
                ("max_c2s_ring", max_c2s_ring.to_le_bytes().into()),
                ("max_log2_ring_size", vec![*max_log2_ring_size]),
            ]
        }
        Message::Init(Init { version, id, mode, secret, name }) => vec![
            ("version", version.to_le_bytes().into()),
            ("id", id.to_le_bytes().into()),
            ("mode", vec![*mode]),
            ("secret", secret.reveal().into()),
            ("name", name.as_bytes().to_vec()),
        ],
        Message::AddRegion(AddRegion { index, size }) => {
            vec![("index", index.to_le_bytes().into()), ("size", size.to_le_bytes().into())]
        }
        Message::AddRing(ring) => {
            let AddRing { direction, index, region, offset, .. } = ring;
            let AddRing { log2_ring_size, private_header_size, .. } = ring;
            vec![
                ("flags", u16::from(*direction == Direction::C2s).to_le_bytes().into()),
                ("index", index.to_le_bytes().into()),
                ("region", region.to_le_bytes().into()),
                ("offset", offset.to_le_bytes().into()),
                ("log2_ring_size", vec![*log2_ring_size]),
                ("private_header_size", private_header_size.to_le_bytes().into()),
            ]
        }
        Message::Connect { if_name } | Message::Connected { if_name } => {
            vec![("if_name", if_name.as_bytes().to_vec())]
        }
        Message::Disconnect(Disconnect { code, text }) => {
            vec![("code", code.to_le_bytes().into()), ("text", text.as_bytes().to_vec())]
        }
    }
}

/// Checks that each field of `message` is in `bytes` where the document has it.
#[track_caller]
fn check_places(message: &Message, bytes: &[u8]) {
    let kind = message.message_type().to_string();
    let rows = if *message == Message::Ack { Vec::new() } else { table(&kind) };
    let fields = fields(message);
    let documented: Vec<_> = rows.iter().map(|row| row[2].as_str()).collect();
    assert_eq!(documented, fields.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "{kind}");
    let mut end = 2;
    for (row, (name, value)) in rows.iter().zip(fields) {
        let (offset, size) = (size(&row[0]), size(&row[1]));
        assert_eq!(offset, end, "{kind} {name}: fields are packed");
        end = offset + size;
        if row[3] == "text" {
            assert!(value.len() < size, "{kind} {name}: the NUL is in the field");
            assert_eq!(bytes[offset..offset + value.len()], value, "{kind} {name}");
            assert_eq!(bytes[offset + value.len()], 0, "{kind} {name}");
        } else {
            assert_eq!(bytes[offset..end], value, "{kind} {name}");
            assert_eq!(row[3], format!("u{}", 8 * size), "{kind} {name}");
        }
    }
    assert!(end <= MESSAGE_LEN);
}

fn vectors_of(kind: MessageType) -> Vec<(&'static str, Vector)> {
    vectors().into_iter().filter(|(_, vector)| vector.of == kind.to_string()).collect()
}

/// Every type that can be decoded, by its number.
fn kinds() -> BTreeMap<u16, MessageType> {
    let decoded = |number: u16| {
        let mut bytes = [0; MESSAGE_LEN];
        bytes[..2].copy_from_slice(&number.to_le_bytes());
        Some((number, Message::decode(&bytes).ok()?.message_type()))
    };
    (0..=u16::MAX).filter_map(decoded).collect()
}

#[test]
fn digests_are_those_of_the_vectors() {
    let mut count = 0;
    for (name, vector) in vectors() {
        let Some(expected) = vector.sha256 else { continue };
        let digest = Sha256::digest(&vector.bytes);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, expected, "{name}");
        count += 1;
    }
    assert!(count >= 14, "{count} digests");
}

#[test]
fn vectors_encode_and_decode_as_they_are_described() {
    let vectors = vectors();
    for (name, message) in described() {
        assert_eq!(message.encode()[..], vectors[name].bytes, "{name}");
        assert_eq!(Message::decode(&vectors[name].bytes).as_ref(), Ok(&message), "{name}");
    }
}

#[test]
fn every_vector_of_a_message_is_one_and_has_its_fields_where_the_tables_say() {
    for kind in kinds().into_values() {
        for (name, vector) in vectors_of(kind) {
            let message = Message::decode(&vector.bytes).expect(name);
            assert_eq!(message.message_type(), kind, "{name}");
            check_places(&message, &vector.bytes);
            let again = message.encode();
            if !vector.garbage {
                assert_eq!(again[..], vector.bytes, "{name}");
            }
            check_places(&message, &again);
            assert_eq!(Message::decode(&again), Ok(message), "{name}");
        }
    }
}

#[test]
fn fields_that_cannot_be_mistaken_are_where_the_tables_say() {
    for message in unmistakable() {
        check_places(&message, &message.encode());
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
}

#[test]
fn table_of_messages_has_each_type_with_a_heading_and_a_vector() {
    let kinds = kinds();
    let rows: BTreeMap<_, _> =
        table("Messages").into_iter().map(|row| (number(&row[0]), row)).collect();
    let numbers: BTreeSet<_> = kinds.keys().map(|&number| u64::from(number)).collect();
    assert_eq!(rows.keys().copied().collect::<BTreeSet<_>>(), numbers);
    for (number, kind) in kinds {
        let [_, name, from, descriptor, _] = &rows[&number.into()][..] else { panic!("{kind}") };
        assert_eq!(*name, kind.to_string());
        assert_eq!(usize::from(!descriptor.is_empty()), kind.fd_count(), "{kind}");
        assert_eq!(*from, sender(kind), "{kind}");
        assert!(anchors().contains(&name.to_lowercase()), "{kind} has no heading");
        assert!(!vectors_of(kind).is_empty(), "{kind} has no vector");
    }
}

/// Who sends messages of this kind: those for whom the other machine does not call it the wrong side.
fn sender(kind: MessageType) -> &'static str {
    let (_, vector) = vectors_of(kind).remove(0);
    let descriptors = || (0..kind.fd_count()).map(|_| super::handshakes::eventfd()).collect();
    let incoming = || Incoming { bytes: &vector.bytes, fds: descriptors(), ..Incoming::default() };
    let (now, timeout) = (Instant::now(), Duration::from_secs(5));
    let identity = ringport_memif::control::ClientIdentity {
        id: 0,
        mode: Mode::Ethernet,
        secret: Secret::default(),
        name: "c".into(),
    };
    let to_client = ClientMachine::new(identity, now, timeout).on_message(incoming()).err();
    let hello = Limits::default().hello("s".into());
    let to_server = ServerMachine::new(hello, now, timeout).on_message(incoming()).err();
    let wrong = |error: Option<ControlError>| {
        matches!(error, Some(ControlError::PeerMisbehaved(PeerMisbehaved::WrongRole { .. })))
    };
    match (wrong(to_client), wrong(to_server)) {
        (true, false) => "client",
        (false, true) => "server",
        (false, false) => "both",
        (true, true) => "nobody",
    }
}

/// The constants with a number in a source file, or in all files of a directory but tests.
fn constants_in(path: &Path, found: &mut BTreeMap<String, u64>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            constants_in(&entry.unwrap().path(), found);
        }
    } else if !path.ends_with("tests.rs") {
        let text = std::fs::read_to_string(path).unwrap();
        for line in text.lines().map(str::trim) {
            let line = line.trim_start_matches("pub ").trim_start_matches("pub(super) ");
            let Some((name, value)) = line
                .strip_prefix("const ")
                .filter(|rest| !rest.starts_with("fn "))
                .and_then(|rest| rest.split_once(": "))
            else {
                continue;
            };
            let (_, value) = value.split_once(" = ").expect(line);
            let value = value.trim_end_matches(';').replace('_', "");
            // Follows from its field, not from the protocol.
            if name != "CAPACITY" {
                assert_eq!(
                    found.insert(name.into(), number(&value)),
                    None,
                    "{name} is there twice"
                );
            }
        }
    }
}

#[test]
fn table_of_constants_has_each_constant_of_the_wire_with_its_value() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut defined = BTreeMap::new();
    constants_in(&source.join("wire.rs"), &mut defined);
    constants_in(&source.join("wire"), &mut defined);
    constants_in(&source.join("queue/descriptor.rs"), &mut defined);
    // Within a function there, but for what it means.
    defined.remove("REGION");
    defined.insert("NO_DOORBELL".into(), ringport::ring::NO_DOORBELL.into());
    let row = |row: Vec<String>| (row[0].clone(), number(&row[1]));
    let documented: BTreeMap<_, _> = table("Constants").into_iter().map(row).collect();
    assert_eq!(documented, defined);
    assert!(documented.len() >= 12);
}

#[test]
fn table_of_modes_has_both_that_are_supported() {
    for (number, row) in (0..).zip(table("Modes")) {
        assert_eq!(row[0], number.to_string());
        let supported = Mode::from_wire(number).map(Mode::to_wire);
        assert_eq!(supported.is_ok(), number < 2, "{}", row[1]);
        assert_eq!(supported.unwrap_or(number), number);
    }
    assert_eq!(table("Modes").len(), 3);
}

#[test]
fn table_of_refusals_has_each_text() {
    use Refusal::*;
    let refusals = [
        UnknownId,
        NotServer,
        AlreadyConnected,
        ModeMismatch,
        SecretRequired,
        IncorrectSecret,
        NotPermitted,
        TooManyPending,
        Removed,
    ];
    let documented: Vec<_> = table("Refusals").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(documented, refusals.map(|refusal| refusal.to_string()));
}
