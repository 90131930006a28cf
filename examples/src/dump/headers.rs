//! What the headers of a packet say, as far as they are there.
//!
//! The packet comes from a peer and may be cut off anywhere; nothing that is missing is assumed.

use crate::values::Mac;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the headers of one packet say; `None` for what is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers {
    /// Source and destination.
    pub macs: Option<[Mac; 2]>,
    /// Number of the outer VLAN.
    pub vlan: Option<u16>,
    /// Behind all VLAN tags.
    pub ether_type: Option<u16>,
    /// Source and destination, of IP or ARP.
    pub addresses: Option<[IpAddr; 2]>,
    /// Operation of ARP.
    pub arp: Option<u16>,
    /// Number of the protocol in IP.
    pub protocol: Option<u8>,
    /// Source and destination, of TCP or UDP.
    pub ports: Option<[u16; 2]>,
    /// Type of the ICMP message.
    pub icmp: Option<u8>,
}

pub(super) const ARP: u16 = 0x0806;
pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;

/// VLAN tags of IEEE 802.1Q and 802.1ad.
const TAGS: [u16; 2] = [0x8100, 0x88a8];

/// VLAN tags, and extension headers of IPv6, that are passed over at most.
const TAGS_MAX: usize = 4;
const EXTENSIONS_MAX: usize = 8;

impl Headers {
    /// Reads a packet that starts with the Ethernet header, or else with that of IP.
    #[must_use]
    pub fn read(packet: &[u8], ethernet: bool) -> Self {
        let mut headers = Self::default();
        // `None` says that the packet ended early.
        let _ = if ethernet { headers.ethernet(packet) } else { headers.ip(packet) };
        headers
    }

    fn ethernet(&mut self, mut rest: &[u8]) -> Option<()> {
        let [to, from] = [take(&mut rest)?, take(&mut rest)?];
        self.macs = Some([Mac(from), Mac(to)]);
        let mut kind = take_u16(&mut rest)?;
        for _ in 0..TAGS_MAX {
            if !TAGS.contains(&kind) {
                break;
            }
            let tag = take_u16(&mut rest)?;
            self.vlan.get_or_insert(tag & 0xfff);
            kind = take_u16(&mut rest)?;
        }
        self.ether_type = Some(kind);
        match kind {
            ARP => self.arp(rest),
            IPV4 | IPV6 => self.ip(rest),
            _ => None,
        }
    }

    fn arp(&mut self, mut rest: &[u8]) -> Option<()> {
        // Ethernet and IPv4, with addresses of 6 and 4 bytes.
        if take(&mut rest)? != [0, 1, 8, 0, 6, 4] {
            return None;
        }
        self.arp = Some(take_u16(&mut rest)?);
        let _: [u8; 6] = take(&mut rest)?;
        let from: [u8; 4] = take(&mut rest)?;
        let _: [u8; 6] = take(&mut rest)?;
        let to: [u8; 4] = take(&mut rest)?;
        self.addresses = Some([Ipv4Addr::from(from).into(), Ipv4Addr::from(to).into()]);
        Some(())
    }

    fn ip(&mut self, packet: &[u8]) -> Option<()> {
        match packet.first()? >> 4 {
            4 => self.ipv4(packet),
            6 => self.ipv6(packet),
            _ => None,
        }
    }

    fn ipv4(&mut self, packet: &[u8]) -> Option<()> {
        self.ether_type = Some(IPV4);
        let mut rest = packet;
        let [first, _, _, _, _, _, high, low, _, protocol, _, _] = take(&mut rest)?;
        let (from, to): ([u8; 4], [u8; 4]) = (take(&mut rest)?, take(&mut rest)?);
        self.addresses = Some([Ipv4Addr::from(from).into(), Ipv4Addr::from(to).into()]);
        self.protocol = Some(protocol);
        let len = usize::from(first & 0xf) * 4;
        let later = u16::from_be_bytes([high, low]) & 0x1fff != 0;
        if len < 20 || later {
            return None;
        }
        self.transport(protocol, packet.get(len..)?)
    }

