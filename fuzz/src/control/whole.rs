//! [`crate::memif_listener`] and [`crate::memif_client`]: whole drivers behind sockets, with the peer's
//! memory, queues and bursts.
//!
//! Header: how many rings each way, log2 of their size, whether a secret is wanted.

use super::files::open_for;
use super::{Delivery, message, raw};
use crate::input::Input;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use ringport::scm;
use ringport_memif::wire::{
    AddRegion, AddRing, Hello, Init, MESSAGE_LEN, Message, Reason, Secret, VERSION,
};
use ringport_memif::{
    Client, ClientConfig, Direction, Event, EventKind, InterfaceConfig, Link, Listener,
    ListenerConfig,
};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

const OPERATIONS_MAX: usize = 60;
const EVENTS_MAX: usize = 40;
/// Most connections to a listener.
const PEERS_MAX: usize = 4;
/// More than a conversation has of messages.
const TURNS_MAX: usize = 20;
/// A listener's interfaces: 0 and 1, of which the second one may want a secret.
const INTERFACES: u32 = 2;
const SECRET: &[u8] = b"s3";
/// Bytes of the memory of a client that keeps the rules, and of each of its rings, 16 slots long.
const REGION: u64 = 1 << 16;
const RING: u32 = 512;

enum Ours {
    Listener(Box<Listener>),
    Client(Box<Client>),
}

/// The other end of a connection.
struct Peer {
    /// Until it hangs up.
    socket: Option<OwnedFd>,
    /// What one side shares with the other: rings are at its start.
    memory: Option<File>,
}

struct Scene {
    ours: Ours,
    peers: Vec<Peer>,
    links: Vec<(u32, Box<Link>)>,
}

pub(crate) fn listener(data: &[u8]) {
    let mut input = Input::new(data);
    let [_, _, wanted] = input.take();
    let mut listener = Listener::detached(ListenerConfig::default()).unwrap();
    for id in 0..INTERFACES {
        let wants = id > 0 && wanted & 1 != 0;
        let secret = if wants { Secret::new(SECRET).unwrap() } else { Secret::default() };
        listener.add_interface(InterfaceConfig { secret, ..InterfaceConfig::new(id) }).unwrap();
    }
    let mut scene =
        Scene { ours: Ours::Listener(Box::new(listener)), peers: Vec::new(), links: Vec::new() };
    scene.connect();
    scene.run(&mut input);
}

pub(crate) fn client(data: &[u8]) {
    let mut input = Input::new(data);
    let [rings, log2, wanted] = input.take();
    let mut config = ClientConfig {
        c2s_rings: u16::from(1 + rings % 3),
        s2c_rings: u16::from(1 + (rings >> 4) % 3),
        log2_ring_size: 1 + log2 % 6,
        ..ClientConfig::new(0)
    };
    config.memory.buffer_size = 256;
    if wanted & 1 != 0 {
        config.secret = Secret::new(SECRET).unwrap();
    }
    let (ours, theirs) = pair();
    let client = Client::from_socket(ours, config).unwrap();
    let peers = vec![Peer { socket: Some(theirs), memory: None }];
    Scene { ours: Ours::Client(Box::new(client)), peers, links: Vec::new() }.run(&mut input);
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap()
}

