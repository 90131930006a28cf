//! A front-end in a test: says things, answers for the data side, and checks what it hears.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test takes what it needs")]

mod messages;

pub use messages::{INFLIGHT, every_message};

use nix::sys::eventfd::EventFd;
use ringport_vhost_user::ControlError;
use ringport_vhost_user::backend::{
    BackendConfig, BackendMachine, Event, Incoming, Limits, Outgoing, PeerMisbehaved, RingBase,
    RingOffer,
};
use ringport_vhost_user::wire::{
    Header, MemoryRegion, Message, ProtocolFeatures, Request, VringAddress, VringFd, VringState,
    feature,
};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Virtio features offered in tests.
pub const FEATURES: u64 = feature::VERSION_1 | feature::RING_PACKED | feature::LOG_ALL;

/// Guest memory of tests: 1 MiB here, 1 MiB elsewhere.
pub const GUEST: u64 = 0x4000_0000;
pub const USER: u64 = 0x7FFF_0000_0000;
pub const MIB: u64 = 1 << 20;

pub fn config() -> BackendConfig {
    BackendConfig {
        features: FEATURES,
        required_features: feature::VERSION_1,
        protocol_features: ProtocolFeatures::ALL,
        queue_pairs: 2,
        control_ring: false,
        limits: Limits { ring_size: 1024, regions: 4, total_bytes: 4 * MIB, log_bytes: 4096 },
        answer_timeout: TIMEOUT,
    }
}

pub fn fd() -> OwnedFd {
    EventFd::new().unwrap().into()
}

pub fn fds(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| fd()).collect()
}

pub fn region(number: u64) -> MemoryRegion {
    MemoryRegion {
        guest_address: GUEST + number * MIB,
        size: MIB,
        user_address: USER + number * MIB,
        mmap_offset: 0,
    }
}

pub fn state(request: Request, index: u32, value: u32) -> Message {
    Message::VringState(request, VringState { index, value })
}

pub fn doorbell(request: Request, index: u8) -> Message {
    Message::VringFd(request, VringFd { index, no_fd: false })
}

pub fn address(index: u32) -> VringAddress {
    VringAddress {
        index,
        log: false,
        descriptor_area: USER,
        device_area: USER + 0x3000,
        driver_area: USER + 0x2000,
        log_address: 0,
    }
}

/// A machine, and what became of it.
#[derive(Debug)]
pub struct FrontEnd {
    pub machine: BackendMachine,
    /// Whether requests ask for an answer.
    pub need_reply: bool,
}

impl FrontEnd {
    /// A front-end that said nothing yet.
    pub fn new(config: BackendConfig) -> Self {
        Self { machine: BackendMachine::new(config), need_reply: false }
    }

    /// After SET_PROTOCOL_FEATURES; requests ask for answers from now on.
    pub fn acked() -> Self {
        let mut peer = Self::new(config());
        let all = ProtocolFeatures::ALL.bits();
        peer.say(&Message::Number(Request::SetProtocolFeatures, all)).unwrap();
        peer.need_reply = true;
        peer
    }

    /// After SET_FEATURES with `features` and SET_MEM_TABLE.
    pub fn with_memory(features: u64) -> Self {
        let mut peer = Self::acked();
        peer.yes(&Message::Number(Request::SetFeatures, features));
        peer.yes(&Message::MemTable(vec![region(0)]));
        peer
    }

    /// With ring 0 running and enabled, in the split layout.
    pub fn running() -> Self {
        let mut peer = Self::with_memory(feature::VERSION_1 | feature::PROTOCOL_FEATURES);
        peer.set_up(0);
        peer.yes(&state(Request::SetVringEnable, 0, 1));
        peer.yes(&doorbell(Request::SetVringKick, 0));
        peer
    }

    /// Everything that a ring needs but its kick.
    pub fn set_up(&mut self, index: u32) {
        self.yes(&state(Request::SetVringNum, index, 256));
        self.yes(&state(Request::SetVringBase, index, 0));
        self.yes(&Message::VringAddress(address(index)));
    }

    /// Kicks a ring off; the data side has it running.
    #[track_caller]
    pub fn start(&mut self, index: u8) -> RingOffer {
        let event = self.say(&doorbell(Request::SetVringKick, index)).unwrap();
        let Some(Event::RingStarted(ring)) = event else { panic!("{event:?}") };
        assert_eq!(ring.index, u16::from(index));
        self.silent();
        self.machine.answer_ack(Ok(())).unwrap();
        assert_eq!(self.heard_number(Request::SetVringKick), 0);
        ring
    }

    /// Stops a ring; the data side left it at `base`.
    #[track_caller]
    pub fn stop(&mut self, index: u16, base: RingBase) {
        let event = self.say(&state(Request::GetVringBase, index.into(), 0)).unwrap();
        assert!(matches!(event, Some(Event::RingStopped { index: stopped }) if stopped == index));
        self.silent();
        self.machine.answer_vring_base(index, base).unwrap();
        assert_eq!(self.heard_base(), (index.into(), base.to_wire()));
    }

