//! Who is compared: pairs of ours, of DPDK, mixed ones, and the raw ring.

use crate::contender::{Contender, Member, Worker};
use crate::transport::{End, Transport, Way};
use crate::worker::{Driver, Job, Task, Traffic, WORDS_LEN};
use anyhow::{Context, ensure};
use ringport_bench::frames::{HOT_POOL_FRAMES, POOL_FRAMES};
use ringport_bench::in_thread::Logging;
use ringport_bench::peers::Testpmd;
use ringport_bench::peers::testpmd::{DataPath, Mode};
use ringport_bench::raw_ring::{EventPing, Method, RawRing, Shape};
use ringport_bench::shared::SharedMemory;
use ringport_bench::virtio::{Extent, Format};
use std::path::Path;

/// Where senders run.
const SENDER_CORE: usize = 1;
/// Where receivers run.
const RECEIVER_CORE: usize = 0;
/// Slots asked for at a time, as testpmd does unless told otherwise.
pub(crate) const BURST: usize = 32;

/// What one side of a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Ours,
    Dpdk,
    /// A virtio driver of the benchmarks' own, which does as little as one can.
    Bare,
    /// DPDK's memif client with `zero-copy=yes`; as anything else it is the same as [`Side::Dpdk`].
    DpdkZeroCopy,
}

impl Side {
    pub(crate) fn is_dpdk(self) -> bool {
        matches!(self, Self::Dpdk | Self::DpdkZeroCopy)
    }
}

/// A link in one direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) transport: Transport,
    pub(crate) way: Way,
    pub(crate) sender: Side,
    pub(crate) receiver: Side,
    pub(crate) frame_len: u16,
    pub(crate) queues: u16,
    pub(crate) burst: usize,
    /// Measure the receiver's cycles.
    pub(crate) cycles: bool,
    /// Frames in our sender's pool.
    pub(crate) pool_frames: usize,
    /// Our receiver does not look at packets.
    pub(crate) lease_only: bool,
    /// Our client's buffers are back to back, as those of DPDK's.
    pub(crate) packed: bool,
}

impl Link {
    pub(crate) fn new(transport: Transport, way: Way, sender: Side, receiver: Side) -> Self {
        Self {
            transport,
            way,
            sender,
            receiver,
            frame_len: 64,
            queues: 1,
            burst: BURST,
            cycles: false,
            pool_frames: POOL_FRAMES,
            lease_only: false,
            packed: false,
        }
    }

    pub(crate) fn frame_len(mut self, bytes: u16) -> Self {
        self.frame_len = bytes;
        self
    }

    pub(crate) fn queues(mut self, queues: u16) -> Self {
        self.queues = queues;
        self
    }

    pub(crate) fn hot_pool(mut self) -> Self {
        self.pool_frames = HOT_POOL_FRAMES;
        self
    }

    pub(crate) fn lease_only(mut self) -> Self {
        self.lease_only = true;
        self
    }

    pub(crate) fn packed(mut self) -> Self {
        self.packed = true;
        self
    }

    pub(crate) fn cycles(mut self) -> Self {
        self.cycles = true;
        self
    }

    /// Starts both sides, the listener first, and parks them.
    pub(crate) fn start(&self, name: &str) -> anyhow::Result<Contender> {
        self.start_of(&std::env::current_exe()?, name)
    }

