//! Whole handshakes: each machine must answer the other side's vectors with its own.

use super::document::{Step, Vector, blocks, handshakes, vectors};
use nix::sys::eventfd::EventFd;
use ringport_memif::control::{
    ClientEvent, ClientIdentity, ClientMachine, Incoming, Limits, Offer, Outgoing, RegionOffer,
    RingOffer, ServerEvent, ServerMachine,
};
use ringport_memif::wire::{Disconnect, Message, MessageType};
use ringport_memif::{ControlError, Mode};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(5);

type Vectors = BTreeMap<&'static str, Vector>;

pub(crate) fn eventfd() -> OwnedFd {
    EventFd::new().unwrap().into()
}

fn message(vectors: &Vectors, step: Step) -> Message {
    Message::decode(&vectors[step.vector].bytes).expect(step.vector)
}

/// The vector, with as many descriptors as belong to it.
fn incoming<'a>(vectors: &'a Vectors, vector: &str) -> Incoming<'a> {
    let bytes = &vectors[vector].bytes;
    let count = Message::decode(bytes).map_or(0, |message| message.message_type().fd_count());
    Incoming { bytes, fds: (0..count).map(|_| eventfd()).collect(), ..Incoming::default() }
}

/// Checks what a machine says: all bytes, but only fields where a peer left garbage in its vector.
#[track_caller]
fn check_said(vectors: &Vectors, step: Step, said: Option<Outgoing>) {
    let (name, vector) = (step.vector, &vectors[step.vector]);
    let said = said.unwrap_or_else(|| panic!("silence instead of {name}"));
    assert_eq!(Message::decode(&said.bytes), Message::decode(&vector.bytes), "{name}");
    if !vector.garbage {
        assert_eq!(said.bytes[..], vector.bytes, "{name}");
    }
    assert_eq!(usize::from(said.fd.is_some()), message(vectors, step).message_type().fd_count());
}

/// A server that says what the handshake's server says.
struct Server<'a> {
    machine: ServerMachine,
    steps: &'a [Step],
    vectors: &'a Vectors,
}

impl<'a> Server<'a> {
    fn new(steps: &'a [Step], vectors: &'a Vectors) -> Self {
        let Message::Hello(hello) = message(vectors, steps[0]) else { panic!("no HELLO") };
        Self { machine: ServerMachine::new(hello, Instant::now(), TIMEOUT), steps, vectors }
    }

    /// Does step number `at`.
    #[track_caller]
    fn step(&mut self, at: usize) {
        let step = self.steps[at];
        if !step.by_client {
            return check_said(self.vectors, step, self.machine.take_outgoing());
        }
        let answer = self.steps.get(at + 1).map(|&step| message(self.vectors, step));
        match self.machine.on_message(incoming(self.vectors, step.vector)).unwrap() {
            Some(ServerEvent::Init(request)) => {
                let Message::Init(init) = message(self.vectors, step) else { panic!() };
                assert_eq!((request.id, &request.secret), (init.id, &init.secret));
                match answer {
                    Some(Message::Disconnect(Disconnect { text, .. })) => {
                        self.machine.disconnect(text);
                    }
                    _ => self.machine.admit(Limits::default()).unwrap(),
                }
            }
            Some(ServerEvent::Offer { offer, .. }) => {
                let announced = offer_of(self.steps, self.vectors);
                assert_eq!(offer.if_name, announced.if_name);
                assert_eq!(sizes(&offer), sizes(&announced));
                assert_eq!(places(&offer), places(&announced));
                let Some(Message::Connected { if_name }) = answer else { panic!("{answer:?}") };
                self.machine.accept(if_name).unwrap();
            }
            Some(ServerEvent::Disconnected(_)) => assert!(self.machine.is_closed()),
            None => {}
        }
    }
}

/// A client that says what the handshake's client says.
struct Client<'a> {
    machine: ClientMachine,
    steps: &'a [Step],
    vectors: &'a Vectors,
}

impl<'a> Client<'a> {
    fn new(steps: &'a [Step], vectors: &'a Vectors) -> Self {
        let Message::Init(init) = message(vectors, steps[1]) else { panic!("no INIT") };
        let identity = ClientIdentity {
            id: init.id,
            mode: Mode::from_wire(init.mode).unwrap(),
            secret: init.secret,
            name: init.name,
        };
        Self { machine: ClientMachine::new(identity, Instant::now(), TIMEOUT), steps, vectors }
    }

    /// Does step number `at`.
    #[track_caller]
    fn step(&mut self, at: usize) {
        let step = self.steps[at];
        if step.by_client {
            return check_said(self.vectors, step, self.machine.take_outgoing());
        }
        match self.machine.on_message(incoming(self.vectors, step.vector)).unwrap() {
            Some(ClientEvent::Hello(_)) => {
                self.machine.offer(offer_of(self.steps, self.vectors)).unwrap();
            }
            Some(ClientEvent::Connected { .. }) => assert!(self.machine.is_up()),
            Some(ClientEvent::Disconnected(_)) => assert!(self.machine.is_closed()),
            None => {}
        }
    }
}

