//! The client role, and ports in both roles, over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod driver_support;

use driver_support::*;
use ringport_memif::config::Reconnect;
use ringport_memif::error::PeerMisbehaved;
use ringport_memif::wire::{Disconnect, Hello, Message, Secret};
use ringport_memif::{
    CacheLine, Client, ClientConfig, ControlError, Direction, DownReason, EventKind,
    InterfaceConfig, Link, Listener, ListenerConfig, Port, PortConfig, Role,
};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

const SOON: Reconnect =
    Reconnect::Backoff { initial: Duration::from_millis(10), max: Duration::from_millis(40) };

fn config(id: u32) -> ClientConfig {
    ClientConfig { reconnect: SOON, ..ClientConfig::new(id) }
}

fn once(id: u32) -> ClientConfig {
    ClientConfig { reconnect: Reconnect::Never, ..ClientConfig::new(id) }
}

fn server(place: &Place) -> Listener {
    let mut server = Listener::bind(&place.address(), ListenerConfig::default()).unwrap();
    server.add_interface(InterfaceConfig::new(0)).unwrap();
    server
}

/// Plays a server that accepts everything; returns what the client said, in order.
fn serve(peer: &RawPeer, client: &mut Client) -> Vec<Message> {
    let mut heard = Vec::new();
    peer.send(&hello());
    loop {
        let message = peer.receive(client).unwrap();
        let done = matches!(message, Message::Connect { .. });
        heard.push(message);
        if done {
            peer.send(&Message::Connected { if_name: "raw0".into() });
            return heard;
        }
        peer.send(&Message::Ack);
    }
}

fn raw_link(listener: &UnixListener, client: &mut Client) -> (RawPeer, Link) {
    let peer = RawPeer::accept(listener, client);
    serve(&peer, client);
    let (_, link) = next_link(client);
    (peer, link)
}

#[test]
fn client_says_what_was_configured() {
    let place = Place::new();
    let listener = raw_listener(&place.path);
    let mut config = once(7);
    config.secret = Secret::new(b"s3cret").unwrap();
    config.if_name = "uplink".into();
    (config.c2s_rings, config.s2c_rings, config.log2_ring_size) = (2, 1, 4);
    config.memory.cache_line = CacheLine::B128;
    let mut client = Client::connect(place.address(), config).unwrap();
    let peer = RawPeer::accept(&listener, &mut client);
    let heard = serve(&peer, &mut client);
    let Message::Init(init) = &heard[0] else { panic!("{heard:?}") };
    assert_eq!((init.id, init.mode, init.secret.reveal()), (7, 0, b"s3cret".as_slice()));
    let rings: Vec<_> = heard
        .iter()
        .filter_map(|message| match message {
            Message::AddRing(ring) => Some((ring.direction, ring.index, ring.offset)),
            _ => None,
        })
        .collect();
    // 256 bytes of header and 16 descriptors of 16 bytes each.
    let (c2s, s2c) = (Direction::C2s, Direction::S2c);
    assert_eq!(rings, [(c2s, 0, 0), (c2s, 1, 512), (s2c, 0, 1024)]);
    assert_eq!(heard.last(), Some(&Message::Connect { if_name: "uplink".into() }));
    let (7, link) = next_link(&mut client) else { panic!("another interface") };
    assert_eq!((link.tx.len(), link.rx.len()), (2, 1));
    assert_eq!(link.peer.app_name.to_string(), "raw");
    assert_eq!(link.peer.if_name.to_string(), "raw0");
}

#[test]
fn client_takes_what_the_server_accepts() {
    let place = Place::new();
    let listener = raw_listener(&place.path);
    let wanted = ClientConfig { c2s_rings: 8, s2c_rings: 8, ..once(0) };
    let mut client = Client::connect(place.address(), wanted).unwrap();
    let peer = RawPeer::accept(&listener, &mut client);
    let Message::Hello(generous) = hello() else { panic!("no HELLO") };
    let hello = Hello { max_c2s_ring: 2, max_s2c_ring: 0, max_log2_ring_size: 6, ..generous };
    peer.send(&Message::Hello(hello));
    while !matches!(peer.receive(&mut client), Some(Message::Connect { .. })) {
        peer.send(&Message::Ack);
    }
    peer.send(&Message::Connected { if_name: "raw0".into() });
    let (_, link) = next_link(&mut client);
    assert_eq!((link.tx.len(), link.rx.len()), (3, 1));
    assert_eq!(link.parameters.log2_ring_size, 6);
}

