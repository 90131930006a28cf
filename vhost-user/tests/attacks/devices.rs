//! What devices do.

use super::{Attack, Field};
use ringport::retry::Reconnect;
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::wire::{Reply, Request};
use ringport_vhost_user::{Device, DeviceConfig, Event};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

pub fn against_drivers() -> Vec<Attack> {
    vec![
        Attack::new("devices that connect and say nothing", |field| field.keep(|_| {})),
        Attack::new("devices that connect and leave", |field| {
            while field.goes_on() {
                drop(field.connect());
            }
        }),
        Attack::new("answers to nothing", |field| {
            let answer = Reply::Number(0).encode(Request::GetVringBase as u32).repeat(100);
            field.keep(|mut stream| drop(stream.write(&answer)));
        }),
        Attack::new("an answer byte by byte", |field| {
            field.keep(|stream| drip(field, stream));
        }),
        Attack::new("links from end to end", links),
    ]
}

/// Answers the first question as slowly as it likes.
fn drip(field: &Field<'_>, mut stream: &UnixStream) {
    for byte in Reply::Number(u64::MAX).encode(Request::GetFeatures as u32) {
        if !field.goes_on() || stream.write(&[byte]).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn links(field: &Field<'_>) {
    while field.goes_on() {
        let connects = SocketRole::Connect(Reconnect::default());
        let config = DeviceConfig::default();
        let mut device = Device::open(&field.place.address(), connects, config).unwrap();
        while field.goes_on() {
            if let Some(Event::LinkUp(_)) = device.poll(Some(Duration::from_millis(1))).unwrap() {
                break;
            }
        }
    }
}
