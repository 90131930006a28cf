//! The front-end's conversation with our own back-end: what is said, in which order, to back-ends
//! that have more or less.
//!
//! Spec: vhost-user "Communication", "Protocol features", "Starting and stopping rings".
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod frontend_support;

use frontend_support::{
    Both, FEATURES, MAC, PROTOCOL, REGION, TIMEOUT, back_config, front_config, offer,
};
use ringport_vhost_user::ControlError;
use ringport_vhost_user::backend::{BackendConfig, PackedIndex, RingBase};
use ringport_vhost_user::frontend::{Event, FrontendConfig, Offer, PeerIncompatible};
use ringport_vhost_user::wire::{ProtocolFeatures, Request, feature};
use std::time::{Duration, Instant};

use Request as R;

/// What every ring is told before it is enabled.
const RING: [Request; 6] = [
    R::SetVringCall,
    R::SetVringNum,
    R::SetVringBase,
    R::SetVringAddr,
    R::SetVringErr,
    R::SetVringKick,
];

/// What a back-end is like, and what is said to it.
struct Row {
    name: &'static str,
    features: u64,
    protocol: ProtocolFeatures,
    pairs: u16,
    /// Up to the event.
    introduction: &'static [Request],
    /// From there to the first ring.
    start: &'static [Request],
    /// Behind the rings; none of them is enabled when nothing is said of it.
    end: &'static [Request],
    agreed_pairs: u16,
    agreed_features: u64,
}

const BIT_30: u64 = feature::PROTOCOL_FEATURES;

fn rows() -> Vec<Row> {
    use ProtocolFeatures as P;
    vec![
        Row {
            name: "our own, with everything",
            features: back_config().features,
            protocol: PROTOCOL,
            pairs: 2,
            introduction: &[
                R::GetFeatures,
                R::GetProtocolFeatures,
                R::SetProtocolFeatures,
                R::SetOwner,
                R::GetQueueNum,
                R::GetConfig,
            ],
            start: &[R::SetFeatures, R::SetStatus, R::GetStatus, R::SetMemTable, R::NetSetMtu],
            end: &[R::SetStatus],
            agreed_pairs: 2,
            agreed_features: back_config().features | BIT_30,
        },
        Row {
            name: "as DPDK's",
            features: FEATURES | feature::MTU,
            protocol: P::MQ | P::REPLY_ACK | P::NET_MTU | P::STATUS,
            pairs: 128,
            introduction: &[
                R::GetFeatures,
                R::GetProtocolFeatures,
                R::SetProtocolFeatures,
                R::SetOwner,
                R::GetQueueNum,
            ],
            start: &[R::SetFeatures, R::SetStatus, R::GetStatus, R::SetMemTable, R::NetSetMtu],
            end: &[R::SetStatus],
            agreed_pairs: 2,
            agreed_features: FEATURES | feature::MTU | BIT_30,
        },
    ]
}

/// Back-ends that lack what most have.
fn modest_rows() -> Vec<Row> {
    use ProtocolFeatures as P;
    vec![
        Row {
            name: "as VPP's, which ends at any request above 18",
            features: FEATURES,
            protocol: P::MQ | P::LOG_SHMFD,
            pairs: 1,
            introduction: &[
                R::GetFeatures,
                R::GetProtocolFeatures,
                R::SetProtocolFeatures,
                R::SetOwner,
                R::GetQueueNum,
            ],
            start: &[R::SetFeatures, R::SetMemTable],
            end: &[R::GetFeatures],
            agreed_pairs: 1,
            agreed_features: FEATURES | BIT_30,
        },
        Row {
            name: "with nothing of the protocol's features that we have",
            features: FEATURES,
            protocol: P::HOST_NOTIFIER,
            pairs: 2,
            introduction: &[
                R::GetFeatures,
                R::GetProtocolFeatures,
                R::SetProtocolFeatures,
                R::SetOwner,
            ],
            start: &[R::SetFeatures, R::SetMemTable],
            end: &[R::GetFeatures],
            agreed_pairs: 1,
            agreed_features: FEATURES | BIT_30,
        },
        Row {
            name: "without protocol features, whose rings need not be enabled",
            features: FEATURES | feature::MAC,
            protocol: P::NONE,
            pairs: 2,
            introduction: &[R::GetFeatures, R::SetOwner],
            start: &[R::SetFeatures, R::SetMemTable],
            end: &[R::GetFeatures],
            agreed_pairs: 1,
            agreed_features: FEATURES,
        },
    ]
}