    /// Says something with as many descriptors as belong to it; the data side does nothing yet.
    pub fn say(&mut self, message: &Message) -> Result<Option<Event>, ControlError> {
        self.say_with(message, fds(*message.fd_count().start()))
    }

    pub fn say_with(
        &mut self,
        message: &Message,
        fds: Vec<OwnedFd>,
    ) -> Result<Option<Event>, ControlError> {
        self.say_bytes(&message.encode(self.need_reply), fds)
    }

    /// Says bytes as a socket would deliver them: never more than are wanted.
    pub fn say_bytes(
        &mut self,
        mut bytes: &[u8],
        fds: Vec<OwnedFd>,
    ) -> Result<Option<Event>, ControlError> {
        let mut fds = Some(fds);
        let mut event = None;
        while !bytes.is_empty() && event.is_none() && !self.machine.is_closed() {
            let (now, later) = bytes.split_at(bytes.len().min(self.machine.wanted()));
            assert!(!now.is_empty(), "the machine takes nothing");
            let fds = fds.take().unwrap_or_default();
            let incoming = Incoming { bytes: now, fds, fds_truncated: false };
            event = self.machine.on_bytes(incoming, Instant::now())?;
            bytes = later;
        }
        Ok(event)
    }

    /// Says something, and the data side does it.
    #[track_caller]
    pub fn done(&mut self, message: &Message) {
        if self.say(message).unwrap().is_some() {
            self.machine.answer_ack(Ok(())).unwrap();
        }
    }

    /// Says something, the data side does it, and the answer is yes.
    #[track_caller]
    pub fn yes(&mut self, message: &Message) {
        self.done(message);
        assert_eq!(self.heard_number(message.request()), 0, "{message:?}");
    }

    /// Says something that is refused; the conversation goes on.
    #[track_caller]
    pub fn no(&mut self, message: &Message, why: PeerMisbehaved) {
        assert_eq!(self.say(message).unwrap_err(), why.into());
        assert_ne!(self.heard_number(message.request()), 0);
        self.still_answers();
    }

    /// The same without asking for an answer: the conversation ends.
    #[track_caller]
    pub fn ends(mut self, message: &Message, why: PeerMisbehaved) {
        self.need_reply = false;
        assert_eq!(self.say(message).unwrap_err(), why.into());
        self.ended();
    }

    #[track_caller]
    pub fn ended(&mut self) {
        assert!(self.machine.is_closed());
        assert!(self.machine.take_outgoing().is_none());
        assert_eq!((self.machine.wanted(), self.machine.deadline()), (0, None));
    }

    #[track_caller]
    pub fn still_answers(&mut self) {
        assert!(!self.machine.is_closed());
        assert!(self.say(&Message::Plain(Request::GetQueueNum)).unwrap().is_none());
        assert_eq!(self.heard_number(Request::GetQueueNum), 2);
    }

    /// The one reply that waits, which answers `request`.
    #[track_caller]
    pub fn heard(&mut self, request: Request) -> Outgoing {
        let outgoing = self.machine.take_outgoing().expect("a reply");
        assert!(self.machine.take_outgoing().is_none(), "one reply only");
        let header = Header::decode(outgoing.bytes.first_chunk().unwrap()).unwrap();
        assert_eq!((header.request, header.reply), (request as u32, true));
        assert_eq!(outgoing.bytes[4..8], 5u32.to_ne_bytes(), "flags of a reply");
        assert_eq!(header.size as usize, outgoing.bytes.len() - 12);
        outgoing
    }

    #[track_caller]
    pub fn heard_number(&mut self, request: Request) -> u64 {
        let outgoing = self.heard(request);
        u64::from_ne_bytes(outgoing.bytes[12..].try_into().expect("eight bytes"))
    }

    /// Index and value of a reply to GET_VRING_BASE.
    #[track_caller]
    pub fn heard_base(&mut self) -> (u32, u32) {
        let bytes = self.heard(Request::GetVringBase).bytes;
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(bytes.len(), 20);
        (word(12), word(16))
    }

    #[track_caller]
    pub fn silent(&mut self) {
        assert!(self.machine.take_outgoing().is_none());
    }
}

/// How many open descriptors of this process refer to the file called `name`.
pub fn open_count(name: &str) -> usize {
    let wanted = format!("/memfd:{name} (deleted)");
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.filter(|entry| {
        let link = std::fs::read_link(entry.as_ref().unwrap().path());
        link.is_ok_and(|link| link.to_str() == Some(&wanted))
    })
    .count()
}

/// `count` descriptors of a new file called `name`, to be counted with [`open_count`].
pub fn marked(name: &str, count: usize) -> Vec<OwnedFd> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let file = memfd_create(name, MFdFlags::MFD_CLOEXEC).unwrap();
    (0..count).map(|_| file.try_clone().unwrap()).collect()
}
