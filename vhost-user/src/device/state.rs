//! What a device knows of its driver, for another device that goes on with it (live migration).
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `RINGPORT` |
//! | 8 | 2 | version, 1: another one is refused |
//! | 10 | 2 | zero |
//! | 12 | 4 | bytes of all sections |
//! | 16 | | sections: tag 0:2, bytes 2:2, contents from 4 on |
//!
//! | tag | bytes | contents |
//! |---|---|---|
//! | 1 | 8 | virtio features that were agreed on, without LOG_ALL and PROTOCOL_FEATURES |
//! | 2 | 2 | status: bit 0, the link is up; bit 1, the driver is to announce itself |
//! | 3 | 1 | bit 0, every packet is wanted; bit 1, every packet to several interfaces |
//! | 4 | 6 | the driver's address |
//! | 5 | 6 each | addresses that it has besides, at most 256 |
//! | 6 | 6 each | groups that it is in, at most 256 |
//! | 7 | 512 | VLANs that it wants, one bit each |
//! | 8 | 2 | pairs of queues that it uses, if it said so |
//!
//! Numbers are little-endian. Sections 1 to 3 are always there, and each is there once at most. A tag
//! above 0x8000 may be passed over by those who do not know it; any other that is unknown is refused,
//! for a device that goes on without what it says would lose packets that the driver wants. So what
//! a later version adds either does no harm to an earlier one, or is noticed.
//!
//! The link of the device that loads is its own, and stays as it is: that the link of the one before
//! was down may be why its driver moves. If they differ, the driver is told to read its configuration.
//!
//! Spec: vhost-user "Migrating back-end state". The format is ours.

mod error;

#[cfg(test)]
mod tests;

pub use error::StateError;

use super::Filter;
use super::filter::VLAN_WORDS;
use crate::wire::{ADDRESSES_MAX, feature};

/// Longest state that is read, in bytes: four times the longest that is written.
pub const STATE_MAX: usize = 1 << 14;

const MAGIC: [u8; 8] = *b"RINGPORT";
const VERSION: u16 = 1;
const HEAD_LEN: usize = 16;
/// Of tags that may be passed over.
const OPTIONAL: u16 = 0x8000;

const FEATURES: u16 = 1;
const STATUS: u16 = 2;
const MODE: u16 = 3;
const MAC: u16 = 4;
const UNICAST: u16 = 5;
const MULTICAST: u16 = 6;
const VLANS: u16 = 7;
pub(super) const PAIRS: u16 = 8;

const STATUS_BITS: u16 = 3;
const PROMISCUOUS: u8 = 1;
const ALL_MULTICAST: u8 = 2;

/// What a device knows of its driver, and the link that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedState {
    /// Virtio features that were agreed on, without LOG_ALL and PROTOCOL_FEATURES.
    pub features: u64,
    /// The status of the configuration space.
    pub status: u16,
    /// What the driver wants to receive.
    pub filter: Filter,
    /// Pairs of queues that it uses, if it said so.
    pub queue_pairs: Option<u16>,
}

impl SavedState {
    /// Keeps of the features those that the driver has.
    #[must_use]
    pub fn new(features: u64, status: u16, filter: Filter, queue_pairs: Option<u16>) -> Self {
        let features = features & !(feature::LOG_ALL | feature::PROTOCOL_FEATURES);
        Self { features, status, filter, queue_pairs }
    }

    /// Writes it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let filter = &self.filter;
        let mode = if filter.promiscuous { PROMISCUOUS } else { 0 };
        let mode = mode | if filter.all_multicast { ALL_MULTICAST } else { 0 };
        let mut sections = Vec::new();
        let mut section = |tag: u16, contents: &[u8]| {
            let len = u16::try_from(contents.len()).unwrap_or(u16::MAX);
            sections.extend([tag, len].map(u16::to_le_bytes).as_flattened());
            sections.extend_from_slice(contents);
        };
        section(FEATURES, &self.features.to_le_bytes());
        section(STATUS, &self.status.to_le_bytes());
        section(MODE, &[mode]);
        if let Some(mac) = &filter.mac {
            section(MAC, mac);
        }
        section(UNICAST, filter.unicast.as_flattened());
        section(MULTICAST, filter.multicast.as_flattened());
        if let Some(vlans) = &filter.vlans {
            section(VLANS, vlans.map(u64::to_le_bytes).as_flattened());
        }
        if let Some(pairs) = self.queue_pairs {
            section(PAIRS, &pairs.to_le_bytes());
        }
        let len = u32::try_from(sections.len()).unwrap_or(u32::MAX).to_le_bytes();
        let version = VERSION.to_le_bytes();
        [&MAGIC[..], &version, &[0; 2], &len, &sections].concat()
    }

    /// Reads a whole state.
    ///
    /// # Errors
    /// [`StateError`]: anything is wrong with it. Then nothing of it is to be believed.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut rest = sections(bytes)?;
        let mut found = Found::default();
        while !rest.is_empty() {
            let (tag, contents, behind) = split(rest).ok_or_else(|| StateError::Length {
                got: bytes.len(),
                expected: bytes.len().saturating_add(1),
            })?;
            found.take(tag, contents)?;
            rest = behind;
        }
        found.whole()
    }
}