#[test]
fn only_what_was_negotiated_is_said_and_in_order() {
    for row in rows().into_iter().chain(modest_rows()) {
        let back = BackendConfig {
            features: row.features,
            protocol_features: row.protocol,
            queue_pairs: row.pairs,
            ..back_config()
        };
        let mut both = Both::new(front_config(), back);
        let agreed = both.running();
        let rings = 2 * usize::from(row.agreed_pairs);
        let enables = if row.protocol.is_empty() { 0 } else { rings };
        let expected: Vec<_> = [row.introduction, row.start]
            .concat()
            .into_iter()
            .chain((0..rings).flat_map(|_| RING))
            .chain((0..enables).map(|_| R::SetVringEnable))
            .chain(row.end.iter().copied())
            .collect();
        let said: Vec<_> = both.said.iter().map(|(request, _)| *request).collect();
        assert_eq!(said, expected, "{}", row.name);
        let agreed = (agreed.queue_pairs, agreed.features);
        assert_eq!(agreed, (row.agreed_pairs, row.agreed_features), "{}", row.name);
        assert_eq!(both.data.features, row.agreed_features, "{}", row.name);
        assert_eq!(both.data.started.len(), rings, "{}", row.name);
        assert_eq!(both.data.enabled.len(), enables, "{}", row.name);
    }
}

#[test]
fn everything_that_may_fail_asks_for_an_answer_where_that_was_negotiated() {
    let mut both = Both::new(front_config(), back_config());
    both.running();
    let never = [R::SetProtocolFeatures, R::SetOwner];
    for (request, need_reply) in &both.said {
        let answers = request.to_string().starts_with("GET_");
        assert_eq!(*need_reply, !answers && !never.contains(request), "{request}");
    }
    let protocol_features = PROTOCOL.without(ProtocolFeatures::REPLY_ACK);
    let back = BackendConfig { protocol_features, ..back_config() };
    let mut both = Both::new(front_config(), back);
    both.running();
    assert!(both.said.iter().all(|(_, need_reply)| !need_reply));
}

#[test]
fn rings_begin_at_their_start_with_all_that_they_were_given() {
    for packed in [false, true] {
        let features = if packed { FEATURES } else { FEATURES & !feature::RING_PACKED };
        let mut both = Both::new(front_config(), BackendConfig { features, ..back_config() });
        let agreed = both.negotiated();
        both.front.offer(offer(&agreed), Instant::now()).unwrap();
        both.run().unwrap();
        let start = PackedIndex { index: 0, wrap: true };
        let start = RingBase::Packed { avail: start, used: start };
        let base = if packed { start } else { RingBase::Split { avail: 0 } };
        for ((ring, wanted), index) in both.data.started.iter().zip(offer(&agreed).rings).zip(0..) {
            assert_eq!((ring.index, ring.size, ring.base), (index, 256, base));
            assert_eq!(ring.addresses.descriptor_area, wanted.descriptor_area);
            assert_eq!(ring.addresses.driver_area, wanted.driver_area);
            assert_eq!(ring.addresses.device_area, wanted.device_area);
            assert!(ring.kick.is_some() && ring.call.is_some() && ring.err.is_some());
        }
        let [memory] = both.data.memory.as_slice() else { panic!("one region") };
        assert_eq!(memory.region, REGION);
    }
}

#[test]
fn doorbells_that_are_not_there_are_said_to_be_missing() {
    let mut both = Both::new(front_config(), back_config());
    let agreed = both.negotiated();
    let mut offer = offer(&agreed);
    for ring in &mut offer.rings {
        (ring.kick, ring.call, ring.err) = (None, None, None);
    }
    both.front.offer(offer, Instant::now()).unwrap();
    assert_eq!(both.run().unwrap(), Some(Event::Running));
    assert!(both.data.started.iter().all(|ring| ring.kick.is_none() && ring.call.is_none()));
    assert!(!both.said.iter().any(|(request, _)| *request == R::SetVringErr));
}

#[test]
fn status_goes_up_to_driver_ok_and_back_to_nothing() {
    let mut both = Both::new(front_config(), back_config());
    both.running();
    assert_eq!(both.data.status, [0b1011, 0b1111]);
    both.front.stop(Instant::now()).unwrap();
    assert_eq!(both.run().unwrap(), Some(Event::Stopped));
    while both.front.take_outgoing().is_some() {}
    assert_eq!(both.data.stopped, [0, 1, 2, 3]);
    assert_eq!(both.data.status, [0b1011, 0b1111, 0]);
}

#[test]
fn every_ring_is_stopped_where_nothing_is_acknowledged() {
    let protocol_features = PROTOCOL.without(ProtocolFeatures::REPLY_ACK);
    let mut both = Both::new(front_config(), BackendConfig { protocol_features, ..back_config() });
    both.running();
    both.front.stop(Instant::now()).unwrap();
    assert_eq!(both.run().unwrap(), Some(Event::Stopped));
    assert_eq!(both.data.stopped, [0, 1, 2, 3]);
    let last = both.front.take_outgoing().unwrap().bytes;
    assert_eq!(last[..4], (R::SetStatus as u32).to_ne_bytes());
}

