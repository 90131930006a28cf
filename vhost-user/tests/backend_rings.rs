//! Rings: states, bases, hot changes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use ringport_vhost_user::backend::{BackendConfig, Event, Failed, ResetKind, RingBase};
use ringport_vhost_user::error::PeerMisbehaved;
use ringport_vhost_user::wire::{
    Message, ProtocolFeatures, Request, VringAddress, VringFd, feature,
};
use support::{FrontEnd, address, config, doorbell, region, state};

const SPLIT: u64 = feature::VERSION_1 | feature::PROTOCOL_FEATURES;

fn set_up(features: u64) -> FrontEnd {
    let mut peer = FrontEnd::with_memory(features);
    peer.set_up(0);
    peer
}

#[test]
fn ring_starts_when_its_kick_comes() {
    let mut peer = set_up(SPLIT);
    peer.yes(&doorbell(Request::SetVringCall, 0));
    peer.yes(&doorbell(Request::SetVringErr, 0));
    let ring = peer.start(0);
    assert_eq!((ring.size, ring.base), (256, RingBase::Split { avail: 0 }));
    let said = address(0);
    assert_eq!(
        (ring.addresses.descriptor_area, ring.addresses.driver_area, ring.addresses.device_area),
        (said.descriptor_area, said.driver_area, said.device_area)
    );
    assert!(ring.kick.is_some() && ring.call.is_some() && ring.err.is_some());
    assert!(!ring.enabled && ring.addresses.log.is_none());
}

#[test]
fn kick_without_descriptor_starts_a_polled_ring() {
    let mut peer = set_up(SPLIT);
    let event =
        peer.say(&Message::VringFd(Request::SetVringKick, VringFd { index: 0, no_fd: true }));
    let Ok(Some(Event::RingStarted(ring))) = event else { panic!("{event:?}") };
    assert!(ring.kick.is_none());
}

#[test]
fn ring_that_lacks_something_does_not_start() {
    let kick = doorbell(Request::SetVringKick, 0);
    let lacks = |missing| PeerMisbehaved::RingIncomplete { index: 0, missing };
    let mut peer = FrontEnd::acked();
    peer.no(&kick, lacks(Request::SetMemTable));
    peer.yes(&Message::MemTable(vec![region(0)]));
    peer.no(&kick, lacks(Request::SetVringNum));
    peer.yes(&state(Request::SetVringNum, 0, 8));
    peer.no(&kick, lacks(Request::SetVringAddr));
    peer.yes(&Message::VringAddress(address(0)));
    peer.start(0);
}

#[test]
fn ring_that_the_data_side_cannot_start_stays_stopped() {
    let mut peer = set_up(SPLIT);
    peer.say(&doorbell(Request::SetVringKick, 0)).unwrap();
    peer.machine.answer_ack(Err(Failed)).unwrap();
    assert_ne!(peer.heard_number(Request::SetVringKick), 0);
    peer.yes(&state(Request::SetVringNum, 0, 128));
    assert_eq!(peer.start(0).size, 128);
}

#[test]
fn ring_that_was_refused_keeps_its_eventfds_for_the_next_kick() {
    let mut peer = set_up(SPLIT);
    let bells = [Request::SetVringCall, Request::SetVringErr];
    bells.iter().for_each(|request| peer.yes(&doorbell(*request, 0)));
    for _ in 0..3 {
        let event = peer.say(&doorbell(Request::SetVringKick, 0)).unwrap();
        let Some(Event::RingStarted(refused)) = event else { panic!("{event:?}") };
        assert!(refused.call.is_some() && refused.err.is_some());
        peer.machine.answer_ack(Err(Failed)).unwrap();
        assert_ne!(peer.heard_number(Request::SetVringKick), 0);
    }
    let ring = peer.start(0);
    assert!(ring.call.is_some() && ring.err.is_some());
    // They are the running ring's now, and the next start has those that are said for it.
    peer.stop(0, RingBase::Split { avail: 0 });
    let ring = peer.start(0);
    assert!(ring.call.is_none() && ring.err.is_none());
}

#[test]
fn enable_is_remembered_while_the_ring_is_stopped() {
    let mut peer = set_up(SPLIT);
    assert!(peer.say(&state(Request::SetVringEnable, 0, 1)).unwrap().is_none());
    assert_eq!(peer.heard_number(Request::SetVringEnable), 0);
    assert!(peer.start(0).enabled);
    peer.stop(0, RingBase::Split { avail: 3 });
    assert!(peer.start(0).enabled);
}

#[test]
fn enable_repeated_is_acked_without_an_event() {
    let mut peer = FrontEnd::running();
    assert!(peer.say(&state(Request::SetVringEnable, 0, 1)).unwrap().is_none());
    assert_eq!(peer.heard_number(Request::SetVringEnable), 0);
}

#[test]
fn enable_with_another_value_is_refused() {
    let why = PeerMisbehaved::EnableValue { value: 2 };
    FrontEnd::running().no(&state(Request::SetVringEnable, 0, 2), why);
}

#[test]
fn features_without_bit_30_enable_every_ring() {
    let mut peer = FrontEnd::acked();
    let event = peer.say(&Message::Number(Request::SetFeatures, feature::VERSION_1)).unwrap();
    assert!(matches!(event, Some(Event::Features { rings_enabled: true, .. })));
    peer.machine.answer_ack(Ok(())).unwrap();
    peer.heard(Request::SetFeatures);
    peer.yes(&Message::MemTable(vec![region(0)]));
    for index in [0, 3] {
        peer.set_up(index.into());
        assert!(peer.start(index).enabled);
    }
}

