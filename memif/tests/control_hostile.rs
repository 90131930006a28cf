//! Each rule of the control protocol, broken once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use nix::sys::eventfd::EventFd;
use ringport_memif::control::{
    ClientEvent, ClientIdentity, ClientMachine, Incoming, Limits, Offer, RegionOffer, RingOffer,
    ServerEvent, ServerMachine,
};
use ringport_memif::error::{PeerIncompatible, PeerMisbehaved, WireError};
use ringport_memif::wire::{
    AddRegion, AddRing, Disconnect, Hello, Init, Message, MessageType, Secret, VERSION,
};
use ringport_memif::{CacheLine, ControlError, Direction, Mode};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(5);
const REGION: u64 = 1 << 20;
const LIMITS: Limits = Limits {
    regions: 2,
    c2s_rings: 2,
    s2c_rings: 1,
    log2_ring_size: 12,
    total_bytes: 4 << 20,
    cache_line: None,
};

fn fds(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| EventFd::new().unwrap().into()).collect()
}

fn init() -> Init {
    Init { version: VERSION, id: 1, mode: 0, secret: Secret::default(), name: "x".into() }
}

fn region(index: u16) -> Message {
    Message::AddRegion(AddRegion { index, size: REGION })
}

fn ring() -> AddRing {
    AddRing {
        direction: Direction::C2s,
        index: 0,
        region: 0,
        offset: 0,
        log2_ring_size: 10,
        private_header_size: 0,
    }
}

fn connect() -> Message {
    Message::Connect { if_name: "x".into() }
}

/// A message with as many descriptors as it should have.
fn send(machine: &mut ServerMachine, message: &Message) -> Result<(), ControlError> {
    let count = message.message_type().fd_count();
    let bytes = message.encode();
    let incoming = Incoming { bytes: &bytes, fds: fds(count), ..Incoming::default() };
    match machine.on_message(incoming)? {
        Some(ServerEvent::Init(_)) => machine.admit(LIMITS),
        Some(ServerEvent::Offer { .. }) => machine.accept("s".into()),
        Some(ServerEvent::Disconnected(_)) | None => Ok(()),
    }
}

/// A server that took `messages`, all of them answered.
fn server_after(messages: &[Message]) -> ServerMachine {
    let mut machine = ServerMachine::new(LIMITS.hello("s".into()), Instant::now(), TIMEOUT);
    for message in messages {
        send(&mut machine, message).unwrap();
    }
    while machine.take_outgoing().is_some() {}
    machine
}

fn admitted(messages: &[Message]) -> ServerMachine {
    let mut all = vec![Message::Init(init())];
    all.extend_from_slice(messages);
    server_after(&all)
}

fn with_rings(rings: &[AddRing]) -> ServerMachine {
    let mut all = vec![region(0)];
    all.extend(rings.iter().map(|ring| Message::AddRing(*ring)));
    admitted(&all)
}

fn up() -> ServerMachine {
    let s2c = AddRing { direction: Direction::S2c, offset: 0x4080, ..ring() };
    let mut machine = with_rings(&[ring(), s2c]);
    send(&mut machine, &connect()).unwrap();
    while machine.take_outgoing().is_some() {}
    assert!(machine.is_up());
    machine
}

fn said(outgoing: Option<ringport_memif::control::Outgoing>) -> String {
    let bytes = outgoing.expect("one DISCONNECT").bytes;
    match Message::decode(&bytes) {
        Ok(Message::Disconnect(Disconnect { code: 0, text })) => text.to_string(),
        other => panic!("{other:?} instead of DISCONNECT"),
    }
}

/// Checks the error, and that the peer hears of it once and nothing else happens any more.
#[track_caller]
fn check_failed(mut machine: ServerMachine, error: &ControlError, expected: PeerMisbehaved) {
    assert!(matches!(error, ControlError::PeerMisbehaved(why) if *why == expected), "{error:?}");
    assert_eq!(said(machine.take_outgoing()), error.disconnect_reason().to_string());
    assert!(!error.disconnect_reason().is_empty());
    assert!(machine.take_outgoing().is_none());
    assert!(machine.is_closed() && !machine.wants_message() && machine.deadline().is_none());
    assert!(send(&mut machine, &Message::Init(init())).is_ok());
    assert!(machine.take_outgoing().is_none());
}

