//! What clients do.

use super::{Attack, Field};
use crate::driver_support::{doorbell, init, memory, script};
use nix::fcntl::{FallocateFlags, fallocate};
use ringport_memif::Direction;
use ringport_memif::wire::{AddRegion, AddRing, COOKIE, Message};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

pub const AGAINST_SERVERS: [Attack; 11] = [
    Attack { name: "clients that connect and say nothing", run: silent },
    Attack { name: "clients that connect and leave", run: brief },
    Attack { name: "clients that stall at each message", run: stalling },
    Attack { name: "clients that ask for what there is not", run: strangers },
    Attack { name: "messages that are none", run: garbage },
    Attack { name: "messages with 253 descriptors", run: descriptors },
    Attack { name: "handshakes from end to end", run: handshakes },
    Attack { name: "the largest offer that there is", run: largest },
    Attack { name: "indices that run away", run: runaway },
    Attack { name: "holes in rings and buffers", run: holes },
    Attack { name: "doorbells without end", run: doorbells },
];

/// Connections that are kept at a time.
const KEPT: usize = 300;

/// Connects again and again, does `begin`, and keeps the connection for a while.
fn keep(field: &Field<'_>, mut begin: impl FnMut(&OwnedFd)) {
    let mut kept = Vec::new();
    while field.goes_on() {
        if let Some(fd) = field.connect() {
            begin(&fd);
            kept.push(fd);
        }
        if kept.len() == KEPT {
            kept.clear();
        }
    }
}

fn silent(field: &Field<'_>) {
    keep(field, |_| {});
}

fn brief(field: &Field<'_>) {
    while field.goes_on() {
        drop(field.connect());
    }
}

fn stalling(field: &Field<'_>) {
    let mut steps = (1..script(0).len()).cycle();
    keep(field, |fd| {
        let steps = steps.next().unwrap_or(1);
        script(0).iter().take(steps).for_each(|message| _ = tell(field, fd, message));
    });
}

fn strangers(field: &Field<'_>) {
    while field.goes_on() {
        let Some(fd) = field.connect() else { continue };
        field.say(&fd, &init(99, b"").encode(), &[]);
        while field.hear(&fd).is_some() {}
    }
}

fn garbage(field: &Field<'_>) {
    while field.goes_on() {
        let Some(fd) = field.connect() else { continue };
        while field.say(&fd, &[0xff; 100], &[]) {}
    }
}

fn descriptors(field: &Field<'_>) {
    let bell = doorbell();
    let fds: Vec<_> = (0..253).map(|_| bell.as_fd()).collect();
    while field.goes_on() {
        let Some(fd) = field.connect() else { continue };
        field.say(&fd, &script(0)[1].encode(), &fds);
        while field.hear(&fd).is_some() {}
    }
}

fn handshakes(field: &Field<'_>) {
    let memory = memory(1 << 23);
    while field.goes_on() {
        drop(link(field, &memory, &doorbell()));
    }
}

/// A link from the first message to the last.
fn link(field: &Field<'_>, memory: &OwnedFd, bell: &OwnedFd) -> Option<OwnedFd> {
    offer(field, &script(0), memory, bell)
}

fn offer(
    field: &Field<'_>,
    script: &[Message],
    memory: &OwnedFd,
    bell: &OwnedFd,
) -> Option<OwnedFd> {
    let fd = field.connect()?;
    for message in script {
        field.hear(&fd)?;
        let with: Vec<BorrowedFd<'_>> = match message {
            Message::AddRegion(_) => vec![memory.as_fd()],
            Message::AddRing(_) => vec![bell.as_fd()],
            _ => Vec::new(),
        };
        if !field.say(&fd, &message.encode(), &with) {
            return None;
        }
    }
    while !matches!(field.hear(&fd)?, Message::Connected { .. }) {}
    Some(fd)
}

fn tell(field: &Field<'_>, fd: &OwnedFd, message: &Message) -> bool {
    let fds = match message {
        Message::AddRegion(region) => vec![memory(region.size)],
        Message::AddRing(_) => vec![doorbell()],
        _ => Vec::new(),
    };
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    field.say(fd, &message.encode(), &fds)
}

/// 255 rings of 16384 descriptors each way.
fn largest(field: &Field<'_>) {
    const RING: u32 = 128 + (16 << 14);
    let bytes = 510 * u64::from(RING);
    let memory: OwnedFd = {
        let file = File::from(memory(bytes));
        (0..510).for_each(|ring| {
            file.write_all_at(&COOKIE.to_le_bytes(), ring * u64::from(RING)).unwrap()
        });
        file.into()
    };
    let ring = |number: u16| {
        let (direction, index) = match number.checked_sub(255) {
            None => (Direction::C2s, number),
            Some(index) => (Direction::S2c, index),
        };
        let offset = u32::from(number) * RING;
        let (region, log2_ring_size, private_header_size) = (0, 14, 0);
        Message::AddRing(AddRing {
            direction,
            index,
            region,
            offset,
            log2_ring_size,
            private_header_size,
        })
    };
    let mut script = vec![init(0, b""), Message::AddRegion(AddRegion { index: 0, size: bytes })];
    script.extend((0..510).map(ring));
    script.push(Message::Connect { if_name: "large".into() });
    while field.goes_on() {
        drop(offer(field, &script, &memory, &doorbell()));
    }
}

fn runaway(field: &Field<'_>) {
    let memory = memory(1 << 23);
    let file = File::from(memory.try_clone().unwrap());
    while field.goes_on() {
        file.write_all_at(&[0, 0], 6).unwrap();
        let Some(fd) = link(field, &memory, &doorbell()) else { continue };
        file.write_all_at(&40_000_u16.to_le_bytes(), 6).unwrap();
        while field.hear(&fd).is_some() {}
    }
}

/// A link that stays, whose memory is taken away and comes back as zeros all the time.
fn holes(field: &Field<'_>) {
    let memory = memory(1 << 23);
    let file = File::from(memory.try_clone().unwrap());
    while field.goes_on() {
        let Some(_fd) = link(field, &memory, &doorbell()) else { continue };
        for head in 0_u16..2000 {
            if !field.goes_on() {
                break;
            }
            let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            fallocate(&file, punch, 0, 1 << 23).unwrap();
            file.write_all_at(&(head % 1024).to_le_bytes(), 6).unwrap();
        }
        // For the next link.
        file.write_all_at(&[0; 8], 0).unwrap();
        for at in [0, 0x4080] {
            file.write_all_at(&COOKIE.to_le_bytes(), at).unwrap();
        }
    }
}

fn doorbells(field: &Field<'_>) {
    let memory = memory(1 << 23);
    let bell = doorbell();
    let mut ring = File::from(bell.try_clone().unwrap());
    while field.goes_on() {
        let Some(_fd) = link(field, &memory, &bell) else { continue };
        while field.goes_on() {
            // Full is as loud as it gets.
            let _ = ring.write(&1_u64.to_ne_bytes());
        }
    }
}
