//! A device or a driver in a thread of its own, and front-ends for a device. The conversation is led by the `vhost`
//! crate, or said as it pleases; rings are driven by hand, with system calls on the shared file.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test program uses a part")]
#![allow(clippy::print_stderr, reason = "says why a test was ended")]

mod foreign;
mod front;
mod guest;
mod hand;
mod own;
mod raw;
mod relay;
mod ring;

pub use foreign::{Foreign, LAYOUTS, bursts_from_driver, bursts_to_driver};
pub use front::{FEATURES, Front, PACKED};
pub use guest::{FRONT_END, GUEST, Guest, LEN};
pub use hand::{Descriptor, HEADER, Hand, INDIRECT, NEXT, WRITE};
pub use own::OwnPair;
pub use raw::{Answer, Raw};
pub use relay::overhear;
pub use ring::{BUFFER, SIZE, SplitRing};

use ringport::burst::{PacketRx, PacketTx};
use ringport::error::QueueError;
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::{AnyRxQueue, AnyTxQueue, Event, Link, Port, PortEvent, driver};
use ringport_vhost_user::{Device, DeviceConfig, DownReason, Driver, DriverConfig};
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A directory with a socket in it.
#[derive(Debug)]
pub struct Place {
    dir: TempDir,
    pub path: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.sock");
        Self { dir, path }
    }

    pub fn address(&self) -> ringport::socket::SocketAddress {
        self.path.to_str().unwrap().parse().unwrap()
    }
}

/// A device or a driver.
pub trait Polled: Debug + Send + 'static {
    type Rx: Debug + Send;
    type Tx: Debug + Send;
    fn poll(&mut self, timeout: Duration) -> Option<Event<Self::Rx, Self::Tx>>;
}

impl Polled for Device {
    type Rx = ringport_vhost_user::RxQueue;
    type Tx = ringport_vhost_user::TxQueue;

    fn poll(&mut self, timeout: Duration) -> Option<Event> {
        Self::poll(self, Some(timeout)).unwrap()
    }
}

impl Polled for Driver {
    type Rx = driver::RxQueue;
    type Tx = driver::TxQueue;

    fn poll(&mut self, timeout: Duration) -> Option<driver::Event> {
        Self::poll(self, Some(timeout)).unwrap()
    }
}

impl Polled for Port {
    type Rx = AnyRxQueue;
    type Tx = AnyTxQueue;

    fn poll(&mut self, timeout: Duration) -> Option<PortEvent> {
        Self::poll(self, Some(timeout)).unwrap()
    }
}

/// Something that the thread does between two polls.
type Order<P> = Box<dyn FnOnce(&mut P) + Send>;

/// A device or a driver that a thread polls.
#[derive(Debug)]
pub struct Served<P: Polled = Device> {
    orders: Sender<Order<P>>,
    events: Receiver<Event<P::Rx, P::Tx>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<P>>,
}

impl Served {
    pub fn listen(place: &Place, config: DeviceConfig) -> Self {
        Self::new(Device::open(&place.address(), SocketRole::default(), config).unwrap())
    }

    /// Stops polling, and gives the device back.
    pub fn into_device(self) -> Device {
        self.into_inner()
    }
}

impl Served<Driver> {
    pub fn open(place: &Place, socket: SocketRole, config: DriverConfig) -> Self {
        Self::new(Driver::open(&place.address(), socket, config).unwrap())
    }
}

