//! What each side accepts, and what comes of it.

use super::{CacheLine, Direction, InitRequest, Mode};
use crate::error::PeerIncompatible;
use crate::wire::{Hello, LOG2_RING_SIZE_MAX, Name, REGIONS_MAX, RINGS_MAX, Secret, VERSION};
use thiserror::Error;

/// What a server accepts from a client. Counts, unlike the indices in [`Hello`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most regions, 1 to [`REGIONS_MAX`].
    pub regions: u16,
    /// Most rings from client to server, 1 to [`RINGS_MAX`].
    pub c2s_rings: u16,
    /// Most rings from server to client, 1 to [`RINGS_MAX`].
    pub s2c_rings: u16,
    /// Largest base-2 logarithm of a ring size, 1 to [`LOG2_RING_SIZE_MAX`].
    pub log2_ring_size: u8,
    /// Most bytes in all regions of one client together. Only address space until it is touched;
    /// VPP and DPDK clients without copies share whole packet pools.
    pub total_bytes: u64,
    /// Layout of the rings; `None` detects it, see [`detect_cache_line`](super::detect_cache_line).
    pub cache_line: Option<CacheLine>,
}

impl Default for Limits {
    /// Everything that the protocol allows, and 16 GiB.
    fn default() -> Self {
        Self {
            regions: REGIONS_MAX,
            c2s_rings: RINGS_MAX,
            s2c_rings: RINGS_MAX,
            log2_ring_size: LOG2_RING_SIZE_MAX,
            total_bytes: 16 << 30,
            cache_line: None,
        }
    }
}

impl Limits {
    /// The HELLO that announces these limits.
    #[must_use]
    pub fn hello(&self, name: Name) -> Hello {
        Hello {
            name,
            min_version: VERSION,
            max_version: VERSION,
            max_region: self.regions.saturating_sub(1),
            max_s2c_ring: self.s2c_rings.saturating_sub(1),
            max_c2s_ring: self.c2s_rings.saturating_sub(1),
            max_log2_ring_size: self.log2_ring_size,
        }
    }

    /// The wider of the two in every respect: what a HELLO says that cannot know yet which
    /// interface the client wants.
    #[must_use]
    pub fn widest(&self, other: &Self) -> Self {
        Self {
            regions: self.regions.max(other.regions),
            c2s_rings: self.c2s_rings.max(other.c2s_rings),
            s2c_rings: self.s2c_rings.max(other.s2c_rings),
            log2_ring_size: self.log2_ring_size.max(other.log2_ring_size),
            total_bytes: self.total_bytes.max(other.total_bytes),
            cache_line: None,
        }
    }

    pub(super) fn rings(&self, direction: Direction) -> u16 {
        match direction {
            Direction::C2s => self.c2s_rings,
            Direction::S2c => self.s2c_rings,
        }
    }
}

/// What a client builds: its own configuration cut to what the server accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunParameters {
    /// Rings from client to server.
    pub c2s_rings: u16,
    /// Rings from server to client.
    pub s2c_rings: u16,
    /// Base-2 logarithm of the number of descriptors in each ring.
    pub log2_ring_size: u8,
    /// Bytes of each packet buffer.
    pub buffer_size: u32,
}

impl RunParameters {
    /// Cuts `self`, a client's configuration, to what `hello` accepts.
    ///
    /// # Errors
    /// [`PeerIncompatible::Version`], and [`PeerIncompatible::RingSize`] when the server takes no
    /// ring of two descriptors.
    ///
    /// Spec: [HELLO](crate::protocol#hello).
    pub fn negotiate(&self, hello: &Hello) -> Result<Self, PeerIncompatible> {
        check_version(hello.min_version, hello.max_version)?;
        let max = hello.max_log2_ring_size;
        if max == 0 {
            return Err(PeerIncompatible::RingSize { max, wanted: self.log2_ring_size });
        }
        Ok(Self {
            c2s_rings: self.c2s_rings.min(hello.max_c2s_ring.saturating_add(1)),
            s2c_rings: self.s2c_rings.min(hello.max_s2c_ring.saturating_add(1)),
            log2_ring_size: self.log2_ring_size.min(max),
            buffer_size: self.buffer_size,
        })
    }
}

pub(super) fn check_version(min: u16, max: u16) -> Result<(), PeerIncompatible> {
    if (min..=max).contains(&VERSION) {
        return Ok(());
    }
    Err(PeerIncompatible::Version { min, max })
}

/// What a server knows about the interface that a client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Admission<'a> {
    /// Mode of the interface.
    pub mode: Mode,
    /// Secret of the interface; an empty one admits everybody.
    pub secret: &'a Secret,
    /// Whether another client has the interface.
    pub connected: bool,
}

impl Admission<'_> {
    /// Decides on a request, in the order in which VPP does. Secrets are compared in constant time;
    /// a client that sends one where none is asked for is admitted.
    ///
    /// # Errors
    /// The [`Refusal`] to answer with.
    pub fn check(&self, request: &InitRequest) -> Result<(), Refusal> {
        if self.connected {
            return Err(Refusal::AlreadyConnected);
        }
        if self.mode != request.mode {
            return Err(Refusal::ModeMismatch);
        }
        if self.secret.is_empty() {
            return Ok(());
        }
        if request.secret.is_empty() {
            return Err(Refusal::SecretRequired);
        }
        if *self.secret != request.secret {
            return Err(Refusal::IncorrectSecret);
        }
        Ok(())
    }
}

/// Why a server turns a client away. The texts are those of VPP, which people search for.
///
/// Spec: [refusals](crate::protocol#refusals).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No interface has this id.
    #[error("unmatched interface id")]
    UnknownId,
    /// The interface connects itself.
    #[error("cannot connect to slave")]
    NotServer,
    /// Another client has the interface.
    #[error("already connected")]
    AlreadyConnected,
    /// Ethernet meets IP.
    #[error("mode mismatch")]
    ModeMismatch,
    /// The client sent no secret.
    #[error("secret required")]
    SecretRequired,
    /// The client sent another secret.
    #[error("incorrect secret")]
    IncorrectSecret,
    /// The client's user is not allowed.
    #[error("not permitted")]
    NotPermitted,
    /// Too many connections wait for their handshake.
    #[error("too many pending connections")]
    TooManyPending,
    /// The interface was taken away.
    #[error("interface deleted")]
    Removed,
}
