//! A front-end and a back-end in one process: what one says is passed to the other by hand.
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

pub mod fake;

use nix::sys::eventfd::EventFd;
use ringport_vhost_user::ControlError;
use ringport_vhost_user::backend::{
    self, BackendConfig, BackendMachine, Limits, PackedIndex, RegionOffer, RingBase, RingOffer,
};
use ringport_vhost_user::frontend::{
    self, Agreed, FrontendConfig, FrontendMachine, Incoming, MemoryOffer, Offer, Outgoing,
    RingSetup,
};
use ringport_vhost_user::wire::{Header, MemoryRegion, ProtocolFeatures, Request, feature};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

pub const TIMEOUT: Duration = Duration::from_secs(5);
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

/// Virtio features that both sides have in most tests.
pub const FEATURES: u64 =
    feature::VERSION_1 | feature::RING_PACKED | feature::MQ | feature::MRG_RXBUF;

/// Everything that a front-end here speaks.
pub const PROTOCOL: ProtocolFeatures = ProtocolFeatures::ALL;

pub const REGION: MemoryRegion =
    MemoryRegion { guest_address: 1 << 32, size: 1 << 20, user_address: 1 << 44, mmap_offset: 0 };

pub fn front_config() -> FrontendConfig {
    FrontendConfig {
        features: FEATURES | feature::MTU | feature::MAC,
        required_features: feature::VERSION_1,
        protocol_features: PROTOCOL,
        queue_pairs: 2,
        control_ring: false,
        mtu: Some(1500),
        timeout: TIMEOUT,
    }
}

pub fn back_config() -> BackendConfig {
    BackendConfig {
        features: FEATURES | feature::MTU | feature::MAC,
        required_features: feature::VERSION_1,
        protocol_features: PROTOCOL,
        queue_pairs: 2,
        control_ring: false,
        limits: Limits::default(),
        answer_timeout: TIMEOUT,
    }
}

/// Memory and rings for `agreed`; the rings of each have addresses of their own.
pub fn offer(agreed: &Agreed) -> Offer {
    let rings = (0..2 * u64::from(agreed.queue_pairs)).map(|index| RingSetup {
        size: 256,
        descriptor_area: REGION.user_address + index * 0x8000,
        driver_area: REGION.user_address + index * 0x8000 + 0x2000,
        device_area: REGION.user_address + index * 0x8000 + 0x4000,
        kick: Some(fd()),
        call: Some(fd()),
        err: Some(fd()),
    });
    Offer {
        memory: vec![MemoryOffer { region: REGION, fd: fd() }],
        rings: rings.collect(),
        control: None,
        channel: None,
    }
}

pub fn fd() -> OwnedFd {
    EventFd::new().unwrap().into()
}

/// What became of the rings of a back-end.
#[derive(Debug, Default)]
pub struct DataSide {
    pub features: u64,
    pub memory: Vec<RegionOffer>,
    pub started: Vec<RingOffer>,
    pub enabled: Vec<u16>,
    pub stopped: Vec<u16>,
    pub status: Vec<u8>,
    pub mtu: Option<u16>,
    /// Where rings note what they write, and whether they do.
    pub logs: Vec<(u16, Option<u64>)>,
    /// What is refused, if anything.
    pub refuses: Option<Request>,
}

/// Both sides of a conversation.
#[derive(Debug)]
pub struct Both {
    pub front: FrontendMachine,
    pub back: BackendMachine,
    pub data: DataSide,
    /// Every request, and whether it asked for an answer.
    pub said: Vec<(Request, bool)>,
    /// How many replies went back.
    pub replies: usize,
}

impl Both {
    pub fn new(front: FrontendConfig, back: BackendConfig) -> Self {
        Self {
            front: FrontendMachine::new(front, Instant::now()),
            back: BackendMachine::new(back),
            data: DataSide::default(),
            said: Vec::new(),
            replies: 0,
        }
    }

    /// Until the first event of the front-end; none when neither side has anything to say.
    pub fn run(&mut self) -> Result<Option<frontend::Event>, ControlError> {
        self.run_with(|_, reply| (reply, 0))
    }

