//! Commands of the control queue: what a driver asks of a network device.
//!
//! | class:1 | command:1 | what | behind them |
//! |---|---|---|---|
//! | 0 | 0 | every packet, or only those for the driver's addresses | on:1, 1 or 0 |
//! | 0 | 1 | every packet to several interfaces, or only to known groups | on:1, 1 or 0 |
//! | 1 | 0 | further addresses | count:4, addresses of 6 bytes each for one interface; the same for groups |
//! | 1 | 1 | the address | address:6 |
//! | 2 | 0 | a VLAN is wanted | VLAN:2, 0 to 4095 |
//! | 2 | 1 | a VLAN is not wanted | VLAN:2, 0 to 4095 |
//! | 3 | 0 | the driver has announced itself | |
//! | 4 | 0 | pairs of queues that the driver uses | pairs:2, 1 to 32768 |
//!
//! Numbers are little-endian. Behind the command is one byte that the device writes: 0 when it did
//! what was asked, 1 when it did not.
//!
//! Spec: VIRTIO 1.3 §5.1.6.5.

use super::feature;
use std::ops::RangeInclusive;

/// Longest command that is taken, in bytes.
pub const COMMAND_MAX: usize = 4096;

/// Most addresses of each kind in a command.
pub const ADDRESSES_MAX: usize = 256;

/// VLANs: their numbers are less.
pub const VLANS: u16 = 4096;

const PAIRS: RangeInclusive<u16> = 1..=0x8000;

/// What a driver asks on the control queue.
///
/// Spec: VIRTIO 1.3 §5.1.6.5.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Whether the driver wants every packet.
    Promiscuous(bool),
    /// Whether it wants every packet to several interfaces.
    AllMulticast(bool),
    /// Addresses that it has besides its own, at most [`ADDRESSES_MAX`] of each kind. They replace
    /// those before.
    Addresses {
        /// Each of one interface.
        unicast: Vec<[u8; 6]>,
        /// Each of a group.
        multicast: Vec<[u8; 6]>,
    },
    /// Its own address, which replaces the one that the device gave it.
    Address([u8; 6]),
    /// It wants packets of this VLAN.
    AddVlan(u16),
    /// It does not any more.
    RemoveVlan(u16),
    /// It has announced itself to the network, as it was asked to.
    Announced,
    /// It uses so many pairs of queues, from the first on.
    QueuePairs(u16),
}

impl Command {
    /// Reads a command; `None` when it means nothing here, or says what cannot be.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[class, command], data) = bytes.split_first_chunk()?;
        let vlan = || word(data).filter(|vlan| *vlan < VLANS);
        Some(match (class, command) {
            (0, 0) => Self::Promiscuous(switch(data)?),
            (0, 1) => Self::AllMulticast(switch(data)?),
            (1, 0) => {
                let (unicast, rest) = addresses(data)?;
                let (multicast, rest) = addresses(rest)?;
                let right = unicast.iter().all(is_one) && multicast.iter().all(is_group);
                if !right || !rest.is_empty() {
                    return None;
                }
                Self::Addresses { unicast, multicast }
            }
            (1, 1) => Self::Address(<[u8; 6]>::try_from(data).ok().filter(is_one)?),
            (2, 0) => Self::AddVlan(vlan()?),
            (2, 1) => Self::RemoveVlan(vlan()?),
            (3, 0) if data.is_empty() => Self::Announced,
            (4, 0) => Self::QueuePairs(word(data).filter(|pairs| PAIRS.contains(pairs))?),
            _ => return None,
        })
    }

    /// Writes the command; a device may find that it says what cannot be.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (head, data) = match self {
            Self::Promiscuous(on) => ([0, 0], vec![u8::from(*on)]),
            Self::AllMulticast(on) => ([0, 1], vec![u8::from(*on)]),
            Self::Addresses { unicast, multicast } => {
                ([1, 0], [list(unicast), list(multicast)].concat())
            }
            Self::Address(address) => ([1, 1], address.to_vec()),
            Self::AddVlan(vlan) => ([2, 0], vlan.to_le_bytes().to_vec()),
            Self::RemoveVlan(vlan) => ([2, 1], vlan.to_le_bytes().to_vec()),
            Self::Announced => ([3, 0], Vec::new()),
            Self::QueuePairs(pairs) => ([4, 0], pairs.to_le_bytes().to_vec()),
        };
        [&head[..], &data].concat()
    }

    /// The feature that it needs besides [`CTRL_VQ`](feature::CTRL_VQ).
    #[must_use]
    pub fn feature(&self) -> u64 {
        match self {
            Self::Promiscuous(_) | Self::AllMulticast(_) | Self::Addresses { .. } => {
                feature::CTRL_RX
            }
            Self::Address(_) => feature::CTRL_MAC_ADDR,
            Self::AddVlan(_) | Self::RemoveVlan(_) => feature::CTRL_VLAN,
            Self::Announced => feature::GUEST_ANNOUNCE,
            Self::QueuePairs(_) => feature::MQ,
        }
    }
}

