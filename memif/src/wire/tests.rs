#![allow(clippy::indexing_slicing, reason = "a test")]

use super::*;
use crate::control::Direction;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks the digest of the encoded message, its first bytes, and that it decodes to itself.
#[track_caller]
fn check_vector(message: &Message, sha256: &str, start: &[u8]) {
    let bytes = message.encode();
    assert_eq!(&bytes[..start.len()], start);
    assert_eq!(digest(&bytes), sha256);
    assert_eq!(Message::decode(&bytes).as_ref(), Ok(message));
}

#[test]
fn hello_vector() {
    let hello = Hello {
        name: "m-app".into(),
        min_version: VERSION,
        max_version: VERSION,
        max_region: 255,
        max_s2c_ring: 255,
        max_c2s_ring: 255,
        max_log2_ring_size: 14,
    };
    let sha256 = "90951116a7f00aa29ae7561c00fa0bac3cb016ace2774fe4ad5623bd39be4aa1";
    check_vector(&Message::Hello(hello), sha256, b"\x02\0m-app\0");
}

#[test]
fn init_vector() {
    let init = Init {
        version: VERSION,
        id: 7,
        mode: 0,
        secret: Secret::new(b"s3cret").unwrap(),
        name: "rs-slave".into(),
    };
    let sha256 = "0a2e846038582152507f58ca2a2693b1813a0f344ddca4b53003954c6511be5e";
    check_vector(&Message::Init(init), sha256, b"\x03\0\0\x02\x07\0\0\0\0s3cret\0");
}

#[test]
fn ack_vector() {
    let sha256 = "ed4fc1d85afa5175e4973c9780b78fa000f070c00230ec18d6190133cb915db5";
    check_vector(&Message::Ack, sha256, b"\x01\0\0");
}

#[test]
fn add_region_vector() {
    let region = Message::AddRegion(AddRegion { index: 0, size: 0x40_8100 });
    let sha256 = "7d66e11974ca7755dcff89c675b5439f56e7c477ada1cf28d1b5d4c5e3a20f4f";
    check_vector(&region, sha256, b"\x04\0\0\0\0\x81\x40\0\0\0\0\0");
}

#[test]
fn add_ring_vectors() {
    let c2s = AddRing {
        direction: Direction::C2s,
        index: 0,
        region: 0,
        offset: 0,
        log2_ring_size: 10,
        private_header_size: 0,
    };
    let sha256 = "006c2b70b40b3e9db97f4368c615436ce694e87baacee35557a20d910d580c63";
    check_vector(&Message::AddRing(c2s), sha256, b"\x05\0\x01\0\0\0\0\0\0\0\0\0\x0a\0\0");
    let s2c = AddRing { direction: Direction::S2c, offset: 0x4080, ..c2s };
    let sha256 = "b6f505c6c3058d99fe4802d968093bbbccbcea38338a54f9ab14eef8aa4a078e";
    check_vector(&Message::AddRing(s2c), sha256, b"\x05\0\0\0\0\0\0\0\x80\x40\0\0\x0a\0\0");
}

#[test]
fn connect_vectors() {
    let connect = Message::Connect { if_name: "mif-s0".into() };
    let sha256 = "8c446af49d95bf577d4b93698f78dafd409a8cc2daf756ffc602e8fcf181d593";
    check_vector(&connect, sha256, b"\x06\0mif-s0\0");
    let connected = Message::Connected { if_name: "mif-m0".into() };
    let sha256 = "bb5d3933be61706f346643ab8e844b4b4bb7feb601b814969015b0430ab2f7ce";
    check_vector(&connected, sha256, b"\x07\0mif-m0\0");
}

#[test]
fn disconnect_vector() {
    let disconnect = Disconnect { code: 0, text: "Incorrect secret".into() };
    let sha256 = "5a394d9e9407c9f79ccb977f682535f5d4cf4b50c09ad179418069f222d87021";
    check_vector(&Message::Disconnect(disconnect), sha256, b"\x08\0\0\0\0\0Incorrect secret\0");
}

