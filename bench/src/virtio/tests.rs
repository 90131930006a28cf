//! The driver over a socket, with our device.

use super::{DriverMemory, Extent, Format, FrontEnd};
use crate::frames::{FrameCheck, FramePool, POOL_FRAMES};
use ringport::burst::forward;
use ringport_vhost_user::Port;
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);
const FRAMES: usize = 5000;

/// A device that sends back what it receives, until `frames` went through.
fn echo(mut port: Port, frames: usize) {
    let mut link = port.wait_link_up(PATIENCE).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut done = 0;
    while done < frames && Instant::now() < deadline {
        done += forward(&mut link.rx[0], &mut link.tx[0], 32).unwrap().packets;
    }
}

fn there_and_back(socket: &Path, format: Format) {
    let port = Port::open(&format!("vhost:{},role=device,queues=1", socket.display())).unwrap();
    let device = std::thread::spawn(move || echo(port, FRAMES));
    let memory = DriverMemory::create(Extent { rings: 2, size: 256, regions: 2 }).unwrap();
    let mut link = FrontEnd::connect(socket, &memory, format).unwrap();
    link.rx.offer(link.rx.room());
    let pool = FramePool::new(100, POOL_FRAMES);
    let mut check = FrameCheck::new(100, Some(POOL_FRAMES));
    let (mut buffer, mut sent, mut received) = ([0; 100], 0, 0);
    let deadline = Instant::now() + PATIENCE;
    while received < FRAMES {
        assert!(Instant::now() < deadline, "{format:?}: {received} of {sent} came back");
        link.tx.send(32.min(FRAMES - sent), || {
            sent += 1;
            pool.frame(sent - 1)
        });
        received += link.rx.receive(32, &mut buffer, |len, frame| check.check(len, frame));
    }
    device.join().unwrap();
    assert_eq!((check.errors, link.rx.errors), (0, 0), "{format:?}");
}

#[test]
fn frames_come_back_in_sequence_from_a_device_that_echoes() {
    let dir = tempfile::tempdir().unwrap();
    for (format, name) in [(Format::Split, "split.sock"), (Format::Packed, "packed.sock")] {
        there_and_back(&dir.path().join(name), format);
    }
}
