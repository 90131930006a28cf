//! The targets of the control protocol.
//!
//! An input is a header and then operations, each one byte of kind and its arguments. Both targets
//! keep a small model of the conversation: at which stage it is, and what waits in the outbox.

mod client;
pub(crate) mod files;
mod server;
mod whole;

pub(crate) use client::run as client;
pub(crate) use server::run as server;
pub(crate) use whole::{client as whole_client, listener as whole_listener};

use crate::input::Input;
use files::open_for;
use ringport_memif::control::{Incoming, Outgoing};
use ringport_memif::wire::{
    AddRegion, AddRing, Disconnect, Hello, Init, MESSAGE_LEN, Message, MessageType, Name, Reason,
    Secret, VERSION,
};
use ringport_memif::{ControlError, Direction};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Most operations of one input.
const OPERATIONS_MAX: usize = 600;

/// What one read of a socket delivers, from an input.
struct Delivery {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
    truncated: bool,
    fds_truncated: bool,
}

/// Bits of the byte that precedes each message.
pub(crate) const TRUNCATED: u8 = 1;
pub(crate) const FDS_TRUNCATED: u8 = 2;
/// A byte follows that says how many descriptors come along (low half), and of what kinds.
pub(crate) const OWN_FDS: u8 = 4;
/// A byte follows that says how long the message is.
pub(crate) const OWN_LENGTH: u8 = 8;

impl Delivery {
    /// Wraps `message` in what the input says about its delivery.
    fn new(mut bytes: Vec<u8>, input: &mut Input<'_>) -> Self {
        let how = input.u8();
        let message = Message::decode(&bytes).ok();
        let expected = message.as_ref().map_or(0, |message| message.message_type().fd_count());
        let (count, kind) = if how & OWN_FDS == 0 {
            (expected, 0)
        } else {
            let own = input.u8();
            (usize::from(own & 15), own >> 4)
        };
        if how & OWN_LENGTH != 0 {
            bytes.resize(usize::from(input.u8()), 0);
        }
        let fds = (0..count).map(|at| open_for(message.as_ref(), kind, at)).collect();
        let (truncated, fds_truncated) = (how & TRUNCATED != 0, how & FDS_TRUNCATED != 0);
        Self { bytes, fds, truncated, fds_truncated }
    }

    /// Whether no machine may take it.
    fn is_bad(&self) -> bool {
        let Ok(message) = Message::decode(&self.bytes) else {
            return true;
        };
        self.truncated || self.fds_truncated || self.fds.len() != message.message_type().fd_count()
    }

    fn incoming(&mut self) -> Incoming<'_> {
        let fds = std::mem::take(&mut self.fds);
        let (truncated, fds_truncated) = (self.truncated, self.fds_truncated);
        Incoming { bytes: &self.bytes, fds, truncated, fds_truncated }
    }
}

/// A message with fields from the input, by kind.
fn message(kind: u8, input: &mut Input<'_>) -> Message {
    match kind {
        0 => Message::Ack,
        1 => Message::Hello(Hello {
            name: name(input),
            min_version: version(input),
            max_version: version(input),
            max_region: input.u16(),
            max_s2c_ring: input.u16(),
            max_c2s_ring: input.u16(),
            max_log2_ring_size: input.u8(),
        }),
        2 => Message::Init(Init {
            version: version(input),
            id: u32::from(input.u8()),
            mode: input.u8(),
            secret: Secret::new(&input.take::<2>()).unwrap_or_default(),
            name: name(input),
        }),
        3 => Message::AddRegion(AddRegion { index: u16::from(input.u8()), size: input.u64() }),
        4 => Message::AddRing(ring(input)),
        5 => Message::Connect { if_name: name(input) },
        6 => Message::Connected { if_name: name(input) },
        _ => Message::Disconnect(Disconnect {
            code: u32::from(input.u8()),
            text: Reason::of(&name(input)),
        }),
    }
}

fn name(input: &mut Input<'_>) -> Name {
    Name::new(&String::from_utf8_lossy(&input.take::<2>()))
}

/// 2.0 for zero, else anything.
fn version(input: &mut Input<'_>) -> u16 {
    match input.u8() {
        0 => VERSION,
        other => u16::from(other) << 4,
    }
}

fn ring(input: &mut Input<'_>) -> AddRing {
    let way = input.u8();
    AddRing {
        direction: if way & 1 == 0 { Direction::C2s } else { Direction::S2c },
        index: u16::from(input.u8()),
        region: u16::from(input.u8()),
        offset: input.u32(),
        log2_ring_size: input.u8(),
        private_header_size: u16::from(way >> 1),
    }
}

/// What waits to be sent, as the model sees it.
#[derive(Default)]
struct ExpectedOutbox {
    waiting: VecDeque<(MessageType, bool)>,
    disconnects: usize,
}

impl ExpectedOutbox {
    fn push(&mut self, message: MessageType) {
        self.waiting.push_back((message, message.fd_count() > 0));
    }

    /// The conversation failed, or was ended here.
    fn close(&mut self) {
        self.waiting.clear();
        self.push(MessageType::Disconnect);
    }

    /// Checks one message that a machine wants to send. False: there is none.
    fn check(&mut self, outgoing: Option<Outgoing>) -> bool {
        let found = outgoing.as_ref().map(|outgoing| {
            let message = Message::decode(&outgoing.bytes).expect("machines send messages");
            (message.message_type(), outgoing.fd.is_some())
        });
        assert_eq!(found, self.waiting.pop_front(), "the outbox holds something else");
        let Some((message, _)) = found else {
            return false;
        };
        assert_eq!(self.disconnects, 0, "{message} behind DISCONNECT");
        self.disconnects += usize::from(message == MessageType::Disconnect);
        true
    }
}

/// The caller's clock.
struct Clock {
    start: Instant,
    now: Instant,
    timeout: Duration,
}

impl Clock {
    fn new(timeout_ms: u8) -> Self {
        let start = Instant::now();
        Self { start, now: start, timeout: Duration::from_millis(u64::from(timeout_ms)) }
    }

    fn advance(&mut self, ms: u8) {
        self.now += Duration::from_millis(u64::from(ms));
    }

    fn is_late(&self) -> bool {
        self.now >= self.start + self.timeout
    }
}

/// A machine blames its peer, and says so.
fn check_blame(error: &ControlError) {
    let blame =
        matches!(error, ControlError::PeerMisbehaved(_) | ControlError::PeerIncompatible(_));
    assert!(blame, "{error:?}");
    assert!(!error.disconnect_reason().is_empty());
}

fn raw(input: &mut Input<'_>) -> Vec<u8> {
    input.take::<MESSAGE_LEN>().to_vec()
}
