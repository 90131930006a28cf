//! The two machines talking to each other in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use nix::sys::eventfd::EventFd;
use ringport_memif::control::{
    Admission, ClientEvent, ClientIdentity, ClientMachine, Incoming, InitRequest, Limits, Offer,
    Outgoing, Refusal, RegionOffer, RingOffer, RunParameters, ServerEvent, ServerMachine,
};
use ringport_memif::error::PeerIncompatible;
use ringport_memif::wire::{Hello, Message, MessageType, Secret, VERSION};
use ringport_memif::{CacheLine, ControlError, Direction, Mode};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(5);

fn fd() -> OwnedFd {
    EventFd::new().unwrap().into()
}

fn ring(direction: Direction, index: u16, offset: u32) -> RingOffer {
    RingOffer { direction, index, region: 0, offset, log2_ring_size: 10, doorbell: fd() }
}

/// Rings of 1024 descriptors, packed for `cache_line`.
fn offer(c2s: u16, s2c: u16, cache_line: CacheLine) -> Offer {
    let stride = u32::try_from(cache_line.ring_len(10)).unwrap();
    let rings = (0..c2s)
        .map(|index| (Direction::C2s, index))
        .chain((0..s2c).map(|index| (Direction::S2c, index)))
        .zip(0..)
        .map(|((direction, index), place)| ring(direction, index, place * stride));
    Offer {
        if_name: "client0".into(),
        rings: rings.collect(),
        regions: vec![RegionOffer { fd: fd(), size: 1 << 26 }],
    }
}

fn identity(secret: &[u8]) -> ClientIdentity {
    ClientIdentity {
        id: 7,
        mode: Mode::Ethernet,
        secret: Secret::new(secret).unwrap(),
        name: "app".into(),
    }
}

fn server(limits: &Limits) -> ServerMachine {
    ServerMachine::new(limits.hello("server".into()), Instant::now(), TIMEOUT)
}

fn client() -> ClientMachine {
    ClientMachine::new(identity(b"s3cret"), Instant::now(), TIMEOUT)
}

fn incoming(outgoing: &mut Outgoing) -> Incoming<'_> {
    let fds = outgoing.fd.take().into_iter().collect();
    Incoming { bytes: &outgoing.bytes, fds, ..Incoming::default() }
}

/// What came of a conversation, with every message in order.
#[derive(Debug, Default)]
struct Transcript {
    messages: Vec<MessageType>,
    request: Option<InitRequest>,
    offer: Option<(Offer, CacheLine)>,
    connected: Option<String>,
    client_heard: Option<String>,
}

/// Lets the two talk until neither has anything to say. At each step only one message is under way.
fn converse(
    server: &mut ServerMachine,
    client: &mut ClientMachine,
    limits: Limits,
    mut offered: Option<Offer>,
    decide: impl Fn(&InitRequest) -> Result<(), Refusal>,
) -> Result<Transcript, ControlError> {
    let mut transcript = Transcript::default();
    loop {
        let mut quiet = true;
        while let Some(mut message) = server.take_outgoing() {
            quiet = false;
            transcript.messages.push(Message::decode(&message.bytes).unwrap().message_type());
            match client.on_message(incoming(&mut message))? {
                Some(ClientEvent::Hello(_)) => client.offer(offered.take().unwrap())?,
                Some(ClientEvent::Connected { if_name }) => {
                    transcript.connected = Some(if_name.to_string());
                }
                Some(ClientEvent::Disconnected(goodbye)) => {
                    transcript.client_heard = Some(goodbye.text.to_string());
                }
                None => {}
            }
        }
        while let Some(mut message) = client.take_outgoing() {
            quiet = false;
            transcript.messages.push(Message::decode(&message.bytes).unwrap().message_type());
            match server.on_message(incoming(&mut message))? {
                Some(ServerEvent::Init(request)) => {
                    match decide(&request) {
                        Ok(()) => server.admit(limits)?,
                        Err(refusal) => server.refuse(refusal),
                    }
                    transcript.request = Some(request);
                }
                Some(ServerEvent::Offer { offer, cache_line }) => {
                    transcript.offer = Some((offer, cache_line));
                    server.accept("server0".into())?;
                }
                Some(ServerEvent::Disconnected(_)) | None => {}
            }
            assert!(client.take_outgoing().is_none(), "the client does not wait for its ACK");
        }
        if quiet {
            return Ok(transcript);
        }
    }
}