#[test]
fn features_never_disable_a_ring() {
    let mut peer = FrontEnd::running();
    peer.yes(&Message::Number(Request::SetFeatures, SPLIT | feature::LOG_ALL));
    peer.yes(&Message::Number(Request::SetFeatures, SPLIT));
    peer.stop(0, RingBase::Split { avail: 1 });
    assert!(peer.start(0).enabled);
}

#[test]
fn rings_stop_one_by_one() {
    let mut peer = FrontEnd::running();
    peer.set_up(1);
    peer.start(1);
    peer.stop(1, RingBase::Split { avail: 4 });
    let error = peer.say(&state(Request::SetVringNum, 0, 8)).unwrap_err();
    assert!(error.to_string().contains("runs"), "{error}");
}

#[test]
fn addresses_resent_on_a_running_ring_change_its_log_only() {
    let mut peer = FrontEnd::running();
    assert!(peer.say(&Message::VringAddress(address(0))).unwrap().is_none());
    assert_eq!(peer.heard_number(Request::SetVringAddr), 0);
    let logged = VringAddress { log: true, log_address: 0x4000_3000, ..address(0) };
    let event = peer.say(&Message::VringAddress(logged)).unwrap();
    assert!(matches!(event, Some(Event::RingLog { index: 0, log: Some(0x4000_3000) })));
    peer.silent();
    peer.machine.answer_ack(Ok(())).unwrap();
    assert_eq!(peer.heard_number(Request::SetVringAddr), 0);
    assert!(peer.say(&Message::VringAddress(logged)).unwrap().is_none());
    peer.heard(Request::SetVringAddr);
    let event = peer.say(&Message::VringAddress(address(0))).unwrap();
    assert!(matches!(event, Some(Event::RingLog { index: 0, log: None })));
}

#[test]
fn doorbells_of_a_running_ring_are_replaced() {
    let mut peer = FrontEnd::running();
    let event = peer.say(&doorbell(Request::SetVringCall, 0)).unwrap();
    assert!(matches!(event, Some(Event::RingCall { index: 0, call: Some(_) })));
    peer.machine.answer_ack(Ok(())).unwrap();
    assert_eq!(peer.heard_number(Request::SetVringCall), 0);
    let none = |request| Message::VringFd(request, VringFd { index: 0, no_fd: true });
    let event = peer.say(&none(Request::SetVringKick)).unwrap();
    assert!(matches!(event, Some(Event::RingKick { index: 0, kick: None })));
    peer.machine.answer_ack(Ok(())).unwrap();
    peer.heard(Request::SetVringKick);
    let event = peer.say(&none(Request::SetVringErr)).unwrap();
    assert!(matches!(event, Some(Event::RingErr { index: 0, err: None })));
}

#[test]
fn call_replaced_before_the_start_closes_the_old_one() {
    let mut peer = set_up(SPLIT);
    for _ in 0..100 {
        let fds = support::marked("vu-call", 1);
        peer.say_with(&doorbell(Request::SetVringCall, 0), fds).unwrap();
        peer.heard(Request::SetVringCall);
    }
    assert_eq!(support::open_count("vu-call"), 1);
    peer.machine.close();
    assert_eq!(support::open_count("vu-call"), 0);
}

#[test]
fn reset_stops_and_disables_every_ring() {
    for (request, kind) in
        [(Request::ResetOwner, ResetKind::Owner), (Request::ResetDevice, ResetKind::Device)]
    {
        let mut peer = FrontEnd::running();
        let event = peer.say(&Message::Plain(request)).unwrap();
        assert!(matches!(event, Some(Event::Reset(found)) if found == kind));
        peer.silent();
        peer.machine.answer_ack(Ok(())).unwrap();
        assert_eq!(peer.heard_number(request), 0);
        let missing = Request::SetVringNum;
        let why = PeerMisbehaved::RingIncomplete { index: 0, missing };
        peer.no(&doorbell(Request::SetVringKick, 0), why);
        peer.set_up(0);
        assert!(!peer.start(0).enabled);
    }
}

#[test]
fn guest_reboot_is_stop_and_the_whole_sequence_again() {
    let mut peer = FrontEnd::running();
    for _ in 0..3 {
        peer.stop(0, RingBase::Split { avail: 5 });
        peer.yes(&state(Request::SetVringEnable, 0, 0));
        peer.yes(&Message::Number(Request::SetFeatures, SPLIT));
        peer.yes(&Message::MemTable(vec![region(0)]));
        peer.set_up(0);
        peer.yes(&doorbell(Request::SetVringCall, 0));
        assert_eq!(peer.start(0).base, RingBase::Split { avail: 0 });
        peer.yes(&state(Request::SetVringEnable, 0, 1));
    }
}

#[test]
fn queue_count_is_in_pairs_and_the_control_ring_comes_last() {
    let mut peer = FrontEnd::new(BackendConfig { control_ring: true, ..config() });
    peer.say(&Message::Plain(Request::GetQueueNum)).unwrap();
    assert_eq!(peer.heard_number(Request::GetQueueNum), 2);
    peer.done(&state(Request::SetVringNum, 4, 64));
    assert!(peer.say(&state(Request::SetVringNum, 5, 64)).is_err());
    let most = BackendConfig { queue_pairs: u16::MAX, control_ring: true, ..config() };
    assert_eq!(most.ring_count(), 256);
    assert!(ProtocolFeatures::ALL.contains(ProtocolFeatures::MQ));
}
