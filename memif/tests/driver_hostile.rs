//! What a peer can do with the memory, the doorbells and the socket that both sides share: over real
//! sockets, in both roles.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod driver_support;

use driver_support::*;
use nix::sys::memfd::{MFdFlags, memfd_create};
use ringport::error::QueueError;
use ringport_memif::config::Reconnect;
use ringport_memif::wire::{COOKIE, Message};
use ringport_memif::{
    Client, ClientConfig, ControlError, DataConfig, DownReason, EventKind, InterfaceConfig, Link,
    Listener, ListenerConfig, RxMode,
};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::time::Duration;

/// Size that [`script`] announces, and where its S2C ring and the first buffer are.
const REGION: u64 = 1 << 23;
const S2C: u64 = 0x4080;
const BUFFERS: u32 = 0x10000;

fn server(place: &Place, data: DataConfig) -> Listener {
    let mut server = Listener::bind(&place.address(), ListenerConfig::default()).unwrap();
    server.add_interface(InterfaceConfig { data, ..InterfaceConfig::new(0) }).unwrap();
    server
}

fn client(place: &Place) -> Client {
    let config = ClientConfig { reconnect: Reconnect::Never, ..ClientConfig::new(0) };
    Client::connect(place.address(), config).unwrap()
}

fn shared(sealable: bool, size: u64) -> File {
    let sealing = if sealable { MFdFlags::MFD_ALLOW_SEALING } else { MFdFlags::empty() };
    let fd: OwnedFd = memfd_create("hostile", MFdFlags::MFD_CLOEXEC | sealing).unwrap();
    let file = File::from(fd);
    file.set_len(size).unwrap();
    for offset in [0, S2C] {
        file.write_all_at(&COOKIE.to_le_bytes(), offset).unwrap();
    }
    file
}

/// A packet or an empty buffer in slot 0 of the ring at `offset`, and the head that publishes it.
fn publish(memory: &File, offset: u64, len: u32) {
    let at = BUFFERS.to_le_bytes();
    let descriptor = [&[0; 4], &len.to_le_bytes()[..], &at, &[0; 4]].concat();
    memory.write_all_at(&descriptor, offset + 128).unwrap();
    memory.write_all_at(&[1, 0], offset + 6).unwrap();
}

/// Connects with this memory and these doorbells.
fn connect(place: &Place, server: &mut Listener, memory: &File, doorbell: &OwnedFd) -> RawPeer {
    let peer = RawPeer::connect(&place.path);
    for message in script(0) {
        peer.receive(server).unwrap();
        let fd = match message {
            Message::AddRegion(_) => Some(memory.as_fd()),
            Message::AddRing(_) => Some(doorbell.as_fd()),
            _ => None,
        };
        let fds: Vec<_> = fd.iter().map(|fd| fd.try_clone_to_owned().unwrap()).collect();
        peer.send_bytes(&message.encode(), &fds);
    }
    peer
}

fn linked(
    place: &Place,
    server: &mut Listener,
    memory: &File,
    doorbell: &OwnedFd,
) -> (RawPeer, Link) {
    let peer = connect(place, server, memory, doorbell);
    (peer, next_link(server).1)
}

/// The server refuses the memory or the doorbell, says so, and serves the next client.
#[track_caller]
fn check_refused(memory: &File, doorbell: &OwnedFd, words: &str) {
    let place = Place::new();
    let mut server = server(&place, DataConfig::default());
    let peer = connect(&place, &mut server, memory, doorbell);
    let (_, error) = next_refusal(&mut server);
    assert!(matches!(error, ControlError::Layout(_)), "{error:?}");
    let said = peer.goodbye();
    assert!(said.starts_with(words), "{said}");
    join(&mut server, &mut client(&place));
}

#[test]
fn region_shorter_than_announced_is_refused() {
    for size in [REGION - 1, 2 * S2C] {
        check_refused(&shared(true, size), &doorbell(), "region 0: ");
    }
}

#[test]
fn ring_without_its_cookie_is_refused() {
    for offset in [0, S2C] {
        let memory = shared(true, REGION);
        memory.write_all_at(&[0; 4], offset).unwrap();
        check_refused(&memory, &doorbell(), "ring 0 ");
    }
}

#[test]
fn doorbell_that_is_none_is_refused() {
    let (reader, _writer) = nix::unistd::pipe().unwrap();
    check_refused(&shared(true, REGION), &reader, "doorbell: ");
}

