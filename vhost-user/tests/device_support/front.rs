//! A front-end.

use super::guest::Guest;
use super::ring::{SIZE, SplitRing};
use super::{PATIENCE, Place};
use std::os::unix::net::UnixStream;
use std::time::Instant;
use vhost::VhostBackend;
use vhost::vhost_user::message::{VhostUserHeaderFlag, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};

/// A front-end with the memory and the rings of one driver.
pub struct Front {
    pub vhost: Frontend,
    pub guest: Guest,
    /// What the driver receives from, and what it sends to, pair by pair.
    pub rings: Vec<SplitRing>,
}

/// What the rings here can do.
pub const FEATURES: u64 = 1 << 32 | 1 << 30 | 1 << 15;

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
        let mut vhost = Frontend::from_stream(stream, 2 * pairs as u64);
        vhost.set_owner().unwrap();
        let offered = vhost.get_features().unwrap();
        assert_eq!(offered & features, features, "offered {offered:#x}");
        let protocol = vhost.get_protocol_features().unwrap();
        let wanted = VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::RESET_DEVICE;
        assert!(protocol.contains(wanted), "offered {protocol:?}");
        vhost.set_protocol_features(wanted).unwrap();
        vhost.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        vhost.set_features(features).unwrap();
        let rings = (0..2 * pairs).map(SplitRing::new).collect();
        Self { vhost, guest: Guest::new(), rings }
    }

    /// A front-end whose pairs all run.
    pub fn running(place: &Place, pairs: usize) -> Self {
        let mut front = Self::connect(place, pairs);
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
            self.start_ring(ring, 0).unwrap();
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

    /// What the driver of pair 0 sends to, and the memory.
    pub fn sending(&mut self) -> (&mut SplitRing, &Guest) {
        (&mut self.rings[1], &self.guest)
    }

    /// What the driver of pair 0 receives from, and the memory.
    pub fn receiving(&mut self) -> (&mut SplitRing, &Guest) {
        (&mut self.rings[0], &self.guest)
    }
}
