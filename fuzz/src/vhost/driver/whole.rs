//! [`crate::vhost_driver`].
//!
//! Header: pairs of queues, what is wanted (a bit each: packed, in order, mergeable, event index,
//! checksums, segmentation, calls, a control queue), log2 of the ring size.

use crate::input::Input;
use crate::vhost::OPERATIONS_MAX;
use crate::vhost::say::{Sent, plain_fd, reply};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use ringport::scm;
use ringport_vhost_user::device::Offloads;
use ringport_vhost_user::driver::{CallMode, Event, Link};
use ringport_vhost_user::wire::Command;
use ringport_vhost_user::{Driver, DriverConfig};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const EVENTS_MAX: usize = 20;
const PATIENCE: Duration = Duration::from_secs(10);
/// More than one conversation has of requests.
const TURNS_MAX: usize = 200;

// Numbers of requests.
const SET_MEM_TABLE: u32 = 5;
const GET_VRING_BASE: u32 = 11;
const SET_VRING_ERR: u32 = 14;
const SET_BACKEND_REQ_FD: u32 = 21;
const GET_CONFIG: u32 = 24;
/// Those that are answered in any case.
const ANSWERED: [u32; 6] = [1, GET_VRING_BASE, 15, 17, GET_CONFIG, 40];

struct Scene {
    driver: Driver,
    /// The device's end, until it hangs up.
    socket: Option<OwnedFd>,
    /// Of what the driver said, that which is not a whole message yet.
    said: Vec<u8>,
    /// Descriptors that came and belong to no message yet.
    fds: VecDeque<OwnedFd>,
    /// Number and ring of what waits for an answer.
    asked: VecDeque<(u32, [u8; 4])>,
    memory: Option<File>,
    /// The device's end of the second socket.
    channel: Option<OwnedFd>,
    broken: Vec<File>,
    pairs: usize,
    link: Option<Box<Link>>,
    /// How often a link came up, and went down or was not to be.
    ups: u32,
    downs: u32,
    /// The driver has stopped its link: queues say so before the device has answered.
    left: bool,
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut scene = Scene::new(&mut input);
    for _ in 0..OPERATIONS_MAX {
        if !input.more() {
            break;
        }
        scene.step(&mut input);
    }
    scene.finish();
}

impl Scene {
    fn new(input: &mut Input<'_>) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, flags).unwrap();
        let config = config(input);
        Self {
            driver: Driver::from_socket(ours, config).unwrap(),
            socket: Some(theirs),
            said: Vec::new(),
            fds: VecDeque::new(),
            asked: VecDeque::new(),
            memory: None,
            channel: None,
            broken: Vec::new(),
            pairs: config.queue_pairs.into(),
            link: None,
            ups: 0,
            downs: 0,
            left: false,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            0 => {
                let [len, fds] = input.take();
                let bytes = (0..len % 64).map(|_| input.u8()).collect();
                let fds = (0..fds % 4).map(|_| plain_fd()).collect();
                self.send(&Sent { bytes, fds, fds_truncated: false });
            }
            1 | 2 => self.receive(input.u8()),
            3 | 4 => self.transmit(input.u8()),
            5 => self.arm(),
            6 => self.hang_up(input.u8()),
            7 => self.leave(input.u8()),
            8 | 9 => self.scribble(input),
            10 => self.give_up(),
            11..=13 => self.answer(input),
            _ => self.go_on(),
        }
        self.poll();
    }

    /// Hears what the driver says, and keeps what it shares.
    fn listen(&mut self) {
        let mut buffer = [0; 512];
        while let Some(socket) = &self.socket
            && let Ok(received) = scm::recv(socket.as_fd(), &mut buffer)
            && !received.eof
        {
            self.said.extend_from_slice(&buffer[..received.len]);
            self.fds.extend(received.fds);
            self.take_messages();
        }
    }