#[track_caller]
fn check(mut machine: ServerMachine, message: &Message, expected: PeerMisbehaved) {
    let error = send(&mut machine, message).unwrap_err();
    check_failed(machine, &error, expected);
}

#[track_caller]
fn check_raw(mut machine: ServerMachine, incoming: Incoming<'_>, expected: PeerMisbehaved) {
    let error = machine.on_message(incoming).unwrap_err();
    check_failed(machine, &error, expected);
}

#[track_caller]
fn check_ring(ring: AddRing, expected: PeerMisbehaved) {
    check(with_rings(&[]), &Message::AddRing(ring), expected);
}

#[test]
fn messages_of_another_length() {
    for len in [0, 10, 127, 200] {
        let incoming = Incoming { bytes: &vec![1; len], ..Incoming::default() };
        check_raw(server_after(&[]), incoming, WireError::Length { len }.into());
    }
}

#[test]
fn message_that_was_truncated() {
    let bytes = Message::Init(init()).encode();
    let incoming = Incoming { bytes: &bytes, truncated: true, ..Incoming::default() };
    check_raw(server_after(&[]), incoming, PeerMisbehaved::MessageTruncated);
}

#[test]
fn descriptors_that_were_truncated() {
    let bytes = region(0).encode();
    let incoming =
        Incoming { bytes: &bytes, fds: fds(1), fds_truncated: true, ..Incoming::default() };
    check_raw(admitted(&[]), incoming, PeerMisbehaved::FdsTruncated);
}

#[test]
fn unknown_message_type() {
    let mut bytes = [0; 128];
    bytes[0] = 9;
    let incoming = Incoming { bytes: &bytes, ..Incoming::default() };
    check_raw(server_after(&[]), incoming, WireError::UnknownType { number: 9 }.into());
}

#[test]
fn wrong_number_of_descriptors() {
    let add_ring = Message::AddRing(ring());
    let cases = [
        (region(0), 0, 1),
        (region(0), 2, 1),
        (add_ring.clone(), 0, 1),
        (add_ring, 253, 1),
        (connect(), 1, 0),
        (Message::Init(init()), 1, 0),
        (Message::Disconnect(Disconnect { code: 0, text: "".into() }), 1, 0),
    ];
    for (message, got, expected) in cases {
        let bytes = message.encode();
        let incoming = Incoming { bytes: &bytes, fds: fds(got), ..Incoming::default() };
        let message = message.message_type();
        check_raw(admitted(&[]), incoming, PeerMisbehaved::FdCount { message, got, expected });
    }
}

#[test]
fn surplus_descriptors_are_closed() {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let bytes = connect().encode();
    let incoming = Incoming { bytes: &bytes, fds: vec![writer], ..Incoming::default() };
    assert!(admitted(&[]).on_message(incoming).is_err());
    // End of file: no writer is left.
    assert_eq!(nix::unistd::read(&reader, &mut [0]).unwrap(), 0);
}

#[test]
fn anything_before_init() {
    for message in [region(0), Message::AddRing(ring()), connect()] {
        let before = PeerMisbehaved::BeforeInit { message: message.message_type() };
        check(server_after(&[]), &message, before);
    }
}

#[test]
fn second_init() {
    check(admitted(&[]), &Message::Init(init()), PeerMisbehaved::SecondInit);
    check(up(), &Message::Init(init()), PeerMisbehaved::SecondInit);
}

#[test]
fn messages_of_a_server_sent_to_a_server() {
    let hello = LIMITS.hello("x".into());
    let connected = Message::Connected { if_name: "x".into() };
    for message in [Message::Hello(hello), Message::Ack, connected] {
        let wrong = PeerMisbehaved::WrongRole { message: message.message_type() };
        check(server_after(&[]), &message, wrong);
        check(up(), &message, wrong);
    }
}

#[test]
fn announcements_after_connect() {
    for message in [region(1), Message::AddRing(AddRing { index: 1, ..ring() }), connect()] {
        let after = PeerMisbehaved::AfterConnect { message: message.message_type() };
        check(up(), &message, after);
    }
}

