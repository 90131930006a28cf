//! Headers, replies, features and bring-up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use ringport_vhost_user::ControlError;
use ringport_vhost_user::backend::{BackendConfig, Event, Incoming, PeerIncompatible};
use ringport_vhost_user::error::{FrameError, PeerMisbehaved};
use ringport_vhost_user::wire::{Message, ProtocolFeatures, Request, feature};
use std::time::Instant;
use support::{FEATURES, FrontEnd, config, doorbell, fds, region, state};

const BIT_30: u64 = feature::PROTOCOL_FEATURES;

fn number(request: Request, number: u64) -> Message {
    Message::Number(request, number)
}

#[test]
fn reply_flags_are_exactly_five_though_need_reply_was_set() {
    let mut peer = FrontEnd::acked();
    peer.say(&Message::Plain(Request::GetFeatures)).unwrap();
    let bytes = peer.machine.take_outgoing().unwrap().bytes;
    assert_eq!(bytes[..12], [1, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0]);
}

#[test]
fn request_with_a_reply_of_its_own_gets_no_ack_on_top() {
    let mut peer = FrontEnd::acked();
    for request in [Request::GetFeatures, Request::GetProtocolFeatures, Request::GetStatus] {
        peer.say(&Message::Plain(request)).unwrap();
        // Checks that there is one.
        peer.heard(request);
    }
    peer.say(&state(Request::GetVringBase, 1, 0)).unwrap();
    assert_eq!(peer.heard_base(), (1, 0));
}

#[test]
fn ack_is_sent_only_when_negotiated_and_asked_for() {
    let mut peer = FrontEnd::new(config());
    peer.need_reply = true;
    peer.done(&Message::Plain(Request::SetOwner));
    peer.silent();
    let mut peer = FrontEnd::acked();
    peer.need_reply = false;
    peer.done(&Message::Plain(Request::SetOwner));
    peer.silent();
    peer.need_reply = true;
    peer.yes(&Message::Plain(Request::SetOwner));
}

#[test]
fn unknown_request_is_refused_when_asked_and_ignored_otherwise() {
    for wanted in [0u32, 46, 99, u32::MAX] {
        let mut peer = FrontEnd::acked();
        let unknown = ControlError::from(PeerIncompatible::UnknownRequest { number: wanted });
        let mut bytes = [[0; 4], 9u32.to_ne_bytes(), 3u32.to_ne_bytes()].concat();
        bytes[..4].copy_from_slice(&wanted.to_ne_bytes());
        bytes.extend([1, 2, 3]);
        assert_eq!(peer.say_bytes(&bytes, fds(2)).unwrap_err(), unknown);
        let reply = peer.machine.take_outgoing().unwrap().bytes;
        assert_eq!((&reply[..4], &reply[4..8]), (&bytes[..4], &[5, 0, 0, 0][..]));
        assert_ne!(reply[12..], [0; 8]);
        bytes[4] = 1;
        assert_eq!(peer.say_bytes(&bytes, fds(0)).unwrap_err(), unknown);
        peer.silent();
        peer.still_answers();
    }
}

#[test]
fn known_request_that_was_not_offered_is_refused_like_an_unknown_one() {
    let never = Request::ALL
        .iter()
        .copied()
        .filter(|request| matches!(Message::decode(*request, &[]), Ok(Message::Other(_))));
    let mut peer = FrontEnd::acked();
    for request in never {
        let not_offered = ControlError::from(PeerIncompatible::NotOffered { request });
        peer.need_reply = true;
        assert_eq!(peer.say(&Message::Other(request)).unwrap_err(), not_offered);
        assert_ne!(peer.heard_number(request), 0);
        peer.need_reply = false;
        assert_eq!(peer.say(&Message::Other(request)).unwrap_err(), not_offered);
        peer.silent();
    }
    peer.still_answers();
}

#[test]
fn request_of_a_protocol_feature_that_was_not_offered_is_ignored() {
    let mut peer =
        FrontEnd::new(BackendConfig { protocol_features: ProtocolFeatures::MQ, ..config() });
    for message in [
        number(Request::SetStatus, 1),
        number(Request::NetSetMtu, 1500),
        Message::Rarp([0; 6]),
        Message::MemRegion(Request::AddMemReg, region(0)),
        Message::Plain(Request::SetBackendReqFd),
    ] {
        let request = message.request();
        let expected = ControlError::from(PeerIncompatible::NotOffered { request });
        assert_eq!(peer.say(&message).unwrap_err(), expected);
        peer.silent();
    }
    peer.still_answers();
}