#[test]
fn address_and_mtu_of_the_device_are_known_where_it_tells_them() {
    let mut both = Both::new(front_config(), back_config());
    let agreed = both.negotiated();
    assert_eq!((agreed.told.mac, agreed.told.mtu), (Some(MAC), Some(9000)));
    let features = FEATURES | feature::MAC;
    let mut both = Both::new(front_config(), BackendConfig { features, ..back_config() });
    let agreed = both.negotiated();
    assert_eq!((agreed.told.mac, agreed.told.mtu), (Some(MAC), None));
    let protocol_features = PROTOCOL.without(ProtocolFeatures::CONFIG);
    let mut both = Both::new(front_config(), BackendConfig { protocol_features, ..back_config() });
    let agreed = both.negotiated();
    assert_eq!((agreed.told.mac, agreed.told.mtu), (None, None));
    assert_eq!(agreed.features & feature::MAC, 0, "nobody says what it is");
}

#[test]
fn our_mtu_is_told_where_the_device_takes_it() {
    for (mtu, features, expected) in
        [(Some(1500), feature::MTU, Some(1500)), (None, feature::MTU, None), (Some(1500), 0, None)]
    {
        let front = FrontendConfig { mtu, ..front_config() };
        let back = BackendConfig { features: FEATURES | features, ..back_config() };
        let mut both = Both::new(front, back);
        both.running();
        assert_eq!(both.data.mtu, expected);
    }
}

#[test]
fn one_pair_is_used_where_only_one_can_be_had() {
    for (features, protocol, pairs, expected) in [
        (FEATURES, PROTOCOL, 8, 4),
        (FEATURES, PROTOCOL, 3, 3),
        (FEATURES, PROTOCOL, 1, 1),
        (FEATURES & !feature::MQ, PROTOCOL, 8, 1),
        (FEATURES, PROTOCOL.without(ProtocolFeatures::MQ), 8, 1),
    ] {
        let front = FrontendConfig { queue_pairs: 4, ..front_config() };
        let back = BackendConfig {
            features,
            protocol_features: protocol,
            queue_pairs: pairs,
            ..back_config()
        };
        let mut both = Both::new(front, back);
        assert_eq!(both.running().queue_pairs, expected);
        assert_eq!(both.data.started.len(), 2 * usize::from(expected));
    }
}

#[test]
fn back_end_without_required_features_is_refused_and_they_are_named() {
    for missing in [feature::VERSION_1, feature::RING_PACKED, FEATURES] {
        let front = FrontendConfig { required_features: FEATURES, ..front_config() };
        let back =
            BackendConfig { features: FEATURES & !missing, required_features: 0, ..back_config() };
        let mut both = Both::new(front, back);
        let why = PeerIncompatible::FeaturesMissing { bits: missing };
        assert_eq!(both.run().unwrap_err(), ControlError::PeerIncompatible(why));
        assert!(both.front.is_closed());
        assert!(both.front.take_outgoing().is_none());
    }
}

#[test]
fn address_that_is_required_and_that_nobody_tells_is_missing() {
    let required_features = feature::VERSION_1 | feature::MAC;
    let front = FrontendConfig { required_features, ..front_config() };
    let protocol_features = PROTOCOL.without(ProtocolFeatures::CONFIG);
    let mut both = Both::new(front, BackendConfig { protocol_features, ..back_config() });
    let why = PeerIncompatible::FeaturesMissing { bits: feature::MAC };
    assert_eq!(both.run().unwrap_err(), ControlError::PeerIncompatible(why));
}

#[test]
fn every_ring_of_the_most_pairs_is_set_up_and_enabled() {
    let front = FrontendConfig { queue_pairs: 128, ..front_config() };
    let mut both = Both::new(front, BackendConfig { queue_pairs: 128, ..back_config() });
    assert_eq!(both.running().queue_pairs, 128);
    let started: Vec<u16> = both.data.started.iter().map(|ring| ring.index).collect();
    assert_eq!(started, (0..256).collect::<Vec<u16>>());
    assert_eq!(both.data.enabled, started);
}

#[test]
fn refusal_ends_the_conversation_and_names_the_request() {
    for request in [R::SetFeatures, R::SetMemTable, R::NetSetMtu, R::SetVringKick] {
        let mut both = Both::new(front_config(), back_config());
        both.data.refuses = Some(request);
        let agreed = both.negotiated();
        both.front.offer(offer(&agreed), Instant::now()).unwrap();
        assert_eq!(both.run().unwrap_err(), ControlError::Refused { request, code: 1 });
        assert!(both.front.is_closed());
    }
}