#[test]
fn message_before_our_answer_to_init() {
    let mut machine = server_after(&[]);
    let bytes = Message::Init(init()).encode();
    let asked = machine.on_message(Incoming { bytes: &bytes, ..Incoming::default() });
    assert!(matches!(asked, Ok(Some(ServerEvent::Init(_)))));
    assert!(!machine.wants_message());
    while machine.take_outgoing().is_some() {}
    let unexpected = PeerMisbehaved::Unexpected { message: MessageType::AddRegion };
    check(machine, &region(0), unexpected);
}

#[test]
fn region_index_that_skips_or_repeats() {
    check(admitted(&[]), &region(1), PeerMisbehaved::RegionIndex { got: 1, expected: 0 });
    check(admitted(&[]), &region(200), PeerMisbehaved::RegionIndex { got: 200, expected: 0 });
    check(admitted(&[region(0)]), &region(0), PeerMisbehaved::RegionIndex { got: 0, expected: 1 });
}

#[test]
fn more_regions_than_announced() {
    let machine = admitted(&[region(0), region(1)]);
    check(machine, &region(2), PeerMisbehaved::TooManyRegions { limit: 2 });
}

#[test]
fn region_without_bytes() {
    let empty = Message::AddRegion(AddRegion { index: 0, size: 0 });
    check(admitted(&[]), &empty, PeerMisbehaved::EmptyRegion { index: 0 });
}

#[test]
fn more_memory_than_accepted() {
    let limit = LIMITS.total_bytes;
    let huge = |index, size| Message::AddRegion(AddRegion { index, size });
    let too_much = |bytes| PeerMisbehaved::TooMuchMemory { bytes, limit };
    check(admitted(&[]), &huge(0, limit + 1), too_much(limit + 1));
    check(admitted(&[region(0)]), &huge(1, limit), too_much(limit + REGION));
    check(admitted(&[region(0)]), &huge(1, u64::MAX), too_much(u64::MAX));
}

#[test]
fn ring_index_that_skips_or_repeats() {
    let direction = Direction::C2s;
    let skip = AddRing { index: 1, ..ring() };
    check_ring(skip, PeerMisbehaved::RingIndex { direction, got: 1, expected: 0 });
    let again = PeerMisbehaved::RingIndex { direction, got: 0, expected: 1 };
    check(with_rings(&[ring()]), &Message::AddRing(ring()), again);
}

#[test]
fn more_rings_than_announced() {
    let second = AddRing { index: 1, offset: 0x8000, ..ring() };
    let third = Message::AddRing(AddRing { index: 2, offset: 0x10000, ..ring() });
    let too_many = PeerMisbehaved::TooManyRings { direction: Direction::C2s, limit: 2 };
    check(with_rings(&[ring(), second]), &third, too_many);
}

#[test]
fn no_ring_in_a_direction() {
    let none = PeerMisbehaved::NoRings { direction: Direction::S2c };
    check(with_rings(&[ring()]), &connect(), none);
    let s2c = AddRing { direction: Direction::S2c, ..ring() };
    check(with_rings(&[s2c]), &connect(), PeerMisbehaved::NoRings { direction: Direction::C2s });
}

#[test]
fn ring_in_an_unknown_region() {
    let lost = AddRing { region: 7, ..ring() };
    check_ring(lost, PeerMisbehaved::RingRegion { region: 7, count: 1 });
}

#[test]
fn ring_that_is_not_aligned() {
    for offset in [1, 8, 15, 4104] {
        check_ring(AddRing { offset, ..ring() }, PeerMisbehaved::RingAlignment { offset });
    }
}

#[test]
fn ring_size_out_of_range() {
    for log2_ring_size in [0, 13, 15, 64, 255] {
        let log2 = log2_ring_size;
        let odd = AddRing { log2_ring_size, ..ring() };
        check_ring(odd, PeerMisbehaved::RingSize { log2, limit: 12 });
    }
}

#[test]
fn ring_that_leaves_its_region() {
    let (region, region_len, len) = (0, REGION, 0x4080);
    for offset in [0xFFFF_FFF0, 1 << 20, (1 << 20) - 0x4070] {
        let outside = PeerMisbehaved::RingOutOfBounds { region, offset, len, region_len };
        check_ring(AddRing { offset, ..ring() }, outside);
    }
    let last = AddRing { offset: (1 << 20) - 0x4080, ..ring() };
    assert!(send(&mut with_rings(&[]), &Message::AddRing(last)).is_ok());
}

