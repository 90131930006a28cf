//! The packets that a station sends.

use super::{Echo, Station, all, solicited_node};
use crate::values::Mac;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, ETHERNET_HEADER_LEN, EthernetAddress, EthernetFrame,
    EthernetProtocol, IPV4_HEADER_LEN, IPV6_HEADER_LEN, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet,
    Icmpv6Repr, IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags,
    NdiscRepr,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl Station {
    /// Says, unasked, where our `address` is, for those who knew another place (RFC 5227 §2.3,
    /// RFC 4861 §7.2.6).
    pub(crate) fn write_announcement(&self, address: IpAddr, out: &mut Vec<u8>) {
        match address {
            IpAddr::V4(own) => {
                self.write_arp(ArpOperation::Request, (Mac::BROADCAST, own), own, out);
            }
            IpAddr::V6(own) => self.write_advert(None, own, out),
        }
    }

    /// Asks who has `address`, from our address `from` of the same kind.
    pub(crate) fn write_who_has(&self, from: IpAddr, address: IpAddr, out: &mut Vec<u8>) {
        match (from, address) {
            (IpAddr::V4(from), IpAddr::V4(address)) => {
                self.write_arp(ArpOperation::Request, (Mac::BROADCAST, address), from, out);
            }
            (IpAddr::V6(from), IpAddr::V6(target_addr)) => {
                let group = solicited_node(target_addr);
                let lladdr = Some(EthernetAddress(self.mac.0).into());
                let question = NdiscRepr::NeighborSolicit { target_addr, lladdr };
                let question = Icmpv6Repr::Ndisc(question);
                self.write_icmpv6(Some(group_mac(group)), from, group, 255, &question, out);
            }
            _ => out.clear(),
        }
    }

    /// Writes an echo request from our address `from` to `to` of the same kind.
    pub(crate) fn write_echo(
        &self,
        mac: Option<Mac>,
        (from, to): (IpAddr, IpAddr),
        Echo { ident, number: seq_no, data }: Echo<'_>,
        out: &mut Vec<u8>,
    ) {
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let echo = Icmpv4Repr::EchoRequest { ident, seq_no, data };
                self.write_icmpv4(mac, from, to, &echo, out);
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let echo = Icmpv6Repr::EchoRequest { ident, seq_no, data };
                self.write_icmpv6(mac, from, to, 64, &echo, out);
            }
            _ => out.clear(),
        }
    }

    /// Says where our `address` is: to who asked, or to all nodes if that one has no address yet.
    pub(super) fn write_advert(
        &self,
        to: Option<(Mac, Ipv6Addr)>,
        address: Ipv6Addr,
        out: &mut Vec<u8>,
    ) {
        let (mac, to_address) = to.unwrap_or_else(|| (group_mac(ALL_NODES), ALL_NODES));
        let mut flags = NdiscNeighborFlags::OVERRIDE;
        flags.set(NdiscNeighborFlags::SOLICITED, to.is_some());
        let lladdr = Some(EthernetAddress(self.mac.0).into());
        let advert = NdiscRepr::NeighborAdvert { flags, target_addr: address, lladdr };
        let advert = Icmpv6Repr::Ndisc(advert);
        self.write_icmpv6(Some(mac), address, to_address, 255, &advert, out);
    }

    pub(super) fn write_arp(
        &self,
        operation: ArpOperation,
        (mac, address): (Mac, Ipv4Addr),
        from: Ipv4Addr,
        out: &mut Vec<u8>,
    ) {
        let target = if operation == ArpOperation::Request { Mac([0; 6]) } else { mac };
        let arp = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(self.mac.0),
            source_protocol_addr: from,
            target_hardware_addr: EthernetAddress(target.0),
            target_protocol_addr: address,
        };
        let body = self.start(Some(mac), EthernetProtocol::Arp, arp.buffer_len(), out);
        arp.emit(&mut ArpPacket::new_unchecked(body));
    }

    pub(super) fn write_icmpv4(
        &self,
        mac: Option<Mac>,
        src_addr: Ipv4Addr,
        dst_addr: Ipv4Addr,
        icmp: &Icmpv4Repr<'_>,
        out: &mut Vec<u8>,
    ) {
        let payload_len = icmp.buffer_len();
        let next_header = IpProtocol::Icmp;
        let ip = Ipv4Repr { src_addr, dst_addr, next_header, payload_len, hop_limit: 64 };
        let len = IPV4_HEADER_LEN + payload_len;
        let body = self.start(mac, EthernetProtocol::Ipv4, len, out);
        let mut packet = Ipv4Packet::new_unchecked(body);
        ip.emit(&mut packet, &all());
        icmp.emit(&mut Icmpv4Packet::new_unchecked(packet.payload_mut()), &all());
    }

    pub(super) fn write_icmpv6(
        &self,
        mac: Option<Mac>,
        src_addr: Ipv6Addr,
        dst_addr: Ipv6Addr,
        hop_limit: u8,
        icmp: &Icmpv6Repr<'_>,
        out: &mut Vec<u8>,
    ) {
        let payload_len = icmp.buffer_len();
        let next_header = IpProtocol::Icmpv6;
        let ip = Ipv6Repr { src_addr, dst_addr, next_header, payload_len, hop_limit };
        let len = IPV6_HEADER_LEN + payload_len;
        let body = self.start(mac, EthernetProtocol::Ipv6, len, out);
        let mut packet = Ipv6Packet::new_unchecked(body);
        ip.emit(&mut packet);
        let mut body = Icmpv6Packet::new_unchecked(packet.payload_mut());
        icmp.emit(&src_addr, &dst_addr, &mut body, &all());
    }

    /// Makes room for a packet with `len` bytes behind the Ethernet header, if there is one, and
    /// returns those.
    fn start<'o>(
        &self,
        to: Option<Mac>,
        kind: EthernetProtocol,
        len: usize,
        out: &'o mut Vec<u8>,
    ) -> &'o mut [u8] {
        out.clear();
        if !self.ethernet {
            out.resize(len, 0);
            return out;
        }
        out.resize((ETHERNET_HEADER_LEN + len).max(FRAME_MIN), 0);
        let mut frame = EthernetFrame::new_unchecked(&mut out[..]);
        frame.set_dst_addr(EthernetAddress(to.unwrap_or(Mac::BROADCAST).0));
        frame.set_src_addr(EthernetAddress(self.mac.0));
        frame.set_ethertype(kind);
        &mut out[ETHERNET_HEADER_LEN..][..len]
    }
}

/// The Ethernet address of a group (RFC 2464 §7).
fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Shortest Ethernet frame, without its checksum (IEEE 802.3 §4.2.3.3).
const FRAME_MIN: usize = 60;