    fn ipv6(&mut self, packet: &[u8]) -> Option<()> {
        self.ether_type = Some(IPV6);
        let mut rest = packet;
        let [_, _, _, _, _, _, mut next, _] = take(&mut rest)?;
        let (from, to): ([u8; 16], [u8; 16]) = (take(&mut rest)?, take(&mut rest)?);
        self.addresses = Some([Ipv6Addr::from(from).into(), Ipv6Addr::from(to).into()]);
        for _ in 0..EXTENSIONS_MAX {
            self.protocol = Some(next);
            match next {
                // Hop-by-hop, routing, destination options.
                0 | 43 | 60 => {
                    let &[following, len, ..] = rest else { return None };
                    rest = rest.get((usize::from(len) + 1) * 8..)?;
                    next = following;
                }
                // Fragment.
                44 => {
                    let [following, _, high, low, ..]: [u8; 8] = take(&mut rest)?;
                    self.protocol = Some(following);
                    if u16::from_be_bytes([high, low]) >> 3 != 0 {
                        return None;
                    }
                    next = following;
                }
                _ => return self.transport(next, rest),
            }
        }
        None
    }

    fn transport(&mut self, protocol: u8, mut rest: &[u8]) -> Option<()> {
        match protocol {
            TCP | UDP => self.ports = Some([take_u16(&mut rest)?, take_u16(&mut rest)?]),
            ICMP | ICMPV6 => self.icmp = Some(*rest.first()?),
            _ => {}
        }
        Some(())
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*first)
}

fn take_u16(rest: &mut &[u8]) -> Option<u16> {
    take(rest).map(u16::from_be_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A frame with these EtherType and what is behind it.
    pub(in crate::dump) fn frame(behind: &[u8]) -> Vec<u8> {
        [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], behind].concat()
    }

    /// IPv4 from 10.0.0.1 to 10.0.0.2, with `fragment` for flags and offset.
    pub(in crate::dump) fn ipv4(protocol: u8, fragment: [u8; 2], behind: &[u8]) -> Vec<u8> {
        let [high, low] = fragment;
        let header =
            [0x45, 0, 0, 40, 0, 0, high, low, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        [&header[..], behind].concat()
    }

    #[test]
    fn tags_addresses_and_ports_are_read() {
        let udp = ipv4(UDP, [0x40, 0], &[0, 53, 0x12, 0x34, 0, 8, 0, 0]);
        let tagged = frame(&[&[0x88, 0xa8, 0x20, 5, 0x81, 0, 0, 9, 8, 0], &udp[..]].concat());
        let headers = Headers::read(&tagged, true);
        assert_eq!((headers.vlan, headers.ether_type), (Some(5), Some(IPV4)));
        assert_eq!(headers.ports, Some([53, 0x1234]));
        let [from, to] = headers.addresses.unwrap().map(|address| address.to_string());
        assert_eq!((&from[..], &to[..]), ("10.0.0.1", "10.0.0.2"));
        assert_eq!(Headers::read(&udp, false).ports, Some([53, 0x1234]));
        let later = ipv4(UDP, [0, 1], &[0, 53, 0x12, 0x34]);
        assert_eq!(Headers::read(&later, false).ports, None);
        assert_eq!(Headers::read(&later, false).protocol, Some(UDP));
    }

    #[test]
    fn extension_headers_are_passed_over_but_not_for_ever() {
        let ipv6 = |next, behind: &[u8]| {
            let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
            packet.extend([0xfd; 32]);
            packet.extend(behind);
            packet
        };
        let mut extended = vec![43, 0, 0, 0, 0, 0, 0, 0, TCP, 1];
        extended.extend([0; 14]);
        extended.extend([1, 187, 0, 80]);
        let headers = Headers::read(&ipv6(0, &extended), false);
        assert_eq!((headers.protocol, headers.ports), (Some(TCP), Some([443, 80])));
        let fragment = |offset| ipv6(44, &[UDP, 0, offset, 1, 0, 0, 0, 0, 0, 1, 0, 2]);
        assert_eq!(Headers::read(&fragment(0), false).ports, Some([1, 2]));
        assert_eq!(Headers::read(&fragment(1), false).ports, None);
        let endless = ipv6(0, &[0; 8000]);
        assert_eq!(Headers::read(&endless, false).ports, None);
        let beyond = ipv6(60, &[TCP, 255, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Headers::read(&beyond, false).ports, None);
    }

    #[test]
    fn packet_cut_off_anywhere_says_only_what_is_there() {
        let tcp = frame(&[&[8, 0][..], &ipv4(TCP, [0, 0], &[0, 1, 0, 2])].concat());
        for len in 0..tcp.len() {
            let headers = Headers::read(&tcp[..len], true);
            assert_eq!(headers.macs.is_some(), len >= 12);
            assert_eq!(headers.addresses.is_some(), len >= 34);
            assert_eq!(headers.ports, None);
        }
        let mut odd = tcp.clone();
        odd[14] = 0x44;
        assert_eq!(Headers::read(&odd, true).ports, None);
        odd[14] = 0x4f;
        assert_eq!(Headers::read(&odd, true).ports, None);
    }
}
