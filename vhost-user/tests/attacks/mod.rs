//! What a peer can do to keep a thread busy that has other links as well.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]

mod devices;
mod floods;
mod front_ends;

pub use devices::against_drivers;
pub use front_ends::against_devices;

use crate::device_support::{Place, Polled};
use ringport::burst::{PacketRx, PacketTx};
use ringport_bench::interop::Outcome;
use ringport_bench::interop::victim::{Rates, Victim};
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::{Device, DeviceConfig, Driver, DriverConfig, Event, Link};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// One attack, which goes on until it is told to stop.
pub struct Attack {
    pub name: String,
    run: Box<dyn Fn(&Field<'_>) + Send + Sync>,
}

/// What an attacker knows.
pub struct Field<'f> {
    pub place: &'f Place,
    pub stop: &'f AtomicBool,
}

impl Attack {
    fn new(name: &str, run: impl Fn(&Field<'_>) + Send + Sync + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

pub fn device(place: &Place) -> Device {
    Device::open(&place.address(), SocketRole::default(), DeviceConfig::default()).unwrap()
}

pub fn driver(place: &Place) -> Driver {
    let config = DriverConfig { timeout: Duration::from_millis(50), ..DriverConfig::default() };
    Driver::open(&place.address(), SocketRole::default(), config).unwrap()
}

/// Moves the victim's frames and serves the target for `time`, without and with the attack. Returns
/// both rates.
pub fn under<P: Polled>(
    attack: &Attack,
    place: &Place,
    target: &mut P,
    time: Duration,
) -> Outcome<[Rates; 2]>
where
    P::Rx: PacketRx,
    P::Tx: PacketTx,
{
    let mut victim = Victim::vhost()?;
    let mut link = None;
    let quiet = victim.during(time, || serve(target, &mut link))?;
    let stop = AtomicBool::new(false);
    let attacked = std::thread::scope(|scope| {
        let field = Field { place, stop: &stop };
        let attacker = scope.spawn(move || (attack.run)(&field));
        let attacked = victim.during(time, || serve(target, &mut link));
        assert!(!attacker.is_finished(), "{}: the attack is over", attack.name);
        stop.store(true, Ordering::Relaxed);
        // Some wait for an answer first.
        while !attacker.is_finished() {
            serve(target, &mut link)?;
        }
        attacked
    })?;
    Ok([quiet, attacked])
}

/// One turn of a program that has the target among its links.
fn serve<P: Polled>(target: &mut P, link: &mut Option<Link<P::Rx, P::Tx>>) -> Outcome
where
    P::Rx: PacketRx,
    P::Tx: PacketTx,
{
    match target.poll(Duration::ZERO) {
        Some(Event::LinkUp(up)) => *link = Some(*up),
        Some(Event::LinkDown(_)) => *link = None,
        _ => {}
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

/// Connections that are kept at a time.
const KEPT: usize = 300;

impl Field<'_> {
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Connects, unless there is no room.
    pub fn connect(&self) -> Option<UnixStream> {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
        use std::os::fd::AsRawFd;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        let connected = connect(fd.as_raw_fd(), &UnixAddr::new(&self.place.path).unwrap());
        connected.ok().map(|()| fd.into())
    }

    /// Connects again and again, does `begin`, and keeps the connection for a while.
    pub fn keep(&self, mut begin: impl FnMut(&UnixStream)) {
        let mut kept = Vec::new();
        while self.goes_on() {
            if let Some(stream) = self.connect() {
                begin(&stream);
                kept.push(stream);
            }
            if kept.len() == KEPT {
                kept.clear();
            }
        }
    }
}