    /// As [`start`](Self::start), with another build of this program in our place.
    pub(crate) fn start_of(&self, program: &Path, name: &str) -> anyhow::Result<Contender> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("link.sock");
        let first = self.side(program, End::Listener, &socket)?;
        let second = self.side(program, End::Connector, &socket)?;
        let meter = usize::from(self.way.receiver() == End::Connector);
        let contender = Contender::new(name, vec![first, second], meter).keep(dir);
        let asks = self.cycles && self.receiver != Side::Ours;
        let contender = if asks { contender.asking_cycles() } else { contender };
        contender.park().with_context(|| format!("{name}: {self:?}"))
    }

    fn side(&self, program: &Path, end: End, socket: &Path) -> anyhow::Result<Member> {
        let receives = self.way.receiver() == end;
        let (side, core) =
            if receives { (self.receiver, RECEIVER_CORE) } else { (self.sender, SENDER_CORE) };
        if side == Side::Ours {
            let task = if receives { Task::Receive } else { Task::Send };
            let job = Job::Port(task, self.traffic(end, socket));
            return Ok(Member::Worker(Worker::start_of(program, core, job)?));
        }
        if side == Side::Bare {
            let task = if receives { Task::Receive } else { Task::Send };
            let job = Job::Driver(task, self.driver(socket));
            return Ok(Member::Worker(Worker::start_of(program, core, job)?));
        }
        let testpmd = Testpmd::new().core(core).queues(self.queues).memory(96);
        let testpmd = self.transport.join(testpmd, end, socket, side == Side::DpdkZeroCopy);
        let testpmd = match (receives, self.cycles) {
            (false, _) => testpmd.forward(Mode::TxOnly).packet_len(self.frame_len),
            (true, false) => testpmd.forward(Mode::RxOnly),
            (true, true) => testpmd.forward(Mode::RxOnly).record_core_cycles().interactive(),
        };
        let testpmd = testpmd.start()?;
        if let (Transport::VhostUser(path), End::Connector) = (self.transport, end) {
            let driver = testpmd.virtio_driver(0)?;
            ensure!(driver.data_path() == Some(path), "asked for {path:?}, got {driver:?}");
        }
        Ok(Member::Testpmd(Box::new(testpmd)))
    }

    fn driver(&self, socket: &Path) -> Driver {
        Driver {
            socket: socket.to_owned(),
            format: self.transport.format(),
            frame_len: self.frame_len.into(),
            burst: self.burst,
            pool_frames: self.numbers_frames().then_some(self.pool_frames),
        }
    }

    /// Whether the sender is one of ours, whose frames carry numbers.
    fn numbers_frames(&self) -> bool {
        matches!(self.sender, Side::Ours | Side::Bare)
    }

    fn traffic(&self, end: End, socket: &Path) -> Traffic {
        let packed = self.packed && end == End::Connector;
        let spacing = if packed { ",spacing=packed" } else { "" };
        Traffic {
            port: self.transport.port_string(end, socket, self.queues) + spacing,
            frame_len: usize::from(self.frame_len),
            burst: self.burst,
            pool_frames: self.numbers_frames().then_some(self.pool_frames),
            lease_only: self.lease_only,
            cycles: self.cycles,
            sleeps: false,
        }
    }
}

/// From a memif client to a vhost-user driver, through somebody who forwards, on a core of his own.
/// Client and driver are one thread on the other core, and the same whoever forwards.
pub(crate) fn forwarding(
    name: &str,
    forwarder: Side,
    path: DataPath,
    program: &Path,
) -> anyhow::Result<Contender> {
    let dir = tempfile::tempdir()?;
    let [memif, vhost] = ["memif.sock", "vhost.sock"].map(|name| dir.path().join(name));
    let rings = Transport::VhostUser(path);
    let member = if forwarder == Side::Ours {
        let ports = [(Transport::Memif, &memif), (rings, &vhost)];
        let ports = ports.map(|(transport, at)| transport.port_string(End::Listener, at, 1));
        let job = Job::Forward { ports, burst: BURST };
        Member::Worker(Worker::start_of(program, RECEIVER_CORE, job)?)
    } else {
        let testpmd = Testpmd::new().core(RECEIVER_CORE).memory(96).forward(Mode::Io);
        let testpmd = Transport::Memif.join(testpmd, End::Listener, &memif, false);
        let testpmd = rings.join(testpmd, End::Listener, &vhost, false);
        Member::Testpmd(Box::new(testpmd.start()?))
    };
    let link = Link::new(rings, Way::ToConnector, Side::Ours, Side::Bare);
    let client = Link { transport: Transport::Memif, ..link }.traffic(End::Connector, &memif);
    // testpmd drops what finds no room, so that the numbers of its frames do not follow one another.
    let pool_frames = (forwarder == Side::Ours).then_some(link.pool_frames);
    let driver = Driver { pool_frames, ..link.driver(&vhost) };
    let circle = Worker::start(SENDER_CORE, Job::Circle(client, driver))?;
    let members = vec![member, Member::Worker(circle)];
    Contender::new(name, members, 1).keep(dir).park().with_context(|| name.to_owned())
}