#[test]
fn ring_whose_128_byte_layout_leaves_its_region() {
    let end = (1 << 20) - 0x4080;
    let rings = [
        AddRing { offset: end - 0x4100, ..ring() },
        AddRing { direction: Direction::S2c, offset: end, ..ring() },
    ];
    let outside = PeerMisbehaved::RingOutOfBounds {
        region: 0,
        offset: end,
        len: CacheLine::B128.ring_len(10),
        region_len: REGION,
    };
    check(with_rings(&rings), &connect(), outside);
}

#[test]
fn rings_that_overlap() {
    let s2c = |offset| AddRing { direction: Direction::S2c, offset, ..ring() };
    for (first, second) in [(0, 0), (0, 0x4070), (0x4070, 0), (0x100, 0x110)] {
        let rings = [AddRing { offset: first, ..ring() }, s2c(second)];
        let (first, second) = (first.min(second), first.max(second));
        let overlap = PeerMisbehaved::RingsOverlap { region: 0, first, second };
        check(with_rings(&rings), &connect(), overlap);
    }
}

#[test]
fn private_header() {
    let private = AddRing { private_header_size: 2, ..ring() };
    check_ring(private, PeerMisbehaved::PrivateHeader { size: 2 });
}

#[track_caller]
fn check_incompatible(init: Init, expected: PeerIncompatible) {
    let mut machine = server_after(&[]);
    let error = send(&mut machine, &Message::Init(init)).unwrap_err();
    assert!(matches!(&error, ControlError::PeerIncompatible(why) if *why == expected), "{error:?}");
    assert_eq!(said(machine.take_outgoing()), expected.to_string());
}

#[test]
fn other_versions() {
    for version in [0, 0x0100, 0x0201, 0x0300] {
        let expected = PeerIncompatible::Version { min: version, max: version };
        check_incompatible(Init { version, ..init() }, expected);
    }
}

#[test]
fn modes_that_nobody_implements() {
    for mode in [2, 3, 255] {
        check_incompatible(Init { mode, ..init() }, PeerIncompatible::Mode { got: mode });
    }
}

#[test]
fn descriptors_go_with_the_conversation() {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let bytes = region(0).encode();
    let mut machine = admitted(&[]);
    machine
        .on_message(Incoming { bytes: &bytes, fds: vec![writer], ..Incoming::default() })
        .unwrap();
    machine.disconnect("enough".into());
    // End of file: no writer is left, although the machine is.
    assert_eq!(nix::unistd::read(&reader, &mut [0]).unwrap(), 0);
}

// The client's side.

fn client() -> ClientMachine {
    let identity =
        ClientIdentity { id: 1, mode: Mode::Ethernet, secret: Secret::default(), name: "c".into() };
    ClientMachine::new(identity, Instant::now(), TIMEOUT)
}

fn offer() -> Offer {
    let ring = |direction, offset| RingOffer {
        direction,
        index: 0,
        region: 0,
        offset,
        log2_ring_size: 10,
        doorbell: EventFd::new().unwrap().into(),
    };
    Offer {
        if_name: "c0".into(),
        regions: vec![RegionOffer { fd: fds(1).remove(0), size: REGION }],
        rings: vec![ring(Direction::C2s, 0), ring(Direction::S2c, 0x4080)],
    }
}

fn tell(machine: &mut ClientMachine, message: &Message) -> Result<(), ControlError> {
    let bytes = message.encode();
    let incoming = Incoming { bytes: &bytes, ..Incoming::default() };
    match machine.on_message(incoming)? {
        Some(ClientEvent::Hello(_)) => machine.offer(offer()),
        _ => Ok(()),
    }
}

/// A client that heard HELLO and then so many ACKs.
fn client_after(acks: usize) -> ClientMachine {
    let mut machine = client();
    tell(&mut machine, &Message::Hello(LIMITS.hello("s".into()))).unwrap();
    for _ in 0..acks {
        tell(&mut machine, &Message::Ack).unwrap();
    }
    while machine.take_outgoing().is_some() {}
    machine
}

