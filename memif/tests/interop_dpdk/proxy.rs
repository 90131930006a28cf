//! A proxy between two DPDK processes, made of the two state machines and nothing else: it hands on
//! the offer, maps no memory, and sees no packet.

use crate::driver_support::{Place, raw_listener, seqpacket};
use crate::support::census::Census;
use crate::support::table::each_row;
use crate::support::{Killed, Outcome, received, wait_until};
use crate::{HUGEPAGES, MULTI_SEGS};
use nix::sys::signal::Signal;
use nix::sys::socket::{UnixAddr, connect};
use ringport::scm;
use ringport_bench::peers::testpmd::{MemifArgs, Mode};
use ringport_bench::peers::{Testpmd, require_peer_with_hugepages};
use ringport_memif::Direction;
use ringport_memif::control::{
    ClientEvent, ClientIdentity, ClientMachine, Incoming, Limits, Outgoing, ServerEvent,
    ServerMachine,
};
use ringport_memif::wire::{Hello, MESSAGE_LEN, Reason};
use std::fmt;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const HANDSHAKE: Duration = Duration::from_secs(10);

/// One client's connection, and ours to the server on its behalf.
struct Proxy {
    downstream: OwnedFd,
    server: ServerMachine,
    upstream: Option<(OwnedFd, ClientMachine)>,
    to: PathBuf,
}

impl Proxy {
    fn new(downstream: OwnedFd, to: &Path) -> Self {
        let hello = Limits::default().hello("proxy".into());
        let server = ServerMachine::new(hello, Instant::now(), HANDSHAKE);
        Self { downstream, server, upstream: None, to: to.into() }
    }

    fn is_up(&self) -> bool {
        self.server.is_up() && self.upstream.as_ref().is_some_and(|(_, client)| client.is_up())
    }

    /// Reads what is there on both sides, and sends what there is to say. `false`: over.
    fn turn(&mut self) -> Outcome<bool> {
        let mut over = false;
        while self.server.wants_message()
            && let Some(received) = receive(&self.downstream, &mut over)?
        {
            let event = self.server.on_message(received.incoming())?;
            self.on_server_event(event)?;
        }
        while let Some((socket, client)) = &mut self.upstream
            && client.wants_message()
            && let Some(received) = receive(socket, &mut over)?
        {
            let event = client.on_message(received.incoming())?;
            self.on_client_event(event)?;
        }
        if over {
            // Whoever is left is told.
            self.server.disconnect(Reason::new("the other side left"));
            if let Some((_, client)) = &mut self.upstream {
                client.disconnect(Reason::new("the other side left"));
            }
        }
        while let Some(outgoing) = self.server.take_outgoing() {
            send(&self.downstream, &outgoing);
        }
        if let Some((socket, client)) = &mut self.upstream {
            while let Some(outgoing) = client.take_outgoing() {
                send(socket, &outgoing);
            }
        }
        Ok(!over && !self.server.is_closed())
    }

    fn on_server_event(&mut self, event: Option<ServerEvent>) -> Outcome {
        match event {
            None | Some(ServerEvent::Disconnected(_)) => Ok(()),
            Some(ServerEvent::Init(request)) => {
                let identity = ClientIdentity {
                    id: request.id,
                    mode: request.mode,
                    secret: request.secret,
                    name: request.name,
                };
                let socket = seqpacket();
                connect(socket.as_raw_fd(), &UnixAddr::new(&self.to)?)?;
                let client = ClientMachine::new(identity, Instant::now(), HANDSHAKE);
                self.upstream = Some((socket, client));
                Ok(())
            }
            Some(ServerEvent::Offer { offer, .. }) => {
                let (_, client) = self.upstream.as_mut().ok_or("an offer, but no server")?;
                if offer.ring_count(Direction::C2s) == 0 {
                    return Err("no rings".into());
                }
                Ok(client.offer(offer)?)
            }
        }
    }

    fn on_client_event(&mut self, event: Option<ClientEvent>) -> Outcome {
        match event {
            None => Ok(()),
            Some(ClientEvent::Hello(hello)) => Ok(self.server.admit(limits(&hello))?),
            Some(ClientEvent::Connected { if_name }) => Ok(self.server.accept(if_name)?),
            Some(ClientEvent::Disconnected(why)) => Err(format!("server: {}", why.text).into()),
        }
    }
}

