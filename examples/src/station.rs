//! A station on the link: what it says, and what it answers.
//!
//! | it hears | it answers |
//! |---|---|
//! | ARP request for one of its addresses (RFC 826), probes too (RFC 5227) | ARP reply |
//! | neighbour solicitation for one of its addresses (RFC 4861 §7.2.3) | neighbour advertisement |
//! | echo request to one of its addresses (RFC 792, RFC 4443 §4.1) | echo reply |
//!
//! Everything that it hears comes from a peer. What is cut off, has a wrong length or checksum, is a
//! fragment, or comes from a group address is not answered. There is one answer to a packet, never
//! longer than the packet or one neighbour advertisement.

mod write;

use crate::values::Mac;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, IPV4_HEADER_LEN,
    Icmpv4Message, Icmpv4Packet, Icmpv4Repr, Icmpv6Message, Icmpv6Packet, Icmpv6Repr, IpProtocol,
    Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, NdiscRepr,
};
use std::net::{IpAddr, Ipv6Addr};

/// Who we are on the link.
#[derive(Debug)]
pub struct Station {
    /// Our Ethernet address.
    pub mac: Mac,
    /// Our IP addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether packets start with the Ethernet header; else with that of IP.
    pub ethernet: bool,
}

/// What a packet turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// Nothing that concerns us.
    Nothing,
    /// A question. The answer is written.
    Question,
    /// Where a neighbour is.
    Neighbour {
        /// Its IP address.
        address: IpAddr,
        /// Its Ethernet address.
        mac: Mac,
    },
    /// The answer to an echo request.
    Reply {
        /// Who answers.
        from: IpAddr,
        /// What came back.
        echo: Echo<'a>,
    },
}

/// What an echo request carries, and its reply brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo<'a> {
    /// Who asked, of several on one machine.
    pub ident: u16,
    /// Number of the request.
    pub number: u16,
    /// What is sent along.
    pub data: &'a [u8],
}

