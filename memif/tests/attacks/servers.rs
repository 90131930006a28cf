//! What servers do.

use super::{Attack, Field};
use crate::driver_support::{hello, raw_listener};
use ringport_memif::wire::{Hello, Message};
use std::os::fd::OwnedFd;

pub const AGAINST_CLIENTS: [Attack; 5] = [
    Attack { name: "servers that take clients and leave", run: brief },
    Attack { name: "servers that say nothing", run: silent },
    Attack { name: "servers that stall at each message", run: stalling },
    Attack { name: "messages that are none", run: garbage },
    Attack { name: "links that come and go", run: links },
];

/// Takes every client and does `with` it.
fn take(field: &Field<'_>, mut with: impl FnMut(OwnedFd)) {
    let listener = raw_listener(field.path);
    while field.goes_on() {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true).unwrap();
                with(stream.into());
            }
            Err(_) => std::thread::yield_now(),
        }
    }
    std::fs::remove_file(field.path).unwrap();
}

fn brief(field: &Field<'_>) {
    take(field, drop);
}

fn silent(field: &Field<'_>) {
    let mut kept = Vec::new();
    take(field, |fd| kept.push(fd));
}

fn stalling(field: &Field<'_>) {
    let mut steps = (1..6).cycle();
    let mut kept = Vec::new();
    take(field, |fd| {
        answer(field, &fd, steps.next().unwrap_or(1));
        kept.push(fd);
    });
}

fn garbage(field: &Field<'_>) {
    take(field, |fd| while field.say(&fd, &[0xff; 100], &[]) {});
}

fn links(field: &Field<'_>) {
    take(field, |fd| {
        answer(field, &fd, usize::MAX);
        field.say(&fd, &Message::Connected { if_name: "raw".into() }.encode(), &[]);
    });
}

/// Says HELLO, and then ACK to whatever comes before CONNECT, so many messages in all.
fn answer(field: &Field<'_>, to: &OwnedFd, steps: usize) {
    let Message::Hello(modest) = hello() else { return };
    let hello = Message::Hello(Hello { max_region: u16::MAX, ..modest });
    field.say(to, &hello.encode(), &[]);
    for _ in 1..steps {
        match field.hear(to) {
            None | Some(Message::Connect { .. }) => return,
            Some(_) => field.say(to, &Message::Ack.encode(), &[]),
        };
    }
}
