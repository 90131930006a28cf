//! A peer that says exactly what a test tells it to, and patience.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

use nix::sys::eventfd::EventFd;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use ringport::scm;
use ringport_memif::wire::{
    AddRegion, AddRing, COOKIE, Hello, Init, MESSAGE_LEN, Message, Secret, VERSION,
};
use ringport_memif::{
    Client, ControlError, Direction, DownReason, Event, EventKind, Link, Listener, Port,
    SocketAddress,
};
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// Repeats `step` until it gives something.
#[track_caller]
pub fn wait_for<T>(what: &str, mut step: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = step() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
    }
}

/// Something that runs a little and may report an event.
pub trait Turn {
    fn turn(&mut self) -> Option<Event>;
}

macro_rules! turn {
    ($($driver:ty),*) => {$(
        impl Turn for $driver {
            fn turn(&mut self) -> Option<Event> {
                self.poll(Some(Duration::from_millis(1))).unwrap()
            }
        }
    )*};
}

turn!(Listener, Client, Port);

/// Runs a driver until its next event.
#[track_caller]
pub fn next_event(driver: &mut impl Turn) -> Event {
    wait_for("an event", || driver.turn())
}

#[track_caller]
pub fn next_link(driver: &mut impl Turn) -> (u32, Link) {
    let event = next_event(driver);
    match event.kind {
        EventKind::LinkUp(link) => (event.id.unwrap(), *link),
        other => panic!("no link: {other:?}"),
    }
}

#[track_caller]
pub fn next_down(driver: &mut impl Turn) -> (u32, DownReason) {
    let event = next_event(driver);
    match event.kind {
        EventKind::LinkDown(reason) => (event.id.unwrap(), reason),
        other => panic!("link not down: {other:?}"),
    }
}

#[track_caller]
pub fn next_refusal(driver: &mut impl Turn) -> (Option<u32>, ControlError) {
    let event = next_event(driver);
    match event.kind {
        EventKind::Refused(error) => (event.id, error),
        other => panic!("not refused: {other:?}"),
    }
}

/// Runs both until each has a link. Anything else that happens is a failure.
#[track_caller]
pub fn join(server: &mut impl Turn, client: &mut impl Turn) -> (Link, Link) {
    let (mut left, mut right) = (None, None);
    wait_for("both links", || {
        left = left.take().or_else(|| server.turn().map(link_of));
        right = right.take().or_else(|| client.turn().map(link_of));
        if left.is_some() && right.is_some() { left.take().zip(right.take()) } else { None }
    })
}

#[track_caller]
fn link_of(event: Event) -> Link {
    match event.kind {
        EventKind::LinkUp(link) => *link,
        other => panic!("no link: {other:?}"),
    }
}

/// A socket path in a directory of its own.
pub struct Place {
    _directory: tempfile::TempDir,
    pub path: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memif.sock");
        Self { _directory: directory, path }
    }

    pub fn address(&self) -> SocketAddress {
        SocketAddress::Path(self.path.clone())
    }
}

pub fn seqpacket() -> OwnedFd {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap()
}

/// Listens like any server, and leaves its file behind.
pub fn raw_listener(path: &Path) -> UnixListener {
    let fd = seqpacket();
    bind(fd.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    listen(&fd, Backlog::new(8).unwrap()).unwrap();
    let listener = UnixListener::from(fd);
    listener.set_nonblocking(true).unwrap();
    listener
}

/// One end of a connection, without any opinion of the protocol.
pub struct RawPeer(OwnedFd);

impl RawPeer {
    pub fn connect(path: &Path) -> Self {
        let fd = seqpacket();
        connect(fd.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
        Self(fd)
    }

    /// Takes the next client of `listener`, while `driver` runs.
    pub fn accept(listener: &UnixListener, driver: &mut impl Turn) -> Self {
        wait_for("a client", || {
            assert!(driver.turn().is_none());
            listener.accept().ok().map(|(stream, _)| Self(stream.into()))
        })
    }

    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub fn send_bytes(&self, bytes: &[u8], fds: &[OwnedFd]) {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        scm::send(self.0.as_fd(), bytes, &fds).unwrap();
    }

    /// Sends a message with as many descriptors as it should have.
    pub fn send(&self, message: &Message) {
        let fds = match message {
            Message::AddRegion(region) => vec![memory(region.size)],
            Message::AddRing(_) => vec![doorbell()],
            _ => Vec::new(),
        };
        self.send_bytes(&message.encode(), &fds);
    }

    /// The next message; `None` when the other side closed.
    #[track_caller]
    pub fn receive(&self, driver: &mut impl Turn) -> Option<Message> {
        wait_for("a message", || {
            assert!(driver.turn().is_none());
            self.try_receive()
        })
    }

    /// `Some(None)` when the other side closed.
    pub fn try_receive(&self) -> Option<Option<Message>> {
        let mut bytes = [0; MESSAGE_LEN];
        match scm::recv(self.0.as_fd(), &mut bytes) {
            Ok(received) if received.eof => Some(None),
            Ok(received) => Some(Some(Message::decode(&bytes[..received.len]).unwrap())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Reads until the other side says goodbye and closes; returns what it said.
    #[track_caller]
    pub fn goodbye(&self) -> String {
        let mut text = None;
        wait_for("the end", || match self.try_receive()? {
            Some(Message::Disconnect(disconnect)) => {
                assert!(text.is_none(), "two goodbyes");
                text = Some(disconnect.text.to_string());
                None
            }
            Some(_) => None,
            None => Some(text.take().expect("a goodbye before the end")),
        })
    }
}

pub fn doorbell() -> OwnedFd {
    let flags = nix::sys::eventfd::EfdFlags::EFD_NONBLOCK;
    EventFd::from_flags(flags).unwrap().into()
}

/// Memory with a ring's cookie wherever [`script`] has a ring.
pub fn memory(size: u64) -> OwnedFd {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = File::from(memfd_create("hostile", flags).unwrap());
    file.set_len(size).unwrap();
    for offset in [0, 0x4080] {
        file.write_all_at(&COOKIE.to_le_bytes(), offset).unwrap();
    }
    file.into()
}

pub fn init(id: u32, secret: &[u8]) -> Message {
    Message::Init(Init {
        version: VERSION,
        id,
        mode: 0,
        secret: Secret::new(secret).unwrap(),
        name: "raw".into(),
    })
}

/// What a client says after HELLO: one region, a ring each way, layout of 64-byte lines.
pub fn script(id: u32) -> Vec<Message> {
    let ring = AddRing {
        direction: Direction::C2s,
        index: 0,
        region: 0,
        offset: 0,
        log2_ring_size: 10,
        private_header_size: 0,
    };
    vec![
        init(id, b""),
        Message::AddRegion(AddRegion { index: 0, size: 1 << 23 }),
        Message::AddRing(ring),
        Message::AddRing(AddRing { direction: Direction::S2c, offset: 0x4080, ..ring }),
        Message::Connect { if_name: "raw0".into() },
    ]
}

pub fn hello() -> Message {
    Message::Hello(Hello {
        name: "raw".into(),
        min_version: VERSION,
        max_version: VERSION,
        max_region: 255,
        max_s2c_ring: 255,
        max_c2s_ring: 255,
        max_log2_ring_size: 14,
    })
}

/// Open descriptors of this process.
pub fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