#[test]
fn handshake_follows_the_protocol() {
    use MessageType::{Ack, AddRegion, AddRing, Connect, Connected, Hello, Init};
    let (limits, offer) = (Limits::default(), offer(1, 1, CacheLine::B64));
    let (mut server, mut client) = (server(&limits), client());
    let transcript = converse(&mut server, &mut client, limits, Some(offer), |_| Ok(())).unwrap();
    assert_eq!(
        transcript.messages,
        [Hello, Init, Ack, AddRegion, Ack, AddRing, Ack, AddRing, Ack, Connect, Connected]
    );
    assert!(server.is_up() && client.is_up());
    assert_eq!((server.deadline(), client.deadline()), (None, None));
    let request = transcript.request.unwrap();
    assert_eq!((request.id, request.mode, request.version), (7, Mode::Ethernet, VERSION));
    assert_eq!(request.secret, Secret::new(b"s3cret").unwrap());
    let (offer, cache_line) = transcript.offer.unwrap();
    assert_eq!(cache_line, CacheLine::B64);
    assert_eq!(offer.if_name.to_string(), "client0");
    assert_eq!((offer.regions.len(), offer.rings.len()), (1, 2));
    assert_eq!(transcript.connected.as_deref(), Some("server0"));
}

#[test]
fn asymmetric_rings_arrive_c2s_first_whatever_their_order_in_the_offer() {
    let limits = Limits::default();
    let mut shuffled = offer(3, 255, CacheLine::B128);
    shuffled.rings.reverse();
    let (mut server, mut client) = (server(&limits), client());
    let transcript =
        converse(&mut server, &mut client, limits, Some(shuffled), |_| Ok(())).unwrap();
    let (offer, cache_line) = transcript.offer.unwrap();
    assert_eq!(cache_line, CacheLine::B128);
    assert_eq!(offer.ring_count(Direction::C2s), 3);
    assert_eq!(offer.ring_count(Direction::S2c), 255);
    let order: Vec<_> = offer.rings.iter().map(|ring| (ring.direction, ring.index)).collect();
    let c2s = (0..3).map(|index| (Direction::C2s, index));
    let s2c = (0..255).map(|index| (Direction::S2c, index));
    assert_eq!(order, c2s.chain(s2c).collect::<Vec<_>>());
}

#[test]
fn an_offer_taken_by_one_server_can_be_handed_to_the_next() {
    let limits = Limits::default();
    let mut offered = offer(2, 2, CacheLine::B64);
    for _ in 0..2 {
        let (mut server, mut client) = (server(&limits), client());
        let transcript =
            converse(&mut server, &mut client, limits, Some(offered), |_| Ok(())).unwrap();
        offered = transcript.offer.unwrap().0;
    }
    assert_eq!(offered.rings.len(), 4);
}

