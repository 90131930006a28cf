//! Whatever a peer says, a machine stays in one piece and says at most one goodbye.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use nix::sys::eventfd::EventFd;
use proptest::prelude::*;
use ringport_memif::control::{
    ClientEvent, ClientIdentity, ClientMachine, Incoming, Limits, Offer, Outgoing, RegionOffer,
    RingOffer, ServerEvent, ServerMachine,
};
use ringport_memif::wire::{
    AddRegion, AddRing, Disconnect, Init, MESSAGE_LEN, Message, Secret, VERSION,
};
use ringport_memif::{Direction, Mode};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

const LIMITS: Limits = Limits {
    regions: 3,
    c2s_rings: 3,
    s2c_rings: 3,
    log2_ring_size: 6,
    total_bytes: 1 << 20,
    cache_line: None,
};

#[derive(Debug, Clone)]
struct Input {
    bytes: Vec<u8>,
    fds: usize,
    truncated: bool,
    fds_truncated: bool,
}

fn fd() -> OwnedFd {
    EventFd::new().unwrap().into()
}

/// Messages that are often right, so that conversations get far.
fn message() -> impl Strategy<Value = Message> {
    let init =
        (prop_oneof![9 => Just(VERSION), 1 => any::<u16>()], 0u8..3).prop_map(|(version, mode)| {
            let (secret, name) = (Secret::default(), "x".into());
            Message::Init(Init { version, id: 0, mode, secret, name })
        });
    let region = (0u16..3, prop_oneof![9 => Just(1u64 << 16), 1 => any::<u64>()])
        .prop_map(|(index, size)| Message::AddRegion(AddRegion { index, size }));
    let ring = (any::<bool>(), 0u16..3, 0u16..2, 0u32..16, 1u8..8, any::<u8>()).prop_map(
        |(c2s, index, region, place, log2_ring_size, odd)| {
            Message::AddRing(AddRing {
                direction: if c2s { Direction::C2s } else { Direction::S2c },
                index,
                region,
                offset: place * 0x480 + u32::from(odd == 0),
                log2_ring_size,
                private_header_size: u16::from(odd == 1),
            })
        },
    );
    prop_oneof![
        3 => init,
        3 => region,
        9 => ring,
        2 => Just(Message::Connect { if_name: "x".into() }),
        2 => Just(Message::Ack),
        1 => Just(Message::Connected { if_name: "x".into() }),
        1 => Just(Message::Hello(LIMITS.hello("x".into()))),
        1 => Just(Message::Disconnect(Disconnect { code: 0, text: "x".into() })),
    ]
}

fn input() -> impl Strategy<Value = Input> {
    let whole = message().prop_map(|message| Input {
        bytes: message.encode().to_vec(),
        fds: message.message_type().fd_count(),
        truncated: false,
        fds_truncated: false,
    });
    let noise = (
        prop::collection::vec(any::<u8>(), 0..=MESSAGE_LEN),
        0usize..3,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(bytes, fds, truncated, fds_truncated)| Input {
            bytes,
            fds,
            truncated,
            fds_truncated,
        });
    prop_oneof![30 => whole, 1 => noise]
}

fn incoming(input: &Input) -> Incoming<'_> {
    Incoming {
        bytes: &input.bytes,
        fds: (0..input.fds).map(|_| fd()).collect(),
        truncated: input.truncated,
        fds_truncated: input.fds_truncated,
    }
}

/// Checks that nothing follows a DISCONNECT.
fn check_said(said: &[Outgoing]) {
    let is_goodbye = |outgoing: &Outgoing| {
        matches!(Message::decode(&outgoing.bytes), Ok(Message::Disconnect(_)))
    };
    let goodbyes = said.iter().filter(|outgoing| is_goodbye(outgoing)).count();
    assert!(goodbyes == 0 || (goodbyes == 1 && said.last().is_some_and(is_goodbye)));
}

proptest! {
    #[test]
    fn server_survives(inputs in prop::collection::vec(input(), 0..40), opening in any::<bool>()) {
        let hello = LIMITS.hello("s".into());
        let mut machine = ServerMachine::new(hello, Instant::now(), Duration::from_secs(5));
        let mut said = Vec::new();
        let opening = opening.then(|| Input {
            bytes: Message::Init(Init {
                version: VERSION,
                id: 0,
                mode: 0,
                secret: Secret::default(),
                name: "x".into(),
            })
            .encode()
            .to_vec(),
            fds: 0,
            truncated: false,
            fds_truncated: false,
        });
        for input in opening.iter().chain(&inputs) {
            match machine.on_message(incoming(input)) {
                Ok(Some(ServerEvent::Init(_))) => machine.admit(LIMITS).unwrap(),
                Ok(Some(ServerEvent::Offer { offer, cache_line })) => {
                    prop_assert!(offer.regions.len() <= 3);
                    for ring in &offer.rings {
                        let region = &offer.regions[usize::from(ring.region)];
                        let end = u64::from(ring.offset) + cache_line.ring_len(ring.log2_ring_size);
                        prop_assert!(end <= region.size);
                    }
                    machine.accept("s0".into()).unwrap();
                }
                Ok(Some(ServerEvent::Disconnected(_))) => prop_assert!(machine.is_closed()),
                Ok(None) => {}
                Err(_) => prop_assert!(machine.is_closed()),
            }
            said.extend(std::iter::from_fn(|| machine.take_outgoing()));
        }
        check_said(&said);
    }

    #[test]
    fn client_survives(inputs in prop::collection::vec(input(), 0..40), acks in 0usize..8) {
        let identity = ClientIdentity {
            id: 0,
            mode: Mode::Ethernet,
            secret: Secret::default(),
            name: "c".into(),
        };
        let mut machine = ClientMachine::new(identity, Instant::now(), Duration::from_secs(5));
        let mut said = Vec::new();
        let plain = |message: Message| Input {
            bytes: message.encode().to_vec(),
            fds: 0,
            truncated: false,
            fds_truncated: false,
        };
        let mut opening = vec![plain(Message::Hello(LIMITS.hello("s".into())))];
        opening.resize(1 + acks, plain(Message::Ack));
        for input in opening.iter().chain(&inputs) {
            match machine.on_message(incoming(input)) {
                Ok(Some(ClientEvent::Hello(_))) => {
                    let ring = |direction, offset| RingOffer {
                        direction,
                        index: 0,
                        region: 0,
                        offset,
                        log2_ring_size: 4,
                        doorbell: fd(),
                    };
                    let offer = Offer {
                        if_name: "c0".into(),
                        regions: vec![RegionOffer { fd: fd(), size: 4096 }],
                        rings: vec![ring(Direction::C2s, 0), ring(Direction::S2c, 384)],
                    };
                    machine.offer(offer).unwrap();
                }
                Ok(Some(ClientEvent::Connected { .. })) => prop_assert!(machine.is_up()),
                Ok(Some(ClientEvent::Disconnected(_))) | Err(_) => prop_assert!(machine.is_closed()),
                Ok(None) => {}
            }
            said.extend(std::iter::from_fn(|| machine.take_outgoing()));
        }
        check_said(&said);
    }
}