    fn take_messages(&mut self) {
        while let Some(header) = self.said.first_chunk::<12>() {
            let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
            let (number, flags, end) = (word(0), word(4), 12 + word(8) as usize);
            if self.said.len() < end {
                return;
            }
            let message: Vec<u8> = self.said.drain(..end).collect();
            let ring = message[12..].first_chunk().copied().unwrap_or_default();
            match number {
                SET_MEM_TABLE => {
                    self.memory = self.fds.pop_front().map(File::from);
                    self.fds.clear();
                }
                SET_BACKEND_REQ_FD => self.channel = self.fds.pop_front(),
                SET_VRING_ERR => self.broken.extend(self.fds.pop_front().map(File::from)),
                _ => self.fds.clear(),
            }
            if flags & 8 != 0 || ANSWERED.contains(&number) {
                self.asked.push_back((number, ring));
            }
        }
    }

    /// Answers the oldest question: a byte says with what.
    fn answer(&mut self, input: &mut Input<'_>) {
        self.listen();
        let Some((number, ring)) = self.asked.pop_front() else { return };
        let value = input.u8();
        let payload = match (number, value) {
            (GET_VRING_BASE, _) => [ring, u32::from(value).to_le_bytes()].concat(),
            (GET_CONFIG, 0) => [&[0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 2][..], &[5; 11]].concat(),
            (GET_CONFIG, _) => Vec::new(),
            (1 | 15, 0) => u64::MAX.to_le_bytes().to_vec(),
            (1 | 15, 1) => input.u64().to_le_bytes().to_vec(),
            // Requests are taken, all pairs are there, the status has all bits.
            (17, 0) => u64::from(u8::MAX).to_le_bytes().to_vec(),
            (40, 0) => 15u64.to_le_bytes().to_vec(),
            _ => u64::from(value).to_le_bytes().to_vec(),
        };
        let header = [number, 5, u32::try_from(payload.len()).unwrap()].map(u32::to_le_bytes);
        for sent in reply([&header.concat(), &payload[..]].concat(), input) {
            self.send(&sent);
        }
    }

    /// A good device, as long as it is asked.
    fn go_on(&mut self) {
        for _ in 0..TURNS_MAX {
            self.listen();
            if self.asked.is_empty() || self.link.is_some() {
                return;
            }
            self.answer(&mut Input::new(&[]));
        }
        panic!("questions without end");
    }

    fn send(&mut self, sent: &Sent) {
        if let Some(socket) = &self.socket {
            let fds: Vec<BorrowedFd<'_>> = sent.fds.iter().map(AsFd::as_fd).collect();
            // Refused when the socket is full, or the driver has closed it.
            let _ = scm::send(socket.as_fd(), &sent.bytes, &fds);
        }
        self.poll();
    }

    /// Has the driver do all that it has to do now.
    fn poll(&mut self) {
        for _ in 0..EVENTS_MAX {
            let Some(event) = self.driver.poll(Some(Duration::ZERO)).unwrap() else {
                return;
            };
            match event {
                Event::LinkUp(link) => {
                    assert!(self.link.is_none() && self.ups == 0, "a second link");
                    assert!(link.rx.len() == link.tx.len());
                    assert!((1..=self.pairs).contains(&link.rx.len()));
                    self.ups += 1;
                    self.link = Some(link);
                }
                Event::LinkDown(_) => {
                    assert!(self.ups == 1 && self.downs == 0);
                    self.downs += 1;
                    self.check_down();
                }
                Event::Refused(_) => {
                    assert!(self.ups == 0 && self.downs == 0);
                    self.downs += 1;
                }
                _ => {}
            }
        }
        panic!("events without end");
    }

    /// The same, again if need be: a driver whose turns took long has none for a while.
    fn poll_until(&mut self, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        self.poll();
        while !done(self) && start.elapsed() < PATIENCE {
            self.poll();
        }
    }

    /// Queues of a link that is down say so.
    fn check_down(&mut self) {
        let link = self.link.as_mut().expect("a link that was up");
        assert!(link.rx.iter_mut().all(|rx| rx.rx_burst(1).is_err()));
        assert!(link.tx.iter_mut().all(|tx| tx.tx_burst(1).is_err()));
    }