#[test]
fn other_lengths_are_no_message() {
    for len in [0, 10, 127, 129, 200] {
        assert_eq!(Message::decode(&vec![1; len]), Err(WireError::Length { len }));
    }
}

#[test]
fn other_types_are_no_message() {
    for number in [0u16, 9, 256, 0xFFFF] {
        let mut bytes = [0; MESSAGE_LEN];
        bytes[..2].copy_from_slice(&number.to_le_bytes());
        assert_eq!(Message::decode(&bytes), Err(WireError::UnknownType { number }));
    }
}

#[test]
fn garbage_behind_the_fields_is_ignored() {
    let mut bytes = [0xA5; MESSAGE_LEN];
    bytes[..2].copy_from_slice(&[1, 0]);
    assert_eq!(Message::decode(&bytes), Ok(Message::Ack));
    bytes[..8].copy_from_slice(b"\x06\0ab\0\xFF\xFF\xFF");
    assert_eq!(Message::decode(&bytes), Ok(Message::Connect { if_name: "ab".into() }));
}

#[test]
fn only_bit_0_of_the_ring_flags_counts() {
    let mut bytes = [0; MESSAGE_LEN];
    bytes[..4].copy_from_slice(&[5, 0, 0xFE, 0xFF]);
    let Ok(Message::AddRing(ring)) = Message::decode(&bytes) else { panic!("no ADD_RING") };
    assert_eq!(ring.direction, Direction::S2c);
}

fn text<const N: usize>() -> impl Strategy<Value = Text<N>> {
    any::<String>().prop_map(|text| Text::new(&text))
}

fn secret() -> impl Strategy<Value = Secret> {
    prop::collection::vec(1u8.., 0..=SECRET_MAX).prop_map(|bytes| Secret::new(&bytes).unwrap())
}

fn hello() -> impl Strategy<Value = Message> {
    (text(), any::<[u16; 5]>(), any::<u8>()).prop_map(|(name, words, max_log2_ring_size)| {
        let [min_version, max_version, max_region, max_s2c_ring, max_c2s_ring] = words;
        Message::Hello(Hello {
            name,
            min_version,
            max_version,
            max_region,
            max_s2c_ring,
            max_c2s_ring,
            max_log2_ring_size,
        })
    })
}

fn ring() -> impl Strategy<Value = Message> {
    let direction = prop_oneof![Just(Direction::C2s), Just(Direction::S2c)];
    (direction, any::<[u16; 3]>(), any::<u32>(), any::<u8>()).prop_map(
        |(direction, [index, region, private_header_size], offset, log2_ring_size)| {
            Message::AddRing(AddRing {
                direction,
                index,
                region,
                offset,
                log2_ring_size,
                private_header_size,
            })
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let init = (any::<u16>(), any::<u32>(), any::<u8>(), secret(), text()).prop_map(
        |(version, id, mode, secret, name)| Message::Init(Init { version, id, mode, secret, name }),
    );
    let region = (any::<u16>(), any::<u64>())
        .prop_map(|(index, size)| Message::AddRegion(AddRegion { index, size }));
    let disconnect = (any::<u32>(), text())
        .prop_map(|(code, text)| Message::Disconnect(Disconnect { code, text }));
    prop_oneof![
        Just(Message::Ack),
        hello(),
        init,
        region,
        ring(),
        text().prop_map(|if_name| Message::Connect { if_name }),
        text().prop_map(|if_name| Message::Connected { if_name }),
        disconnect,
    ]
}

proptest! {
    #[test]
    fn decode_reverses_encode(message in message()) {
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn decode_takes_any_bytes(
        number in 0u16..10,
        bytes in prop::collection::vec(any::<u8>(), 0..160),
    ) {
        let _ = Message::decode(&bytes);
        let mut bytes = bytes;
        bytes.resize(MESSAGE_LEN, 0xEE);
        bytes[..2].copy_from_slice(&number.to_le_bytes());
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }
}
