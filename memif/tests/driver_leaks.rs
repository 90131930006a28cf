//! Nothing stays behind: one test, as it counts the descriptors and mappings of the process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod driver_support;

use driver_support::*;
use ringport_memif::config::Reconnect;
use ringport_memif::wire::Message;
use ringport_memif::{Client, ClientConfig, InterfaceConfig, Listener, ListenerConfig};
use std::time::Duration;

fn shared_mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("memfd:")).count()
}

fn server(place: &Place) -> Listener {
    let config = ListenerConfig {
        handshake_timeout: Duration::from_millis(200),
        ..ListenerConfig::default()
    };
    let mut server = Listener::bind(&place.address(), config).unwrap();
    server.add_interface(InterfaceConfig::new(0)).unwrap();
    server
}

fn client(place: &Place) -> Client {
    let config = ClientConfig {
        reconnect: Reconnect::Never,
        handshake_timeout: Duration::from_millis(200),
        ..ClientConfig::new(0)
    };
    Client::connect(place.address(), config).unwrap()
}

/// A link from end to end.
fn whole_life(place: &Place) {
    let mut server = server(place);
    let mut client = client(place);
    let _links = join(&mut server, &mut client);
}

/// Clients that stop, stall, or lie at each step.
fn broken_clients(place: &Place) {
    for step in 0..5 {
        for lie in [false, true] {
            let mut server = server(place);
            let peer = RawPeer::connect(&place.path);
            for message in script(0).iter().take(step) {
                peer.receive(&mut server).unwrap();
                peer.send(message);
            }
            peer.receive(&mut server).unwrap();
            if lie {
                peer.send_bytes(&Message::Ack.encode(), &[doorbell(), doorbell()]);
            }
            next_refusal(&mut server);
        }
    }
}

/// Servers that stop or stall at each step.
fn broken_servers(place: &Place) {
    for step in 0..6 {
        for vanish in [false, true] {
            let listener = raw_listener(&place.path);
            let mut client = client(place);
            let peer = RawPeer::accept(&listener, &mut client);
            for answer in 0..step {
                peer.send(&if answer == 0 { hello() } else { Message::Ack });
                peer.receive(&mut client);
            }
            if vanish {
                drop(peer);
            }
            next_refusal(&mut client);
            drop(listener);
            std::fs::remove_file(&place.path).unwrap();
        }
    }
}

/// Clients that come and go in their hundreds.
fn crowd(place: &Place) {
    let mut server = server(place);
    let mut refused = 0;
    for _ in 0..300 {
        drop(RawPeer::connect(&place.path));
        refused += usize::from(server.turn().is_some());
    }
    while refused < 300 {
        next_refusal(&mut server);
        refused += 1;
    }
}

/// A mapped offer that is refused late: the second ring has no cookie.
fn late_refusal(place: &Place) {
    let mut server = server(place);
    let peer = RawPeer::connect(&place.path);
    for message in script(0) {
        peer.receive(&mut server).unwrap();
        match message {
            Message::AddRing(mut ring) if ring.offset != 0 => {
                ring.offset = 0x8000;
                peer.send(&Message::AddRing(ring));
            }
            other => peer.send(&other),
        }
    }
    next_refusal(&mut server);
}

#[test]
fn descriptors_mappings_and_files_return_to_the_start() {
    let place = Place::new();
    // Once for what is made on first use and stays, such as the SIGBUS guard.
    whole_life(&place);
    let before = (open_fds(), shared_mappings());
    for round in [whole_life, broken_clients, broken_servers, late_refusal, crowd] {
        round(&place);
        assert_eq!((open_fds(), shared_mappings()), before);
        assert!(!place.path.exists());
    }
}