/// What the client of a handshake announces.
fn offer_of(steps: &[Step], vectors: &Vectors) -> Offer {
    let mut offer = Offer { if_name: "".into(), regions: Vec::new(), rings: Vec::new() };
    for &step in steps.iter().filter(|step| step.by_client) {
        match message(vectors, step) {
            Message::AddRegion(region) => {
                offer.regions.push(RegionOffer { fd: eventfd(), size: region.size });
            }
            Message::AddRing(ring) => offer.rings.push(RingOffer {
                direction: ring.direction,
                index: ring.index,
                region: ring.region,
                offset: ring.offset,
                log2_ring_size: ring.log2_ring_size,
                doorbell: eventfd(),
            }),
            Message::Connect { if_name } => offer.if_name = if_name,
            _ => {}
        }
    }
    offer
}

fn sizes(offer: &Offer) -> Vec<u64> {
    offer.regions.iter().map(|region| region.size).collect()
}

fn places(
    offer: &Offer,
) -> Vec<(ringport_memif::Direction, u16, ringport_memif::control::RingPlace)> {
    offer.rings.iter().map(|ring| (ring.direction, ring.index, ring.place())).collect()
}

/// Whether the handshake ends with a link.
fn succeeds(steps: &[Step], vectors: &Vectors) -> bool {
    let last = *steps.last().unwrap();
    message(vectors, last).message_type() == MessageType::Connected
}

#[test]
fn server_says_what_servers_say_in_every_handshake() {
    let vectors = vectors();
    for (name, steps) in handshakes() {
        let mut server = Server::new(&steps, &vectors);
        for at in 0..steps.len() {
            server.step(at);
        }
        assert!(server.machine.take_outgoing().is_none(), "{name}");
        assert_eq!(server.machine.is_up(), succeeds(&steps, &vectors), "{name}");
    }
}

#[test]
fn client_says_what_clients_say_in_every_handshake() {
    let vectors = vectors();
    for (name, steps) in handshakes() {
        let mut client = Client::new(&steps, &vectors);
        for at in 0..steps.len() {
            client.step(at);
        }
        assert!(client.machine.take_outgoing().is_none(), "{name}");
        assert_eq!(client.machine.is_up(), succeeds(&steps, &vectors), "{name}");
    }
}

#[test]
fn handshakes_carry_the_descriptors_that_the_document_names() {
    let vectors = vectors();
    for block in blocks("handshake") {
        for line in block.lines {
            let mut words = line.split_whitespace().skip(1);
            let (vector, with) = (words.next().unwrap(), words.next());
            let expected = match Message::decode(&vectors[vector].bytes).unwrap() {
                Message::AddRegion(_) => Some("+memory"),
                Message::AddRing(_) => Some("+eventfd"),
                _ => None,
            };
            assert_eq!(with, expected, "{line}");
        }
    }
}

/// Checks that a machine fails with a reason, which its peer is told.
#[track_caller]
fn check_refused<E>(at: &str, outcome: Result<E, ControlError>, said: Option<Outgoing>) {
    let Err(error) = outcome else { panic!("{at}: accepted") };
    let peer_is_to_blame =
        matches!(error, ControlError::PeerMisbehaved(_) | ControlError::PeerIncompatible(_));
    assert!(peer_is_to_blame, "{at}: {error}");
    match said.map(|said| Message::decode(&said.bytes)) {
        Some(Ok(Message::Disconnect(said))) => assert!(!said.text.is_empty(), "{at}"),
        other => panic!("{at}: {other:?} instead of a DISCONNECT"),
    }
}

#[test]
fn vectors_listed_as_refused_end_the_connection_there() {
    let (vectors, handshakes) = (vectors(), handshakes());
    let steps = &handshakes["one-region"];
    let mut count = 0;
    for line in blocks("refused").into_iter().flat_map(|block| block.lines) {
        let (place, refused) = line.split_once(':').unwrap();
        let (role, after) = place.split_once(" after ").unwrap();
        let done = match after {
            "nothing" => 0,
            _ => 1 + steps.iter().position(|step| step.vector == after).expect(after),
        };
        for vector in refused.split_whitespace() {
            let at = format!("{place}: {vector}");
            let incoming = incoming(&vectors, vector);
            if role == "server" {
                let mut server = Server::new(steps, &vectors);
                (0..done).for_each(|at| server.step(at));
                while server.machine.take_outgoing().is_some() {}
                let outcome = server.machine.on_message(incoming);
                check_refused(&at, outcome, server.machine.take_outgoing());
            } else {
                let mut client = Client::new(steps, &vectors);
                (0..done).for_each(|at| client.step(at));
                while client.machine.take_outgoing().is_some() {}
                let outcome = client.machine.on_message(incoming);
                check_refused(&at, outcome, client.machine.take_outgoing());
            }
            count += 1;
        }
    }
    assert!(count >= 40, "{count} refusals");
}

#[test]
fn every_vector_that_is_bad_is_refused_somewhere() {
    let refused: Vec<_> = blocks("refused")
        .into_iter()
        .flat_map(|block| block.lines)
        .flat_map(|line| line.split_once(':').unwrap().1.split_whitespace())
        .collect();
    for name in vectors().into_keys().filter(|name| name.starts_with("bad-")) {
        assert!(refused.contains(&name), "{name}");
    }
}
