//! [`crate::vhost_notes`].
//!
//! Header: bits: packed, in order, event index. Operations change the log and the memory for chains
//! in flight, write to both, end the device and start another one. The driver keeps to the rules.

mod driver;

use super::OPERATIONS_MAX;
use crate::input::Input;
use driver::{BUFFER, GUEST, Guest, LEN, Ring, SIZE, USER, memory};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use ringport::scm;
use ringport::shm::MemoryPolicy;
use ringport_vhost_user::wire::{
    Inflight, LogArea, MemoryRegion, Message, ProtocolFeatures, Request, VringAddress, VringFd,
    VringState, feature,
};
use ringport_vhost_user::{Device, DeviceConfig, Event, Link};
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

const PAGE: u64 = 4096;
/// Byte of a log for the guest's first page.
const FIRST: u64 = GUEST / PAGE / 8;
/// Bytes of a log's file.
const LOG_FILE: u64 = 0x3000;
/// Bytes of memory for chains in flight, more than is needed.
const INFLIGHT_FILE: u64 = 0x2000;
const CANARY: u8 = 0xA5;

struct Scene {
    packed: bool,
    features: u64,
    guest: Guest,
    rings: [Ring; 2],
    /// Packets that the device has not received yet.
    sent: VecDeque<Vec<u8>>,
    /// Packets that the driver has not taken yet.
    delivered: VecDeque<Vec<u8>>,
    inflight: File,
    /// Somebody wrote to it, or gave another size: where rings go on is anybody's guess.
    wild: bool,
    log: Option<Log>,
    log_all: bool,
    device: Option<Device>,
    socket: Option<OwnedFd>,
    link: Option<Box<Link>>,
    next: u8,
}

struct Log {
    file: File,
    area: LogArea,
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut scene = Scene::new(input.u8());
    for _ in 0..OPERATIONS_MAX {
        if !input.more() {
            break;
        }
        scene.step(&mut input);
    }
}

impl Scene {
    fn new(header: u8) -> Self {
        let bit = |at: u8, feature| if header >> at & 1 == 1 { feature } else { 0 };
        let packed = header & 1 == 1;
        let features = bit(0, feature::RING_PACKED)
            | bit(1, feature::IN_ORDER)
            | bit(2, feature::EVENT_IDX)
            | feature::VERSION_1
            | feature::MRG_RXBUF
            | feature::PROTOCOL_FEATURES;
        let mut scene = Self {
            packed,
            features,
            guest: Guest::new(),
            rings: [0, 1].map(|number| Ring::new(number, packed, header & 2 != 0)),
            sent: VecDeque::new(),
            delivered: VecDeque::new(),
            inflight: memory(INFLIGHT_FILE),
            wild: false,
            log: None,
            log_all: false,
            device: None,
            socket: None,
            link: None,
            next: 0,
        };
        scene.begin(INFLIGHT_FILE);
        scene
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let [kind, a, b, c] = input.take();
        match kind % 12 {
            0 | 1 => self.send(a),
            2 | 3 => self.receive(a),
            4 => {
                for _ in 0..u16::from(a) % SIZE {
                    self.rings[0].offer(&self.guest, None);
                }
            }
            5 | 6 => self.transmit(a, b),
            7 => self.change_log(a, b, c),
            8 => self.set_log_all(a & 1 == 1),
            9 => self.restart(a, b),
            10 => self.scribble(a, b, c),
            _ => self.forget_a_burst(a),
        }
        self.take();
    }

    /// Ends the device, whatever it holds, and starts another one on the same rings.
    fn restart(&mut self, a: u8, b: u8) {
        self.link = None;
        self.device = None;
        self.socket = None;
        self.log_all = false;
        self.log = None;
        let len = if a < 0xf0 { INFLIGHT_FILE } else { 1 + u64::from(b) * 32 };
        // Of a packed ring, nobody knows any more where it is.
        self.wild |= self.packed && len < INFLIGHT_FILE;
        self.begin(len);
    }