impl<P: Polled> Served<P> {
    pub fn new(mut polled: P) -> Self {
        let (sender, events) = channel();
        let (orders, ordered) = channel::<Order<P>>();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                ordered.try_iter().for_each(|order| order(&mut polled));
                if let Some(event) = polled.poll(Duration::from_millis(5)) {
                    let _ = sender.send(event);
                }
            }
            polled
        });
        Self { orders, events, stop, thread: Some(thread) }
    }

    pub fn next(&self) -> Event<P::Rx, P::Tx> {
        self.events.recv_timeout(PATIENCE).expect("an event within ten seconds")
    }

    /// Has the thread do something, and waits for what comes of it.
    pub fn ask<R: Send + 'static>(&self, what: impl FnOnce(&mut P) -> R + Send + 'static) -> R {
        let (sender, done) = channel();
        let order = move |polled: &mut P| drop(sender.send(what(polled)));
        self.orders.send(Box::new(order)).expect("the thread is there");
        done.recv_timeout(PATIENCE).expect("done in time")
    }

    /// The next event but those that say how many pairs run.
    pub fn news(&self) -> Event<P::Rx, P::Tx> {
        loop {
            match self.next() {
                Event::PairsEnabled(_) => {}
                event => return event,
            }
        }
    }

    /// What happened already, if anything.
    pub fn happened(&self) -> Option<Event<P::Rx, P::Tx>> {
        match self.events.recv_timeout(Duration::from_millis(50)) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the thread is gone"),
        }
    }

    /// The oldest event that was not looked at.
    pub fn happened_already(&self) -> Option<Event<P::Rx, P::Tx>> {
        self.events.try_recv().ok()
    }

    pub fn link_up(&self) -> Link<P::Rx, P::Tx> {
        loop {
            match self.next() {
                Event::LinkUp(link) => return *link,
                Event::PairsEnabled(_) => {}
                other => panic!("no link: {other:?}"),
            }
        }
    }

    pub fn link_down(&self) -> DownReason {
        loop {
            match self.next() {
                Event::LinkDown(reason) => return reason,
                Event::PairsEnabled(_) | Event::RequestRefused(_) => {}
                other => panic!("link still there: {other:?}"),
            }
        }
    }

    /// Waits until a ring is broken.
    pub fn ring_broken(&self) -> (u16, QueueError) {
        loop {
            match self.next() {
                Event::RingBroken { ring, error } => return (ring, error),
                Event::PairsEnabled(_) => {}
                other => panic!("no ring broken: {other:?}"),
            }
        }
    }

    pub fn pairs_enabled(&self) -> u16 {
        match self.next() {
            Event::PairsEnabled(pairs) => pairs,
            other => panic!("no change of pairs: {other:?}"),
        }
    }

    /// Stops polling.
    pub fn into_inner(mut self) -> P {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl<P: Polled> Drop for Served<P> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sets a flag when it goes, also by a panic: another thread must not run for ever.
#[derive(Debug)]
pub struct AtTheEnd<'f>(pub &'f AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Ends a driver's link, if `in_order`, and returns the driver; the link goes with it otherwise.
pub fn leave(driver: Served<Driver>, in_order: bool) -> Result<Driver, String> {
    let mut driver = driver.into_inner();
    if !in_order {
        return Ok(driver);
    }
    driver.stop();
    match driver.poll(Some(PATIENCE)).map_err(|error| error.to_string())? {
        Some(driver::Event::LinkDown(DownReason::Closed)) => Ok(driver),
        other => Err(format!("the driver left, and heard {other:?}")),
    }
}

/// Ends the process's test, should `action` hang.
pub fn in_time<T>(action: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            while !over.load(Ordering::Relaxed) {
                if start.elapsed() > 2 * PATIENCE {
                    // A thread that sleeps in the kernel cannot be told to stop.
                    eprintln!("a doorbell has stopped a thread");
                    std::process::abort();
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let _over = AtTheEnd(&over);
        action()
    })
}

/// Waits until `condition` holds.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within ten seconds: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits for so many packets.
#[track_caller]
pub fn receive(rx: &mut dyn PacketRx, count: usize) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    eventually("packets arrive", || {
        let burst = rx.rx_burst(256).unwrap();
        packets.extend(burst.packets().map(|packet| packet.detach().to_vec()));
        drop(burst);
        packets.len() >= count
    });
    packets
}

/// Sends each of `frames`.
#[track_caller]
pub fn send(tx: &mut dyn PacketTx, frames: &[Vec<u8>]) {
    let mut left = frames;
    eventually("packets leave", || {
        let mut burst = tx.tx_burst(256).unwrap();
        let sent = left.iter().take_while(|frame| burst.push(frame).is_ok()).count();
        burst.commit();
        left = &left[sent..];
        left.is_empty()
    });
}

/// A frame that differs from others in length and seed.
pub fn frame(len: usize, seed: u32) -> Vec<u8> {
    let byte = |n: u32| (n.wrapping_mul(31) ^ seed.wrapping_mul(97) ^ (n >> 8)).to_le_bytes()[0];
    (0..u32::try_from(len).unwrap()).map(byte).collect()
}

/// One packet each way on the pair that `hands` are of, both checked.
#[track_caller]
pub fn exchange(hands: &mut [Hand; 2], guest: &Guest, link: &mut Link, pair: usize, seed: u32) {
    let [to_driver, from_driver] = hands;
    let packet = frame(60 + seed as usize % 1400, seed);
    from_driver.send(guest, &packet);
    let mut got = Vec::new();
    while got.is_empty() {
        got = receive(&mut link.rx[pair], 1);
        got.retain(|packet| !is_announcement(packet));
    }
    assert_eq!(got, [&packet[..]], "from the driver");
    to_driver.provide(guest);
    send(&mut link.tx[pair], std::slice::from_ref(&packet));
    assert_eq!(to_driver.receive(guest, 1), [&packet[..]], "to the driver");
}

/// Whether we made the packet ourselves, because the front-end asked for an announcement.
fn is_announcement(packet: &[u8]) -> bool {
    packet.len() == 60 && packet.get(12..14) == Some(&[0x80, 0x35])
}