/// What the client may share is what its server accepts.
fn limits(hello: &Hello) -> Limits {
    let count = |last: u16| last.saturating_add(1).min(255);
    Limits {
        regions: count(hello.max_region),
        c2s_rings: count(hello.max_c2s_ring),
        s2c_rings: count(hello.max_s2c_ring),
        log2_ring_size: hello.max_log2_ring_size,
        ..Limits::default()
    }
}

/// One read of a socket.
struct Read([u8; MESSAGE_LEN], scm::Received);

impl Read {
    fn incoming(&self) -> Incoming<'_> {
        let Self(bytes, received) = self;
        let clone = |fd: &OwnedFd| fd.try_clone();
        Incoming {
            bytes: &bytes[..received.len],
            fds: received.fds.iter().map(clone).collect::<Result<_, _>>().unwrap_or_default(),
            truncated: received.truncated,
            fds_truncated: received.fds_truncated,
        }
    }
}

fn receive(socket: &OwnedFd, over: &mut bool) -> Outcome<Option<Read>> {
    let mut bytes = [0; MESSAGE_LEN];
    match scm::recv(socket.as_fd(), &mut bytes) {
        Ok(received) if received.eof => *over = true,
        Ok(received) => return Ok(Some(Read(bytes, received))),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => *over = true,
        Err(error) => return Err(error.into()),
    }
    Ok(None)
}

/// A peer that is gone is noticed by reading.
fn send(socket: &OwnedFd, outgoing: &Outgoing) {
    let fd = outgoing.fd.as_ref().map(OwnedFd::as_fd);
    let _ = scm::send(socket.as_fd(), &outgoing.bytes, fd.as_slice());
}

struct Pair {
    zero_copy: bool,
    queues: u16,
    client_sends: bool,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { zero_copy, queues, client_sends } = self;
        write!(f, "zero-copy {zero_copy}, {queues} queues, the client sends: {client_sends}")
    }
}

impl Pair {
    fn start(&self, memif: MemifArgs, core: usize, sends: bool) -> Outcome<Killed> {
        let testpmd = Testpmd::new().memif(memif.id(9).secret("s3cret")).queues(self.queues);
        let testpmd = testpmd.core(core).app_arg(MULTI_SEGS).txpkts(&[500, 600]).interactive();
        let mode = if sends { Mode::TxOnly } else { Mode::RxOnly };
        Ok(Killed(testpmd.forward(mode).start()?))
    }
}

#[test]
fn two_testpmds_talk_through_the_state_machines_alone() {
    let test = "two_testpmds_talk_through_the_state_machines_alone";
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", 2 * HUGEPAGES) else {
        return;
    };
    let rows = [(false, 1), (true, 1), (false, 4), (true, 4)].into_iter();
    let rows = rows.flat_map(|(zero_copy, queues)| {
        [true, false].map(|client_sends| Pair { zero_copy, queues, client_sends })
    });
    each_row(rows, |row| {
        let (front, back) = (Place::new(), Place::new());
        let mut server = row.start(MemifArgs::server(&back.path), 0, !row.client_sends)?;
        let listener = raw_listener(&front.path);
        let memif = MemifArgs::client(&front.path);
        let memif = if row.zero_copy { memif.zero_copy() } else { memif };
        let mut client = row.start(memif, 1, row.client_sends)?;
        let before = Census::take().mappings;
        let accept = || Ok(listener.accept().ok().map(|(socket, _)| socket));
        let mut proxy = Proxy::new(wait_until("the client", accept)?.into(), &back.path);
        wait_until("both links", || {
            if proxy.turn()? { Ok(proxy.is_up().then_some(())) } else { Err("over".into()) }
        })?;
        let (sender, receiver) = match row.client_sends {
            true => (&mut client, &mut server),
            false => (&mut server, &mut client),
        };
        receiver.start_when_up(1)?;
        sender.start_when_up(1)?;
        std::thread::sleep(Duration::from_millis(200));
        let sent = sender.stop_forwarding()?.tx_packets;
        let got = received(receiver, 0, sent)?;
        if sent < 1000 || (got.rx_packets, got.rx_bytes) != (sent, sent * 1100) {
            return Err(format!("sent {sent} packets of 1100 bytes, counted {got:?}").into());
        }
        if Census::take().mappings != before {
            return Err("the proxy mapped memory".into());
        }
        // One side leaves, the other one is told.
        client.process().signal(Signal::SIGKILL)?;
        wait_until("the end", || Ok((!proxy.turn()?).then_some(())))?;
        Ok(server.process().check_running()?)
    });
}
