//! Server ports of one process on one socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod driver_support;

use driver_support::*;
use nix::poll::{PollFd, PollFlags, poll};
use ringport_memif::{AddressError, ConfigError, ControlError, DownReason, EventKind, Port};
use std::os::fd::AsFd;
use std::time::Duration;

fn server(place: &Place, id: u32) -> Result<Port, ControlError> {
    Port::open(&format!("memif:{},role=server,id={id}", place.path.display()))
}

fn client(place: &Place, id: u32) -> Port {
    Port::open(&format!("memif:{},role=client,id={id}", place.path.display())).unwrap()
}

fn is_readable(port: &Port) -> bool {
    let mut fds = [PollFd::new(port.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, 0u8).unwrap() > 0
}

#[test]
fn two_ports_on_one_socket_get_a_link_each() {
    let place = Place::new();
    let (mut first, mut second) = (server(&place, 0).unwrap(), server(&place, 7).unwrap());
    let (mut to_first, mut to_second) = (client(&place, 0), client(&place, 7));
    let (of_second, _) = join(&mut second, &mut to_second);
    let (of_first, _) = join(&mut first, &mut to_first);
    assert_eq!(of_first.peer.if_name.to_string(), "memif0");
    assert_eq!(of_second.peer.if_name.to_string(), "memif7");
}

#[test]
fn event_that_another_port_came_upon_makes_its_own_port_readable() {
    let place = Place::new();
    let (mut first, mut second) = (server(&place, 0).unwrap(), server(&place, 1).unwrap());
    let mut client = client(&place, 1);
    // Only the first port is polled; the link is the second's.
    let link = wait_for("a link", || {
        assert!(first.poll(Some(Duration::from_millis(1))).unwrap().is_none());
        client.poll(Some(Duration::from_millis(1))).unwrap()
    });
    assert!(matches!(link.kind, EventKind::LinkUp(_)), "{link:?}");
    wait_for("the second port's bell", || {
        assert!(first.poll(Some(Duration::from_millis(1))).unwrap().is_none());
        is_readable(&second).then_some(())
    });
    let event = second.poll(Some(Duration::ZERO)).unwrap().expect("the event is there");
    assert!(matches!((event.id, event.kind), (Some(1), EventKind::LinkUp(_))));
    assert!(!is_readable(&second), "nothing is left");
}

#[test]
fn closing_one_port_ends_its_link_alone_and_the_file_goes_with_the_last() {
    let place = Place::new();
    let (mut first, mut second) = (server(&place, 0).unwrap(), server(&place, 1).unwrap());
    let (mut to_first, mut to_second) = (client(&place, 0), client(&place, 1));
    let _links = (join(&mut first, &mut to_first), join(&mut second, &mut to_second));
    first.close("going home");
    let (_, DownReason::PeerDisconnected { text, .. }) = next_down(&mut to_first) else {
        panic!("another reason");
    };
    assert_eq!(text.to_string(), "going home");
    assert!(to_second.poll(Some(Duration::from_millis(20))).unwrap().is_none());
    assert!(place.path.exists());
    drop(second);
    next_down(&mut to_second);
    assert!(!place.path.exists());
}

#[test]
fn same_interface_twice_is_refused_and_the_first_goes_on() {
    let place = Place::new();
    let mut first = server(&place, 3).unwrap();
    match server(&place, 3) {
        Err(ControlError::Config(ConfigError::DuplicateId { id: 3 })) => {}
        other => panic!("{other:?}"),
    }
    let mut client = client(&place, 3);
    join(&mut first, &mut client);
}

#[test]
fn other_socket_options_are_refused() {
    let place = Place::new();
    let _first = server(&place, 0).unwrap();
    let text = format!("memif:{},role=server,id=1,socket-mode=0600", place.path.display());
    match Port::open(&text) {
        Err(ControlError::Config(ConfigError::Address(AddressError::Taken { why, .. }))) => {
            assert!(why.contains("another mode"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn ports_on_threads_of_their_own_get_their_links() {
    let place = Place::new();
    let serve = |id| {
        let mut port = server(&place, id).unwrap();
        std::thread::spawn(move || {
            let link = port.wait_link_up(PATIENCE).unwrap();
            (port, link)
        })
    };
    let servers: Vec<_> = (0..4).map(serve).collect();
    let mut clients: Vec<Port> = (0..4).map(|id| client(&place, id)).collect();
    let links: Vec<_> =
        clients.iter_mut().map(|client| client.wait_link_up(PATIENCE).unwrap()).collect();
    for (id, server) in (0..).zip(servers) {
        let (port, link) = server.join().unwrap();
        assert_eq!((port.id(), link.peer.if_name.to_string()), (id, format!("memif{id}")));
    }
    drop(links);
}
