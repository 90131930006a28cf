//! [`crate::vhost_device`].
//!
//! Header: pairs of queues, what is offered (a bit each: packed, in order, mergeable, indirect,
//! event index, checksums, segmentation, a control queue), how kicks are asked for and what memory is accepted.

use super::OPERATIONS_MAX;
use super::say::{Sent, deliver, message, plain_fd};
use crate::input::Input;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use ringport::scm;
use ringport::shm::MemoryPolicy;
use ringport_vhost_user::device::Offloads;
use ringport_vhost_user::virtqueue::KickMode;
use ringport_vhost_user::{Device, DeviceConfig, Event, Link};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Most events that one message may bring: a refusal, and changes of all pairs.
const EVENTS_MAX: usize = 600;
const PATIENCE: Duration = Duration::from_secs(10);

struct Scene {
    device: Device,
    /// The front-end's end, until it hangs up.
    socket: Option<OwnedFd>,
    link: Option<Box<Link>>,
    /// How often a link came up, and went down or was not to be.
    ups: u32,
    downs: u32,
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
        let device = Device::from_socket(ours, config(input)).unwrap();
        Self { device, socket: Some(theirs), link: None, ups: 0, downs: 0 }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            0 => {
                let [len, fds] = input.take();
                let bytes = (0..len % 64).map(|_| input.u8()).collect();
                let fds = (0..fds % 4).map(|_| plain_fd()).collect();
                self.send(&Sent { bytes, fds, fds_truncated: false });
            }
            1 => self.receive(input.u8()),
            2 => self.transmit(input.u8()),
            3 => self.arm(),
            4 => self.hang_up(input.u8()),
            5 => self.disconnect(input.u8()),
            6 => self.read_replies(),
            7 => {
                // Written at once, so that the device finds many in its socket.
                let burst = message(input);
                for sent in deliver(&burst, input) {
                    self.write(&sent);
                }
            }
            8 => self.change_within_a_burst(input),
            _ => self.say(input),
        }
        self.poll();
    }

    fn say(&mut self, input: &mut Input<'_>) {
        let message = message(input);
        for sent in deliver(&message, input) {
            self.send(&sent);
        }
        self.read_replies();
    }

    fn send(&mut self, sent: &Sent) {
        self.write(sent);
        self.poll();
    }

    fn write(&self, sent: &Sent) {
        if let Some(socket) = &self.socket {
            let fds: Vec<BorrowedFd<'_>> = sent.fds.iter().map(AsFd::as_fd).collect();
            // Refused when the socket is full, or the device has closed it.
            let _ = scm::send(socket.as_fd(), &sent.bytes, &fds);
        }
    }

    fn read_replies(&self) {
        let mut buffer = [0; 512];
        while let Some(socket) = &self.socket
            && let Ok(received) = scm::recv(socket.as_fd(), &mut buffer)
            && !received.eof
        {}
    }

    /// Has the device do all that it has to do now.
    fn poll(&mut self) {
        for _ in 0..EVENTS_MAX {
            let Some(event) = self.device.poll(Some(Duration::ZERO)).unwrap() else {
                return;
            };
            match event {
                Event::LinkUp(link) => {
                    assert!(self.link.is_none() && self.ups == 0, "a second link");
                    assert!(link.rx.len() == link.tx.len() && !link.rx.is_empty());
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
                Event::PairsEnabled(pairs) => {
                    let count = self.link.as_ref().map_or(0, |link| link.rx.len());
                    assert!(usize::from(pairs) <= count);
                }
                _ => {}
            }
        }
        panic!("events without end");
    }

    /// Queues of a link that is down say so.
    fn check_down(&mut self) {
        let link = self.link.as_mut().expect("a link that was up");
        assert!(link.rx.iter_mut().all(|rx| rx.rx_burst(1).is_err()));
        assert!(link.tx.iter_mut().all(|tx| tx.tx_burst(1).is_err()));
    }

    fn receive(&mut self, max: u8) {
        let Some(link) = &mut self.link else { return };
        for rx in &mut link.rx {
            match rx.rx_burst(max.into()) {
                Ok(burst) => assert!(burst.len() <= max.into()),
                Err(_) => assert!(self.downs == 1 || self.device.is_finished()),
            }
        }
    }

    fn transmit(&mut self, max: u8) {
        let Some(link) = &mut self.link else { return };
        for tx in &mut link.tx {
            let Ok(mut burst) = tx.tx_burst(max.into()) else { continue };
            while burst.push(&[0x5A; 60]).is_ok() {}
            assert!(burst.commit() <= max.into());
        }
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

    /// The front-end asks while a burst is open: it is answered once that has ended.
    fn change_within_a_burst(&mut self, input: &mut Input<'_>) {
        let message = message(input);
        let sent = deliver(&message, input);
        let Some(mut link) = self.link.take() else { return };
        let burst = link.rx[0].rx_burst(8);
        for sent in &sent {
            self.write(sent);
        }
        // One turn: what else there is stays in the socket.
        let event = self.device.poll(Some(Duration::ZERO)).unwrap();
        drop(burst);
        self.link = Some(link);
        match event {
            Some(Event::LinkDown(_)) => {
                self.downs += 1;
                self.check_down();
            }
            Some(Event::LinkUp(_) | Event::Refused(_)) => panic!("{event:?} on a link"),
            _ => {}
        }
    }

    fn hang_up(&mut self, how: u8) {
        if how == 0 {
            self.socket = None;
        }
    }

    fn disconnect(&mut self, how: u8) {
        if how == 0 {
            self.device.disconnect();
        }
    }

    /// The front-end is gone, and the device says so and nothing more.
    fn finish(mut self) {
        self.socket = None;
        let start = Instant::now();
        self.poll();
        // A device whose turns took long has none for a while.
        while !self.device.is_finished() && start.elapsed() < PATIENCE {
            self.poll();
        }
        assert!(self.device.is_finished(), "the front-end has gone");
        assert_eq!(self.downs, 1);
    }
}

fn config(input: &mut Input<'_>) -> DeviceConfig {
    let [pairs, offered, kicks] = input.take();
    let has = |bit: u8| offered >> bit & 1 != 0;
    DeviceConfig {
        queue_pairs: u16::from(1 + pairs % 4),
        packed: has(0),
        in_order: has(1),
        mergeable: has(2),
        indirect: has(3),
        event_idx: has(4),
        control: has(7),
        offloads: match (has(5), has(6)) {
            (false, _) => Offloads::None,
            (true, false) => Offloads::Checksum,
            (true, true) => Offloads::Segmentation,
        },
        kicks: [KickMode::Adaptive, KickMode::Interrupt, KickMode::Polling][usize::from(kicks % 3)],
        policy: match kicks / 3 % 3 {
            0 => MemoryPolicy::Guarded,
            1 => MemoryPolicy::Sealed,
            _ => MemoryPolicy::Trust,
        },
        ..DeviceConfig::default()
    }
}