/// What was read so far.
#[derive(Debug, Default)]
struct Found {
    features: Option<u64>,
    status: Option<u16>,
    mode: Option<u8>,
    mac: Option<[u8; 6]>,
    unicast: Option<Vec<[u8; 6]>>,
    multicast: Option<Vec<[u8; 6]>>,
    vlans: Option<Box<[u64; VLAN_WORDS]>>,
    pairs: Option<u16>,
}

impl Found {
    fn take(&mut self, tag: u16, contents: &[u8]) -> Result<(), StateError> {
        match tag {
            FEATURES => once(&mut self.features, tag, fixed(contents).map(u64::from_le_bytes)),
            STATUS => {
                let status = fixed(contents).map(u16::from_le_bytes);
                once(&mut self.status, tag, status.filter(|status| status & !STATUS_BITS == 0))
            }
            MODE => {
                let mode = fixed(contents).map(u8::from_le_bytes);
                let known = PROMISCUOUS | ALL_MULTICAST;
                once(&mut self.mode, tag, mode.filter(|mode| mode & !known == 0))
            }
            MAC => once(&mut self.mac, tag, fixed(contents).filter(is_one)),
            UNICAST => once(&mut self.unicast, tag, addresses(contents, is_one)),
            MULTICAST => once(&mut self.multicast, tag, addresses(contents, is_group)),
            VLANS => once(&mut self.vlans, tag, vlans(contents)),
            PAIRS => {
                let pairs = fixed(contents).map(u16::from_le_bytes);
                once(&mut self.pairs, tag, pairs.filter(|pairs| *pairs > 0))
            }
            tag if tag & OPTIONAL != 0 => Ok(()),
            tag => Err(StateError::Unknown { tag }),
        }
    }

    fn whole(self) -> Result<SavedState, StateError> {
        let missing = |tag| StateError::Count { tag, count: 0 };
        let mode = self.mode.ok_or_else(|| missing(MODE))?;
        let filter = Filter {
            promiscuous: mode & PROMISCUOUS != 0,
            all_multicast: mode & ALL_MULTICAST != 0,
            mac: self.mac,
            unicast: self.unicast.unwrap_or_default(),
            multicast: self.multicast.unwrap_or_default(),
            vlans: self.vlans,
        };
        let features = self.features.ok_or_else(|| missing(FEATURES))?;
        let status = self.status.ok_or_else(|| missing(STATUS))?;
        Ok(SavedState { features, status, filter, queue_pairs: self.pairs })
    }
}

/// What is behind the head, if that is right.
fn sections(bytes: &[u8]) -> Result<&[u8], StateError> {
    let got = bytes.len();
    if got > STATE_MAX {
        return Err(StateError::TooLong);
    }
    let short = StateError::Length { got, expected: HEAD_LEN };
    let (head, rest) = bytes.split_first_chunk::<HEAD_LEN>().ok_or(short)?;
    let (magic, numbers) = head.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(StateError::Magic);
    }
    let [v0, v1, z0, z1, len @ ..] = numbers else { return Err(short) };
    let version = u16::from_le_bytes([*v0, *v1]);
    if version != VERSION || (*z0, *z1) != (0, 0) {
        return Err(StateError::Version { got: version });
    }
    let len = fixed(len).map(u32::from_le_bytes).and_then(|len| usize::try_from(len).ok());
    let expected = len.unwrap_or(usize::MAX).saturating_add(HEAD_LEN);
    if expected != got {
        return Err(StateError::Length { got, expected });
    }
    Ok(rest)
}

/// Tag and contents of the first section, and what is behind it.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (&[t0, t1, l0, l1], rest) = bytes.split_first_chunk()?;
    let len = u16::from_le_bytes([l0, l1]);
    let (contents, rest) = rest.split_at_checked(len.into())?;
    Some((u16::from_le_bytes([t0, t1]), contents, rest))
}

fn once<T>(slot: &mut Option<T>, tag: u16, value: Option<T>) -> Result<(), StateError> {
    let value = value.ok_or(StateError::Contents { tag })?;
    if slot.replace(value).is_some() {
        return Err(StateError::Count { tag, count: 2 });
    }
    Ok(())
}

fn fixed<const N: usize>(contents: &[u8]) -> Option<[u8; N]> {
    contents.try_into().ok()
}

fn is_one(address: &[u8; 6]) -> bool {
    !is_group(address) && *address != [0; 6]
}

fn is_group(address: &[u8; 6]) -> bool {
    address[0] & 1 != 0
}

/// Addresses, if all of them are of that kind, and not too many.
fn addresses(contents: &[u8], right: fn(&[u8; 6]) -> bool) -> Option<Vec<[u8; 6]>> {
    let (listed, rest) = contents.as_chunks::<6>();
    let fits = rest.is_empty() && listed.len() <= ADDRESSES_MAX && listed.iter().all(right);
    fits.then(|| listed.to_vec())
}

fn vlans(contents: &[u8]) -> Option<Box<[u64; VLAN_WORDS]>> {
    let (words, rest) = contents.as_chunks::<8>();
    let words: Vec<_> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let words: Box<[u64; VLAN_WORDS]> = words.into_boxed_slice().try_into().ok()?;
    rest.is_empty().then_some(words)
}
