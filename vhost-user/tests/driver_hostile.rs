//! Devices that leave, fall silent or talk nonsense at any point: the driver says why, keeps no
//! descriptor, and its queues report it for ever.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;
mod frontend_support;

use device_support::PATIENCE;
use frontend_support::back_config;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use ringport::error::QueueError;
use ringport::scm;
use ringport_bench::interop::census::Census;
use ringport_vhost_user::backend::{self, BackendConfig, BackendMachine, Incoming, RingOffer};
use ringport_vhost_user::driver::{Event, Link};
use ringport_vhost_user::frontend::PeerMisbehaved;
use ringport_vhost_user::wire::{HEADER_LEN, Header, Reply, Request};
use ringport_vhost_user::{ControlError, DeviceError, DownReason, Driver, DriverConfig};
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// A back-end of which we have every message in hand.
struct Fake {
    /// Closed when it has had enough.
    socket: Option<OwnedFd>,
    machine: BackendMachine,
    said: Vec<Request>,
    rings: Vec<RingOffer>,
}

/// What it does when it has heard so many messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Never,
    /// Before it answers that one.
    Leaves(usize),
    /// As well, but stays connected.
    FallsSilent(usize),
}

impl Fake {
    fn new(config: BackendConfig) -> (Self, OwnedFd) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, flags).unwrap();
        let machine = BackendMachine::new(config);
        (Self { socket: Some(ours), machine, said: Vec::new(), rings: Vec::new() }, theirs)
    }

    /// Takes all messages that wait, as far as `end` lets it.
    fn serve(&mut self, end: End) {
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
                return self.machine.answer_config(Ok(vec![0; span.size as usize])).unwrap();
            }
            Some(E::RingStarted(ring)) => self.rings.push(ring),
            Some(_) => {}
        }
        self.machine.answer_ack(Ok(())).unwrap();
    }

    fn answer(&mut self) {
        while let Some(reply) = self.machine.take_outgoing() {
            self.say(&reply.bytes);
        }
    }

    fn say(&self, bytes: &[u8]) {
        let socket = self.socket.as_ref().unwrap();
        assert_eq!(scm::send(socket.as_fd(), bytes, &[]).unwrap(), bytes.len());
    }
}

fn config() -> DriverConfig {
    DriverConfig { queue_pairs: 2, ring_size: 64, ..DriverConfig::default() }
}

