//! What front-ends do.

use super::floods::floods;
use super::{Attack, Field};
use crate::device_support::{Front, GUEST, LEN};
use nix::fcntl::{FallocateFlags, fallocate};
use ringport_vhost_user::wire::{Inflight, Message, Request};
use std::io::Write;
use std::os::fd::AsFd;
use std::time::Duration;

pub fn against_devices() -> Vec<Attack> {
    let mut attacks = vec![
        Attack::new("front-ends that connect and say nothing", |field| field.keep(|_| {})),
        Attack::new("front-ends that connect and leave", |field| {
            while field.goes_on() {
                drop(field.connect());
            }
        }),
        Attack::new("front-ends that stop within a message", |field| {
            field.keep(|mut stream| drop(stream.write(&[1, 0, 0, 0, 1])));
        }),
        Attack::new("a message byte by byte", drip),
        Attack::new("links from end to end", |field| {
            while field.goes_on() {
                drop(Front::running(field.place, 1));
            }
        }),
        Attack::new("memory exchanged without end", memory),
        Attack::new("memory for chains in flight without end", inflight),
        Attack::new("kicks without end", kicks),
        Attack::new("holes in rings and buffers", holes),
    ];
    attacks.extend(floods());
    attacks
}

fn drip(field: &Field<'_>) {
    let front = Front::running(field.place, 1);
    while field.goes_on() {
        for byte in Message::Plain(Request::GetFeatures).encode(false) {
            front.raw.send(&[byte], &[]);
            std::thread::sleep(Duration::from_micros(100));
        }
        front.raw.hear().number();
    }
}

fn memory(field: &Field<'_>) {
    let front = Front::running(field.place, 1);
    let table = Message::MemTable(vec![front.guest.said()]);
    while field.goes_on() {
        assert!(front.raw.ask(&table, &[front.guest.file.as_fd()]).is_yes());
    }
}

/// As much as can be asked for. The answers are read, and their descriptors closed.
fn inflight(field: &Field<'_>) {
    let front = Front::running(field.place, 1);
    let most =
        Inflight { mmap_size: 0, mmap_offset: 0, queues: 2, queue_size: 1 << 15, padded: false };
    while field.goes_on() {
        front.raw.ask(&Message::Inflight(Request::GetInflightFd, most), &[]);
    }
}

fn kicks(field: &Field<'_>) {
    let front = Front::running(field.place, 1);
    while field.goes_on() {
        for ring in &front.rings {
            // Full is as loud as it gets.
            let _ = ring.kick.write(1);
        }
    }
}

/// A link whose memory is taken away and comes back as zeros all the time.
fn holes(field: &Field<'_>) {
    let front = Front::running(field.place, 1);
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    while field.goes_on() {
        fallocate(&front.guest.file, punch, 0, i64::try_from(LEN).unwrap()).unwrap();
        front.guest.put(GUEST, &[0xff; 64]);
    }
}
