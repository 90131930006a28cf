//! Our own driver, and packets between it and the fake device.

use super::{Handle, PATIENCE, Place, eventually};
use ringport::retry::Reconnect;
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::driver::{RxQueue, TxQueue};
use ringport_vhost_user::{Driver, DriverConfig, driver};
use std::path::Path;
use std::time::{Duration, Instant};

const SOON: Reconnect =
    Reconnect::Backoff { initial: Duration::from_millis(5), max: Duration::from_millis(20) };

pub fn drive(place: &Place, packed: bool) -> Driver {
    let config = DriverConfig { packed, ..drive_config() };
    Driver::open(&place.address(), SocketRole::Connect(SOON), config).unwrap()
}

/// A driver at this socket, which it connects to, or listens on.
pub fn drive_at(path: &Path, listens: bool) -> Driver {
    let role = if listens { SocketRole::default() } else { SocketRole::Connect(SOON) };
    Driver::open(&path.to_str().unwrap().parse().unwrap(), role, drive_config()).unwrap()
}

fn drive_config() -> DriverConfig {
    DriverConfig { ring_size: 64, ..DriverConfig::default() }
}

/// Polls a driver until its link is up.
#[track_caller]
pub fn link_up(driver: &mut Driver) -> driver::Link {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match driver.poll(Some(Duration::from_millis(100))).unwrap() {
            Some(driver::Event::LinkUp(link)) => return *link,
            Some(driver::Event::Refused(reason)) => println!("refused: {reason}"),
            _ => {}
        }
    }
    panic!("no link");
}

fn frame(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| seed.wrapping_add(at.to_le_bytes()[0])).collect()
}

/// A few packets each way.
#[track_caller]
pub fn exchange(link: &mut driver::Link, device: &Handle, rounds: u8) {
    exchange_on((&mut link.rx[0], &mut link.tx[0]), device, rounds);
}

/// As [`exchange`], on these queues.
#[track_caller]
pub fn exchange_on((rx, tx): (&mut RxQueue, &mut TxQueue), device: &Handle, rounds: u8) {
    for seed in 0..rounds {
        let frames: Vec<_> = (0..4).map(|n| frame(60 + 97 * n, seed)).collect();
        let mut burst = tx.tx_burst(4).unwrap();
        frames.iter().for_each(|frame| burst.push(frame).unwrap());
        assert_eq!(burst.commit(), 4);
        let mut got = Vec::new();
        eventually("the device has received", || {
            got.extend(device.receive());
            got.len() >= 4
        });
        assert_eq!(got, frames);
        eventually("the device has room", || device.send(&frames[..1]) == 1);
        let mut got = Vec::new();
        eventually("the driver has received", || {
            let burst = rx.rx_burst(8).unwrap();
            got.extend(burst.packets().map(|packet| packet.detach().to_vec()));
            !got.is_empty()
        });
        assert_eq!(got, frames[..1]);
    }
}