/// Runs both until the driver reports something.
#[track_caller]
fn next(driver: &mut Driver, fake: &mut Fake, end: End) -> Event {
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
fn running() -> (Driver, Box<Link>, Fake) {
    let (mut fake, socket) = Fake::new(back_config());
    let mut driver = Driver::from_socket(socket, config()).unwrap();
    match next(&mut driver, &mut fake, End::Never) {
        Event::LinkUp(link) => (driver, link, fake),
        other => panic!("{other:?}"),
    }
}

/// Back-ends with and without acknowledgements.
fn back_ends() -> [BackendConfig; 2] {
    use ringport_vhost_user::wire::ProtocolFeatures as P;
    let mut other = back_config();
    other.protocol_features = other.protocol_features.without(P::REPLY_ACK);
    [back_config(), other]
}

/// How many messages a link takes to come up.
fn messages(back: BackendConfig) -> usize {
    let (mut fake, socket) = Fake::new(back);
    let mut driver = Driver::from_socket(socket, config()).unwrap();
    let event = next(&mut driver, &mut fake, End::Never);
    assert!(matches!(event, Event::LinkUp(_)), "{event:?}");
    fake.said.len()
}

#[test]
fn device_that_dies_at_any_message_is_reported_and_leaves_nothing_behind() {
    for back in back_ends() {
        let all = messages(back);
        assert!(all > 30, "{all} messages");
        let mut census = None;
        for at in 0..all {
            let (mut fake, socket) = Fake::new(back);
            let mut driver = Driver::from_socket(socket, config()).unwrap();
            let event = next(&mut driver, &mut fake, End::Leaves(at));
            assert!(matches!(event, Event::Refused(DownReason::PeerClosed)), "{at}: {event:?}");
            assert!(driver.is_finished());
            drop((fake, driver));
            census.get_or_insert_with(Census::take).compare().unwrap();
        }
    }
}

#[test]
fn device_that_falls_silent_at_any_message_is_late_with_that_request() {
    let timeout = Duration::from_millis(100);
    for at in (0..messages(back_config())).step_by(3) {
        let (mut fake, socket) = Fake::new(back_config());
        let config = DriverConfig { timeout, ..config() };
        let mut driver = Driver::from_socket(socket, config).unwrap();
        let event = next(&mut driver, &mut fake, End::FallsSilent(at));
        let Event::Refused(DownReason::Protocol(DeviceError::Control(why))) = event else {
            panic!("{at}: {event:?}")
        };
        let ControlError::Timeout { request, waited } = why else { panic!("{at}: {why}") };
        // Without an answer of its own the request after it is the one that waits.
        let unanswered = [Request::SetProtocolFeatures, Request::SetOwner];
        let last = *fake.said.last().unwrap();
        assert!(request == last || unanswered.contains(&last), "{at}: {request} after {last}");
        assert_eq!(waited, timeout);
        assert!(driver.is_finished());
    }
}

/// Checks that the queues are of no use any more.
#[track_caller]
fn check_down(link: &mut Link, error: QueueError) {
    for _ in 0..2 {
        for (rx, tx) in link.rx.iter_mut().zip(&mut link.tx) {
            assert_eq!(rx.rx_burst(1).unwrap_err(), error);
            assert_eq!(tx.tx_burst(1).unwrap_err(), error);
            assert_eq!(rx.arm().unwrap_err(), error);
        }
    }
}

#[test]
fn device_that_says_a_ring_is_broken_ends_the_link() {
    for ring in 0..4 {
        let (mut driver, mut link, mut fake) = running();
        let err = fake.rings[ring].err.take().unwrap();
        ringport::doorbell::Doorbell::from_peer(err).unwrap().ring().unwrap();
        let event = next(&mut driver, &mut fake, End::Never);
        assert!(matches!(event, Event::LinkDown(DownReason::RingGivenUp)), "{event:?}");
        check_down(&mut link, QueueError::LinkDown);
    }
}

#[test]
fn device_that_speaks_unasked_ends_the_link() {
    let (mut driver, mut link, mut fake) = running();
    fake.say(&Reply::Number(0).encode(Request::SetVringKick as u32));
    let event = next(&mut driver, &mut fake, End::Never);
    let Event::LinkDown(DownReason::Protocol(DeviceError::Control(why))) = event else {
        panic!("{event:?}")
    };
    let unasked = PeerMisbehaved::Unasked { request: Request::SetVringKick as u32 };
    assert_eq!(why, ControlError::PeerMisbehaved(unasked));
    check_down(&mut link, QueueError::LinkDown);
}

#[test]
fn device_that_ends_within_a_message_is_reported() {
    let (mut driver, mut link, mut fake) = running();
    fake.say(&Reply::Number(0).encode(1)[..5]);
    assert!(driver.poll(Some(Duration::from_millis(5))).unwrap().is_none(), "it may go on");
    fake.socket = None;
    let event = next(&mut driver, &mut fake, End::Never);
    assert!(matches!(event, Event::LinkDown(DownReason::PeerClosed)), "{event:?}");
    check_down(&mut link, QueueError::LinkDown);
}

#[test]
fn device_that_does_not_stop_in_time_is_left() {
    let (mut fake, socket) = Fake::new(back_config());
    let timeout = Duration::from_millis(100);
    let mut driver = Driver::from_socket(socket, DriverConfig { timeout, ..config() }).unwrap();
    let Event::LinkUp(mut link) = next(&mut driver, &mut fake, End::Never) else {
        panic!("no link")
    };
    driver.stop();
    check_down(&mut link, QueueError::LinkDown);
    let all = fake.said.len();
    let event = next(&mut driver, &mut fake, End::FallsSilent(all));
    let Event::LinkDown(DownReason::Protocol(DeviceError::Control(why))) = event else {
        panic!("{event:?}")
    };
    assert_eq!(why, ControlError::Timeout { request: Request::GetVringBase, waited: timeout });
    assert!(driver.is_finished());
}