impl Scene {
    fn run(mut self, input: &mut Input<'_>) {
        for _ in 0..OPERATIONS_MAX {
            if !input.more() {
                break;
            }
            self.step(input);
            self.poll();
        }
        self.finish();
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            0 => self.connect(),
            1 => {
                let bytes = raw(input);
                self.deliver(bytes, input);
            }
            2..=4 => {
                let kind = input.u8() % 8;
                let bytes = message(kind, input).encode().to_vec();
                self.deliver(bytes, input);
            }
            5..=7 => self.go_on(input.u8()),
            8 | 9 => self.receive(input.u8()),
            10 | 11 => self.transmit(input.u8()),
            12 => self.arm(),
            13 => self.scribble(input),
            14 => self.hang_up(input.u8()),
            _ => self.leave(input.u8()),
        }
    }

    fn connect(&mut self) {
        if let Ours::Listener(listener) = &mut self.ours
            && self.peers.len() < PEERS_MAX
        {
            let (ours, theirs) = pair();
            listener.adopt(ours).unwrap();
            self.peers.push(Peer { socket: Some(theirs), memory: None });
        }
    }

    /// The peer that `choice` says, of those that there are.
    fn peer(&mut self, choice: u8) -> Option<&mut Peer> {
        let count = self.peers.len().max(1);
        self.peers.get_mut(usize::from(choice) % count)
    }

    fn deliver(&mut self, bytes: Vec<u8>, input: &mut Input<'_>) {
        let delivery = Delivery::new(bytes, input);
        if let Some(peer) = self.peer(input.u8()) {
            peer.send(&delivery.bytes, &delivery.fds);
        }
    }

    /// A peer that keeps to the rules, from the beginning to a link, if it can be had from here.
    fn go_on(&mut self, choice: u8) {
        match self.ours {
            Ours::Listener(_) => self.be_client(choice),
            Ours::Client(_) => self.be_server(choice),
        }
    }

    fn be_client(&mut self, choice: u8) {
        let id = u32::from(choice >> 4) % INTERFACES;
        let init = Init {
            version: VERSION,
            id,
            mode: 0,
            secret: Secret::new(if id > 0 { SECRET } else { b"" }).unwrap(),
            name: "fuzz".into(),
        };
        let region = Message::AddRegion(AddRegion { index: 0, size: REGION });
        let memory = open_for(Some(&region), 0, 0);
        let kept = File::from(memory.try_clone().unwrap());
        let ring = |direction, number: u32| {
            let (index, region, log2_ring_size, private_header_size) = (0, 0, 4, 0);
            let offset = number * RING;
            let ring =
                AddRing { direction, index, region, offset, log2_ring_size, private_header_size };
            let bell = open_for(None, 0, 0);
            (Message::AddRing(ring), vec![bell])
        };
        let all = [
            (Message::Init(init), Vec::new()),
            (region, vec![memory]),
            ring(Direction::C2s, 0),
            ring(Direction::S2c, 1),
            (Message::Connect { if_name: "fuzz".into() }, Vec::new()),
        ];
        for (message, fds) in all {
            let Some(peer) = self.peer(choice) else { return };
            peer.send(&message.encode(), &fds);
            self.poll();
        }
        if let Some(peer) = self.peer(choice) {
            peer.memory = Some(kept);
        }
    }

    fn be_server(&mut self, choice: u8) {
        let hello = Hello {
            name: "fuzz".into(),
            min_version: VERSION,
            max_version: VERSION,
            max_region: 255,
            max_s2c_ring: u16::from(choice >> 6),
            max_c2s_ring: u16::from(choice >> 4 & 3),
            max_log2_ring_size: 14,
        };
        let mut answer = Some(Message::Hello(hello));
        for _ in 0..TURNS_MAX {
            let Some(now) = answer else { return };
            let Some(peer) = self.peer(0) else { return };
            peer.send(&now.encode(), &[]);
            self.poll();
            let Some(peer) = self.peer(0) else { return };
            answer = peer.hear().map(|said| match said {
                Message::Connect { .. } => Message::Connected { if_name: "fuzz".into() },
                _ => Message::Ack,
            });
        }
        panic!("messages without end");
    }

    /// Has our side do all that it has to do now.
    fn poll(&mut self) {
        for _ in 0..EVENTS_MAX {
            let event = match &mut self.ours {
                Ours::Listener(listener) => listener.poll(Some(Duration::ZERO)),
                Ours::Client(client) => client.poll(Some(Duration::ZERO)),
            };
            let Some(Event { id, kind, .. }) = event.unwrap() else { return };
            match kind {
                EventKind::LinkUp(link) => {
                    let id = id.expect("a link of an interface");
                    assert!(self.links.iter().all(|(up, _)| *up != id), "a second link of {id}");
                    self.links.push((id, link));
                }
                EventKind::LinkDown(_) => {
                    let at = self.links.iter().position(|(up, _)| Some(*up) == id);
                    let (_, mut link) = self.links.swap_remove(at.expect("a link that was up"));
                    assert!(link.rx.iter_mut().all(|rx| rx.rx_burst(1).is_err()));
                    assert!(link.tx.iter_mut().all(|tx| tx.tx_burst(1).is_err()));
                }
                EventKind::Refused(_) => {}
                other => panic!("{other:?}"),
            }
        }
        panic!("events without end");
    }

    fn receive(&mut self, max: u8) {
        let (mut failed, mut private) = (Vec::new(), vec![0; 1 << 17]);
        for (id, link) in &mut self.links {
            for rx in &mut link.rx {
                let Ok(burst) = rx.rx_burst(max.into()) else {
                    failed.push(*id);
                    continue;
                };
                assert!(burst.len() <= max.into());
                for packet in burst.packets() {
                    assert!(packet.copy_to(&mut private) <= packet.len());
                }
            }
        }
        self.check_failed(&failed);
    }

    fn transmit(&mut self, max: u8) {
        let mut failed = Vec::new();
        for (id, link) in &mut self.links {
            for tx in &mut link.tx {
                let Ok(mut burst) = tx.tx_burst(max.into()) else {
                    failed.push(*id);
                    continue;
                };
                while burst.push(&[0x5a; 100]).is_ok() {}
                assert!(burst.commit() <= max.into());
            }
        }
        self.check_failed(&failed);
    }

    /// A queue that fails belongs to a link that is about to end, and to no other.
    fn check_failed(&mut self, failed: &[u32]) {
        let others = |links: &[(u32, Box<Link>)]| {
            links.iter().filter(|(id, _)| !failed.contains(id)).count()
        };
        let before = others(&self.links);
        self.poll();
        assert!(
            self.links.iter().all(|(id, _)| !failed.contains(id)),
            "a queue fails, its link is up"
        );
        assert_eq!(others(&self.links), before, "another link went with it");
    }

    fn arm(&mut self) {
        for (_, link) in &mut self.links {
            for rx in &mut link.rx {
                let _ = rx.arm();
            }
        }
    }

    /// Writes to shared memory: indices, flags and descriptors are at its start.
    fn scribble(&mut self, input: &mut Input<'_>) {
        let (choice, at, bytes) = (input.u8(), u64::from(input.u16()), input.take::<8>());
        let Some(memory) = self.peer(choice).and_then(|peer| peer.memory.as_ref()) else { return };
        let len = memory.metadata().unwrap().len();
        memory.write_all_at(&bytes, at % len.saturating_sub(8).max(1)).unwrap();
    }

    fn hang_up(&mut self, choice: u8) {
        let count = self.peers.len();
        if count == 0 {
            return;
        }
        match self.ours {
            Ours::Listener(_) => drop(self.peers.swap_remove(usize::from(choice) % count)),
            Ours::Client(_) => self.peers[0].socket = None,
        }
    }

    fn leave(&mut self, choice: u8) {
        let reason = Reason::new("enough");
        match &mut self.ours {
            Ours::Client(client) => client.close(reason),
            Ours::Listener(listener) => {
                let id = u32::from(choice >> 1) % INTERFACES;
                if choice & 1 == 0 {
                    listener.disconnect(id, reason).unwrap();
                } else {
                    listener.remove_interface(id).unwrap();
                    listener.add_interface(InterfaceConfig::new(id)).unwrap();
                }
            }
        }
    }

    /// All peers are gone, and each link says so.
    fn finish(mut self) {
        for peer in &mut self.peers {
            peer.socket = None;
        }
        self.poll();
        assert!(self.links.is_empty(), "a link to nobody");
        if let Ours::Client(client) = &self.ours {
            assert!(client.is_finished());
        }
    }
}

impl Peer {
    fn send(&self, bytes: &[u8], fds: &[OwnedFd]) {
        if let Some(socket) = &self.socket {
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            // Refused when the socket is full, or our side has closed it.
            let _ = scm::send(socket.as_fd(), bytes, &fds);
        }
    }

    /// The next message, with the memory that came along.
    fn hear(&mut self) -> Option<Message> {
        let mut buffer = [0; MESSAGE_LEN];
        let mut received = scm::recv(self.socket.as_ref()?.as_fd(), &mut buffer).ok()?;
        if received.eof {
            return None;
        }
        let message = Message::decode(&buffer[..received.len]).expect("we send messages");
        if let Message::AddRegion(_) = message {
            self.memory = received.fds.pop().map(File::from);
        }
        Some(message)
    }
}
