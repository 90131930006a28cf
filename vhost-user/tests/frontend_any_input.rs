//! Whatever a back-end says, a machine stays in one piece and leaks no descriptor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod frontend_support;
mod support;

use frontend_support::{front_config, offer};
use proptest::prelude::*;
use ringport_vhost_user::frontend::{Event, FrontendMachine, Incoming};
use ringport_vhost_user::wire::{
    ConfigSpan, Header, ProtocolFeatures, Reply, Request, VringState, feature,
};
use std::time::Instant;
use support::{marked, open_count};

/// What a back-end does when it has been asked something.
#[derive(Debug, Clone)]
enum Input {
    /// The answer that belongs there, with this number or contents.
    Fitting(u64),
    /// A reply to something, or anything with a header.
    Framed { request: u32, flags: u32, payload: Vec<u8>, fds: usize },
    /// No message at all.
    Noise { bytes: Vec<u8>, fds: usize, fds_truncated: bool },
    /// The driver has the rings stopped.
    Stop,
}

fn input() -> impl Strategy<Value = Input> {
    let offered = feature::VERSION_1 | feature::MQ | feature::MAC | feature::PROTOCOL_FEATURES;
    let protocol = ProtocolFeatures::ALL.bits();
    let number = prop_oneof![
        6 => Just(0),
        6 => prop::sample::select(vec![offered, offered & !feature::PROTOCOL_FEATURES, protocol, 11, 2]),
        1 => any::<u64>(),
    ];
    let payload = prop::collection::vec(any::<u8>(), 0..48);
    prop_oneof![
        20 => number.prop_map(Input::Fitting),
        2 => (0u32..46, 0u32..16, payload, 0usize..3)
            .prop_map(|(request, flags, payload, fds)| Input::Framed { request, flags, payload, fds }),
        1 => (prop::collection::vec(any::<u8>(), 0..40), 0usize..3, any::<bool>())
            .prop_map(|(bytes, fds, fds_truncated)| Input::Noise { bytes, fds, fds_truncated }),
        1 => Just(Input::Stop),
    ]
}

/// The reply that `request` asks for.
fn fitting(request: Request, payload: &[u8], number: u64) -> Vec<u8> {
    let index = payload.first().copied().unwrap_or(0).into();
    match request {
        Request::GetVringBase => Reply::VringState(VringState { index, value: 0 }),
        Request::GetConfig => {
            let size = 12;
            let contents = [number.to_ne_bytes().as_slice(), &[0; 4]].concat();
            Reply::Config(ConfigSpan { offset: 0, size, flags: 0 }, contents)
        }
        _ => Reply::Number(number),
    }
    .encode(request as u32)
}

/// What was asked last.
type Asked = Option<(Request, Vec<u8>)>;

fn listen(machine: &mut FrontendMachine, asked: &mut Asked) {
    while let Some(message) = machine.take_outgoing() {
        let (header, payload) = message.bytes.split_first_chunk().unwrap();
        let header = Header::decode(header).unwrap();
        assert!(!header.reply && header.size as usize == payload.len());
        *asked = Some((Request::from_wire(header.request).unwrap(), payload.to_vec()));
    }
}

fn feed(machine: &mut FrontendMachine, bytes: &[u8], fds: usize, truncated: bool, name: &str) {
    let mut left = bytes;
    let mut fds = marked(name, fds);
    loop {
        let (now, later) = left.split_at(left.len().min(machine.wanted()));
        let fds = std::mem::take(&mut fds);
        let heard = machine.on_bytes(Incoming { bytes: now, fds, fds_truncated: truncated });
        match heard {
            Ok(Some(Event::Negotiated(agreed))) => {
                assert!((1..=2).contains(&agreed.queue_pairs));
                assert_ne!(agreed.features & feature::VERSION_1, 0);
                machine.offer(offer(&agreed), Instant::now()).unwrap();
            }
            Ok(_) => {}
            Err(_) => assert!(machine.is_closed()),
        }
        left = later;
        if left.is_empty() || machine.is_closed() {
            break;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn machine_survives_any_back_end(inputs in prop::collection::vec(input(), 0..80)) {
        let name = "vu-any-back-end";
        let mut machine = FrontendMachine::new(front_config(), Instant::now());
        let mut asked = None;
        for input in inputs {
            listen(&mut machine, &mut asked);
            match (input, &asked) {
                (Input::Fitting(number), Some((request, payload))) => {
                    feed(&mut machine, &fitting(*request, payload, number), 0, false, name);
                }
                (Input::Framed { request, flags, payload, fds }, _) => {
                    let size = u32::try_from(payload.len()).unwrap();
                    let header = [request, flags, size].map(u32::to_ne_bytes).concat();
                    feed(&mut machine, &[header, payload].concat(), fds, false, name);
                }
                (Input::Noise { bytes, fds, fds_truncated }, _) => {
                    feed(&mut machine, &bytes, fds, fds_truncated, name);
                }
                _ => {
                    // Refused unless rings run.
                    let _ = machine.stop(Instant::now());
                }
            }
            prop_assert!(machine.is_closed() == (machine.wanted() == 0));
        }
        drop(machine);
        prop_assert_eq!(open_count(name), 0);
    }

    #[test]
    fn machine_that_is_overfed_ends(len in 13usize..100) {
        let mut machine = FrontendMachine::new(front_config(), Instant::now());
        let bytes = vec![0; len];
        let heard = machine.on_bytes(Incoming { bytes: &bytes, ..Incoming::default() });
        prop_assert!(heard.is_err() && machine.is_closed());
    }
}