#[test]
fn client_waits_for_a_server_and_returns_after_it_restarts() {
    let place = Place::new();
    let mut client = Client::connect(place.address(), config(0)).unwrap();
    let (Some(0), ControlError::Io { operation: "connect", source }) = next_refusal(&mut client)
    else {
        panic!("another error");
    };
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
    for _ in 0..3 {
        let mut server = server(&place);
        let mut links = (None, None);
        wait_for("both links", || {
            // Attempts from before the server was there are reported meanwhile.
            for event in [client.turn(), server.turn()].into_iter().flatten() {
                if let EventKind::LinkUp(link) = event.kind {
                    let side = if links.0.is_none() { &mut links.0 } else { &mut links.1 };
                    *side = Some(link);
                }
            }
            (links.0.is_some() && links.1.is_some()).then_some(())
        });
        drop(server);
        let (0, DownReason::PeerDisconnected { text, .. }) = next_down(&mut client) else {
            panic!("another reason");
        };
        assert_eq!(text.to_string(), "closed");
    }
}

#[test]
fn client_that_was_told_not_to_does_not_reconnect() {
    let place = Place::new();
    let mut client = Client::connect(place.address(), once(0)).unwrap();
    next_refusal(&mut client);
    assert!(client.is_finished());
    assert!(client.poll(None).unwrap().is_none());

    let listener = raw_listener(&place.path);
    let mut client = Client::connect(place.address(), once(0)).unwrap();
    let (peer, _link) = raw_link(&listener, &mut client);
    drop(peer);
    assert!(matches!(next_down(&mut client), (0, DownReason::PeerClosed)));
    assert!(client.is_finished() && client.poll(None).unwrap().is_none());
}

#[test]
fn rejection_carries_the_server_words() {
    let place = Place::new();
    let listener = raw_listener(&place.path);
    let mut client = Client::connect(place.address(), once(0)).unwrap();
    let peer = RawPeer::accept(&listener, &mut client);
    peer.send(&hello());
    peer.receive(&mut client).unwrap();
    peer.send(&Message::Disconnect(Disconnect { code: 2, text: "Incorrect secret".into() }));
    drop(peer);
    let (_, ControlError::Rejected { code: 2, text }) = next_refusal(&mut client) else {
        panic!("another error");
    };
    assert_eq!(text.to_string(), "Incorrect secret");
}

#[test]
fn server_that_acknowledges_and_closes_is_a_rejection_without_words() {
    // What libmemif does about an unknown id.
    let place = Place::new();
    let listener = raw_listener(&place.path);
    let mut client = Client::connect(place.address(), once(0)).unwrap();
    let peer = RawPeer::accept(&listener, &mut client);
    peer.send(&hello());
    peer.receive(&mut client).unwrap();
    peer.send(&Message::Ack);
    drop(peer);
    assert!(matches!(next_refusal(&mut client), (Some(0), ControlError::Disconnected)));
}

/// What a server owes that has said so many messages.
const AWAITED_OF_SERVERS: [&str; 6] = [
    "HELLO",
    "ACK of INIT",
    "ACK of ADD_REGION",
    "ACK of ADD_RING",
    "ACK of ADD_RING",
    "CONNECTED",
];

#[test]
fn server_that_stalls_at_any_step_meets_the_deadline() {
    let place = Place::new();
    let listener = raw_listener(&place.path);
    for (steps, owed) in AWAITED_OF_SERVERS.iter().enumerate() {
        let timeout = Duration::from_millis(300);
        let config = ClientConfig { handshake_timeout: timeout, ..once(0) };
        let mut client = Client::connect(place.address(), config).unwrap();
        let peer = RawPeer::accept(&listener, &mut client);
        for step in 0..steps {
            if step == 0 {
                peer.send(&hello());
            } else {
                peer.receive(&mut client).unwrap();
                peer.send(&Message::Ack);
            }
        }
        let (_, error) = next_refusal(&mut client);
        assert!(matches!(error, ControlError::Stalled { waited, .. } if waited == timeout));
        assert_eq!(error.to_string(), format!("handshake timeout: no {owed} within 300ms"));
        assert_eq!(peer.goodbye(), format!("handshake timeout: no {owed}"));
        assert!(client.is_finished());
    }
}