#[test]
fn client_cannot_take_back_memory_that_the_server_sealed() {
    let place = Place::new();
    let mut server = server(&place, DataConfig::default());
    let memory = shared(true, REGION);
    let (_peer, mut link) = linked(&place, &mut server, &memory, &doorbell());
    assert!(memory.set_len(0).is_err(), "sealed against shrinking");
    publish(&memory, 0, 60);
    assert_eq!(link.rx[0].rx_burst(8).unwrap().len(), 1);
}

#[test]
fn client_that_takes_back_its_memory_loses_its_link_and_nothing_else() {
    let place = Place::new();
    let mut server = server(&place, DataConfig::default());
    let memory = shared(false, REGION);
    let (_peer, mut link) = linked(&place, &mut server, &memory, &doorbell());
    publish(&memory, 0, 60);
    assert_eq!(link.rx[0].rx_burst(8).unwrap().len(), 1);
    memory.set_len(0).unwrap();
    let error = wait_for("the loss", || link.rx[0].rx_burst(8).err());
    // What the guard puts in its place is zeros: an index among them may be noticed first.
    assert!(matches!(error, QueueError::MemoryLost | QueueError::IndexRunaway { .. }), "{error}");
    assert!(matches!(next_down(&mut server), (0, DownReason::Fault(_))));
    join(&mut server, &mut client(&place));
}

#[test]
fn buffers_offered_before_connected_are_not_forgotten() {
    let place = Place::new();
    let mut server = server(&place, DataConfig::default());
    let memory = shared(true, REGION);
    publish(&memory, S2C, 2048);
    let (_peer, mut link) = linked(&place, &mut server, &memory, &doorbell());
    assert_eq!(link.tx[0].tx_burst(8).unwrap().free(), 1);
}

/// What a peer can do to an eventfd that it shares: a write to it would wait until somebody reads.
fn fill_and_make_blocking(doorbell: &OwnedFd) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let mut counter = File::from(doorbell.try_clone().unwrap());
    counter.write_all(&(u64::MAX - 1).to_ne_bytes()).unwrap();
    fcntl(doorbell, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
}

/// Sends one packet on a thread of its own, which must not be held up by its full doorbell.
#[track_caller]
fn check_not_held_up(mut tx: ringport_memif::TxQueue, doorbell: OwnedFd) {
    let (done, when_done) = mpsc::channel();
    std::thread::spawn(move || {
        let mut burst = tx.tx_burst(1).unwrap();
        burst.push(&[7; 60]).unwrap();
        burst.commit();
        done.send(tx.stats().doorbells).unwrap();
    });
    let rung = when_done.recv_timeout(PATIENCE);
    // Whoever was held up all the same may go on.
    File::from(doorbell).read_exact(&mut [0; 8]).unwrap();
    assert_eq!(rung, Ok(1));
}

#[test]
fn doorbell_that_the_client_filled_and_made_blocking_does_not_hold_the_server_up() {
    let place = Place::new();
    let mut server = server(&place, DataConfig::default());
    let (memory, doorbell) = (shared(true, REGION), doorbell());
    publish(&memory, S2C, 2048);
    let (_peer, mut link) = linked(&place, &mut server, &memory, &doorbell);
    fill_and_make_blocking(&doorbell);
    check_not_held_up(link.tx.remove(0), doorbell);
}

#[test]
fn doorbell_that_the_server_filled_and_made_blocking_does_not_hold_the_client_up() {
    use ringport::link::LinkState;
    use ringport_memif::queue::ClientMemory;
    use ringport_memif::{ClientMemoryConfig, RunParameters};
    let params = RunParameters { c2s_rings: 1, s2c_rings: 1, log2_ring_size: 4, buffer_size: 256 };
    let config = ClientMemoryConfig { buffer_size: 256, ..ClientMemoryConfig::default() };
    let made = ClientMemory::allocate(&params, &config).unwrap();
    let doorbell = made.offer("c").unwrap().rings.swap_remove(0).doorbell;
    fill_and_make_blocking(&doorbell);
    let link = std::sync::Arc::new(LinkState::new().unwrap());
    let mut queues = made.into_queues(&link, &DataConfig::default()).unwrap();
    check_not_held_up(queues.tx.remove(0), doorbell);
}

