//! A front-end that says whatever it likes.

use super::{PATIENCE, Place, eventually};
use ringport::scm;
use ringport_vhost_user::wire::{Message, ProtocolFeatures, Request};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// One end of a connection to a device.
#[derive(Debug)]
pub struct Raw {
    stream: UnixStream,
}

/// What the device said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The payload of its reply.
    Payload(Vec<u8>),
    /// Nothing: it closed the connection.
    Closed,
}

impl Answer {
    /// The number that the reply consists of.
    #[track_caller]
    pub fn number(&self) -> u64 {
        let Self::Payload(bytes) = self else { panic!("the device closed the connection") };
        u64::from_ne_bytes(bytes[..].try_into().expect("eight bytes"))
    }

    /// Whether the device said yes.
    pub fn is_yes(&self) -> bool {
        *self == Self::Payload(vec![0; 8])
    }
}

impl Raw {
    pub fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    /// The same connection once more.
    pub fn try_clone(&self) -> Self {
        Self { stream: self.stream.try_clone().unwrap() }
    }

    /// Sends `messages` over and over, as fast as they are taken, until `stop`.
    pub fn flood(&self, messages: &[u8], stop: &AtomicBool) {
        let mut rest = messages;
        while !stop.load(Ordering::Relaxed) {
            match scm::send(self.stream.as_fd(), rest, &[]) {
                Ok(sent) => rest = &rest[sent..],
                Err(_) => std::thread::yield_now(),
            }
            if rest.is_empty() {
                rest = messages;
            }
        }
    }

    /// Connects; nothing was said yet.
    pub fn connect(place: &Place) -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(&place.path) {
                Ok(stream) => return Self::new(stream),
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        }
    }

    /// Connects, and agrees on every protocol feature that is offered.
    pub fn acked(place: &Place) -> Self {
        let raw = Self::connect(place);
        raw.send(&Message::Plain(Request::GetProtocolFeatures).encode(false), &[]);
        let offered = ProtocolFeatures::from_bits(raw.hear().number());
        assert!(offered.contains(ProtocolFeatures::REPLY_ACK));
        let all = Message::Number(Request::SetProtocolFeatures, offered.bits());
        assert!(raw.ask(&all, &[]).is_yes());
        raw
    }

    /// Sends bytes, the descriptors with the first of them. The device may have gone.
    pub fn send(&self, mut bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut fds = fds;
        eventually("the socket has room", || {
            match scm::send(self.stream.as_fd(), bytes, fds) {
                Ok(sent) => (bytes, fds) = (&bytes[sent..], &[]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => bytes = &[],
            }
            bytes.is_empty()
        });
    }

    /// Sends a request that wants an answer, and waits for it.
    pub fn ask(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> Answer {
        self.send(&message.encode(true), fds);
        self.hear()
    }

    /// Waits for a reply.
    pub fn hear(&self) -> Answer {
        let mut header = [0; 12];
        if !self.read(&mut header) {
            return Answer::Closed;
        }
        let len = u32::from_ne_bytes(header[8..].try_into().unwrap());
        let mut payload = vec![0; len as usize];
        if self.read(&mut payload) { Answer::Payload(payload) } else { Answer::Closed }
    }

    /// Whether the conversation goes on.
    pub fn still_answers(&self) -> bool {
        self.ask(&Message::Plain(Request::GetQueueNum), &[]) != Answer::Closed
    }

    /// Fills the buffer; false at the end of the stream.
    fn read(&self, buffer: &mut [u8]) -> bool {
        match (&self.stream).read_exact(buffer) {
            Ok(()) => true,
            Err(error) => match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => false,
                _ => panic!("no answer within ten seconds: {error}"),
            },
        }
    }
}
