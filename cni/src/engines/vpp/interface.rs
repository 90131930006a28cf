//! What all interfaces have: a tag, a state, an MTU, addresses.

use super::message::{
    ADDRESS_DUMP, INTERFACE_DUMP, SET_ADDRESS, SET_FLAGS, SET_MAC, SET_MTU, SET_TAG,
};
use super::retval::INVALID_SW_IF_INDEX;
use super::route::address_bytes;
use super::wire::{Fields, Reader};
use super::{Session, VppError, accept};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Every interface.
const ALL: u32 = u32::MAX;
const TAG_LEN: usize = 64;
/// Flag: switched on.
const ADMIN_UP: u32 = 1;
/// Flag: connected.
const LINK_UP: u32 = 2;

/// An interface that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub sw_if_index: u32,
    /// VPP's name of it.
    pub name: String,
    /// Its mark.
    pub tag: String,
    /// Its MAC address; zeros where it has none.
    pub mac: [u8; 6],
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it is connected.
    pub linked: bool,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Number of the interface that it is a part of; its own if it is none.
    pub parent: u32,
    /// Its number there.
    pub sub_id: u32,
    /// What is done to tags: see [`super::vlan`].
    pub rewrite: u32,
}

impl Interface {
    /// Whether it is a part of another interface.
    #[must_use]
    pub const fn is_part_of(&self, other: u32) -> bool {
        self.parent == other && self.sw_if_index != other
    }
}

/// An address with its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Bits of the prefix.
    pub prefix_len: u8,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix_len)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (ip, len) = text.split_once('/')?;
            let ip: IpAddr = ip.parse().ok()?;
            let prefix_len: u8 = len.parse().ok()?;
            let most = if ip.is_ipv4() { 32 } else { 128 };
            (prefix_len <= most).then_some(Self { ip, prefix_len })
        };
        parsed().ok_or_else(|| format!("`{text}` is no address with a prefix"))
    }
}

impl Session {
    /// All interfaces.
    ///
    /// # Errors
    /// See [`Session::dump`].
    pub fn interfaces(&mut self) -> Result<Vec<Interface>, VppError> {
        let fields = Fields::new().u32(ALL).bool(false).long_text(b"");
        let answers = self.dump(INTERFACE_DUMP, &fields)?;
        answers.iter().map(|answer| read_interface(&mut answer.reader())).collect()
    }

    /// Marks an interface.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn set_tag(&mut self, sw_if_index: u32, tag: &str) -> Result<(), VppError> {
        let fields = Fields::new().bool(true).u32(sw_if_index).text(tag.as_bytes(), TAG_LEN);
        self.call(SET_TAG, &fields).map(|_| ())
    }

    /// Sets the largest packet that is sent without being taken apart, in bytes.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn set_mtu(&mut self, sw_if_index: u32, mtu: u32) -> Result<(), VppError> {
        // The second to the fourth are those of IPv4, IPv6 and MPLS: 0 is the first one's.
        let fields = Fields::new().u32(sw_if_index).u32(mtu).zeros(12);
        self.call(SET_MTU, &fields).map(|_| ())
    }

    /// Sets the MAC address.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn set_mac(&mut self, sw_if_index: u32, mac: [u8; 6]) -> Result<(), VppError> {
        self.call(SET_MAC, &Fields::new().u32(sw_if_index).bytes(&mac)).map(|_| ())
    }

    /// Switches an interface on.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn set_up(&mut self, sw_if_index: u32) -> Result<(), VppError> {
        self.call(SET_FLAGS, &Fields::new().u32(sw_if_index).u32(ADMIN_UP)).map(|_| ())
    }

    /// Gives an interface an address.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn add_address(&mut self, sw_if_index: u32, address: Address) -> Result<(), VppError> {
        let start = Fields::new().u32(sw_if_index).bool(true).bool(false);
        let start = start.u8(u8::from(address.ip.is_ipv6())).bytes(&address_bytes(address.ip));
        let fields = start.u8(address.prefix_len);
        self.call(SET_ADDRESS, &fields).map(|_| ())
    }

    /// Takes all addresses from an interface. One that is absent has none.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn remove_addresses(&mut self, sw_if_index: u32) -> Result<(), VppError> {
        let fields = Fields::new().u32(sw_if_index).bool(false).bool(true).zeros(18);
        accept(self.call(SET_ADDRESS, &fields), &[INVALID_SW_IF_INDEX]).map(|_| ())
    }

    /// The addresses of an interface.
    ///
    /// # Errors
    /// See [`Session::dump`].
    pub fn addresses(&mut self, sw_if_index: u32) -> Result<Vec<Address>, VppError> {
        let mut found = Vec::new();
        for ipv6 in [false, true] {
            let fields = Fields::new().u32(sw_if_index).bool(ipv6);
            for answer in self.dump(ADDRESS_DUMP, &fields)? {
                let mut fields = answer.reader();
                fields.skip(4)?;
                found.push(read_address(&mut fields)?);
            }
        }
        Ok(found)
    }
}

fn read_interface(fields: &mut Reader<'_>) -> Result<Interface, VppError> {
    let sw_if_index = fields.u32()?;
    let parent = fields.u32()?;
    let mac = fields.array()?;
    let flags = fields.u32()?;
    // Type, duplex, speed, and the link's MTU.
    fields.skip(14)?;
    let mtu = fields.u32()?;
    // MTUs of protocols.
    fields.skip(12)?;
    let sub_id = fields.u32()?;
    // Which tags a sub-interface has.
    fields.skip(9)?;
    let rewrite = fields.u32()?;
    // Tags that are put in the place of others, and those of provider bridges.
    fields.skip(32)?;
    let name = fields.text(64)?;
    // Kind of device.
    fields.skip(64)?;
    let tag = fields.text(TAG_LEN)?;
    let (up, linked) = (flags & ADMIN_UP != 0, flags & LINK_UP != 0);
    Ok(Interface { sw_if_index, name, tag, mac, up, linked, mtu, parent, sub_id, rewrite })
}

fn read_address(fields: &mut Reader<'_>) -> Result<Address, VppError> {
    let family = fields.u8()?;
    let mut bytes = [0; 16];
    bytes.copy_from_slice(fields.bytes(16)?);
    let [a, b, c, d, ..] = bytes;
    let ip = match family {
        0 => IpAddr::from(Ipv4Addr::new(a, b, c, d)),
        1 => IpAddr::from(Ipv6Addr::from(bytes)),
        other => {
            let what = format!("an address of family {other}");
            return Err(VppError::Malformed { what });
        }
    };
    Ok(Address { ip, prefix_len: fields.u8()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_without_a_prefix_that_fits_are_refused() {
        for text in ["10.0.0.1", "10.0.0.1/33", "fd00::1/129", "x/8", "10.0.0.1/-1"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        let address: Address = "fd00::1/64".parse().unwrap();
        assert_eq!(address.to_string(), "fd00::1/64");
    }
}