#[test]
fn client_that_leaves_after_any_step_leaves_the_interface_free() {
    let place = Place::new();
    let mut server = server(&place, DataConfig::default());
    for steps in 0..script(0).len() {
        let peer = RawPeer::connect(&place.path);
        for message in script(0).iter().take(steps) {
            peer.receive(&mut server).unwrap();
            peer.send(message);
        }
        peer.receive(&mut server).unwrap();
        drop(peer);
        let (_, error) = next_refusal(&mut server);
        assert!(matches!(error, ControlError::Disconnected), "{steps}: {error:?}");
    }
    join(&mut server, &mut client(&place));
}

#[test]
fn server_that_sends_what_is_no_message_is_told_so() {
    let ack = Message::Ack.encode();
    let cases = [
        (vec![1; 10], 0, "message of 10 bytes, not 128"),
        (vec![1; 200], 0, "message longer than 128 bytes"),
        (Vec::new(), 0, "message of 0 bytes, not 128"),
        (vec![9; 128], 0, "unknown message type 2313"),
        (ack.to_vec(), 253, "ACK with 253 file descriptors, not 0"),
    ];
    for (bytes, count, words) in cases {
        let place = Place::new();
        let listener = raw_listener(&place.path);
        let mut client = client(&place);
        let peer = RawPeer::accept(&listener, &mut client);
        peer.send(&hello());
        peer.receive(&mut client).unwrap();
        let fds: Vec<_> = (0..count).map(|_| doorbell()).collect();
        peer.send_bytes(&bytes, &fds);
        let (_, error) = next_refusal(&mut client);
        assert!(matches!(error, ControlError::PeerMisbehaved(_)), "{error:?}");
        assert_eq!(peer.goodbye(), words);
    }
}

/// Uses the queues of a link on a thread of their own until both say that it is down.
/// `under_way` hears of it once many bursts have been moved.
fn use_until_down(
    mut link: Link,
    under_way: mpsc::Sender<()>,
) -> std::thread::JoinHandle<[QueueError; 2]> {
    std::thread::spawn(move || {
        let mut to = [0; 2048];
        let (mut received, mut sent) = (None, None);
        for round in 0.. {
            if received.is_some() && sent.is_some() {
                break;
            }
            if round == 1000 {
                under_way.send(()).unwrap();
            }
            match link.rx[0].rx_burst(32) {
                Ok(burst) => {
                    for packet in burst.packets() {
                        packet.copy_to(&mut to);
                    }
                }
                Err(error) => received = Some(error),
            }
            match link.tx[0].tx_burst(32) {
                Ok(mut burst) => {
                    while burst.push(&[7; 1500]).is_ok() {}
                    burst.commit();
                }
                Err(error) => sent = Some(error),
            }
        }
        [received.unwrap(), sent.unwrap()]
    })
}

#[test]
fn queues_in_use_on_another_thread_survive_the_end_of_their_link() {
    for ends in ["client", "server"] {
        let place = Place::new();
        let data = DataConfig { rx_mode: RxMode::Polling, ..DataConfig::default() };
        let mut server = server(&place, data);
        let mut client = client(&place);
        let (left, right) = join(&mut server, &mut client);
        let (under_way, is_under_way) = mpsc::channel();
        let threads = [left, right].map(|link| use_until_down(link, under_way.clone()));
        (0..2).for_each(|_| is_under_way.recv_timeout(PATIENCE).unwrap());
        if ends == "client" {
            drop(client);
            next_down(&mut server);
        } else {
            drop(server);
            next_down(&mut client);
        }
        for thread in threads {
            assert_eq!(thread.join().unwrap(), [QueueError::LinkDown; 2]);
        }
    }
}

/// Punches a hole where all of a region is.
fn punch(memory: &impl AsFd, len: u64) {
    use nix::fcntl::{FallocateFlags, fallocate};
    let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(memory, hole, 0, i64::try_from(len).unwrap()).unwrap();
}

/// Uses a link's queues for many bursts, whatever they say.
fn use_up(link: &mut Link) {
    let mut bytes = [0; 2048];
    for _ in 0..1000 {
        if let Ok(burst) = link.rx[0].rx_burst(32) {
            burst.packets().for_each(|packet| _ = packet.copy_to(&mut bytes));
        }
        if let Ok(mut burst) = link.tx[0].tx_burst(32) {
            while burst.push(&[7; 60]).is_ok() {}
            burst.commit();
        }
    }
}