#[test]
fn getter_that_was_not_offered_is_refused_with_a_number() {
    let protocol_features = ProtocolFeatures::MQ | ProtocolFeatures::REPLY_ACK;
    let mut peer = FrontEnd::new(BackendConfig { protocol_features, ..config() });
    peer.done(&number(Request::SetProtocolFeatures, protocol_features.bits()));
    peer.need_reply = true;
    for request in [Request::GetStatus, Request::GetMaxMemSlots, Request::CheckDeviceState] {
        assert!(peer.say(&Message::Plain(request)).is_err());
        assert_ne!(peer.heard_number(request), 0);
    }
    peer.still_answers();
}

#[test]
fn protocol_features_are_served_before_bit_30_is_acked() {
    let mut peer = FrontEnd::new(config());
    peer.say(&Message::Plain(Request::GetFeatures)).unwrap();
    assert_eq!(peer.heard_number(Request::GetFeatures), FEATURES | BIT_30);
    peer.say(&Message::Plain(Request::GetProtocolFeatures)).unwrap();
    let offered = peer.heard_number(Request::GetProtocolFeatures);
    assert_eq!(offered, ProtocolFeatures::ALL.bits());
}

#[test]
fn bit_30_is_not_offered_without_protocol_features() {
    let protocol_features = ProtocolFeatures::NONE;
    let mut peer = FrontEnd::new(BackendConfig { protocol_features, ..config() });
    peer.say(&Message::Plain(Request::GetFeatures)).unwrap();
    assert_eq!(peer.heard_number(Request::GetFeatures), FEATURES);
    let asked = peer.say(&Message::Plain(Request::GetProtocolFeatures));
    assert!(asked.is_err() && !peer.machine.is_closed());
}

#[test]
fn features_that_were_not_offered_are_refused() {
    let why = PeerMisbehaved::FeaturesNotOffered { bits: 1 << 63 };
    let features = number(Request::SetFeatures, feature::VERSION_1 | 1 << 63);
    FrontEnd::acked().no(&features, why);
    FrontEnd::acked().ends(&features, why);
    let why = PeerMisbehaved::ProtocolFeaturesNotOffered { bits: 1 << 14 };
    FrontEnd::acked().no(&number(Request::SetProtocolFeatures, 1 << 14 | 1 << 3), why);
}

#[test]
fn features_that_are_required_are_insisted_on() {
    let mut peer = FrontEnd::acked();
    let missing = PeerIncompatible::FeaturesMissing { bits: feature::VERSION_1 };
    let error = peer.say(&number(Request::SetFeatures, BIT_30)).unwrap_err();
    assert_eq!(error, missing.into());
    assert_ne!(peer.heard_number(Request::SetFeatures), 0);
}

#[test]
fn features_repeated_for_each_pair_change_nothing() {
    let mut peer = FrontEnd::running();
    let same = feature::VERSION_1 | BIT_30;
    assert!(peer.say(&number(Request::SetFeatures, same)).unwrap().is_none());
    assert_eq!(peer.heard_number(Request::SetFeatures), 0);
    let all = ProtocolFeatures::ALL.bits();
    peer.yes(&number(Request::SetProtocolFeatures, all));
    peer.yes(&Message::Plain(Request::SetOwner));
    let stopped = peer.say(&state(Request::GetVringBase, 0, 0)).unwrap();
    assert!(matches!(stopped, Some(Event::RingStopped { index: 0 })));
}

#[test]
fn log_all_toggles_while_rings_run_and_nothing_else_does() {
    let mut peer = FrontEnd::running();
    let same = feature::VERSION_1 | BIT_30;
    let event = peer.say(&number(Request::SetFeatures, same | feature::LOG_ALL)).unwrap();
    let Some(Event::Features { features, rings_enabled: false }) = event else {
        panic!("{event:?}");
    };
    assert_eq!(features, same | feature::LOG_ALL);
    peer.silent();
    peer.machine.answer_ack(Ok(())).unwrap();
    assert_eq!(peer.heard_number(Request::SetFeatures), 0);
    let why = PeerMisbehaved::FeaturesWhileRunning { bits: feature::RING_PACKED };
    peer.no(&number(Request::SetFeatures, same | feature::RING_PACKED), why);
}

#[test]
fn stream_split_at_any_byte_gives_the_same_message() {
    let message = Message::MemTable(vec![region(0), region(2)]);
    let bytes = message.encode(true);
    for at in 1..bytes.len() {
        let mut peer = FrontEnd::acked();
        let (first, second) = bytes.split_at(at);
        assert!(peer.say_bytes(first, fds(2)).unwrap().is_none());
        let event = peer.say_bytes(second, fds(0)).unwrap();
        let Some(Event::MemoryTable(regions)) = event else { panic!("{event:?} at {at}") };
        assert_eq!((regions[0].region, regions[1].region), (region(0), region(2)));
    }
}