/// A device of ours and a driver in one thread.
pub(crate) fn in_thread(
    name: &str,
    way: Way,
    format: Format,
    (extent, logging): (Extent, Logging),
) -> anyhow::Result<Contender> {
    let job = Job::InThread { to_driver: way == Way::ToConnector, format, extent, logging };
    let member = Member::Worker(Worker::start(RECEIVER_CORE, job)?);
    Contender::new(name, vec![member], 0).park()
}

/// What goes through two ports of ours that answer each other.
fn to_and_fro(socket: &Path, end: End, sleeps: bool) -> Traffic {
    Traffic {
        port: Transport::Memif.port_string(end, socket, 1),
        frame_len: 64,
        burst: BURST,
        pool_frames: Some(POOL_FRAMES),
        lease_only: false,
        cycles: false,
        sleeps,
    }
}

/// One packet to and fro between two ports of ours.
pub(crate) fn round_trip(name: &str, sleeps: bool) -> anyhow::Result<Contender> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("link.sock");
    let traffic = |end| to_and_fro(&socket, end, sleeps);
    let pong = Worker::start(RECEIVER_CORE, Job::Port(Task::Pong, traffic(End::Listener)))?;
    let ping = Worker::start(SENDER_CORE, Job::Port(Task::Ping, traffic(End::Connector)))?;
    Contender::new(name, vec![Member::Worker(pong), Member::Worker(ping)], 1).keep(dir).park()
}

/// Two ports of ours that wait for packets which do not come.
pub(crate) fn idle(name: &str, sleeps: bool) -> anyhow::Result<Contender> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("link.sock");
    let traffic = |end| to_and_fro(&socket, end, sleeps);
    let server = Worker::start(RECEIVER_CORE, Job::Port(Task::Pong, traffic(End::Listener)))?;
    let client = Worker::start(SENDER_CORE, Job::Port(Task::Pong, traffic(End::Connector)))?;
    // Connecting takes a few milliseconds, and is part of nothing that is measured.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let mut contender =
        Contender::new(name, vec![Member::Worker(server), Member::Worker(client)], 1).keep(dir);
    contender.pause()?;
    Ok(contender)
}

/// A frame to and fro through two raw rings, polling.
pub(crate) fn raw_round_trip(name: &str, shape: Shape) -> anyhow::Result<Contender> {
    let ring = || RawRing::create(shape).context("memory for a raw ring");
    let kept = [ring()?, ring()?];
    let rings = [kept[0].path(), kept[1].path()];
    let pong = Worker::start(RECEIVER_CORE, Job::RawPong { rings: rings.clone(), shape })?;
    let ping = Worker::start(SENDER_CORE, Job::RawPing { rings, shape })?;
    Contender::new(name, vec![Member::Worker(pong), Member::Worker(ping)], 1).keep(kept).park()
}

/// A word to and fro, polling.
pub(crate) fn words(name: &str) -> anyhow::Result<Contender> {
    let memory = SharedMemory::create(WORDS_LEN, false)?;
    let pong = Worker::start(RECEIVER_CORE, Job::WordsPong { words: memory.path() })?;
    let ping = Worker::start(SENDER_CORE, Job::WordsPing { words: memory.path() })?;
    Contender::new(name, vec![Member::Worker(pong), Member::Worker(ping)], 1).keep(memory).park()
}

/// An eventfd to and fro, sleeping.
pub(crate) fn events(name: &str) -> anyhow::Result<Contender> {
    let events = EventPing::create()?;
    let numbers = events.numbers();
    let pong = Worker::start(RECEIVER_CORE, Job::EventPong { numbers })?;
    let ping = Worker::start(SENDER_CORE, Job::EventPing { numbers })?;
    Contender::new(name, vec![Member::Worker(pong), Member::Worker(ping)], 1).keep(events).park()
}

/// The raw ring.
pub(crate) fn raw(name: &str, shape: Shape, method: Method) -> anyhow::Result<Contender> {
    let ring = RawRing::create(shape).context("memory for a raw ring")?;
    let path = ring.path();
    let receive = Job::RawReceive { ring: path.clone(), shape, method };
    let receiver = Worker::start(RECEIVER_CORE, receive)?;
    let sender = Worker::start(SENDER_CORE, Job::RawSend { ring: path, shape, method })?;
    let members = vec![Member::Worker(receiver), Member::Worker(sender)];
    Contender::new(name, members, 0).keep(ring).park()
}
