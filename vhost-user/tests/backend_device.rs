//! Configuration, status, dirty log, chains in flight, device state.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use ringport_vhost_user::ControlError;
use ringport_vhost_user::backend::{Event, Failed, InflightMemory};
use ringport_vhost_user::error::PeerMisbehaved;
use ringport_vhost_user::wire::{ConfigSpan, DeviceState, Inflight, LogArea, Message, Request};
use support::{FrontEnd, doorbell, fd, marked, open_count, state};

const SPAN: ConfigSpan = ConfigSpan { offset: 0, size: 6, flags: 0 };
const INFLIGHT: Inflight =
    Inflight { mmap_size: 8192, mmap_offset: 0, queues: 4, queue_size: 256, padded: true };

fn number(request: Request, number: u64) -> Message {
    Message::Number(request, number)
}

fn set_inflight(inflight: Inflight) -> Message {
    Message::Inflight(Request::SetInflightFd, inflight)
}

fn log(size: u64, offset: u64) -> Message {
    Message::LogBase(LogArea { size, offset })
}

#[test]
fn configuration_is_read_in_exactly_the_size_asked_for() {
    let mut peer = FrontEnd::acked();
    let event = peer.say(&Message::GetConfig(SPAN)).unwrap();
    assert!(matches!(event, Some(Event::ConfigRead(SPAN))));
    peer.machine.answer_config(Ok(vec![1, 2, 3, 4, 5, 6])).unwrap();
    let reply = peer.heard(Request::GetConfig).bytes;
    assert_eq!((reply.len(), &reply[24..]), (12 + 12 + 6, &[1, 2, 3, 4, 5, 6][..]));
}

#[test]
fn configuration_that_cannot_be_read_is_an_empty_reply() {
    let mut peer = FrontEnd::acked();
    for contents in [Err(Failed), Ok(vec![0; 5]), Ok(vec![0; 7])] {
        peer.say(&Message::GetConfig(SPAN)).unwrap();
        peer.machine.answer_config(contents).unwrap();
        assert_eq!(peer.heard(Request::GetConfig).bytes.len(), 12);
    }
    let mut bytes = Message::GetConfig(SPAN).encode(false);
    bytes[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());
    assert!(peer.say_bytes(&bytes, Vec::new()).is_err());
    assert_eq!(peer.heard(Request::GetConfig).bytes.len(), 12);
    peer.still_answers();
}

#[test]
fn configuration_is_written_with_known_flags_only() {
    let mut peer = FrontEnd::acked();
    let event = peer.say(&Message::SetConfig(SPAN, vec![9; 6])).unwrap();
    let Some(Event::ConfigWrite(SPAN, contents)) = event else { panic!("{event:?}") };
    assert_eq!(contents, [9; 6]);
    peer.machine.answer_ack(Ok(())).unwrap();
    assert_eq!(peer.heard_number(Request::SetConfig), 0);
    let odd = ConfigSpan { flags: 2, ..SPAN };
    let why = PeerMisbehaved::Value { request: Request::SetConfig, value: 2 };
    peer.no(&Message::SetConfig(odd, vec![0; 6]), why);
}

#[test]
fn status_is_kept_for_read_modify_write() {
    let mut peer = FrontEnd::acked();
    for status in [11, 15, 0] {
        let event = peer.say(&number(Request::SetStatus, status)).unwrap();
        assert!(matches!(event, Some(Event::Status(found)) if u64::from(found) == status));
        peer.machine.answer_ack(Ok(())).unwrap();
        peer.heard(Request::SetStatus);
        peer.say(&Message::Plain(Request::GetStatus)).unwrap();
        assert_eq!(peer.heard_number(Request::GetStatus), status);
    }
    let why = PeerMisbehaved::Value { request: Request::SetStatus, value: 0x100 };
    peer.no(&number(Request::SetStatus, 0x100), why);
}

#[test]
fn mtu_is_68_to_65535() {
    let mut peer = FrontEnd::acked();
    for mtu in [68, 1500, 65535] {
        let event = peer.say(&number(Request::NetSetMtu, mtu)).unwrap();
        assert!(matches!(event, Some(Event::Mtu(found)) if u64::from(found) == mtu));
        peer.machine.answer_ack(Ok(())).unwrap();
        peer.heard(Request::NetSetMtu);
    }
    for value in [0, 67, 65536, u64::MAX] {
        let why = PeerMisbehaved::Value { request: Request::NetSetMtu, value };
        peer.no(&number(Request::NetSetMtu, value), why);
    }
}