#[test]
fn silence_ends_each_phase_and_names_the_request() {
    let start = Instant::now();
    let mut both = Both::new(front_config(), back_config());
    let late = |request| Err(ControlError::Timeout { request, waited: TIMEOUT });
    let after = |since: Instant, millis: u64| since + TIMEOUT + Duration::from_millis(millis);
    let deadline = both.front.deadline().unwrap();
    assert!(deadline >= start + TIMEOUT && deadline <= after(Instant::now(), 0));
    assert_eq!(both.front.on_deadline(start), Ok(()));

    let mut other = Both::new(front_config(), back_config());
    assert_eq!(other.front.on_deadline(after(Instant::now(), 1)), late(R::GetFeatures));
    assert!(other.front.is_closed());

    let agreed = both.negotiated();
    assert_eq!(both.front.deadline(), None, "our own turn");
    let now = Instant::now();
    both.front.offer(offer(&agreed), now).unwrap();
    assert_eq!(both.front.deadline(), Some(now + TIMEOUT));
    both.run().unwrap();
    assert_eq!(both.front.deadline(), None, "nothing is asked");
    both.front.stop(now).unwrap();
    both.front.take_outgoing().unwrap();
    assert_eq!(both.front.on_deadline(after(now, 0)), late(R::GetVringBase));
    assert_eq!((both.front.wanted(), both.front.deadline()), (0, None));
}

#[test]
fn calls_out_of_order_change_nothing() {
    let out_of_order = |call| Err(ControlError::OutOfOrder { call });
    let mut both = Both::new(front_config(), back_config());
    let now = Instant::now();
    assert_eq!(both.front.stop(now), out_of_order("stop"));
    let agreed = both.negotiated();
    let mut short = offer(&agreed);
    short.rings.pop();
    assert_eq!(both.front.offer(short, now), out_of_order("offer"));
    both.front.offer(offer(&agreed), now).unwrap();
    assert_eq!(both.front.offer(offer(&agreed), now), out_of_order("offer"));
    assert_eq!(both.run().unwrap(), Some(Event::Running));
    assert_eq!(both.front.offer(offer(&agreed), now), out_of_order("offer"));
    both.front.stop(now).unwrap();
    assert_eq!(both.front.stop(now), out_of_order("stop"));
    assert_eq!(both.run().unwrap(), Some(Event::Stopped));
}

#[test]
fn pairs_and_configuration_can_be_asked_for_one_at_a_time_while_rings_run() {
    for acks in [true, false] {
        let mut back = back_config();
        if !acks {
            back.protocol_features = PROTOCOL.without(ProtocolFeatures::REPLY_ACK);
        }
        let mut both = Both::new(front_config(), back);
        assert!(!both.front.is_idle());
        both.running();
        let now = Instant::now();
        let said = both.said.len();
        both.front.enable_pairs(1, now).unwrap();
        let busy = ControlError::OutOfOrder { call: "read_config" };
        assert_eq!(both.front.read_config(now), Err(busy));
        assert!(both.front.deadline().is_some());
        assert_eq!(both.run().unwrap(), Some(Event::PairsEnabled(1)));
        assert!(both.front.is_idle() && both.front.deadline().is_none());
        let sync: &[Request] = if acks { &[] } else { &[R::GetFeatures] };
        let expected = [&[R::SetVringEnable; 4], sync].concat();
        let last: Vec<_> = both.said[said..].iter().map(|(request, _)| *request).collect();
        assert_eq!(last, expected);
        both.front.read_config(now).unwrap();
        let told = both.front.agreed().told;
        assert_eq!(both.run().unwrap(), Some(Event::ConfigRead(told)));
        assert_eq!((told.mac, told.queue_pairs), (Some(MAC), Some(2)));
        for wrong in [0, 3] {
            let refused = ControlError::OutOfOrder { call: "enable_pairs" };
            assert_eq!(both.front.enable_pairs(wrong, now), Err(refused));
        }
        both.front.read_config(now).unwrap();
        both.front.stop(now).unwrap();
        assert_eq!(both.run().unwrap(), Some(Event::Stopped));
    }
}

#[test]
fn second_socket_is_passed_on_where_that_was_negotiated() {
    for (protocol_features, expected) in
        [(PROTOCOL, 1), (PROTOCOL.without(ProtocolFeatures::BACKEND_REQ), 0)]
    {
        let back = BackendConfig { protocol_features, ..back_config() };
        let mut both = Both::new(front_config(), back);
        let agreed = both.negotiated();
        let channel = Some(frontend_support::fd());
        both.front.offer(Offer { channel, ..offer(&agreed) }, Instant::now()).unwrap();
        assert_eq!(both.run().unwrap(), Some(Event::Running));
        let said = both.said.iter().filter(|(request, _)| *request == R::SetBackendReqFd);
        assert_eq!(said.count(), expected);
    }
}
