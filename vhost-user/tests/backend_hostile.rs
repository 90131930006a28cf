//! Each way in which other back-ends were attacked by messages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use ringport_vhost_user::ControlError;
use ringport_vhost_user::backend::{Event, Incoming, InflightMemory};
use ringport_vhost_user::error::{PeerMisbehaved, WireError};
use ringport_vhost_user::wire::{Inflight, Message, Request, VringAddress, VringFd};
use std::time::Instant;
use support::{
    FrontEnd, INFLIGHT, address, doorbell, every_message, fds, marked, open_count, region, state,
};

#[test]
fn every_request_with_a_wrong_number_of_descriptors_is_refused_and_leaks_none() {
    let messages = every_message();
    assert_eq!(messages.len(), 33);
    for message in messages {
        let request = message.request();
        let (min, max) = message.fd_count().into_inner();
        for got in [0, 1, 2, 3, 8, 9, 33, 253] {
            if message.fd_count().contains(&got) {
                continue;
            }
            for need_reply in [false, true] {
                let mut peer = FrontEnd::acked();
                peer.need_reply = need_reply;
                let error = peer.say_with(&message, marked("vu-wrong", got)).unwrap_err();
                assert_eq!(error, PeerMisbehaved::FdCount { request, got, min, max }.into());
                assert_eq!(open_count("vu-wrong"), 0, "{request}");
            }
        }
    }
}

#[test]
fn descriptors_of_a_malformed_payload_are_closed() {
    for message in every_message() {
        let request = message.request();
        let mut bytes = message.encode(true);
        bytes.push(0);
        let size = u32::try_from(bytes.len() - 12).unwrap();
        bytes[8..12].copy_from_slice(&size.to_ne_bytes());
        let mut peer = FrontEnd::acked();
        let error = peer.say_bytes(&bytes, marked("vu-malformed", 3)).unwrap_err();
        let ControlError::PeerMisbehaved(PeerMisbehaved::BadPayload(why)) = error else {
            panic!("{error:?}");
        };
        assert!(matches!(why, WireError::Length { request: found, .. } if found == request));
        assert_eq!(open_count("vu-malformed"), 0, "{request}");
    }
}

#[test]
fn ring_index_that_does_not_exist_is_refused_by_every_request() {
    let requests = [Request::SetVringNum, Request::SetVringBase, Request::SetVringEnable];
    for index in [4, 5, 255, 256, 0xFFFF, 0x1_0000, 0x1_0001, u32::MAX] {
        let why = PeerMisbehaved::RingIndex { index, count: 4 };
        let others = Message::VringAddress(VringAddress { index, ..address(0) });
        for message in requests.map(|request| state(request, index, 8)).into_iter().chain([others])
        {
            FrontEnd::running().no(&message, why);
            FrontEnd::running().ends(&message, why);
        }
        let mut peer = FrontEnd::running();
        let base = state(Request::GetVringBase, index, 0);
        assert_eq!(peer.say(&base).unwrap_err(), why.into());
        peer.ended();
    }
}

#[test]
fn doorbell_of_a_ring_that_does_not_exist_is_refused_and_closed() {
    for request in [Request::SetVringKick, Request::SetVringCall, Request::SetVringErr] {
        for index in [4u8, 128, 255] {
            let mut peer = FrontEnd::running();
            let why = PeerMisbehaved::RingIndex { index: index.into(), count: 4 };
            let error = peer.say_with(&doorbell(request, index), marked("vu-bell", 1));
            assert_eq!(error.unwrap_err(), why.into());
            assert_ne!(peer.heard_number(request), 0);
            assert_eq!(open_count("vu-bell"), 0);
        }
    }
}

#[test]
fn doorbell_index_beyond_eight_bits_is_not_cut_to_a_ring_that_exists() {
    for word in [0x200u64, 0x1_0000, 0x1_0000_0000, 1 << 63] {
        let mut bytes = doorbell(Request::SetVringKick, 0).encode(true);
        bytes[12..].copy_from_slice(&word.to_ne_bytes());
        let mut peer = FrontEnd::running();
        let error = peer.say_bytes(&bytes, fds(1)).unwrap_err();
        let why = WireError::Reserved { request: Request::SetVringKick, bits: word };
        assert_eq!(error, PeerMisbehaved::from(why).into());
        assert_ne!(peer.heard_number(Request::SetVringKick), 0);
    }
}

#[test]
fn doorbell_with_the_no_descriptor_bit_and_a_descriptor_is_refused() {
    let polled = Message::VringFd(Request::SetVringCall, VringFd { index: 0, no_fd: true });
    let mut peer = FrontEnd::running();
    let error = peer.say_with(&polled, marked("vu-nofd", 1)).unwrap_err();
    let request = Request::SetVringCall;
    assert_eq!(error, PeerMisbehaved::FdCount { request, got: 1, min: 0, max: 0 }.into());
    assert_eq!(open_count("vu-nofd"), 0);
}

