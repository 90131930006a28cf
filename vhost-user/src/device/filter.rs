//! What a driver has said that it wants to receive.

use crate::wire::{Command, VLANS, feature};

/// What a driver wants to receive, by its control queue. A device need not heed it: a driver throws
/// away what it does not want. It begins anew with each connection, when other features are agreed on,
/// and with RESET_DEVICE.
///
/// Spec: VIRTIO 1.3 §5.1.6.5.1 to §5.1.6.5.3.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Every packet. So it is at first.
    pub promiscuous: bool,
    /// Every packet to several interfaces.
    pub all_multicast: bool,
    /// Its address, if the driver has set it, or the configuration has one.
    pub mac: Option<[u8; 6]>,
    /// Addresses that it has besides, at most 256.
    pub unicast: Vec<[u8; 6]>,
    /// Groups that it is in, at most 256.
    pub multicast: Vec<[u8; 6]>,
    /// One bit for each VLAN that it wants, the least first; `None` for all.
    pub vlans: Option<Box<[u64; VLAN_WORDS]>>,
}

/// Words of 64 bits for all VLANs.
pub const VLAN_WORDS: usize = VLANS as usize / 64;

impl Filter {
    /// What a driver with these features wants that has said nothing yet.
    pub(super) fn new(features: u64, mac: Option<[u8; 6]>) -> Self {
        let vlans = (features & feature::CTRL_VLAN != 0).then(|| Box::new([0; VLAN_WORDS]));
        let (unicast, multicast) = (Vec::new(), Vec::new());
        Self { promiscuous: true, all_multicast: false, mac, unicast, multicast, vlans }
    }

    /// Whether the driver wants a packet to this address, and in this VLAN if it has a tag.
    #[must_use]
    pub fn wants(&self, destination: [u8; 6], vlan: Option<u16>) -> bool {
        if self.promiscuous {
            return true;
        }
        let to_us = if destination[0] & 1 != 0 {
            let broadcast = destination == [0xff; 6];
            broadcast || self.all_multicast || self.multicast.contains(&destination)
        } else {
            self.mac == Some(destination) || self.unicast.contains(&destination)
        };
        to_us && vlan.is_none_or(|vlan| self.has_vlan(vlan))
    }

    /// Whether it wants packets of a VLAN.
    #[must_use]
    pub fn has_vlan(&self, vlan: u16) -> bool {
        let Some(vlans) = &self.vlans else { return true };
        let word = vlans.get(usize::from(vlan / 64));
        word.is_some_and(|word| word >> (vlan % 64) & 1 != 0)
    }

    /// Takes a command of which part it is; returns whether it is part of any.
    pub(super) fn take(&mut self, command: &Command) -> bool {
        match command {
            Command::Promiscuous(on) => self.promiscuous = *on,
            Command::AllMulticast(on) => self.all_multicast = *on,
            Command::Addresses { unicast, multicast } => {
                self.unicast.clone_from(unicast);
                self.multicast.clone_from(multicast);
            }
            Command::Address(address) => self.mac = Some(*address),
            Command::AddVlan(vlan) => self.set_vlan(*vlan, true),
            Command::RemoveVlan(vlan) => self.set_vlan(*vlan, false),
            _ => return false,
        }
        true
    }

    fn set_vlan(&mut self, vlan: u16, on: bool) {
        let vlans = self.vlans.get_or_insert_with(|| Box::new([0; VLAN_WORDS]));
        if let Some(word) = vlans.get_mut(usize::from(vlan / 64)) {
            let bit = 1 << (vlan % 64);
            *word = if on { *word | bit } else { *word & !bit };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];

    #[test]
    fn packets_are_wanted_as_the_driver_said_last() {
        let mut filter = Filter::new(feature::CTRL_VLAN, Some(OURS));
        assert!(filter.wants(OTHER, Some(5)), "all of them at first");
        assert!(filter.take(&Command::Promiscuous(false)));
        assert!(filter.wants(OURS, None) && filter.wants([0xff; 6], None));
        assert!(!filter.wants(OTHER, None) && !filter.wants(GROUP, None));
        filter.take(&Command::Addresses { unicast: vec![OTHER], multicast: vec![GROUP] });
        assert!(filter.wants(OTHER, None) && filter.wants(GROUP, None));
        filter.take(&Command::Addresses { unicast: vec![], multicast: vec![] });
        assert!(!filter.wants(OTHER, None) && !filter.wants(GROUP, None));
        filter.take(&Command::AllMulticast(true));
        assert!(filter.wants(GROUP, None));
        filter.take(&Command::Address(OTHER));
        assert!(filter.wants(OTHER, None) && !filter.wants(OURS, None));
        assert!(!filter.wants(OTHER, Some(4095)));
        filter.take(&Command::AddVlan(4095));
        assert!(filter.wants(OTHER, Some(4095)) && !filter.wants(OTHER, Some(4094)));
        filter.take(&Command::RemoveVlan(4095));
        assert!(!filter.wants(OTHER, Some(4095)));
        assert!(!filter.take(&Command::Announced));
    }

    #[test]
    fn driver_that_cannot_name_vlans_wants_all_of_them() {
        let mut filter = Filter::new(0, Some(OURS));
        filter.take(&Command::Promiscuous(false));
        assert!(filter.wants(OURS, Some(5)) && !filter.wants(OTHER, Some(5)));
    }
}
