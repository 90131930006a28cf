//! As much of ARP, IPv4 and ICMP as a ping takes, in both directions.

use std::net::Ipv4Addr;

/// Bytes of an Ethernet header.
const ETHER: usize = 14;
/// Bytes of an IPv4 header without options.
const IP: usize = 20;
/// Bytes of an ICMP echo header.
const ICMP: usize = 8;
const BROADCAST: [u8; 6] = [0xff; 6];

/// What a station on a link is called.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    pub mac: [u8; 6],
    pub ip: Ipv4Addr,
    /// Packets start with the IP header.
    pub ip_mode: bool,
}

/// What a received packet turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A question for us, and the answer to it.
    Question(Vec<u8>),
    /// Where a neighbour is.
    ArpReply { ip: Ipv4Addr, mac: [u8; 6] },
    /// The answer to a ping of ours.
    EchoReply { sequence: u16, payload: Vec<u8>, checksum_is_right: bool },
    /// Anything else.
    Other,
}

impl Host {
    fn header(&self) -> usize {
        if self.ip_mode { 0 } else { ETHER }
    }

    /// Looks at a packet, and answers it if it asks.
    pub fn look_at(&self, packet: &[u8]) -> Seen {
        if !self.ip_mode {
            match packet.get(12..14) {
                Some([0x08, 0x06]) => return self.arp(packet),
                Some([0x08, 0x00]) => {}
                _ => return Seen::Other,
            }
        }
        self.icmp(packet).unwrap_or(Seen::Other)
    }

    fn arp(&self, packet: &[u8]) -> Seen {
        let Some(body) = packet.get(ETHER..ETHER + 28) else { return Seen::Other };
        let (sender_mac, sender_ip): ([u8; 6], [u8; 4]) = (field(body, 8), field(body, 14));
        match (field::<2>(body, 6), field::<4>(body, 24)) {
            ([0, 1], target) if target == self.ip.octets() => {
                Seen::Question(self.arp_packet(2, sender_mac, sender_mac, sender_ip))
            }
            ([0, 2], _) => Seen::ArpReply { ip: sender_ip.into(), mac: sender_mac },
            _ => Seen::Other,
        }
    }

    /// Asks who has `ip`.
    pub fn arp_request(&self, ip: Ipv4Addr) -> Vec<u8> {
        self.arp_packet(1, BROADCAST, [0; 6], ip.octets())
    }

    fn arp_packet(&self, operation: u8, to: [u8; 6], mac: [u8; 6], ip: [u8; 4]) -> Vec<u8> {
        let mut packet = self.ether(to, [0x08, 0x06]);
        packet.extend([0, 1, 0x08, 0, 6, 4, 0, operation]);
        packet.extend(self.mac);
        packet.extend(self.ip.octets());
        packet.extend(mac);
        packet.extend(ip);
        packet
    }

    fn ether(&self, to: [u8; 6], ether_type: [u8; 2]) -> Vec<u8> {
        if self.ip_mode {
            return Vec::new();
        }
        [&to[..], &self.mac, &ether_type].concat()
    }

    fn icmp(&self, packet: &[u8]) -> Option<Seen> {
        let ip = packet.get(self.header()..)?;
        let total = usize::from(u16::from_be_bytes(field(ip, 2)));
        // No options, no fragments, ICMP, for us.
        let plain = ip.len() >= IP + ICMP && ip[0] == 0x45 && ip[6] & 0x3f == 0 && ip[7] == 0;
        if !plain || ip[9] != 1 || field::<4>(ip, 16) != self.ip.octets() || total > ip.len() {
            return None;
        }
        let icmp = ip.get(IP..total)?;
        let checksum_is_right = checksum(icmp) == 0;
        let payload = icmp.get(ICMP..)?;
        match icmp[0] {
            8 if checksum_is_right => {
                let to = if self.ip_mode { [0; 6] } else { field(packet, 6) };
                let ip_from = Ipv4Addr::from(field::<4>(ip, 12));
                Some(Seen::Question(self.echo(0, to, ip_from, &icmp[4..8], payload)))
            }
            0 => {
                let sequence = u16::from_be_bytes(field(icmp, 6));
                Some(Seen::EchoReply { sequence, payload: payload.into(), checksum_is_right })
            }
            _ => None,
        }
    }

    /// A ping.
    pub fn echo_request(
        &self,
        mac: [u8; 6],
        ip: Ipv4Addr,
        sequence: u16,
        payload: &[u8],
    ) -> Vec<u8> {
        let [high, low] = sequence.to_be_bytes();
        self.echo(8, mac, ip, &[0x12, 0x34, high, low], payload)
    }

    fn echo(
        &self,
        kind: u8,
        mac: [u8; 6],
        ip: Ipv4Addr,
        id_and_sequence: &[u8],
        payload: &[u8],
    ) -> Vec<u8> {
        let mut packet = self.ether(mac, [0x08, 0x00]);
        let start = packet.len();
        let total = u16::try_from(IP + ICMP + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
        packet.extend([0x45, 0, total[0], total[1], 0, 1, 0, 0, 64, 1, 0, 0]);
        packet.extend(self.ip.octets());
        packet.extend(ip.octets());
        put_checksum(&mut packet[start..], 10);
        packet.extend([kind, 0, 0, 0]);
        packet.extend(id_and_sequence);
        packet.extend(payload);
        put_checksum(&mut packet[start + IP..], 2);
        packet
    }
}

/// `N` bytes at `at`; zeros where the packet ends before.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|found| found.try_into().ok()).unwrap_or([0; N])
}

fn put_checksum(bytes: &mut [u8], at: usize) {
    let sum = checksum(bytes).to_be_bytes();
    bytes[at..at + 2].copy_from_slice(&sum);
}

/// The ones' complement sum that IP and ICMP share; zero over data that carries its own.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}