#[test]
fn server_that_misbehaves_is_told_so_and_tried_again() {
    let place = Place::new();
    let listener = raw_listener(&place.path);
    let mut client = Client::connect(place.address(), config(0)).unwrap();
    let peer = RawPeer::accept(&listener, &mut client);
    peer.send(&Message::Ack);
    let (_, error) = next_refusal(&mut client);
    assert!(matches!(error, ControlError::PeerMisbehaved(PeerMisbehaved::Unexpected { .. })));
    assert_eq!(peer.goodbye(), "unexpected ACK");

    let (peer, _link) = raw_link(&listener, &mut client);
    peer.send_bytes(&Message::Ack.encode(), &[doorbell()]);
    assert!(matches!(next_down(&mut client), (0, DownReason::Protocol(_))));
    assert_eq!(peer.goodbye(), "ACK with 1 file descriptors, not 0");
    let (_peer, _link) = raw_link(&listener, &mut client);
}

#[test]
fn each_link_has_new_queues_and_the_old_ones_report_its_end() {
    let place = Place::new();
    let mut server = server(&place);
    let mut client = Client::connect(place.address(), config(0)).unwrap();
    let (mut old_server, mut old_client) = join(&mut server, &mut client);
    assert!(old_client.rx[0].rx_burst(8).is_ok_and(|burst| burst.is_empty()));
    server.disconnect(0, "again".into()).unwrap();
    assert!(matches!(next_down(&mut server), (0, DownReason::Closed)));
    assert!(matches!(next_down(&mut client), (0, DownReason::PeerDisconnected { .. })));
    let (mut new_server, mut new_client) = join(&mut server, &mut client);
    for link in [&mut old_server, &mut old_client] {
        assert!(link.rx[0].rx_burst(8).is_err() && link.tx[0].tx_burst(8).is_err());
    }
    for link in [&mut new_server, &mut new_client] {
        assert!(link.rx[0].rx_burst(8).is_ok() && link.tx[0].tx_burst(8).is_ok());
    }
}

#[test]
fn ports_from_strings_in_both_roles() {
    let place = Place::new();
    let path = place.path.display();
    let open = |role: &str| Port::open(&format!("memif:{path},id=5,secret=x,{role}")).unwrap();
    let mut client = open("role=client,rings=2,reconnect=5ms-20ms");
    assert_eq!((client.id(), client.role()), (5, Role::Client));
    // No server yet: an attempt and its failure, or none within the time.
    assert!(client.wait_link_up(Duration::from_millis(20)).is_err());
    let mut server = open("role=server");
    assert_eq!(server.role(), Role::Server);
    let thread = std::thread::spawn(move || {
        let link = client.wait_link_up(PATIENCE).unwrap();
        (client, link)
    });
    let link = server.wait_link_up(PATIENCE).unwrap();
    let (mut client, other) = thread.join().unwrap();
    assert_eq!((link.rx.len(), other.tx.len()), (2, 2));
    server.close("end of test");
    assert!(!place.path.exists());
    let (5, DownReason::PeerDisconnected { text, .. }) = next_down(&mut client) else {
        panic!("another reason");
    };
    assert_eq!(text.to_string(), "end of test");
}

#[test]
fn waiting_for_a_link_ends_with_the_last_error_or_the_time() {
    let place = Place::new();
    let text = format!("memif:{},role=server", place.path.display());
    let mut server = Port::new(text.parse().unwrap()).unwrap();
    let start = Instant::now();
    let timeout = Duration::from_millis(30);
    let error = server.wait_link_up(timeout).unwrap_err();
    assert!(matches!(error, ControlError::Timeout { waited } if waited >= timeout));
    assert!(start.elapsed() >= timeout);
    drop(server);

    let text = format!("memif:{},role=client,reconnect=never", place.path.display());
    let config: PortConfig = text.parse().unwrap();
    let error = Port::new(config).unwrap().wait_link_up(PATIENCE).unwrap_err();
    assert!(matches!(error, ControlError::Io { operation: "connect", .. }), "{error:?}");
}

#[test]
fn bad_configurations_touch_nothing() {
    let place = Place::new();
    let zero = ClientConfig { c2s_rings: 0, ..config(0) };
    let error = Client::connect(place.address(), zero).unwrap_err();
    assert_eq!(error.to_string(), "c2s=0 is out of range 1 to 255");
    let mut server = PortConfig::server(place.address(), 0);
    if let ringport_memif::config::RoleConfig::Server(_, interface) = &mut server.role {
        interface.limits.log2_ring_size = 15;
    }
    assert!(Port::new(server).is_err());
    assert!(!place.path.exists());
}
