//! A front-end.

use super::guest::Guest;
use super::hand::Hand;
use super::ring::{SIZE, SplitRing};
use super::{PATIENCE, Place, Raw};
use ringport_vhost_user::wire::{Message, Request, VringState};
use std::os::unix::net::UnixStream;
use std::time::Instant;
use vhost::vhost_user::message::{VhostUserHeaderFlag, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VringConfigData};

/// A front-end with the memory and the rings of one driver.
pub struct Front {
    pub vhost: Frontend,
    /// The same connection, to say things on that `vhost` would not.
    pub raw: Raw,
    pub packed: bool,
    pub guest: Guest,
    /// What the driver receives from, and what it sends to, pair by pair.
    pub rings: Vec<SplitRing>,
}

/// What the rings here can do.
pub const FEATURES: u64 = 1 << 32 | 1 << 30 | 1 << 15;
/// Packed rings.
pub const PACKED: u64 = 1 << 34;

impl Front {
    /// Connects, and agrees on features; no memory is shared yet.
    pub fn connect(place: &Place, pairs: usize) -> Self {
        Self::connect_with(place, pairs, FEATURES)
    }

    pub fn connect_with(place: &Place, pairs: usize, features: u64) -> Self {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(&place.path) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        Self::new(stream, pairs, features)
    }

    pub fn new(stream: UnixStream, pairs: usize, features: u64) -> Self {
        let raw = Raw::new(stream.try_clone().unwrap());
        let mut vhost = Frontend::from_stream(stream, 2 * pairs as u64);
        vhost.set_owner().unwrap();
        let offered = vhost.get_features().unwrap();
        assert_eq!(offered & features, features, "offered {offered:#x}");
        let protocol = vhost.get_protocol_features().unwrap();
        let wanted = VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::RESET_DEVICE
            | VhostUserProtocolFeatures::LOG_SHMFD
            | VhostUserProtocolFeatures::INFLIGHT_SHMFD;
        assert!(protocol.contains(wanted), "offered {protocol:?}");
        vhost.set_protocol_features(wanted).unwrap();
        vhost.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        vhost.set_features(features).unwrap();
        let rings = (0..2 * pairs).map(SplitRing::new).collect();
        Self { vhost, raw, packed: features & PACKED != 0, guest: Guest::new(), rings }
    }

    /// A front-end whose pairs all run.
    pub fn running(place: &Place, pairs: usize) -> Self {
        Self::running_with(place, pairs, FEATURES)
    }

    pub fn running_with(place: &Place, pairs: usize, features: u64) -> Self {
        let mut front = Self::connect_with(place, pairs, features);
        front.share();
        for pair in 0..pairs {
            front.start_pair(pair);
        }
        front
    }

    pub fn share(&self) {
        self.vhost.set_mem_table(&[self.guest.region()]).unwrap();
    }

    pub fn start_pair(&mut self, pair: usize) {
        for ring in [2 * pair, 2 * pair + 1] {
            self.start_ring(ring, if self.packed { 0x8000 } else { 0 }).unwrap();
        }
        for ring in [2 * pair, 2 * pair + 1] {
            self.vhost.set_vring_enable(ring, true).unwrap();
        }
    }

    pub fn start_ring(&mut self, number: usize, base: u16) -> vhost::Result<()> {
        let ring = &self.rings[number];
        self.vhost.set_vring_num(number, SIZE)?;
        self.vhost.set_vring_base(number, base)?;
        self.vhost.set_vring_addr(number, &ring.config())?;
        self.vhost.set_vring_call(number, &ring.call)?;
        self.vhost.set_vring_err(number, &ring.err)?;
        self.vhost.set_vring_kick(number, &ring.kick)
    }

    /// Stops a ring; returns where it goes on.
    pub fn stop_ring(&mut self, number: usize) -> u32 {
        self.vhost.get_vring_base(number).unwrap()
    }

    /// Starts a ring that was stopped at `base`, which has 32 bits in the packed layout.
    pub fn restart_ring(&mut self, number: usize, base: u32) {
        self.start_ring_at(number, base, number, SIZE);
    }

    /// Starts ring `number` of another size, or in the place of another one.
    pub fn start_ring_at(&mut self, number: usize, base: u32, place: usize, size: u16) {
        let state = VringState { index: u32::try_from(number).unwrap(), value: base };
        let ring = &self.rings[number];
        self.vhost.set_vring_num(number, size).unwrap();
        let at = VringConfigData { queue_size: size, ..SplitRing::new(place).config() };
        self.vhost.set_vring_addr(number, &at).unwrap();
        let base = Message::VringState(Request::SetVringBase, state);
        assert!(self.raw.ask(&base, &[]).is_yes());
        self.vhost.set_vring_call(number, &ring.call).unwrap();
        self.vhost.set_vring_err(number, &ring.err).unwrap();
        self.vhost.set_vring_kick(number, &ring.kick).unwrap();
    }

    /// The rings of a pair: what the driver receives from, and what it sends to.
    pub fn hands(&self, pair: usize) -> [Hand; 2] {
        [self.hand(2 * pair), self.hand(2 * pair + 1)]
    }

    /// Ring `number`, for chains of any kind. Not to be used together with that of `rings`.
    pub fn hand(&self, number: usize) -> Hand {
        Hand::new(self.packed, number)
    }

    /// What the driver of pair 0 sends to, and the memory.
    pub fn sending(&mut self) -> (&mut SplitRing, &Guest) {
        (&mut self.rings[1], &self.guest)
    }

    /// What the driver of pair 0 receives from, and the memory.
    pub fn receiving(&mut self) -> (&mut SplitRing, &Guest) {
        (&mut self.rings[0], &self.guest)
    }
}
