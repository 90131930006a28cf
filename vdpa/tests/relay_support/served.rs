//! A relay in a thread of its own, and where its socket is.

use ringport_vdpa::relay::Event;
use ringport_vdpa::{Relay, RelayConfig, VdpaDevice};
use ringport_vhost_user::device::{DownReason, SocketRole};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A directory with a socket in it.
#[derive(Debug)]
pub struct Place {
    _dir: Option<TempDir>,
    pub path: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.sock");
        Self { _dir: Some(dir), path }
    }

    /// The same place, for as long as this one is there.
    pub fn again(&self) -> Self {
        Self { _dir: None, path: self.path.clone() }
    }

    pub fn address(&self) -> ringport::socket::SocketAddress {
        self.path.to_str().unwrap().parse().unwrap()
    }
}

/// A relay that a thread polls.
#[derive(Debug)]
pub struct Served {
    events: Receiver<Event>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    pub fn listen(place: &Place, device: impl VdpaDevice + 'static) -> Self {
        Self::listen_with(place, device, RelayConfig::default())
    }

    pub fn listen_with(
        place: &Place,
        device: impl VdpaDevice + 'static,
        config: RelayConfig,
    ) -> Self {
        let address = place.address();
        let device = Box::new(device);
        let relay = Relay::open(&address, SocketRole::default(), config, device).unwrap();
        Self::of(relay)
    }

    pub fn of(mut relay: Relay) -> Self {
        let (tell, events) = channel();
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if let Some(event) = relay.poll(Some(Duration::from_millis(5))).unwrap()
                    && tell.send(event).is_err()
                {
                    return;
                }
            }
        });
        Self { events, over, thread: Some(thread) }
    }

    #[track_caller]
    pub fn next(&self) -> Event {
        self.events.recv_timeout(PATIENCE).expect("nothing happened")
    }

    /// Until the link is up.
    #[track_caller]
    pub fn link_up(&self) {
        loop {
            match self.next() {
                Event::LinkUp(_) => return,
                Event::Refused(_) | Event::PairsEnabled(_) => {}
                other => panic!("no link: {other:?}"),
            }
        }
    }

    /// Why a connection ends before there is a link.
    #[track_caller]
    pub fn not_linked(&self) -> String {
        loop {
            match self.next() {
                Event::Refused(reason) => return reason.to_string(),
                Event::RequestRefused(_) | Event::PairsEnabled(_) => {}
                other => panic!("it is not refused: {other:?}"),
            }
        }
    }

    #[track_caller]
    pub fn link_down(&self) -> String {
        loop {
            match self.next() {
                Event::LinkDown(reason) => return reason.to_string(),
                Event::PairsEnabled(_) => {}
                other => panic!("the link is not down: {other:?}"),
            }
        }
    }

    /// Why the next request is refused.
    #[track_caller]
    pub fn refused(&self) -> String {
        loop {
            match self.next() {
                Event::RequestRefused(error) => return error.to_string(),
                Event::PairsEnabled(_) | Event::LinkUp(_) => {}
                other => panic!("nothing was refused: {other:?}"),
            }
        }
    }
}

/// How a connection ended, and whether anything was refused before.
#[derive(Debug)]
pub struct Ended {
    pub reason: DownReason,
    pub refused: bool,
}

impl Served {
    /// Until a connection has ended, with or without a link.
    #[track_caller]
    pub fn ended(&self) -> Ended {
        let mut refused = false;
        loop {
            match self.next() {
                Event::RequestRefused(_) => refused = true,
                Event::LinkDown(reason) | Event::Refused(reason) => {
                    return Ended { reason, refused };
                }
                _ => {}
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if std::thread::panicking() {
            // It may be what never ends.
            return;
        }
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "the relay panicked");
        }
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