#[test]
fn rarp_brings_the_address() {
    let mut peer = FrontEnd::acked();
    let mac = [0x52, 0x54, 0, 1, 2, 3];
    let event = peer.say(&Message::Rarp(mac)).unwrap();
    assert!(matches!(event, Some(Event::Rarp(found)) if found == mac));
}

#[test]
fn log_base_is_always_answered_with_a_number() {
    let mut peer = FrontEnd::running();
    peer.need_reply = false;
    let event = peer.say(&log(4096, 8192)).unwrap();
    let Some(Event::LogBase { area, .. }) = event else { panic!("{event:?}") };
    assert_eq!(area, LogArea { size: 4096, offset: 8192 });
    peer.silent();
    peer.machine.answer_ack(Ok(())).unwrap();
    assert_eq!(peer.heard_number(Request::SetLogBase), 0);
}

#[test]
fn log_base_that_overflows_or_is_too_large_ends_the_conversation() {
    let request = Request::SetLogBase;
    for (size, offset) in
        [(0, 0), (4097, 0), (u64::MAX, 0), (u64::MAX, u64::MAX), (1, u64::MAX), (4096, u64::MAX)]
    {
        let mut peer = FrontEnd::acked();
        let why = PeerMisbehaved::FileArea { request, size, offset, limit: 4096 };
        assert_eq!(peer.say(&log(size, offset)).unwrap_err(), why.into());
        peer.ended();
    }
    let mut peer = FrontEnd::acked();
    peer.say(&log(64, 0)).unwrap();
    assert_eq!(peer.machine.answer_ack(Err(Failed)), Err(ControlError::Failed { request }));
    peer.ended();
}

#[test]
fn log_descriptor_and_second_socket_are_handed_on() {
    let mut peer = FrontEnd::acked();
    for _ in 0..50 {
        let event = peer.say_with(&Message::Plain(Request::SetLogFd), marked("vu-log", 1));
        assert!(matches!(event, Ok(Some(Event::LogFd(_)))));
        peer.machine.answer_ack(Ok(())).unwrap();
        peer.heard(Request::SetLogFd);
        drop(event);
        let socket = Message::Plain(Request::SetBackendReqFd);
        let event = peer.say_with(&socket, marked("vu-log", 1));
        assert!(matches!(event, Ok(Some(Event::BackendChannel(_)))));
        peer.machine.answer_ack(Ok(())).unwrap();
        peer.heard(Request::SetBackendReqFd);
    }
    assert_eq!(open_count("vu-log"), 0);
}

#[test]
fn inflight_memory_is_made_and_keeps_its_form() {
    for padded in [true, false] {
        let mut peer = FrontEnd::acked();
        let wanted = Inflight { padded, ..INFLIGHT };
        let event = peer.say(&Message::Inflight(Request::GetInflightFd, wanted)).unwrap();
        assert!(matches!(event, Some(Event::InflightWanted { queues: 4, queue_size: 256 })));
        let memory =
            InflightMemory { fd: fd(), size: 12288, offset: 0, queues: 4, queue_size: 256 };
        peer.machine.answer_inflight(Ok(memory)).unwrap();
        let reply = peer.heard(Request::GetInflightFd);
        assert!(!reply.fds.is_empty());
        assert_eq!(reply.bytes.len(), 12 + if padded { 24 } else { 20 });
        assert_eq!(reply.bytes[12..20], 12288u64.to_ne_bytes());
    }
}

#[test]
fn inflight_memory_that_cannot_be_made_is_a_reply_of_size_zero() {
    let mut peer = FrontEnd::acked();
    for (padded, len) in [(true, 24), (false, 20)] {
        let wanted = Inflight { padded, ..INFLIGHT };
        peer.say(&Message::Inflight(Request::GetInflightFd, wanted)).unwrap();
        peer.machine.answer_inflight(Err(Failed)).unwrap();
        let reply = peer.heard(Request::GetInflightFd);
        assert_eq!((reply.bytes[12..].to_vec(), reply.fds.is_empty()), (vec![0; len], true));
    }
}

