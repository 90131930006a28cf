//! A device of which a test has every message in hand, and a driver that talks to it.

use super::back_config;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use ringport::scm;
use ringport_vhost_user::backend::{
    self, BackendConfig, BackendMachine, Incoming, PackedIndex, RegionOffer, RingBase, RingOffer,
};
use ringport_vhost_user::driver::{Event, Link};
use ringport_vhost_user::wire::{ChannelMessage, HEADER_LEN, Header, Request, feature};
use ringport_vhost_user::{Driver, DriverConfig};
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// A back-end of which we have every message in hand.
pub struct Fake {
    /// Closed when it has had enough.
    pub socket: Option<OwnedFd>,
    pub machine: BackendMachine,
    pub said: Vec<Request>,
    pub rings: Vec<RingOffer>,
    /// Its configuration space.
    pub space: Vec<u8>,
    /// Whether it answers those who read that.
    pub answers_config: bool,
    /// Its end of the second socket.
    pub channel: Option<OwnedFd>,
    pub enabled: Vec<(u16, bool)>,
    /// What it was given of memory.
    pub memory: Vec<RegionOffer>,
    /// Whether it sends byte by byte, a millisecond each.
    pub drips: bool,
}

/// What it does when it has heard so many messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Never,
    /// Before it answers that one.
    Leaves(usize),
    /// As well, but stays connected.
    FallsSilent(usize),
}

impl Fake {
    pub fn new(config: BackendConfig) -> (Self, OwnedFd) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, flags).unwrap();
        let machine = BackendMachine::new(config);
        let fake = Self {
            socket: Some(ours),
            machine,
            said: Vec::new(),
            rings: Vec::new(),
            space: vec![0; 12],
            answers_config: true,
            channel: None,
            enabled: Vec::new(),
            memory: Vec::new(),
            drips: false,
        };
        (fake, theirs)
    }

    /// Takes all messages that wait, as far as `end` lets it.
    pub fn serve(&mut self, end: End) {
        let mut buffer = [0; 512];
        while let Some(socket) = &self.socket {
            let received = match scm::recv(socket.as_fd(), &mut buffer[..HEADER_LEN]) {
                Ok(received) if !received.eof => received,
                Ok(_) => return,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            };
            // The driver sends whole messages, and a socket this empty takes them.
            assert_eq!(received.len, HEADER_LEN);
            let header = Header::decode(buffer.first_chunk().unwrap()).unwrap();
            let mut fds = received.fds;
            let size = header.size as usize;
            if size > 0 {
                let payload = &mut buffer[HEADER_LEN..HEADER_LEN + size];
                assert_eq!(scm::recv(socket.as_fd(), payload).unwrap().len, size);
            }
            self.said.push(Request::from_wire(header.request).unwrap());
            match end {
                End::Leaves(after) if self.said.len() > after => self.socket = None,
                End::FallsSilent(after) if self.said.len() > after => return,
                _ => {
                    self.hear(&buffer[..HEADER_LEN], std::mem::take(&mut fds));
                    self.hear(&buffer[HEADER_LEN..HEADER_LEN + size], Vec::new());
                    self.answer();
                }
            }
        }
    }

    fn hear(&mut self, bytes: &[u8], fds: Vec<OwnedFd>) {
        use backend::Event as E;
        if bytes.is_empty() {
            return;
        }
        let incoming = Incoming { bytes, fds, fds_truncated: false };
        match self.machine.on_bytes(incoming, Instant::now()).unwrap() {
            None => return,
            Some(E::ConfigRead(span)) => {
                if self.answers_config {
                    let space = self.space[span.offset as usize..][..span.size as usize].to_vec();
                    self.machine.answer_config(Ok(space)).unwrap();
                }
                return;
            }
            Some(E::RingStopped { index }) => {
                let start = PackedIndex { index: 0, wrap: true };
                let base = match self.machine.features() & feature::RING_PACKED {
                    0 => RingBase::Split { avail: 0 },
                    _ => RingBase::Packed { avail: start, used: start },
                };
                return self.machine.answer_vring_base(index, base).unwrap();
            }
            Some(E::BackendChannel(channel)) => self.channel = Some(channel),
            Some(E::MemoryTable(memory)) => self.memory = memory,
            Some(E::RingEnabled { index, enabled }) => self.enabled.push((index, enabled)),
            Some(E::RingStarted(ring)) => self.rings.push(ring),
            Some(_) => {}
        }
        self.machine.answer_ack(Ok(())).unwrap();
    }

    pub fn answer(&mut self) {
        while let Some(reply) = self.machine.take_outgoing() {
            for part in reply.bytes.chunks(if self.drips { 1 } else { usize::MAX }) {
                self.say(part);
                if self.drips {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    /// Says on the second socket that the configuration changed.
    #[track_caller]
    pub fn config_changed(&self) {
        self.say_on_channel(&ChannelMessage::ConfigChange.encode(false));
    }

    #[track_caller]
    pub fn say_on_channel(&self, bytes: &[u8]) {
        let channel = self.channel.as_ref().unwrap();
        assert_eq!(scm::send(channel.as_fd(), bytes, &[]).unwrap(), bytes.len());
    }

    /// How often a request was heard.
    pub fn count(&self, request: Request) -> usize {
        self.said.iter().filter(|said| **said == request).count()
    }

    pub fn say(&self, bytes: &[u8]) {
        let socket = self.socket.as_ref().unwrap();
        assert_eq!(scm::send(socket.as_fd(), bytes, &[]).unwrap(), bytes.len());
    }
}

pub fn config() -> DriverConfig {
    DriverConfig { queue_pairs: 2, ring_size: 64, ..DriverConfig::default() }
}

/// Runs both until the driver reports something.
#[track_caller]
pub fn next(driver: &mut Driver, fake: &mut Fake, end: End) -> Event {
    let deadline = Instant::now() + PATIENCE;
    loop {
        fake.serve(end);
        if let Some(event) = driver.poll(Some(Duration::ZERO)).unwrap() {
            return event;
        }
        assert!(Instant::now() < deadline, "nothing happened, {:?} was said", fake.said);
    }
}

/// A driver whose link is up, and what it talks to.
#[track_caller]
pub fn running() -> (Driver, Box<Link>, Fake) {
    let (mut fake, socket) = Fake::new(back_config());
    let mut driver = Driver::from_socket(socket, config()).unwrap();
    match next(&mut driver, &mut fake, End::Never) {
        Event::LinkUp(link) => (driver, link, fake),
        other => panic!("{other:?}"),
    }
}

/// Back-ends with and without acknowledgements.
pub fn back_ends() -> [BackendConfig; 2] {
    use ringport_vhost_user::wire::ProtocolFeatures as P;
    let mut other = back_config();
    other.protocol_features = other.protocol_features.without(P::REPLY_ACK);
    [back_config(), other]
}

/// How many messages a link takes to come up.
pub fn messages(back: BackendConfig) -> usize {
    let (mut fake, socket) = Fake::new(back);
    let mut driver = Driver::from_socket(socket, config()).unwrap();
    let event = next(&mut driver, &mut fake, End::Never);
    assert!(matches!(event, Event::LinkUp(_)), "{event:?}");
    fake.said.len()
}

/// One whose end of a connection is `stream`.
pub fn behind(stream: UnixStream) -> Fake {
    let (mut fake, _) = Fake::new(back_config());
    stream.set_nonblocking(true).unwrap();
    fake.socket = Some(stream.into());
    fake
}

/// Connects to a driver that listens.
pub fn connected(path: &Path) -> Fake {
    behind(UnixStream::connect(path).unwrap())
}