#[test]
fn more_bytes_than_wanted_end_the_conversation() {
    let mut peer = FrontEnd::new(config());
    let incoming = Incoming { bytes: &[0; 13], ..Incoming::default() };
    let error = peer.machine.on_bytes(incoming, Instant::now()).unwrap_err();
    assert_eq!(error, ControlError::Overfed { got: 13, wanted: 12 });
    peer.ended();
}

#[test]
fn stream_that_cannot_be_followed_ends_the_conversation() {
    let header = |flags: u32, size: u32| [2, flags, size].map(u32::to_ne_bytes).concat();
    let cases = [
        (header(2, 8), FrameError::Version { got: 2 }.into()),
        (header(0, 8), FrameError::Version { got: 0 }.into()),
        (header(0x11, 8), FrameError::Flags { bits: 0x10 }.into()),
        (header(9, 4097), FrameError::PayloadTooLong { request: 2, size: 4097 }.into()),
        (header(9, u32::MAX), FrameError::PayloadTooLong { request: 2, size: u32::MAX }.into()),
        (header(5, 8), PeerMisbehaved::Reply { request: 2 }),
    ];
    for (bytes, why) in cases {
        let mut peer = FrontEnd::acked();
        assert_eq!(peer.say_bytes(&bytes, fds(1)).unwrap_err(), ControlError::from(why));
        peer.ended();
    }
}

#[test]
fn virtio_user_brings_up_a_pair_with_calls_before_features() {
    let mut peer = FrontEnd::new(config());
    peer.done(&Message::Plain(Request::SetOwner));
    peer.say(&Message::Plain(Request::GetFeatures)).unwrap();
    peer.heard(Request::GetFeatures);
    peer.say(&Message::Plain(Request::GetProtocolFeatures)).unwrap();
    peer.heard(Request::GetProtocolFeatures);
    let acked = ProtocolFeatures::MQ | ProtocolFeatures::REPLY_ACK | ProtocolFeatures::STATUS;
    peer.done(&number(Request::SetProtocolFeatures, acked.bits()));
    peer.say(&Message::Plain(Request::GetQueueNum)).unwrap();
    assert_eq!(peer.heard_number(Request::GetQueueNum), 2);
    for index in 0..4 {
        peer.done(&doorbell(Request::SetVringCall, index));
    }
    peer.done(&number(Request::SetFeatures, FEATURES | BIT_30));
    peer.need_reply = true;
    peer.yes(&Message::MemTable(vec![region(0)]));
    peer.need_reply = false;
    for index in 0..2 {
        peer.done(&state(Request::SetVringNum, index.into(), 256));
        peer.done(&state(Request::SetVringBase, index.into(), 0x8000));
        peer.done(&Message::VringAddress(support::address(index.into())));
        let event = peer.say(&doorbell(Request::SetVringKick, index)).unwrap();
        let Some(Event::RingStarted(ring)) = event else { panic!("{event:?}") };
        assert!(ring.call.is_some() && ring.kick.is_some() && !ring.enabled);
        peer.machine.answer_ack(Ok(())).unwrap();
    }
    for index in 0..2 {
        let event = peer.say(&state(Request::SetVringEnable, index, 1)).unwrap();
        assert!(matches!(event, Some(Event::RingEnabled { enabled: true, .. })));
        peer.machine.answer_ack(Ok(())).unwrap();
    }
    peer.silent();
}

#[test]
fn qemu_brings_up_two_pairs_with_features_repeated_for_each() {
    let mut peer = FrontEnd::acked();
    for _pair in 0..2 {
        peer.say(&Message::Plain(Request::GetFeatures)).unwrap();
        peer.heard(Request::GetFeatures);
        peer.yes(&number(Request::SetProtocolFeatures, ProtocolFeatures::ALL.bits()));
    }
    peer.yes(&Message::Plain(Request::SetOwner));
    for index in 0..4 {
        peer.yes(&doorbell(Request::SetVringCall, index));
    }
    for pair in 0..2 {
        peer.yes(&number(Request::SetFeatures, feature::VERSION_1 | BIT_30));
        if pair == 0 {
            peer.yes(&Message::MemRegion(Request::AddMemReg, region(0)));
        }
        for index in [2 * pair, 2 * pair + 1] {
            peer.set_up(index.into());
            let ring = peer.start(index);
            assert!(ring.call.is_some() && !ring.enabled);
            // The one given early was masked.
            peer.yes(&doorbell(Request::SetVringCall, index));
        }
        for index in [2 * pair, 2 * pair + 1] {
            peer.yes(&state(Request::SetVringEnable, index.into(), 1));
        }
    }
    peer.still_answers();
}
