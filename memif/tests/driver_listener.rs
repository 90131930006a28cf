//! The server role over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod driver_support;

use driver_support::*;
use ringport::error::QueueError;
use ringport::scm::PeerCredentials;
use ringport_memif::config::{PeerPolicy, Reconnect};
use ringport_memif::control::{Limits, Refusal};
use ringport_memif::error::PeerMisbehaved;
use ringport_memif::wire::{AddRing, Disconnect, Message, Secret};
use ringport_memif::{
    AddressError, Client, ClientConfig, ConfigError, ControlError, DownReason, EventKind,
    InterfaceConfig, Listener, ListenerConfig, Mode, SocketAddress,
};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn listener(place: &Place, config: ListenerConfig, ids: &[u32]) -> Listener {
    let mut listener = Listener::bind(&place.address(), config).unwrap();
    for &id in ids {
        listener.add_interface(InterfaceConfig::new(id)).unwrap();
    }
    listener
}

fn client_config(id: u32) -> ClientConfig {
    ClientConfig { reconnect: Reconnect::Never, ..ClientConfig::new(id) }
}

fn client(place: &Place, id: u32) -> Client {
    Client::connect(place.address(), client_config(id)).unwrap()
}

fn quick(timeout: Duration) -> ListenerConfig {
    ListenerConfig { handshake_timeout: timeout, ..ListenerConfig::default() }
}

#[test]
fn link_comes_up_and_goes_down_with_the_client() {
    let place = Place::new();
    let mut server = listener(&place, ListenerConfig::default(), &[3]);
    let mut client = client(&place, 3);
    let (left, right) = join(&mut server, &mut client);
    assert_eq!((left.rx.len(), left.tx.len()), (1, 1));
    assert_eq!((right.rx.len(), right.tx.len()), (1, 1));
    assert_eq!(left.peer.if_name.to_string(), "memif3");
    assert!(left.peer.app_name.to_string().starts_with("ringport "));
    assert_eq!(left.peer.credentials.pid, i32::try_from(std::process::id()).unwrap());
    assert_eq!(left.parameters.log2_ring_size, 10);
    assert_eq!((left.parameters.buffer_size, right.parameters.buffer_size), (None, Some(2048)));
    client.close("maintenance".into());
    assert!(matches!(next_down(&mut client), (3, DownReason::Closed)));
    let (3, DownReason::PeerDisconnected { code: 0, text }) = next_down(&mut server) else {
        panic!("another reason");
    };
    assert_eq!(text.to_string(), "maintenance");
}

#[test]
fn two_interfaces_share_a_socket_and_are_taken_once_each() {
    let place = Place::new();
    let mut server = listener(&place, ListenerConfig::default(), &[1, 2]);
    let (mut one, mut two) = (client(&place, 1), client(&place, 2));
    let (_links, _other) = join(&mut server, &mut one);
    let (id, _link) = next_link(&mut wired(&mut server, &mut two));
    assert_eq!(id, 2);

    let mut third = client(&place, 1);
    let (_, error) = next_refusal(&mut wired(&mut server, &mut third));
    assert!(matches!(error, ControlError::Refused(Refusal::AlreadyConnected)));
    assert_eq!(rejection(&mut third), "already connected");
    drop(one);
    assert!(matches!(next_down(&mut server), (1, DownReason::PeerDisconnected { .. })));
    let mut fourth = client(&place, 1);
    join(&mut server, &mut fourth);
}

/// The server's events while the client runs along.
struct Wired<'a>(&'a mut Listener, &'a mut Client, Vec<ringport_memif::Event>);

fn wired<'a>(server: &'a mut Listener, client: &'a mut Client) -> Wired<'a> {
    // The client's events would be lost, so it only runs while it has none.
    Wired(server, client, Vec::new())
}

impl Turn for Wired<'_> {
    fn turn(&mut self) -> Option<ringport_memif::Event> {
        if self.2.is_empty() {
            self.2.extend(self.1.turn());
        }
        self.0.turn()
    }
}