    fn receive(&mut self, max: u8) {
        let Some(link) = &mut self.link else { return };
        let mut failed = false;
        let mut private = vec![0; 1 << 17];
        for rx in &mut link.rx {
            match rx.rx_burst(max.into()) {
                Ok(burst) => {
                    assert!(burst.len() <= max.into());
                    for packet in burst.packets() {
                        assert_eq!(packet.copy_to(&mut private), packet.len());
                    }
                }
                Err(_) => failed = true,
            }
        }
        self.check_failed(failed);
    }

    fn transmit(&mut self, max: u8) {
        let Some(link) = &mut self.link else { return };
        let mut failed = false;
        for tx in &mut link.tx {
            match tx.tx_burst(max.into()) {
                Ok(mut burst) => {
                    while burst.push(&[0x5A; 100]).is_ok() {}
                    assert!(burst.commit() <= max.into());
                }
                Err(_) => failed = true,
            }
        }
        self.check_failed(failed);
    }

    /// A queue that fails belongs to a link that has ended, or is about to.
    fn check_failed(&mut self, failed: bool) {
        self.poll_until(|scene| !failed || scene.downs == 1 || scene.left);
        assert!(!failed || self.downs == 1 || self.left, "a queue fails, and the link is up");
    }

    fn arm(&mut self) {
        let Some(link) = &mut self.link else { return };
        for rx in &mut link.rx {
            let _ = rx.arm();
        }
        for tx in &mut link.tx {
            let _ = tx.arm();
        }
    }

    fn hang_up(&mut self, how: u8) {
        if how == 0 {
            self.socket = None;
        }
    }

    fn leave(&mut self, how: u8) {
        match how {
            0 => self.driver.disconnect(),
            1 => {
                self.driver.stop();
                self.left = true;
            }
            2..=5 => drop(self.driver.set_queue_pairs((how - 2).into())),
            6 => drop(self.driver.command(&Command::Promiscuous(true))),
            7 => self.channel = None,
            _ => self.say_on_channel(how),
        }
    }

    /// Says on the second socket that the configuration changed, or something else.
    fn say_on_channel(&self, how: u8) {
        let Some(channel) = &self.channel else { return };
        let mut bytes = [2u32, 1, 0].map(u32::to_le_bytes).concat();
        match how {
            8..=11 => bytes[0] = how - 8,
            12 => bytes[4] = 9,
            13 => bytes[4] = 5,
            14 => bytes[8] = 3,
            15 => bytes.truncate(7),
            _ => {}
        }
        // Refused when it is full.
        let _ = scm::send(channel.as_fd(), &bytes, &[]);
    }

    /// Writes to the driver's memory: rings are at its start.
    fn scribble(&self, input: &mut Input<'_>) {
        let (at, bytes) = (u64::from(input.u16()), input.take::<8>());
        let Some(memory) = &self.memory else { return };
        let len = memory.metadata().unwrap().len();
        memory.write_all_at(&bytes, at % (len - 8)).unwrap();
    }

    /// The device finds a ring broken.
    fn give_up(&mut self) {
        if let Some(mut bell) = self.broken.first() {
            let _ = bell.write(&1u64.to_le_bytes());
        }
    }

    /// The device is gone, and the driver says so and nothing more.
    fn finish(mut self) {
        self.socket = None;
        self.poll_until(|scene| scene.driver.is_finished());
        assert!(self.driver.is_finished(), "the device has gone");
        assert_eq!(self.downs, 1);
    }
}

fn config(input: &mut Input<'_>) -> DriverConfig {
    let [pairs, wanted, log2] = input.take();
    let has = |bit: u8| wanted >> bit & 1 != 0;
    DriverConfig {
        queue_pairs: u16::from(1 + pairs % 3),
        ring_size: 2 << (log2 % 6),
        packed: has(0),
        in_order: has(1),
        mergeable: has(2),
        event_idx: has(3),
        control: has(7),
        offloads: match (has(4), has(5)) {
            (false, _) => Offloads::None,
            (true, false) => Offloads::Checksum,
            (true, true) => Offloads::Segmentation,
        },
        calls: if has(6) { CallMode::Interrupt } else { CallMode::Adaptive },
        buffer_size: 64,
        ..DriverConfig::default()
    }
}
