//! The wire format: see [`crate::wire()`].

use ringport_memif::error::WireError;
use ringport_memif::wire::{MESSAGE_LEN, Message, Text};

pub(crate) fn run(data: &[u8]) {
    check(data);
    if let Some(first) = data.get(..MESSAGE_LEN) {
        check(first);
    }
}

fn check(bytes: &[u8]) {
    let message = match Message::decode(bytes) {
        Ok(message) => message,
        Err(WireError::Length { len }) => {
            assert!(len == bytes.len() && len != MESSAGE_LEN);
            return;
        }
        Err(_) => {
            assert!(!(1..=8).contains(&u16::from_le_bytes([bytes[0], bytes[1]])));
            return;
        }
    };
    let encoded = message.encode();
    assert_eq!(encoded[..2], bytes[..2], "type changes");
    assert_eq!(Message::decode(&encoded).as_ref(), Ok(&message), "another message comes back");
    let shown = format!("{message:?}");
    assert!(!shown.contains(char::is_control), "control characters in {shown:?}");
    match message {
        Message::Hello(hello) => check_text(&hello.name),
        Message::Init(init) => {
            check_text(&init.name);
            let secret = init.secret.reveal();
            assert!(secret.len() <= 24 && !secret.contains(&0));
            assert_eq!(init.secret.is_empty(), secret.is_empty());
        }
        Message::Connect { if_name } | Message::Connected { if_name } => check_text(&if_name),
        Message::Disconnect(disconnect) => check_text(&disconnect.text),
        Message::Ack | Message::AddRegion(_) | Message::AddRing(_) => {}
    }
}

/// What a text shows can be made into a text again, and then shows the same.
fn check_text<const N: usize>(text: &Text<N>) {
    let shown = text.to_string();
    assert!(text.as_bytes().len() <= Text::<N>::CAPACITY && !text.as_bytes().contains(&0));
    assert_eq!(text.is_empty(), shown.is_empty());
    assert!(!shown.contains(char::is_control), "control characters in {shown:?}");
    assert!(shown.starts_with(&Text::<N>::new(&shown).to_string()), "{shown:?} is not kept");
}