impl Station {
    /// Looks at a packet; if it asks something of us, the answer is what `answer` holds then.
    pub fn hear<'a>(&self, packet: &'a [u8], answer: &mut Vec<u8>) -> Heard<'a> {
        self.look_at(packet, answer).unwrap_or(Heard::Nothing)
    }

    fn look_at<'a>(&self, packet: &'a [u8], answer: &mut Vec<u8>) -> Option<Heard<'a>> {
        if !self.ethernet {
            // Nobody has an Ethernet address there.
            return match packet.first()? >> 4 {
                4 => self.ipv4(packet, None, answer),
                6 => self.ipv6(packet, None, answer),
                _ => None,
            };
        }
        let frame = EthernetFrame::new_checked(packet).ok()?;
        let (from, to) = (Mac(frame.src_addr().0), Mac(frame.dst_addr().0));
        if !from.is_unicast() {
            return None;
        }
        let (ours, group) = (to == self.mac, to.is_group());
        match frame.ethertype() {
            EthernetProtocol::Arp if ours || to == Mac::BROADCAST => {
                self.arp(frame.payload(), from, answer)
            }
            EthernetProtocol::Ipv4 if ours => self.ipv4(frame.payload(), Some(from), answer),
            EthernetProtocol::Ipv6 if ours || group => {
                self.ipv6(frame.payload(), Some(from), answer)
            }
            _ => None,
        }
    }

    fn arp<'a>(&self, packet: &'a [u8], from: Mac, answer: &mut Vec<u8>) -> Option<Heard<'a>> {
        let packet = ArpPacket::new_checked(packet).ok()?;
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        } = ArpRepr::parse(&packet).ok()?
        else {
            return None;
        };
        // The two places of the sender's address must agree.
        if Mac(source_hardware_addr.0) != from || !self.has(target_protocol_addr.into()) {
            return None;
        }
        match operation {
            ArpOperation::Request => {
                let to = (from, source_protocol_addr);
                self.write_arp(ArpOperation::Reply, to, target_protocol_addr, answer);
                Some(Heard::Question)
            }
            ArpOperation::Reply => {
                Some(Heard::Neighbour { address: source_protocol_addr.into(), mac: from })
            }
            ArpOperation::Unknown(_) => None,
        }
    }

    fn ipv4<'a>(
        &self,
        packet: &'a [u8],
        from: Option<Mac>,
        answer: &mut Vec<u8>,
    ) -> Option<Heard<'a>> {
        let packet = Ipv4Packet::new_checked(packet).ok()?;
        let ip = Ipv4Repr::parse(&packet, &all()).ok()?;
        let whole = !packet.more_frags() && packet.frag_offset() == 0;
        let sane = whole && ip.next_header == IpProtocol::Icmp && self.has(ip.dst_addr.into());
        // smoltcp also takes a header that ends before its own fields do.
        let short = usize::from(packet.header_len()) < IPV4_HEADER_LEN;
        if short || !sane || !is_host(ip.src_addr.into()) {
            return None;
        }
        let icmp = Icmpv4Packet::new_checked(packet.payload()).ok()?;
        let known =
            matches!(icmp.msg_type(), Icmpv4Message::EchoRequest | Icmpv4Message::EchoReply);
        if !known || icmp.msg_code() != 0 {
            return None;
        }
        match Icmpv4Repr::parse(&icmp, &all()).ok()? {
            Icmpv4Repr::EchoRequest { ident, seq_no, data } => {
                let echo = Echo { ident, number: seq_no, data };
                let reply = Icmpv4Repr::EchoReply { ident, seq_no, data: echo.data };
                self.write_icmpv4(from, ip.dst_addr, ip.src_addr, &reply, answer);
                Some(Heard::Question)
            }
            Icmpv4Repr::EchoReply { ident, seq_no, data } => {
                let echo = Echo { ident, number: seq_no, data };
                Some(Heard::Reply { from: ip.src_addr.into(), echo })
            }
            _ => None,
        }
    }

    fn ipv6<'a>(
        &self,
        packet: &'a [u8],
        from: Option<Mac>,
        answer: &mut Vec<u8>,
    ) -> Option<Heard<'a>> {
        let packet = Ipv6Packet::new_checked(packet).ok()?;
        let ip = Ipv6Repr::parse(&packet).ok()?;
        if ip.next_header != IpProtocol::Icmpv6 {
            return None;
        }
        let icmp = Icmpv6Packet::new_checked(packet.payload()).ok()?;
        if icmp.msg_code() != 0 {
            return None;
        }
        let kind = icmp.msg_type();
        let parse = || Icmpv6Repr::parse(&ip.src_addr, &ip.dst_addr, &icmp, &all()).ok();
        match kind {
            Icmpv6Message::EchoRequest | Icmpv6Message::EchoReply => {
                if !self.has(ip.dst_addr.into()) || !is_host(ip.src_addr.into()) {
                    return None;
                }
                match parse()? {
                    Icmpv6Repr::EchoRequest { ident, seq_no, data } => {
                        let reply = Icmpv6Repr::EchoReply { ident, seq_no, data };
                        self.write_icmpv6(from, ip.dst_addr, ip.src_addr, 64, &reply, answer);
                        Some(Heard::Question)
                    }
                    Icmpv6Repr::EchoReply { ident, seq_no, data } => {
                        let echo = Echo { ident, number: seq_no, data };
                        Some(Heard::Reply { from: ip.src_addr.into(), echo })
                    }
                    _ => None,
                }
            }
            // From this link for certain: no router has passed it on.
            Icmpv6Message::NeighborSolicit | Icmpv6Message::NeighborAdvert
                if ip.hop_limit == 255 =>
            {
                let Icmpv6Repr::Ndisc(message) = parse()? else { return None };
                self.ndisc(&ip, from?, &message, answer)
            }
            _ => None,
        }
    }

    fn ndisc<'a>(
        &self,
        ip: &Ipv6Repr,
        from: Mac,
        message: &NdiscRepr<'_>,
        answer: &mut Vec<u8>,
    ) -> Option<Heard<'a>> {
        match *message {
            NdiscRepr::NeighborSolicit { target_addr, .. } if self.has(target_addr.into()) => {
                let probe = ip.src_addr.is_unspecified();
                let expected = ip.dst_addr == solicited_node(target_addr)
                    || !probe && ip.dst_addr == target_addr;
                if !expected || !probe && !is_host(ip.src_addr.into()) {
                    return None;
                }
                let to = (!probe).then_some((from, ip.src_addr));
                self.write_advert(to, target_addr, answer);
                Some(Heard::Question)
            }
            NdiscRepr::NeighborAdvert { target_addr, .. } if self.has(ip.dst_addr.into()) => {
                Some(Heard::Neighbour { address: target_addr.into(), mac: from })
            }
            _ => None,
        }
    }

    fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }
}

/// Addresses that an answer can be sent to.
fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(broadcast || address.is_unspecified() || address.is_multicast() || address.is_loopback())
}

/// The group on which somebody with `address` hears who asks for it (RFC 4291 §2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | high & 0xff, low)
}

fn all() -> ChecksumCapabilities {
    ChecksumCapabilities::default()
}

#[cfg(test)]
mod tests;