#[track_caller]
fn rejection(client: &mut Client) -> String {
    let (_, error) = next_refusal(client);
    match error {
        ControlError::Rejected { text, .. } => text.to_string(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_refused(interface: InterfaceConfig, message: &Message, refusal: Refusal) {
    let place = Place::new();
    let mut server = listener(&place, ListenerConfig::default(), &[]);
    server.add_interface(interface).unwrap();
    let peer = RawPeer::connect(&place.path);
    peer.send(message);
    let (id, error) = next_refusal(&mut server);
    assert_eq!(id, None);
    assert!(matches!(error, ControlError::Refused(why) if why == refusal), "{error:?}");
    assert_eq!(peer.goodbye(), refusal.to_string());
}

#[test]
fn clients_that_may_not_have_the_interface_are_told_why() {
    let secret = || Secret::new(b"s3cret").unwrap();
    let guarded = || InterfaceConfig { secret: secret(), ..InterfaceConfig::new(1) };
    let ip = InterfaceConfig { mode: Mode::Ip, ..InterfaceConfig::new(1) };
    check_refused(guarded(), &init(2, b"s3cret"), Refusal::UnknownId);
    check_refused(guarded(), &init(1, b""), Refusal::SecretRequired);
    check_refused(guarded(), &init(1, b"s3cretX"), Refusal::IncorrectSecret);
    check_refused(guarded(), &init(1, b"s3cre"), Refusal::IncorrectSecret);
    check_refused(ip, &init(1, b""), Refusal::ModeMismatch);
}

#[test]
fn right_secret_is_admitted() {
    let place = Place::new();
    let mut server = listener(&place, ListenerConfig::default(), &[]);
    let secret = Secret::new(b"12345678901234567890123").unwrap();
    server
        .add_interface(InterfaceConfig { secret: secret.clone(), ..InterfaceConfig::new(0) })
        .unwrap();
    let config = ClientConfig { secret, ..client_config(0) };
    let mut client = Client::connect(place.address(), config).unwrap();
    join(&mut server, &mut client);
}

#[test]
fn peers_that_the_policy_does_not_know_are_turned_away() {
    let place = Place::new();
    let uid = nix::unistd::getuid().as_raw();
    let other =
        ListenerConfig { peers: PeerPolicy::Uids(vec![uid + 1]), ..ListenerConfig::default() };
    let mut server = listener(&place, other, &[0]);
    let peer = RawPeer::connect(&place.path);
    assert!(matches!(
        next_refusal(&mut server),
        (None, ControlError::Refused(Refusal::NotPermitted))
    ));
    assert_eq!(peer.goodbye(), "not permitted");
    drop(server);

    let check = PeerPolicy::Check(Arc::new(move |peer: &PeerCredentials| peer.uid == uid));
    let same = ListenerConfig { peers: check, ..ListenerConfig::default() };
    let mut server = listener(&place, same, &[0]);
    join(&mut server, &mut client(&place, 0));
}

#[test]
fn a_client_that_stalls_at_any_step_meets_the_deadline_and_holds_nobody_up() {
    let place = Place::new();
    let timeout = Duration::from_millis(300);
    let mut server = listener(&place, quick(timeout), &[0, 1, 2, 3, 4, 9]);
    let start = Instant::now();
    let stalled: Vec<_> = (0..5)
        .map(|id| {
            let peer = RawPeer::connect(&place.path);
            let steps = id as usize;
            for message in script(id).iter().take(steps) {
                assert!(matches!(
                    peer.receive(&mut server),
                    Some(Message::Hello(_) | Message::Ack)
                ));
                peer.send(message);
            }
            peer
        })
        .collect();
    let mut healthy = client(&place, 9);
    let _links = join(&mut server, &mut healthy);
    assert!(start.elapsed() < timeout, "too slow a machine for this test");
    for _ in &stalled {
        let (_, error) = next_refusal(&mut server);
        assert!(
            matches!(error, ControlError::Stalled { waited, .. } if waited == timeout),
            "{error:?}"
        );
    }
    assert!(start.elapsed() >= timeout);
    let owed = ["INIT", "ADD_REGION", "ADD_RING", "ADD_RING or CONNECT", "ADD_RING or CONNECT"];
    for (peer, owed) in stalled.iter().zip(owed) {
        assert_eq!(peer.goodbye(), format!("handshake timeout: no {owed}"));
    }
    // The interfaces that they had reserved are free again.
    join(&mut server, &mut client(&place, 2));
    assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none_or(|event| event.id == Some(2)));
}

#[test]
fn silent_clients_make_room_for_new_ones() {
    let place = Place::new();
    let config = ListenerConfig { pending_max: 3, ..ListenerConfig::default() };
    let mut server = listener(&place, config, &[0]);
    let silent: Vec<_> = (0..3)
        .map(|_| {
            let peer = RawPeer::connect(&place.path);
            assert!(matches!(peer.receive(&mut server), Some(Message::Hello(_))));
            peer
        })
        .collect();
    let mut client = client(&place, 0);
    let (_, error) = next_refusal(&mut wired(&mut server, &mut client));
    assert!(matches!(error, ControlError::Refused(Refusal::TooManyPending)));
    join(&mut server, &mut client);
    assert_eq!(silent[0].goodbye(), "too many pending connections");
    assert!(silent[1].try_receive().is_none() && silent[2].try_receive().is_none());
}

#[test]
fn pending_clients_that_were_admitted_keep_their_place() {
    let place = Place::new();
    let config = ListenerConfig { pending_max: 1, ..ListenerConfig::default() };
    let mut server = listener(&place, config, &[0]);
    let admitted = RawPeer::connect(&place.path);
    assert!(matches!(admitted.receive(&mut server), Some(Message::Hello(_))));
    admitted.send(&init(0, b""));
    assert!(matches!(admitted.receive(&mut server), Some(Message::Ack)));
    let late = RawPeer::connect(&place.path);
    let (_, error) = next_refusal(&mut server);
    assert!(matches!(error, ControlError::Refused(Refusal::TooManyPending)));
    assert_eq!(late.goodbye(), "too many pending connections");
    assert!(admitted.try_receive().is_none());
}

#[test]
fn a_client_that_does_not_wait_for_acks_is_served() {
    let place = Place::new();
    let mut server = listener(&place, ListenerConfig::default(), &[0]);
    let peer = RawPeer::connect(&place.path);
    for message in script(0) {
        peer.send(&message);
    }
    let (0, _link) = next_link(&mut server) else { panic!("another interface") };
    let heard: Vec<_> = (0..6).map(|_| peer.receive(&mut server).unwrap()).collect();
    assert!(matches!(heard.first(), Some(Message::Hello(_))));
    assert_eq!(heard[1..5], [Message::Ack, Message::Ack, Message::Ack, Message::Ack]);
    assert!(matches!(heard[5], Message::Connected { .. }));
}

/// Plays the script with one step replaced; returns what the server reports and tells the peer.
fn play_with(step: usize, bytes: &[u8], fds: Vec<std::os::fd::OwnedFd>) -> (ControlError, String) {
    let place = Place::new();
    let mut server = listener(&place, ListenerConfig::default(), &[0]);
    let peer = RawPeer::connect(&place.path);
    for message in script(0).iter().take(step) {
        peer.receive(&mut server).unwrap();
        peer.send(message);
    }
    peer.receive(&mut server).unwrap();
    peer.send_bytes(bytes, &fds);
    let (_, error) = next_refusal(&mut server);
    let said = peer.goodbye();
    join(&mut server, &mut client(&place, 0));
    (error, said)
}

#[test]
fn faults_over_a_real_socket_cost_only_the_connection() {
    let region = script(0)[1].encode();
    let cases = [
        (0, vec![1; 10], 0, "message of 10 bytes, not 128"),
        (0, vec![1; 200], 0, "message longer than 128 bytes"),
        (1, region.to_vec(), 0, "ADD_REGION with 0 file descriptors, not 1"),
        (1, region.to_vec(), 2, "ADD_REGION with 2 file descriptors, not 1"),
        (1, region.to_vec(), 253, "ADD_REGION with 253 file descriptors, not 1"),
        (4, region.to_vec(), 1, "region index 0, expected 1"),
    ];
    for (step, bytes, count, words) in cases {
        let fds = (0..count).map(|_| doorbell()).collect();
        let (error, said) = play_with(step, &bytes, fds);
        assert!(matches!(error, ControlError::PeerMisbehaved(_)), "{error:?}");
        assert_eq!(said, words);
    }
}

#[test]
fn an_empty_message_is_a_fault_not_an_end() {
    let (error, said) = play_with(0, b"", Vec::new());
    assert!(matches!(error, ControlError::PeerMisbehaved(PeerMisbehaved::BadMessage(_))));
    assert_eq!(said, "message of 0 bytes, not 128");
}

#[test]
fn memory_that_is_none_is_refused_with_a_reason() {
    // A pipe where memory should be: only mapping shows it.
    let place = Place::new();
    let mut server = listener(&place, ListenerConfig::default(), &[0]);
    let peer = RawPeer::connect(&place.path);
    for (step, message) in script(0).iter().enumerate() {
        peer.receive(&mut server).unwrap();
        if step == 1 {
            let (reader, _writer) = nix::unistd::pipe().unwrap();
            peer.send_bytes(&message.encode(), &[reader]);
        } else {
            peer.send(message);
        }
    }
    let (id, error) = next_refusal(&mut server);
    assert_eq!(id, Some(0));
    assert!(matches!(error, ControlError::Layout(_)), "{error:?}");
    assert!(peer.goodbye().starts_with("region 0"));
    join(&mut server, &mut client(&place, 0));
}

fn raw_link(place: &Place, server: &mut Listener) -> (RawPeer, ringport_memif::Link) {
    let peer = RawPeer::connect(&place.path);
    for message in script(0) {
        peer.receive(server).unwrap();
        peer.send(&message);
    }
    let (_, link) = next_link(server);
    assert!(matches!(peer.receive(server), Some(Message::Connected { .. })));
    (peer, link)
}

#[test]
fn a_peer_that_dies_takes_the_link_down() {
    let place = Place::new();
    let mut server = listener(&place, ListenerConfig::default(), &[0]);
    let (peer, _link) = raw_link(&place, &mut server);
    drop(peer);
    assert!(matches!(next_down(&mut server), (0, DownReason::PeerClosed)));
    let (_peer, _link) = raw_link(&place, &mut server);
}

#[test]
fn a_client_that_died_and_came_back_at_once_is_not_refused() {
    let place = Place::new();
    let mut server = listener(&place, ListenerConfig::default(), &[0]);
    let (peer, _link) = raw_link(&place, &mut server);
    // The newcomer is greeted before the old one dies, so its INIT is what the server sees first.
    let newcomer = RawPeer::connect(&place.path);
    assert!(matches!(newcomer.receive(&mut server), Some(Message::Hello(_))));
    newcomer.send(&init(0, b""));
    drop(peer);
    assert!(matches!(next_down(&mut server), (0, DownReason::PeerClosed)));
    assert!(matches!(newcomer.receive(&mut server), Some(Message::Ack)));
}

#[test]
fn goodbye_and_faults_on_a_link() {
    let place = Place::new();
    let mut server = listener(&place, ListenerConfig::default(), &[0]);
    let (peer, _link) = raw_link(&place, &mut server);
    peer.send(&Message::Disconnect(Disconnect { code: 5, text: "enough".into() }));
    drop(peer);
    let (_, reason) = next_down(&mut server);
    let DownReason::PeerDisconnected { code: 5, text } = reason else { panic!("{reason:?}") };
    assert_eq!(text.to_string(), "enough");

    let (peer, _link) = raw_link(&place, &mut server);
    peer.send(&init(0, b""));
    let (_, reason) = next_down(&mut server);
    let misbehaved = ControlError::PeerMisbehaved(PeerMisbehaved::SecondInit);
    assert_eq!(reason.to_string(), misbehaved.to_string());
    assert_eq!(peer.goodbye(), "second INIT");
}

#[test]
fn a_queue_fault_disconnects_with_its_text() {
    use std::os::unix::fs::FileExt;
    let place = Place::new();
    let mut server = listener(&place, ListenerConfig::default(), &[0]);
    let peer = RawPeer::connect(&place.path);
    let memory = memory(1 << 23);
    let shared = std::fs::File::from(memory.try_clone().unwrap());
    for message in script(0) {
        peer.receive(&mut server).unwrap();
        if matches!(message, Message::AddRegion(_)) {
            peer.send_bytes(&message.encode(), &[memory.try_clone().unwrap()]);
        } else {
            peer.send(&message);
        }
    }
    let (_, mut link) = next_link(&mut server);
    // The client's head runs away: 40000 slots in a ring of 1024.
    shared.write_all_at(&40_000u16.to_le_bytes(), 6).unwrap();
    let runaway = QueueError::IndexRunaway { queued: 40_000, ring_size: 1024 };
    assert_eq!(link.rx[0].rx_burst(32).err(), Some(runaway));
    let (0, DownReason::Fault(fault)) = next_down(&mut server) else { panic!("no fault") };
    assert_eq!(fault, runaway);
    assert_eq!(peer.goodbye(), runaway.to_string());
    assert_eq!(link.rx[0].rx_burst(32).err(), Some(runaway));
    join(&mut server, &mut client(&place, 0));
}

#[test]
fn removed_interface_tells_its_client_and_is_gone() {
    let place = Place::new();
    let mut server = listener(&place, ListenerConfig::default(), &[0]);
    let (peer, _link) = raw_link(&place, &mut server);
    server.remove_interface(0).unwrap();
    assert!(matches!(next_down(&mut server), (0, DownReason::Closed)));
    assert_eq!(peer.goodbye(), "interface deleted");
    assert!(server.remove_interface(0).is_err());
    let peer = RawPeer::connect(&place.path);
    peer.send(&init(0, b""));
    assert!(matches!(next_refusal(&mut server), (None, ControlError::Refused(Refusal::UnknownId))));
}

#[test]
fn interfaces_are_checked_and_unique() {
    let place = Place::new();
    let mut server = listener(&place, ListenerConfig::default(), &[0]);
    assert!(matches!(
        server.add_interface(InterfaceConfig::new(0)),
        Err(ControlError::Config(ConfigError::DuplicateId { id: 0 }))
    ));
    let limits = Limits { c2s_rings: 256, ..Limits::default() };
    let error = server.add_interface(InterfaceConfig { limits, ..InterfaceConfig::new(1) });
    assert_eq!(error.unwrap_err().to_string(), "c2s=256 is out of range 1 to 255");
}

#[test]
fn hello_announces_the_widest_interface_and_each_keeps_its_own_limit() {
    let place = Place::new();
    let mut server = listener(&place, ListenerConfig::default(), &[]);
    for (id, rings) in [(1, 2), (2, 4)] {
        let limits = Limits { c2s_rings: rings, s2c_rings: 1, ..Limits::default() };
        server.add_interface(InterfaceConfig { limits, ..InterfaceConfig::new(id) }).unwrap();
    }
    let peer = RawPeer::connect(&place.path);
    let Some(Message::Hello(hello)) = peer.receive(&mut server) else { panic!("no HELLO") };
    assert_eq!((hello.max_c2s_ring, hello.max_s2c_ring), (3, 0));
    let config = ClientConfig { c2s_rings: 8, s2c_rings: 8, ..client_config(2) };
    let mut client = Client::connect(place.address(), config.clone()).unwrap();
    let (left, right) = join(&mut server, &mut client);
    assert_eq!((left.rx.len(), left.tx.len()), (4, 1));
    assert_eq!((right.rx.len(), right.tx.len()), (1, 4));
    let mut client = Client::connect(place.address(), ClientConfig { id: 1, ..config }).unwrap();
    let (_, error) = next_refusal(&mut wired(&mut server, &mut client));
    assert!(matches!(
        error,
        ControlError::PeerMisbehaved(PeerMisbehaved::TooManyRings { limit: 2, .. })
    ));
}

#[test]
fn the_descriptor_says_when_poll_has_work() {
    let place = Place::new();
    let mut server = listener(&place, quick(Duration::from_millis(50)), &[0]);
    let readable = |server: &Listener, timeout: u16| {
        let mut fds = [nix::poll::PollFd::new(server.as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut fds, timeout).unwrap() == 1
    };
    assert!(!readable(&server, 0));
    let _one = RawPeer::connect(&place.path);
    let _two = RawPeer::connect(&place.path);
    assert!(readable(&server, 0));
    assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
    assert!(!readable(&server, 0));
    // The deadline makes it readable, and so does a second event that waits.
    assert!(readable(&server, 5000));
    let event = wait_for("an event", || server.poll(Some(Duration::ZERO)).unwrap());
    assert!(matches!(event.kind, EventKind::Refused(ControlError::Stalled { .. })));
    assert!(readable(&server, 1000));
    wait_for("an event", || server.poll(Some(Duration::ZERO)).unwrap());
    assert!(!readable(&server, 0));
}

#[test]
fn abstract_sockets_and_adopted_connections() {
    let name = format!("ringport-test-{}", std::process::id());
    let address = SocketAddress::Abstract(name);
    let mut server = Listener::bind(&address, ListenerConfig::default()).unwrap();
    assert!(matches!(
        Listener::bind(&address, ListenerConfig::default()),
        Err(ControlError::Config(ConfigError::Address(AddressError::Taken { .. })))
    ));
    server.add_interface(InterfaceConfig::new(0)).unwrap();
    server.add_interface(InterfaceConfig::new(1)).unwrap();
    let mut client = Client::connect(address, client_config(0)).unwrap();
    join(&mut server, &mut client);

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    let pair = |kind| socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let (here, there) = pair(SockType::SeqPacket);
    server.adopt(here).unwrap();
    let mut client = Client::from_socket(there, client_config(1)).unwrap();
    join(&mut server, &mut client);
    let (here, there) = pair(SockType::Stream);
    assert!(server.adopt(here).is_err());
    assert!(Client::from_socket(there, client_config(1)).is_err());
}

#[test]
fn a_client_that_does_not_read_is_waited_for() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
    let (here, there) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    // Room for a few answers only.
    setsockopt(&here, sockopt::SndBuf, &1).unwrap();
    let mut server = Listener::detached(ListenerConfig::default()).unwrap();
    server.add_interface(InterfaceConfig::new(0)).unwrap();
    server.adopt(here).unwrap();
    let peer = RawPeer::new(there);
    let mut script = script(0);
    let Message::AddRing(s2c) = script[3] else { panic!("another script") };
    let more = (1..100u16).map(|index| {
        Message::AddRing(AddRing { index, offset: 0x4080 * (u32::from(index) + 1), ..s2c })
    });
    script.splice(4..4, more);
    let last = script.pop().unwrap();
    for message in &script {
        peer.send(message);
    }
    for _ in 0..10 {
        assert!(server.poll(Some(Duration::from_millis(1))).unwrap().is_none());
    }
    let mut heard = 0;
    while peer.try_receive().is_some() {
        heard += 1;
    }
    assert!(heard < script.len(), "the socket had room for {heard} answers");
    wait_for("all answers", || {
        assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
        heard += usize::from(peer.try_receive().is_some());
        // HELLO, and one ACK for each message.
        (heard == 1 + script.len()).then_some(())
    });
    peer.send(&last);
    let (_, error) = next_refusal(&mut server);
    // Only two of the rings have a cookie in their memory, so it ends here, but for that reason.
    assert!(matches!(error, ControlError::Layout(_)), "{error:?}");
}