#[test]
fn hole_punched_into_a_clients_memory_breaks_the_servers_link_at_most() {
    let place = Place::new();
    let mut server = server(&place, DataConfig::default());
    let memory = shared(true, REGION);
    let (peer, mut link) = linked(&place, &mut server, &memory, &doorbell());
    publish(&memory, 0, 60);
    publish(&memory, S2C, 2048);
    use_up(&mut link);
    punch(&memory, REGION);
    // Indices of zero are behind what was published.
    let error = link.rx[0].rx_burst(8).unwrap_err();
    assert!(matches!(error, QueueError::IndexRunaway { .. }), "{error}");
    use_up(&mut link);
    assert!(matches!(next_down(&mut server), (0, DownReason::Fault(_))));
    drop(peer);
    join(&mut server, &mut client(&place));
}

#[test]
fn hole_punched_by_the_server_breaks_the_clients_link_at_most() {
    use ringport::link::LinkState;
    use ringport_memif::queue::ClientMemory;
    use ringport_memif::{CacheLine, ClientMemoryConfig, RunParameters};
    let params = RunParameters { c2s_rings: 1, s2c_rings: 1, log2_ring_size: 4, buffer_size: 256 };
    let config = ClientMemoryConfig { buffer_size: 256, ..ClientMemoryConfig::default() };
    let made = ClientMemory::allocate(&params, &config).unwrap();
    let state = || std::sync::Arc::new(LinkState::new().unwrap());
    let data = DataConfig::default();
    let link = state();
    let region = made.offer("c").unwrap().regions.swap_remove(0);
    let offer = made.offer("c").unwrap();
    let theirs = ringport_memif::queue::server_queues(offer, CacheLine::B64, &link, &data);
    let (mut theirs, mut ours) = (theirs.unwrap(), made.into_queues(&state(), &data).unwrap());
    for (tx, rx) in [(&mut theirs.tx[0], &mut ours.rx[0]), (&mut ours.tx[0], &mut theirs.rx[0])] {
        let mut burst = tx.tx_burst(4).unwrap();
        while burst.push(&[7; 60]).is_ok() {}
        burst.commit();
        assert_eq!(rx.rx_burst(8).unwrap().len(), 4);
    }
    assert!(nix::unistd::ftruncate(&region.fd, 0).is_err(), "sealed");
    punch(&region.fd, region.size);
    for _ in 0..100 {
        let received = ours.rx[0].rx_burst(8).map(|burst| burst.len());
        assert!(matches!(received, Err(QueueError::IndexRunaway { .. })), "{received:?}");
        assert!(ours.tx[0].tx_burst(8).is_err(), "the link is down");
    }
}

#[test]
fn hundreds_of_silent_clients_keep_no_place_from_one_that_speaks() {
    let place = Place::new();
    let mut server = server(&place, DataConfig::default());
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(RawPeer::connect(&place.path));
        // Refusals of those before: they make room.
        let _ = server.turn();
    }
    let mut client = client(&place);
    let mut up = (false, false);
    wait_for("both links", || {
        up.0 |= server.turn().is_some_and(|event| matches!(event.kind, EventKind::LinkUp(_)));
        up.1 |= client.turn().is_some_and(|event| matches!(event.kind, EventKind::LinkUp(_)));
        (up.0 && up.1).then_some(())
    });
}

#[test]
fn client_tries_again_after_a_server_that_stalled_at_any_step() {
    let place = Place::new();
    let listener = raw_listener(&place.path);
    let (initial, max) = (Duration::from_millis(1), Duration::from_millis(5));
    let config = ClientConfig {
        reconnect: Reconnect::Backoff { initial, max },
        handshake_timeout: Duration::from_millis(100),
        ..ClientConfig::new(0)
    };
    let mut client = Client::connect(place.address(), config).unwrap();
    let mut peers = Vec::new();
    for steps in 0..=5 {
        let peer = RawPeer::accept(&listener, &mut client);
        for step in 0..steps {
            peer.send(&if step == 0 { hello() } else { Message::Ack });
            peer.receive(&mut client).unwrap();
        }
        let (_, error) = next_refusal(&mut client);
        assert!(matches!(error, ControlError::Stalled { .. }), "{error:?}");
        peers.push(peer);
    }
    drop(listener);
    std::fs::remove_file(&place.path).unwrap();
    let mut server = server(&place, DataConfig::default());
    wait_for("a link", || {
        let up = client.turn().is_some_and(|event| matches!(event.kind, EventKind::LinkUp(_)));
        let _ = server.turn();
        up.then_some(())
    });
}
