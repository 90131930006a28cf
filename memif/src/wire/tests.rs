//! What is no message, and what is one whatever it holds. The bytes of each are in `PROTOCOL.md`, which
//! `tests/protocol_document.rs` reads.
#![allow(clippy::indexing_slicing, reason = "a test")]

use super::*;
use crate::control::Direction;
use proptest::prelude::*;

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
