//! What a peer can do to keep a thread busy that has other links as well.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]

mod clients;
mod servers;

pub use clients::AGAINST_SERVERS;
pub use servers::AGAINST_CLIENTS;

use crate::driver_support::{PATIENCE, Place, seqpacket};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{UnixAddr, connect};
use ringport::scm;
use ringport_bench::interop::Outcome;
use ringport_bench::interop::victim::{Rates, Victim};
use ringport_memif::config::Reconnect;
use ringport_memif::wire::{MESSAGE_LEN, Message};
use ringport_memif::{
    Client, ClientConfig, Event, EventKind, InterfaceConfig, Link, Listener, ListenerConfig,
};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// One attack, which goes on until it is told to stop.
pub struct Attack {
    pub name: &'static str,
    pub run: fn(&Field<'_>),
}

/// What an attacker knows.
pub struct Field<'f> {
    pub path: &'f Path,
    stop: &'f AtomicBool,
}

/// What is attacked.
pub trait Target {
    fn poll(&mut self) -> Option<Event>;
}

impl Target for Listener {
    fn poll(&mut self) -> Option<Event> {
        Self::poll(self, Some(Duration::ZERO)).unwrap()
    }
}

impl Target for Client {
    fn poll(&mut self) -> Option<Event> {
        Self::poll(self, Some(Duration::ZERO)).unwrap()
    }
}

pub fn server(place: &Place) -> Listener {
    let mut server = Listener::bind(&place.address(), ListenerConfig::default()).unwrap();
    server.add_interface(InterfaceConfig::new(0)).unwrap();
    server
}

pub fn client(place: &Place) -> Client {
    let (initial, max) = (Duration::from_millis(1), Duration::from_millis(5));
    let reconnect = Reconnect::Backoff { initial, max };
    let config = ClientConfig {
        reconnect,
        handshake_timeout: Duration::from_millis(50),
        ..ClientConfig::new(0)
    };
    Client::connect(place.address(), config).unwrap()
}

/// Moves the victim's frames and serves the target for `time`, without and with the attack. Returns
/// both rates, and how many events the target had under attack.
pub fn under(
    attack: &Attack,
    place: &Place,
    target: &mut impl Target,
    time: Duration,
) -> Outcome<[Rates; 2]> {
    let mut victim = Victim::memif()?;
    let mut link = None;
    let quiet = victim.during(time, || serve(target, &mut link, &mut 0))?;
    let (stop, mut events) = (AtomicBool::new(false), 0);
    let attacked = std::thread::scope(|scope| {
        let field = Field { path: &place.path, stop: &stop };
        let attacker = scope.spawn(move || (attack.run)(&field));
        // Some take their time, on a busy machine.
        let attacked = victim.until(|elapsed| {
            serve(target, &mut link, &mut events)?;
            Ok(elapsed >= time && (events > 0 || elapsed >= PATIENCE))
        });
        assert!(!attacker.is_finished(), "{}: the attack is over", attack.name);
        stop.store(true, Ordering::Relaxed);
        attacked
    })?;
    assert!(events > 0, "{}: the attack did nothing", attack.name);
    Ok([quiet, attacked])
}

/// One turn of a program that has the target among its links.
fn serve(target: &mut impl Target, link: &mut Option<Link>, events: &mut u64) -> Outcome {
    if let Some(event) = target.poll() {
        *events += 1;
        match event.kind {
            EventKind::LinkUp(up) => *link = Some(*up),
            EventKind::LinkDown(_) => *link = None,
            _ => {}
        }
    }
    let Some(link) = link else { return Ok(()) };
    // That they report a fault is for the port to tell.
    for rx in &mut link.rx {
        let mut bytes = [0; 2048];
        if let Ok(burst) = rx.rx_burst(32) {
            burst.packets().for_each(|packet| _ = packet.copy_to(&mut bytes));
        }
        let _ = rx.arm();
    }
    for tx in &mut link.tx {
        if let Ok(mut burst) = tx.tx_burst(32) {
            while burst.push(&[7; 60]).is_ok() {}
            burst.commit();
        }
    }
    Ok(())
}

impl Field<'_> {
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Connects, unless the server has no room.
    pub fn connect(&self) -> Option<OwnedFd> {
        let fd = seqpacket();
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let connected = connect(fd.as_raw_fd(), &UnixAddr::new(self.path).unwrap());
        connected.ok().map(|()| fd)
    }

    /// Says something; false when nobody hears it.
    pub fn say(&self, to: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
        while self.goes_on() {
            match scm::send(to.as_fd(), bytes, fds) {
                Ok(_) => return true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(_) => return false,
            }
        }
        false
    }

    /// The next message, if there is one.
    pub fn hear(&self, from: &OwnedFd) -> Option<Message> {
        let mut bytes = [0; MESSAGE_LEN];
        while self.goes_on() {
            match scm::recv(from.as_fd(), &mut bytes) {
                Ok(received) if received.eof => return None,
                Ok(received) => return Message::decode(&bytes[..received.len]).ok(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(_) => return None,
            }
        }
        None
    }
}