/// Whether an address is of one interface.
pub(crate) fn is_one(address: &[u8; 6]) -> bool {
    !is_group(address) && *address != [0; 6]
}

/// Whether an address is of several.
pub(crate) fn is_group(address: &[u8; 6]) -> bool {
    address[0] & 1 != 0
}

fn switch(data: &[u8]) -> Option<bool> {
    match data {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}

fn word(data: &[u8]) -> Option<u16> {
    Some(u16::from_le_bytes(data.try_into().ok()?))
}

/// A count and so many addresses, and what is behind them.
fn addresses(data: &[u8]) -> Option<(Vec<[u8; 6]>, &[u8])> {
    let (count, rest) = data.split_first_chunk()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    if count > ADDRESSES_MAX {
        return None;
    }
    let (listed, rest) = rest.split_at_checked(count.saturating_mul(6))?;
    let listed = listed.chunks_exact(6).filter_map(|address| address.try_into().ok());
    Some((listed.collect(), rest))
}

fn list(addresses: &[[u8; 6]]) -> Vec<u8> {
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&count[..], addresses.as_flattened()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: [u8; 6] = [2, 0, 0, 0, 0, 7];
    const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];

    #[test]
    fn commands_are_where_drivers_have_them() {
        let addresses = Command::Addresses { unicast: vec![ONE], multicast: vec![GROUP, GROUP] };
        for (command, bytes) in [
            (Command::Promiscuous(true), &b"\0\0\x01"[..]),
            (Command::AllMulticast(false), b"\0\x01\0"),
            (
                addresses,
                b"\x01\0\x01\0\0\0\x02\0\0\0\0\x07\x02\0\0\0\x01\0\x5e\0\0\x01\x01\0\x5e\0\0\x01",
            ),
            (Command::Address(ONE), b"\x01\x01\x02\0\0\0\0\x07"),
            (Command::AddVlan(0x0fff), b"\x02\0\xff\x0f"),
            (Command::RemoveVlan(1), b"\x02\x01\x01\0"),
            (Command::Announced, b"\x03\0"),
            (Command::QueuePairs(0x8000), b"\x04\0\0\x80"),
        ] {
            assert_eq!(command.encode(), bytes);
            assert_eq!(Command::decode(bytes), Some(command));
        }
    }

    #[test]
    fn command_that_says_what_cannot_be_is_none() {
        let too_many = [&[1, 0], &257u32.to_le_bytes()[..], &[2; 257 * 6], &[0; 4]].concat();
        let nobody = [&[1, 1][..], &[0; 6]].concat();
        let several = [&[1, 1][..], &GROUP].concat();
        let mixed = Command::Addresses { unicast: vec![GROUP], multicast: vec![] }.encode();
        let mixed_too = Command::Addresses { unicast: vec![], multicast: vec![ONE] }.encode();
        for bytes in [
            &b""[..],
            b"\0",
            b"\0\0",
            b"\0\0\x02",
            b"\0\0\x01\0",
            b"\0\x02\x01",
            b"\x01\0\x01\0\0\0",
            b"\x01\0\xff\xff\xff\xff\0\0\0\0",
            b"\x01\0\0\0\0\0\0\0\0\0\0",
            b"\x02\0\0\x10",
            b"\x02\x02\0\0",
            b"\x03\0\0",
            b"\x04\0\0\0",
            b"\x04\0\x01\x80",
            b"\x05\0\0\0",
            &too_many,
            &nobody,
            &several,
            &mixed,
            &mixed_too,
        ] {
            assert_eq!(Command::decode(bytes), None, "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn command_of_any_bytes_is_none_or_is_written_as_it_was(
            bytes in prop::collection::vec(prop_oneof![0u8..5, any::<u8>()], 0..80),
        ) {
            if let Some(command) = Command::decode(&bytes) {
                prop_assert_eq!(command.encode(), bytes);
            }
        }
    }
}