#[test]
fn inflight_memory_of_impossible_shape_is_refused() {
    for (queues, queue_size) in
        [(0, 256), (5, 256), (u16::MAX, 256), (4, 0), (4, 1025), (u16::MAX, u16::MAX)]
    {
        let odd = Inflight { queues, queue_size, ..INFLIGHT };
        let why = PeerMisbehaved::InflightShape { queues, queue_size };
        FrontEnd::acked().no(&set_inflight(odd), why);
        let mut peer = FrontEnd::acked();
        let error = peer.say(&Message::Inflight(Request::GetInflightFd, odd)).unwrap_err();
        assert_eq!(error, why.into());
        assert_eq!(peer.heard(Request::GetInflightFd).bytes[12..20], [0; 8]);
    }
}

#[test]
fn inflight_memory_that_overflows_its_file_is_refused() {
    let request = Request::SetInflightFd;
    for (size, offset) in [(0, 0), (u64::MAX, 0), (8192, u64::MAX), (1 << 31, 0)] {
        let odd = Inflight { mmap_size: size, mmap_offset: offset, ..INFLIGHT };
        let why = PeerMisbehaved::FileArea { request, size, offset, limit: 1 << 30 };
        FrontEnd::acked().no(&set_inflight(odd), why);
    }
}

#[test]
fn inflight_memory_while_rings_run_is_refused() {
    let why = PeerMisbehaved::WhileRunning { request: Request::SetInflightFd };
    FrontEnd::running().no(&set_inflight(INFLIGHT), why);
}

#[test]
fn ring_does_not_outgrow_the_inflight_memory() {
    let mut peer = FrontEnd::acked();
    let event = peer.say(&set_inflight(INFLIGHT)).unwrap();
    let Some(Event::Inflight(memory)) = event else { panic!("{event:?}") };
    assert_eq!((memory.size, memory.queues, memory.queue_size), (8192, 4, 256));
    peer.machine.answer_ack(Ok(())).unwrap();
    peer.heard(Request::SetInflightFd);
    let why = PeerMisbehaved::RingSize { size: 512, limit: 256 };
    peer.no(&state(Request::SetVringNum, 0, 512), why);
    peer.yes(&state(Request::SetVringNum, 0, 256));
}

#[test]
fn inflight_memory_smaller_than_a_ring_keeps_it_from_starting() {
    let mut peer = FrontEnd::with_memory(support::FEATURES & !(1 << 34));
    peer.set_up(0);
    peer.yes(&set_inflight(Inflight { queue_size: 128, ..INFLIGHT }));
    let why = PeerMisbehaved::RingSize { size: 256, limit: 128 };
    peer.no(&doorbell(Request::SetVringKick, 0), why);
}

#[test]
fn device_state_moves_through_a_pipe_of_either_side() {
    let mut peer = FrontEnd::acked();
    for (pipe, expected) in [(Ok(None), 0x100), (Ok(Some(fd())), 0), (Err(Failed), 0x101)] {
        let given = matches!(pipe, Ok(Some(_)));
        let event = peer.say(&Message::DeviceState(DeviceState { direction: 1, phase: 0 }));
        assert!(matches!(event, Ok(Some(Event::DeviceState(..)))));
        peer.machine.answer_device_state(pipe).unwrap();
        let reply = peer.heard(Request::SetDeviceStateFd);
        assert_eq!(
            (&reply.bytes[12..], !reply.fds.is_empty()),
            (&u64::to_ne_bytes(expected)[..], given)
        );
    }
    for (answer, expected) in [(Ok(()), 0), (Err(Failed), 1)] {
        peer.say(&Message::Plain(Request::CheckDeviceState)).unwrap();
        peer.machine.answer_ack(answer).unwrap();
        assert_eq!(peer.heard_number(Request::CheckDeviceState), expected);
    }
}

#[test]
fn device_state_of_a_running_device_or_an_unknown_kind_is_refused() {
    for (direction, phase) in [(2, 0), (0, 1), (u32::MAX, u32::MAX)] {
        let mut peer = FrontEnd::acked();
        let state = Message::DeviceState(DeviceState { direction, phase });
        assert!(peer.say(&state).is_err());
        assert_eq!(peer.heard_number(Request::SetDeviceStateFd), 0x101);
        peer.still_answers();
    }
    let why = PeerMisbehaved::WhileRunning { request: Request::SetDeviceStateFd };
    let save = Message::DeviceState(DeviceState { direction: 0, phase: 0 });
    FrontEnd::running().no(&save, why);
}