#[test]
fn refusals_reach_the_client_in_vpp_words() {
    let secret = Secret::new(b"s3cret").unwrap();
    let other = Secret::new(b"other").unwrap();
    let none = Secret::default();
    let admission = |mode, secret, connected| Admission { mode, secret, connected };
    let (ethernet, ip) = (Mode::Ethernet, Mode::Ip);
    let cases: [(Admission<'_>, Mode, &[u8], &str); 5] = [
        (admission(ethernet, &secret, true), ethernet, b"", "already connected"),
        (admission(ip, &none, false), ethernet, b"", "mode mismatch"),
        (admission(ethernet, &secret, false), ip, b"s3cret", "mode mismatch"),
        (admission(ethernet, &secret, false), ethernet, b"", "secret required"),
        (admission(ethernet, &other, false), ethernet, b"s3cret", "incorrect secret"),
    ];
    for (admission, mode, secret, words) in cases {
        let limits = Limits::default();
        let mut server = server(&limits);
        let identity = ClientIdentity { mode, ..identity(secret) };
        let mut client = ClientMachine::new(identity, Instant::now(), TIMEOUT);
        let offer = Some(offer(1, 1, CacheLine::B64));
        let transcript =
            converse(&mut server, &mut client, limits, offer, |request| admission.check(request))
                .unwrap();
        assert_eq!(transcript.client_heard.as_deref(), Some(words));
        assert!(server.is_closed() && client.is_closed());
    }
}

#[test]
fn a_secret_that_nobody_asked_for_is_ignored() {
    let request = InitRequest {
        id: 0,
        mode: Mode::Ethernet,
        secret: Secret::new(b"heap garbage").unwrap(),
        name: "libmemif".into(),
        version: VERSION,
    };
    let none = Secret::default();
    let admission = Admission { mode: Mode::Ethernet, secret: &none, connected: false };
    assert_eq!(admission.check(&request), Ok(()));
}

#[test]
fn negotiation_takes_the_lesser_of_both() {
    let wanted =
        RunParameters { c2s_rings: 8, s2c_rings: 2, log2_ring_size: 12, buffer_size: 2048 };
    let hello = Hello {
        name: "vpp".into(),
        min_version: VERSION,
        max_version: VERSION,
        max_region: 255,
        max_s2c_ring: 255,
        max_c2s_ring: 3,
        max_log2_ring_size: 10,
    };
    let agreed = wanted.negotiate(&hello).unwrap();
    // The field is the largest index, so 3 means 4 rings.
    assert_eq!((agreed.c2s_rings, agreed.s2c_rings, agreed.log2_ring_size), (4, 2, 10));
    let tiny = Hello { max_log2_ring_size: 0, ..hello };
    assert_eq!(wanted.negotiate(&tiny), Err(PeerIncompatible::RingSize { max: 0, wanted: 12 }));
    let future = Hello { min_version: 0x0300, max_version: 0x0300, ..hello };
    assert_eq!(
        wanted.negotiate(&future),
        Err(PeerIncompatible::Version { min: 0x0300, max: 0x0300 })
    );
    let wide = Hello { min_version: 0x0100, max_version: 0x0300, max_c2s_ring: u16::MAX, ..hello };
    assert_eq!(wanted.negotiate(&wide).unwrap().c2s_rings, 8);
}

#[test]
fn an_offer_beyond_what_hello_accepts_ends_the_conversation() {
    type Change = fn(&mut Offer);
    let cases: [(Limits, Change); 4] = [
        (Limits { regions: 1, ..Limits::default() }, |offer| {
            offer.regions.push(RegionOffer { fd: fd(), size: 4096 });
        }),
        (Limits { c2s_rings: 2, ..Limits::default() }, |_| {}),
        (Limits { s2c_rings: 2, ..Limits::default() }, |_| {}),
        (Limits { log2_ring_size: 9, ..Limits::default() }, |_| {}),
    ];
    for (limits, change) in cases {
        let (mut server, mut client) = (server(&limits), client());
        let mut offer = offer(3, 3, CacheLine::B64);
        change(&mut offer);
        let error =
            converse(&mut server, &mut client, limits, Some(offer), |_| Ok(())).unwrap_err();
        assert!(matches!(error, ControlError::PeerIncompatible(_)), "{error:?}");
        let last = client.take_outgoing().unwrap();
        let Ok(Message::Disconnect(said)) = Message::decode(&last.bytes) else {
            panic!("no DISCONNECT");
        };
        assert_eq!(said.text, error.disconnect_reason());
    }
}

#[test]
fn handshake_that_takes_too_long_ends_with_a_reason() {
    let start = Instant::now();
    let mut server = ServerMachine::new(Limits::default().hello("s".into()), start, TIMEOUT);
    let mut client = ClientMachine::new(identity(b""), start, TIMEOUT);
    assert_eq!(server.deadline(), Some(start + TIMEOUT));
    assert!(server.on_deadline(start + TIMEOUT / 2).is_ok());
    let late = start + TIMEOUT;
    for error in [server.on_deadline(late), client.on_deadline(late)] {
        assert!(matches!(error, Err(ControlError::Stalled { waited: TIMEOUT, .. })), "{error:?}");
    }
    for (last, owed) in [(server.take_outgoing(), "INIT"), (client.take_outgoing(), "HELLO")] {
        let Ok(Message::Disconnect(said)) = Message::decode(&last.unwrap().bytes) else {
            panic!("no DISCONNECT");
        };
        assert_eq!(said.text.to_string(), format!("handshake timeout: no {owed}"));
    }
    assert!(server.take_outgoing().is_none() && server.deadline().is_none());
    assert!(server.on_deadline(late).is_ok());
}

#[test]
fn answers_without_a_question_are_errors_of_the_caller() {
    let limits = Limits::default();
    let (mut server, mut client) = (server(&limits), client());
    assert!(matches!(server.admit(limits), Err(ControlError::OutOfOrder { call: "admit" })));
    assert!(matches!(server.accept("x".into()), Err(ControlError::OutOfOrder { call: "accept" })));
    let offer = offer(1, 1, CacheLine::B64);
    assert!(matches!(client.offer(offer), Err(ControlError::OutOfOrder { call: "offer" })));
}

#[test]
fn either_side_may_leave_at_any_time() {
    let limits = Limits::default();
    let (mut server, mut client) = (server(&limits), client());
    let offer = Some(offer(1, 1, CacheLine::B64));
    converse(&mut server, &mut client, limits, offer, |_| Ok(())).unwrap();
    client.disconnect("maintenance".into());
    let mut goodbye = client.take_outgoing().unwrap();
    let heard = server.on_message(incoming(&mut goodbye)).unwrap();
    let Some(ServerEvent::Disconnected(goodbye)) = heard else { panic!("{heard:?}") };
    assert_eq!(goodbye.text.to_string(), "maintenance");
    assert!(server.is_closed() && server.take_outgoing().is_none());
    server.disconnect("too late".into());
    assert!(server.take_outgoing().is_none());
}