    fn begin(&mut self, inflight_len: u64) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, flags).unwrap();
        let config = DeviceConfig { policy: MemoryPolicy::Sealed, ..DeviceConfig::default() };
        self.device = Some(Device::from_socket(ours, config).unwrap());
        self.socket = Some(theirs);
        let protocol = ProtocolFeatures::REPLY_ACK
            | ProtocolFeatures::LOG_SHMFD
            | ProtocolFeatures::INFLIGHT_SHMFD;
        self.say(&Message::Number(Request::SetProtocolFeatures, protocol.bits()), None);
        self.say(&Message::Number(Request::SetFeatures, self.features), None);
        let region =
            MemoryRegion { guest_address: GUEST, size: LEN, user_address: USER, mmap_offset: 0 };
        self.say(&Message::MemTable(vec![region]), Some(again(&self.guest.file)));
        let said = Inflight {
            mmap_size: inflight_len,
            mmap_offset: 0,
            queues: 2,
            queue_size: SIZE,
            padded: true,
        };
        self.say(&Message::Inflight(Request::SetInflightFd, said), Some(again(&self.inflight)));
        for index in [0, 1] {
            self.start_ring(index);
        }
    }

    /// As a front-end does that does not know how far the ring is.
    fn start_ring(&mut self, index: u8) {
        let state = |value| VringState { index: index.into(), value };
        let base = if self.packed { 0x8000 } else { 0 };
        self.say(&Message::VringState(Request::SetVringNum, state(SIZE.into())), None);
        self.say(&Message::VringState(Request::SetVringBase, state(base)), None);
        self.say(&self.address(index), None);
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let kick = EventFd::from_flags(flags).unwrap();
        let said = VringFd { index, no_fd: false };
        self.say(&Message::VringFd(Request::SetVringKick, said), Some(kick.into()));
        self.say(&Message::VringState(Request::SetVringEnable, state(1)), None);
    }

    fn address(&self, index: u8) -> Message {
        let ring = &self.rings[usize::from(index)];
        let [descriptor_area, driver_area, device_area] = ring.addresses();
        Message::VringAddress(VringAddress {
            index: index.into(),
            log: true,
            descriptor_area,
            driver_area,
            device_area,
            log_address: ring.log_address(),
        })
    }

    fn say(&mut self, message: &Message, fd: Option<OwnedFd>) {
        let Some(socket) = &self.socket else { return };
        // Refused when the device has closed it.
        let fd = fd.as_ref().map(AsFd::as_fd);
        let _ = scm::send(socket.as_fd(), &message.encode(true), fd.as_slice());
        let device = self.device.as_mut().expect("a device");
        while let Some(event) = device.poll(Some(Duration::ZERO)).unwrap() {
            match event {
                Event::LinkUp(link) => self.link = Some(link),
                Event::LinkDown(_) | Event::Refused(_) => (self.link, self.socket) = (None, None),
                Event::RingBroken { ring, error } => {
                    assert!(self.wild, "ring {ring} broke: {error}");
                }
                _ => {}
            }
        }
        let mut buffer = [0; 512];
        while let Some(socket) = &self.socket
            && let Ok(received) = scm::recv(socket.as_fd(), &mut buffer)
            && !received.eof
        {}
    }

    fn frame(&mut self, len: u8) -> Vec<u8> {
        self.next = self.next.wrapping_add(1);
        vec![self.next; 1 + usize::from(len) * 6]
    }

    fn send(&mut self, len: u8) {
        let frame = self.frame(len);
        if self.rings[1].offer(&self.guest, Some(&frame)) {
            self.sent.push_back(frame);
        }
    }

    fn receive(&mut self, max: u8) {
        let max = usize::from(max % 20);
        let Some(link) = &mut self.link else { return };
        let before = self.log_all.then(|| self.guest.all());
        let burst = link.rx[0].rx_burst(max).unwrap();
        let packets: Vec<_> = burst.packets().map(|packet| packet.detach().to_vec()).collect();
        drop(burst);
        if !self.wild {
            let expected = self.sent.len().min(max);
            assert_eq!(packets.len(), expected);
            assert!(packets.iter().eq(self.sent.drain(..expected).collect::<Vec<_>>().iter()));
        }
        self.check_log(before);
    }

    /// Looks at packets, and never says that it has.
    #[expect(clippy::mem_forget, reason = "the device ends in the middle of a burst")]
    fn forget_a_burst(&mut self, a: u8) {
        if let Some(link) = &mut self.link {
            std::mem::forget(link.rx[0].rx_burst(usize::from(a % 8)).unwrap());
            self.restart(a, 0);
        }
    }

    fn transmit(&mut self, count: u8, len: u8) {
        let frames: Vec<_> = (0..count % 8).map(|n| self.frame(len.wrapping_add(n))).collect();
        let Some(link) = &mut self.link else { return };
        let before = self.log_all.then(|| self.guest.all());
        let mut burst = link.tx[0].tx_burst(8).unwrap();
        let sent = frames.iter().take_while(|frame| burst.push(frame).is_ok()).count();
        burst.commit();
        self.delivered.extend(frames.into_iter().take(sent));
        self.check_log(before);
    }

    /// The driver takes what there is.
    fn take(&mut self) {
        if self.wild {
            return;
        }
        self.rings[1].take(&self.guest);
        for packet in self.rings[0].take(&self.guest) {
            assert!(packet.len() <= BUFFER as usize);
            assert_eq!(Some(packet), self.delivered.pop_front());
        }
        assert!(self.delivered.is_empty(), "given back, and not to be seen");
    }

    fn change_log(&mut self, a: u8, b: u8, c: u8) {
        let area = LogArea { size: FIRST + u64::from(a % 16), offset: u64::from(b) * 8 };
        let area = if c < 0xf0 { area } else { LogArea { size: area.size << (a % 64), ..area } };
        let file = memory(LOG_FILE);
        file.write_all_at(&bytes(CANARY, LOG_FILE), 0).unwrap();
        let fits = area.size > 0 && area.offset + area.size <= LOG_FILE;
        if fits {
            file.write_all_at(&bytes(0, area.size), area.offset).unwrap();
        }
        self.say(&Message::LogBase(area), Some(again(&file)));
        assert!(fits || self.socket.is_none(), "a log of {area:?} in {LOG_FILE} bytes");
        self.log = fits.then_some(Log { file, area });
    }

    fn set_log_all(&mut self, on: bool) {
        let features = if on { self.features | feature::LOG_ALL } else { self.features };
        self.say(&Message::Number(Request::SetFeatures, features), None);
        self.log_all = on;
    }

    /// Whatever changed in the guest since `before` is marked, as far as the log goes.
    fn check_log(&self, before: Option<Vec<u8>>) {
        let (Some(before), Some(log)) = (before, &self.log) else { return };
        let mut all = bytes(0, LOG_FILE);
        log.file.read_exact_at(&mut all, 0).unwrap();
        let (front, rest) = all.split_at(index(log.area.offset));
        let (marks, behind) = rest.split_at(index(log.area.size));
        assert!(front.iter().chain(behind).all(|byte| *byte == CANARY), "outside of the log");
        assert!(marks[..index(FIRST)].iter().all(|byte| *byte == 0), "outside of the guest");
        let now = self.guest.all();
        let pages = before.chunks(index(PAGE)).zip(now.chunks(index(PAGE)));
        for (page, (before, now)) in (GUEST / PAGE..).zip(pages) {
            let mark = marks.get(index(page / 8)).map(|byte| byte >> (page % 8) & 1);
            assert!(before == now || mark != Some(0), "page {page:#x} changed");
        }
    }

    fn scribble(&mut self, a: u8, b: u8, c: u8) {
        if c & 1 == 0 {
            if let Some(Log { file, area }) = &self.log {
                // As a front-end that takes marks back.
                file.write_all_at(&bytes(0, area.size), area.offset).unwrap();
            }
            return;
        }
        // Mostly where positions are.
        let at = u64::from(a % 64) + if c & 2 == 0 { 0 } else { u64::from(b) * 16 };
        self.inflight.write_all_at(&[b], at).unwrap();
        self.wild |= self.packed || at > 0;
    }
}

fn again(file: &File) -> OwnedFd {
    file.try_clone().unwrap().into()
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

fn bytes(byte: u8, count: u64) -> Vec<u8> {
    vec![byte; index(count)]
}
