//! The dirty log, from the front-end's side.
//!
//! Spec: vhost-user "Migration".
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod frontend_support;

use frontend_support::{Both, FEATURES, PROTOCOL, back_config, fd, front_config};
use ringport_vhost_user::ControlError;
use ringport_vhost_user::backend::BackendConfig;
use ringport_vhost_user::frontend::{Event, LogOffer, PeerMisbehaved};
use ringport_vhost_user::wire::{LogArea, ProtocolFeatures, Reply, Request as R, feature};
use std::time::Instant;

const AREA: LogArea = LogArea { size: 0x8000, offset: 0x1000 };

fn back(protocol_features: ProtocolFeatures) -> BackendConfig {
    let features = back_config().features | feature::LOG_ALL;
    BackendConfig { features, protocol_features, ..back_config() }
}

fn log() -> LogOffer {
    LogOffer { area: AREA, fd: fd(), device_areas: (1..5).map(|n| n * 0x10_0000).collect() }
}

/// What was said since there were `before` requests.
fn said(both: &Both, before: usize) -> Vec<R> {
    both.said[before..].iter().map(|(request, _)| *request).collect()
}

#[test]
fn log_is_given_then_used_then_that_of_each_ring_and_all_of_it_is_taken_back() {
    for acks in [true, false] {
        let acknowledged =
            if acks { PROTOCOL } else { PROTOCOL.without(ProtocolFeatures::REPLY_ACK) };
        let mut both = Both::new(front_config(), back(acknowledged));
        both.running();
        assert!(both.front.can_log());
        assert_eq!(both.data.features & feature::LOG_ALL, 0, "not before it is needed");
        let (before, now) = (both.said.len(), Instant::now());
        both.front.start_log(log(), now).unwrap();
        assert_eq!(both.run().unwrap(), Some(Event::Logging(true)));
        assert_eq!(both.data.features & feature::LOG_ALL, feature::LOG_ALL);
        let each: Vec<_> = (0..4).map(|n: u16| (n, Some(u64::from(n + 1) * 0x10_0000))).collect();
        assert_eq!(std::mem::take(&mut both.data.logs), each);
        let sync: &[R] = if acks { &[] } else { &[R::GetFeatures] };
        let rest = [&[R::SetFeatures][..], &[R::SetVringAddr; 4], sync].concat();
        assert_eq!(said(&both, before), [&[R::SetLogBase][..], &rest].concat());
        let before = both.said.len();
        both.front.stop_log(now).unwrap();
        assert_eq!(both.run().unwrap(), Some(Event::Logging(false)));
        assert_eq!((both.data.features & feature::LOG_ALL, said(&both, before)), (0, rest));
        assert!(both.data.logs.iter().all(|(_, log)| log.is_none()) && both.data.logs.len() == 4);
        both.front.stop(now).unwrap();
        assert_eq!(both.run().unwrap(), Some(Event::Stopped));
    }
}

/// Has the log answered by `reply`.
fn answered(reply: &Reply) -> Result<Option<Event>, ControlError> {
    let mut both = Both::new(front_config(), back(PROTOCOL));
    both.running();
    both.front.start_log(log(), Instant::now()).unwrap();
    let (number, bytes) = (both.replies, reply.encode(R::SetLogBase as u32));
    both.run_with(|at, usual| (if at == number { bytes.clone() } else { usual }, 0))
}

#[test]
fn answer_to_the_log_may_have_any_length_that_back_ends_give_it() {
    // As DPDK's, as libvhost-user's, which says a size, and as rust-vmm's.
    let replies = [Reply::Empty, Reply::Number(0), Reply::Number(0x8000), Reply::Log(AREA)];
    for reply in replies {
        assert_eq!(answered(&reply).unwrap(), Some(Event::Logging(true)), "{reply:?}");
    }
    let other = LogArea { size: 1, ..AREA };
    let request = R::SetLogBase;
    let why = PeerMisbehaved::OtherReply { request };
    assert_eq!(answered(&Reply::Log(other)), Err(why.into()));
    let inflight = Reply::VringState(ringport_vhost_user::wire::VringState { index: 0, value: 0 });
    // Eight bytes are a number, whatever they were meant to be.
    assert_eq!(answered(&inflight).unwrap(), Some(Event::Logging(true)));
}

#[test]
fn answer_to_the_log_of_another_length_ends_the_conversation() {
    for len in [1, 7, 9, 12, 15, 17, 24] {
        let mut both = Both::new(front_config(), back(PROTOCOL));
        both.running();
        both.front.start_log(log(), Instant::now()).unwrap();
        let mut bytes = Reply::Empty.encode(R::SetLogBase as u32);
        bytes[8..12].copy_from_slice(&u32::to_le_bytes(len));
        bytes.resize(12 + len as usize, 0);
        let number = both.replies;
        let heard =
            both.run_with(|at, usual| (if at == number { bytes.clone() } else { usual }, 0));
        assert!(matches!(heard, Err(ControlError::PeerMisbehaved(_))), "{len} bytes: {heard:?}");
        assert!(both.front.is_closed());
    }
}

#[test]
fn log_that_the_back_end_cannot_keep_or_that_leaves_rings_out_is_out_of_order() {
    let lacks = [
        back(PROTOCOL.without(ProtocolFeatures::LOG_SHMFD)),
        BackendConfig { features: FEATURES, ..back(PROTOCOL) },
    ];
    let refused = ControlError::OutOfOrder { call: "start_log" };
    for back in lacks {
        let mut both = Both::new(front_config(), back);
        both.running();
        assert!(!both.front.can_log());
        assert_eq!(both.front.start_log(log(), Instant::now()), Err(refused));
        let stop = ControlError::OutOfOrder { call: "stop_log" };
        assert_eq!(both.front.stop_log(Instant::now()), Err(stop));
    }
    let mut both = Both::new(front_config(), back(PROTOCOL));
    assert_eq!(both.front.start_log(log(), Instant::now()), Err(refused));
    both.running();
    let few = LogOffer { device_areas: vec![0; 3], ..log() };
    assert_eq!(both.front.start_log(few, Instant::now()), Err(refused));
}