    /// The same, with replies changed on their way, by their number, and descriptors added.
    pub fn run_with(
        &mut self,
        mut change: impl FnMut(usize, Vec<u8>) -> (Vec<u8>, usize),
    ) -> Result<Option<frontend::Event>, ControlError> {
        while let Some(message) = self.front.take_outgoing() {
            self.pass(message);
            while let Some(reply) = self.back.take_outgoing() {
                let (bytes, fds) = change(self.replies, reply.bytes);
                self.replies += 1;
                if let Some(event) = self.reply(&bytes, fds)? {
                    return Ok(Some(event));
                }
            }
        }
        Ok(None)
    }

    #[track_caller]
    pub fn negotiated(&mut self) -> Agreed {
        match self.run().unwrap() {
            Some(frontend::Event::Negotiated(agreed)) => agreed,
            other => panic!("{other:?}"),
        }
    }

    /// Negotiates and starts; what was agreed on.
    #[track_caller]
    pub fn running(&mut self) -> Agreed {
        let agreed = self.negotiated();
        self.front.offer(offer(&agreed), Instant::now()).unwrap();
        assert_eq!(self.run().unwrap(), Some(frontend::Event::Running));
        agreed
    }

    /// As a socket delivers it: no more than is wanted.
    pub fn reply(
        &mut self,
        mut bytes: &[u8],
        fds: usize,
    ) -> Result<Option<frontend::Event>, ControlError> {
        let mut fds = (0..fds).map(|_| fd()).collect();
        let mut event = None;
        while !bytes.is_empty() && event.is_none() && self.front.wanted() > 0 {
            let (now, later) = bytes.split_at(bytes.len().min(self.front.wanted()));
            let fds = std::mem::take(&mut fds);
            event = self.front.on_bytes(Incoming { bytes: now, fds, fds_truncated: false })?;
            bytes = later;
        }
        assert!(bytes.is_empty() || self.front.is_closed(), "an event before the end of a reply");
        Ok(event)
    }

    /// Gives a request to the back-end, whose data side does what is asked.
    fn pass(&mut self, message: Outgoing) {
        let header = Header::decode(message.bytes.first_chunk().unwrap()).unwrap();
        let request = Request::from_wire(header.request).unwrap();
        self.said.push((request, header.need_reply));
        let (mut bytes, mut fds) = (message.bytes.as_slice(), message.fds);
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.back.wanted()));
            let fds = std::mem::take(&mut fds);
            let incoming = Incoming { bytes: now, fds, fds_truncated: false };
            let event = self.back.on_bytes(incoming, Instant::now());
            if let Some(event) = event.unwrap_or_else(|why| panic!("{request}: {why}")) {
                self.serve(request, event);
            }
            bytes = later;
        }
    }

    fn serve(&mut self, request: Request, event: backend::Event) {
        use backend::Event as E;
        let packed = self.back.features() & feature::RING_PACKED != 0;
        if self.data.refuses == Some(request) {
            self.back.answer_ack(Err(backend::Failed)).unwrap();
            return;
        }
        match event {
            E::Features { features, .. } => self.data.features = features,
            E::MemoryTable(memory) => self.data.memory = memory,
            E::RingStarted(ring) => self.data.started.push(ring),
            E::RingEnabled { index, enabled: true } => self.data.enabled.push(index),
            E::RingEnabled { index, .. } => self.data.enabled.retain(|enabled| *enabled != index),
            E::RingLog { index, log } => self.data.logs.push((index, log)),
            E::BackendChannel(_) | E::LogBase { .. } => {}
            E::Status(status) => self.data.status.push(status),
            E::Mtu(mtu) => self.data.mtu = Some(mtu),
            E::RingStopped { index } => {
                self.data.stopped.push(index);
                let place = PackedIndex { index: 7, wrap: false };
                let base = if packed {
                    RingBase::Packed { avail: place, used: place }
                } else {
                    RingBase::Split { avail: 7 }
                };
                return self.back.answer_vring_base(index, base).unwrap();
            }
            E::ConfigRead(span) => {
                // Address, status, pairs, MTU 9000.
                let space = [&MAC[..], &[1, 0, 2, 0, 0x28, 0x23]].concat();
                let part = space[span.offset as usize..][..span.size as usize].to_vec();
                return self.back.answer_config(Ok(part)).unwrap();
            }
            other => panic!("{other:?}"),
        }
        self.back.answer_ack(Ok(())).unwrap();
    }
}
