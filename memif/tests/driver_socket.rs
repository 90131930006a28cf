//! The life of a socket file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod driver_support;

use driver_support::*;
use ringport_memif::wire::Message;
use ringport_memif::{
    AddressError, ConfigError, ControlError, Listener, ListenerConfig, SocketOptions,
};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

fn bind(place: &Place) -> Result<Listener, ControlError> {
    Listener::bind(&place.address(), ListenerConfig::default())
}

#[track_caller]
fn check_taken(result: Result<Listener, ControlError>, expected: &str) {
    match result {
        Err(ControlError::Config(ConfigError::Address(AddressError::Taken { why, .. }))) => {
            assert_eq!(why, expected);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn stale_file_is_replaced() {
    let place = Place::new();
    drop(raw_listener(&place.path));
    assert!(place.path.exists());
    let listener = bind(&place).unwrap();
    RawPeer::connect(&place.path);
    drop(listener);
    assert!(!place.path.exists());
    bind(&place).unwrap();
}

#[test]
fn live_server_keeps_its_address() {
    let place = Place::new();
    let live = bind(&place).unwrap();
    check_taken(bind(&place), "another server listens there");
    RawPeer::connect(&place.path);
    drop(live);
    let other_kind = UnixDatagram::bind(&place.path).unwrap();
    check_taken(bind(&place), "another server listens there");
    drop(other_kind);
    bind(&place).unwrap();
}

#[test]
fn files_that_are_no_socket_are_left_alone() {
    let place = Place::new();
    fs::write(&place.path, "precious").unwrap();
    check_taken(bind(&place), "a file that is no socket is there");
    assert_eq!(fs::read_to_string(&place.path).unwrap(), "precious");
    fs::remove_file(&place.path).unwrap();
    std::os::unix::fs::symlink("/nonexistent", &place.path).unwrap();
    check_taken(bind(&place), "a file that is no socket is there");
    assert!(fs::symlink_metadata(&place.path).is_ok());
}

#[test]
fn file_that_somebody_replaced_is_not_removed() {
    let place = Place::new();
    let listener = bind(&place).unwrap();
    fs::remove_file(&place.path).unwrap();
    let usurper = raw_listener(&place.path);
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let before = inode(&place.path);
    drop(listener);
    assert_eq!(inode(&place.path), before);
    drop(usurper);
}

#[test]
fn mode_and_owner_are_set() {
    let place = Place::new();
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    let socket = SocketOptions {
        mode: Some(0o640),
        uid: Some(uid),
        gid: Some(gid),
        ..SocketOptions::default()
    };
    let config = ListenerConfig { socket, ..ListenerConfig::default() };
    let _listener = Listener::bind(&place.address(), config).unwrap();
    let file = fs::metadata(&place.path).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o640);
    assert_eq!((file.uid(), file.gid()), (uid, gid));
}

#[test]
fn missing_directory_is_an_error_not_a_crash() {
    let place = Place::new();
    let address = ringport_memif::SocketAddress::Path(place.path.join("deeper.sock"));
    assert!(matches!(
        Listener::bind(&address, ListenerConfig::default()),
        Err(ControlError::Config(ConfigError::Address(AddressError::Refused { .. })))
    ));
}

#[test]
fn of_many_servers_that_find_a_stale_file_one_wins_and_is_reachable() {
    for _ in 0..20 {
        let place = Place::new();
        drop(raw_listener(&place.path));
        let results: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| bind(&place))).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        let mut winners: Vec<_> = results.into_iter().filter_map(Result::ok).collect();
        assert_eq!(winners.len(), 1);
        let peer = RawPeer::connect(&place.path);
        // The losers looked whether anybody listens, which is reported too.
        let greeted = wait_for("HELLO", || {
            winners[0].turn();
            peer.try_receive()
        });
        assert!(matches!(greeted, Some(Message::Hello(_))));
    }
}