#[track_caller]
fn check_client(mut machine: ClientMachine, message: &Message, expected: PeerMisbehaved) {
    let error = tell(&mut machine, message).unwrap_err();
    assert!(matches!(error, ControlError::PeerMisbehaved(why) if why == expected), "{error:?}");
    assert_eq!(said(machine.take_outgoing()), expected.to_string());
    assert!(machine.take_outgoing().is_none() && machine.is_closed());
}

#[test]
fn client_hears_messages_of_a_client() {
    for message in [Message::Init(init()), connect()] {
        let wrong = PeerMisbehaved::WrongRole { message: message.message_type() };
        check_client(client(), &message, wrong);
        check_client(client_after(4), &message, wrong);
    }
}

#[test]
fn client_is_offered_memory_by_its_server() {
    for message in [region(0), Message::AddRing(ring())] {
        for acks in [0, 4] {
            let bytes = message.encode();
            let incoming = Incoming { bytes: &bytes, fds: fds(1), ..Incoming::default() };
            let error = client_after(acks).on_message(incoming).unwrap_err();
            let expected = PeerMisbehaved::WrongRole { message: message.message_type() };
            assert!(matches!(error, ControlError::PeerMisbehaved(why) if why == expected));
        }
    }
}

#[test]
fn client_gets_descriptors() {
    let bytes = Message::Ack.encode();
    let error = client_after(0)
        .on_message(Incoming { bytes: &bytes, fds: fds(1), ..Incoming::default() })
        .unwrap_err();
    let expected = PeerMisbehaved::FdCount { message: MessageType::Ack, got: 1, expected: 0 };
    assert!(matches!(error, ControlError::PeerMisbehaved(why) if why == expected));
}

#[test]
fn client_hears_hello_twice() {
    let hello = Message::Hello(LIMITS.hello("s".into()));
    check_client(client_after(0), &hello, PeerMisbehaved::SecondHello);
    check_client(client_after(4), &hello, PeerMisbehaved::SecondHello);
}

#[test]
fn client_hears_ack_out_of_turn() {
    let unexpected = PeerMisbehaved::Unexpected { message: MessageType::Ack };
    check_client(client(), &Message::Ack, unexpected);
    // INIT, region and two rings are acknowledged; CONNECT is not.
    check_client(client_after(4), &Message::Ack, unexpected);
}

#[test]
fn client_hears_connected_out_of_turn() {
    let connected = Message::Connected { if_name: "s0".into() };
    let unexpected = PeerMisbehaved::Unexpected { message: MessageType::Connected };
    check_client(client(), &connected, unexpected);
    for acks in 0..4 {
        check_client(client_after(acks), &connected, unexpected);
    }
    let mut machine = client_after(4);
    tell(&mut machine, &connected).unwrap();
    assert!(machine.is_up());
    check_client(machine, &connected, unexpected);
}

#[test]
fn client_hears_another_version() {
    let hello = Hello { min_version: 0x0201, max_version: 0x0300, ..LIMITS.hello("s".into()) };
    let error = tell(&mut client(), &Message::Hello(hello)).unwrap_err();
    let expected = PeerIncompatible::Version { min: 0x0201, max: 0x0300 };
    assert!(matches!(error, ControlError::PeerIncompatible(why) if why == expected));
}

#[test]
fn client_hears_messages_of_another_length() {
    for len in [0, 10, 127, 200] {
        let incoming = Incoming { bytes: &vec![1; len], ..Incoming::default() };
        let error = client().on_message(incoming).unwrap_err();
        let expected = PeerMisbehaved::from(WireError::Length { len });
        assert!(matches!(error, ControlError::PeerMisbehaved(why) if why == expected));
    }
}

#[test]
fn client_is_turned_away_at_every_step() {
    for acks in 0..=4 {
        let mut machine = client_after(acks);
        let no = Message::Disconnect(Disconnect { code: 3, text: "Incorrect secret".into() });
        let bytes = no.encode();
        let heard = machine.on_message(Incoming { bytes: &bytes, ..Incoming::default() }).unwrap();
        let Some(ClientEvent::Disconnected(goodbye)) = heard else { panic!("{heard:?}") };
        assert_eq!((goodbye.code, goodbye.text.to_string().as_str()), (3, "Incorrect secret"));
        assert!(machine.is_closed() && machine.take_outgoing().is_none());
    }
}