#[test]
fn inflight_memory_asked_for_ten_thousand_times_leaks_nothing() {
    let mut peer = FrontEnd::acked();
    let memory = marked("vu-inflight", 1);
    for _ in 0..10_000 {
        let wanted = Message::Inflight(Request::GetInflightFd, INFLIGHT);
        let event = peer.say(&wanted).unwrap();
        assert!(matches!(event, Some(Event::InflightWanted { .. })));
        let fd = memory[0].try_clone().unwrap();
        let memory = InflightMemory { fd, size: 4096, offset: 0, queues: 4, queue_size: 256 };
        peer.machine.answer_inflight(Ok(memory)).unwrap();
        peer.heard(Request::GetInflightFd);
    }
    assert_eq!(open_count("vu-inflight"), 1);
}

#[test]
fn inflight_memory_given_again_and_again_leaks_nothing() {
    let mut peer = FrontEnd::acked();
    for _ in 0..100 {
        let given = Message::Inflight(Request::SetInflightFd, INFLIGHT);
        assert!(peer.say_with(&given, marked("vu-given", 1)).unwrap().is_some());
        peer.machine.answer_ack(Ok(())).unwrap();
        peer.heard(Request::SetInflightFd);
        let odd = Message::Inflight(
            Request::SetInflightFd,
            Inflight { queues: u16::MAX, queue_size: u16::MAX, ..INFLIGHT },
        );
        assert!(peer.say_with(&odd, marked("vu-given", 1)).is_err());
        peer.heard(Request::SetInflightFd);
    }
    assert_eq!(open_count("vu-given"), 0);
}

#[test]
fn descriptors_lost_on_their_way_end_the_conversation_and_close_the_rest() {
    let mut peer = FrontEnd::acked();
    let bytes = Message::MemTable(vec![region(0)]).encode(true);
    let fds = marked("vu-ctrunc", 100);
    let incoming = Incoming { bytes: &bytes[..12], fds, fds_truncated: true };
    let error = peer.machine.on_bytes(incoming, Instant::now()).unwrap_err();
    assert_eq!(error, PeerMisbehaved::FdsTruncated.into());
    peer.ended();
    assert_eq!(open_count("vu-ctrunc"), 0);
}

#[test]
fn descriptors_behind_the_header_end_the_conversation() {
    let mut peer = FrontEnd::acked();
    let bytes = doorbell(Request::SetVringCall, 0).encode(true);
    peer.say_bytes(&bytes[..12], fds(0)).unwrap();
    let error = peer.say_bytes(&bytes[12..], marked("vu-late", 1)).unwrap_err();
    assert_eq!(error, PeerMisbehaved::LateFds { got: 1 }.into());
    peer.ended();
    assert_eq!(open_count("vu-late"), 0);
}

#[test]
fn descriptors_of_a_message_never_completed_are_closed_with_the_machine() {
    let mut peer = FrontEnd::acked();
    let bytes = Message::MemTable(vec![region(0)]).encode(true);
    assert!(peer.say_bytes(&bytes[..20], marked("vu-half", 1)).unwrap().is_none());
    assert_eq!(open_count("vu-half"), 1);
    drop(peer);
    assert_eq!(open_count("vu-half"), 0);
}

#[test]
fn nothing_is_taken_and_descriptors_are_closed_after_the_end() {
    let mut peer = FrontEnd::acked();
    peer.machine.close();
    peer.ended();
    let incoming = Incoming { bytes: &[0; 40], fds: marked("vu-after", 2), fds_truncated: false };
    assert!(peer.machine.on_bytes(incoming, Instant::now()).unwrap().is_none());
    assert_eq!(open_count("vu-after"), 0);
}

#[test]
fn header_dripped_byte_by_byte_is_a_header() {
    let mut peer = FrontEnd::acked();
    let bytes = doorbell(Request::SetVringCall, 0).encode(true);
    let mut fd = fds(1);
    for (byte, wanted) in bytes.iter().zip((1..=12).rev().chain((1..=8).rev())) {
        assert_eq!(peer.machine.wanted(), wanted);
        let fds = std::mem::take(&mut fd);
        assert!(peer.say_bytes(&[*byte], fds).unwrap().is_none());
    }
    assert_eq!(peer.heard_number(Request::SetVringCall), 0);
}

#[test]
fn front_end_that_asks_without_reading_answers_has_to_wait() {
    let mut peer = FrontEnd::acked();
    let bytes = Message::Plain(Request::GetFeatures).encode(false);
    for _ in 0..16 {
        peer.say_bytes(&bytes, fds(0)).unwrap();
    }
    assert_eq!(peer.machine.wanted(), 0);
    peer.machine.take_outgoing().unwrap();
    assert_eq!(peer.machine.wanted(), 12);
}

#[test]
fn event_that_nobody_takes_care_of_closes_its_descriptors() {
    let mut peer = FrontEnd::running();
    let table = Message::MemTable(vec![region(0), region(1)]);
    let event = peer.say_with(&table, marked("vu-event", 2)).unwrap();
    assert_eq!(open_count("vu-event"), 2);
    drop(event);
    assert_eq!(open_count("vu-event"), 0);
}
