//! Which packets are captured.
//!
//! ```text
//! filter = and { "or" and }
//! and    = not { "and" not }
//! not    = "not" not | "(" filter ")" | test
//! test   = "arp" | "ip" | "ip6" | "icmp" | "icmp6" | "tcp" | "udp" | "vlan" [ID]
//!        | ["src" | "dst"] ("host" ADDRESS | "net" ADDRESS/LENGTH | "port" NUMBER | "ether" MAC)
//!        | "less" BYTES | "greater" BYTES
//! ```

use super::headers::{ARP, Headers, ICMP, ICMPV6, IPV4, IPV6, TCP, UDP};
use crate::values::Mac;
use anyhow::{Context, bail, ensure};
use std::net::IpAddr;
use std::str::FromStr;

/// An expression over the headers of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// One of several holds.
    Or(Vec<Self>),
    /// Each of several holds.
    And(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// Behind all VLAN tags.
    EtherType(u16),
    /// In IP.
    Protocol(u8),
    /// With this number, or with any.
    Vlan(Option<u16>),
    /// Addresses whose first bits are these.
    Net(Side, IpAddr, u32),
    /// Of TCP or UDP.
    Port(Side, u16),
    /// An Ethernet address.
    Ether(Side, Mac),
    /// At most so many bytes.
    Less(usize),
    /// At least so many bytes.
    Greater(usize),
}

/// Which of source and destination is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The source.
    Source,
    /// The destination.
    Destination,
    /// One of the two, or both.
    Either,
}

impl Filter {
    /// Whether it holds for a packet of `len` bytes.
    #[must_use]
    pub fn holds(&self, headers: &Headers, len: usize) -> bool {
        match self {
            Self::Or(parts) => parts.iter().any(|part| part.holds(headers, len)),
            Self::And(parts) => parts.iter().all(|part| part.holds(headers, len)),
            Self::Not(part) => !part.holds(headers, len),
            Self::EtherType(kind) => headers.ether_type == Some(*kind),
            Self::Protocol(protocol) => headers.protocol == Some(*protocol),
            Self::Vlan(None) => headers.vlan.is_some(),
            Self::Vlan(id) => headers.vlan == *id,
            Self::Net(side, net, bits) => {
                side.any(headers.addresses, |address| is_in(address, *net, *bits))
            }
            Self::Port(side, port) => side.any(headers.ports, |found| found == *port),
            Self::Ether(side, mac) => side.any(headers.macs, |found| found == *mac),
            Self::Less(most) => len <= *most,
            Self::Greater(least) => len >= *least,
        }
    }
}

impl Side {
    fn any<T>(self, pair: Option<[T; 2]>, test: impl Fn(T) -> bool) -> bool {
        let Some([source, destination]) = pair else { return false };
        match self {
            Self::Source => test(source),
            Self::Destination => test(destination),
            Self::Either => test(source) || test(destination),
        }
    }
}

fn is_in(address: IpAddr, net: IpAddr, bits: u32) -> bool {
    let alike = match (address, net) {
        (IpAddr::V4(address), IpAddr::V4(net)) => {
            (address.to_bits() ^ net.to_bits()).leading_zeros()
        }
        (IpAddr::V6(address), IpAddr::V6(net)) => {
            (address.to_bits() ^ net.to_bits()).leading_zeros()
        }
        _ => return false,
    };
    alike >= bits
}

impl FromStr for Filter {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let words: Vec<_> = spaced.split_whitespace().collect();
        ensure!(words.len() <= WORDS_MAX, "a filter has at most {WORDS_MAX} words");
        let mut parser = Parser { words: &words };
        let filter = parser.any()?;
        match parser.words.first() {
            None => Ok(filter),
            Some(word) => bail!("expected `and` or `or`, not `{word}`"),
        }
    }
}

/// Also a limit to how deep a filter can be.
const WORDS_MAX: usize = 256;

struct Parser<'w> {
    /// Those that are left.
    words: &'w [&'w str],
}

impl<'w> Parser<'w> {
    fn any(&mut self) -> anyhow::Result<Filter> {
        let mut parts = vec![self.all()?];
        while self.skip("or") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::Or(parts) })
    }

    fn all(&mut self) -> anyhow::Result<Filter> {
        let mut parts = vec![self.not()?];
        while self.skip("and") {
            parts.push(self.not()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::And(parts) })
    }

    fn not(&mut self) -> anyhow::Result<Filter> {
        if self.skip("not") {
            return Ok(Filter::Not(Box::new(self.not()?)));
        }
        if self.skip("(") {
            let inner = self.any()?;
            ensure!(self.skip(")"), "a `)` is missing");
            return Ok(inner);
        }
        self.test()
    }

    fn test(&mut self) -> anyhow::Result<Filter> {
        let side = if self.skip("src") {
            Side::Source
        } else if self.skip("dst") {
            Side::Destination
        } else {
            Side::Either
        };
        let word = self.next()?;
        let plain = match word {
            "arp" => Some(Filter::EtherType(ARP)),
            "ip" => Some(Filter::EtherType(IPV4)),
            "ip6" => Some(Filter::EtherType(IPV6)),
            "icmp" => Some(Filter::Protocol(ICMP)),
            "icmp6" => Some(Filter::Protocol(ICMPV6)),
            "tcp" => Some(Filter::Protocol(TCP)),
            "udp" => Some(Filter::Protocol(UDP)),
            "vlan" => Some(Filter::Vlan(self.number_if_any(0xfff)?)),
            "less" => Some(Filter::Less(self.number(u32::MAX.into())?)),
            "greater" => Some(Filter::Greater(self.number(u32::MAX.into())?)),
            _ => None,
        };
        match (plain, word) {
            (Some(filter), _) => {
                ensure!(side == Side::Either, "`src` and `dst` do not go with `{word}`");
                Ok(filter)
            }
            (None, "host") => self.net(side, false),
            (None, "net") => self.net(side, true),
            (None, "port") => Ok(Filter::Port(side, self.number(0xffff)?)),
            (None, "ether") => Ok(Filter::Ether(side, self.next()?.parse()?)),
            (None, _) => bail!("`{word}` is no test: expected one such as arp, host or port"),
        }
    }

    fn net(&mut self, side: Side, with_length: bool) -> anyhow::Result<Filter> {
        let word = self.next()?;
        let (address, length) = match word.split_once('/') {
            Some((address, length)) if with_length => (address, Some(length)),
            _ => (word, None),
        };
        let wrong = || format!("`{word}` is no address");
        let address: IpAddr = address.parse().with_context(wrong)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = length.map_or(Ok(most), str::parse).with_context(wrong)?;
        ensure!(bits <= most, "`{word}` has more than {most} bits");
        Ok(Filter::Net(side, address, bits))
    }

    fn number<T: TryFrom<u64>>(&mut self, most: u64) -> anyhow::Result<T> {
        let word = self.next()?;
        let number = word.parse().ok().filter(|&number: &u64| number <= most);
        let number = number.and_then(|number| number.try_into().ok());
        number.with_context(|| format!("expected a number up to {most}, not `{word}`"))
    }

    fn number_if_any(&mut self, most: u64) -> anyhow::Result<Option<u16>> {
        let digit = |word: &&&str| word.starts_with(|first: char| first.is_ascii_digit());
        if self.words.first().filter(digit).is_none() {
            return Ok(None);
        }
        self.number(most).map(Some)
    }

    fn next(&mut self) -> anyhow::Result<&'w str> {
        let (word, rest) = self.words.split_first().context("the filter ends too early")?;
        self.words = rest;
        Ok(word)
    }

    /// Passes over `word`, if it comes next.
    fn skip(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.words = &self.words[1..];
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::headers::tests::{frame, ipv4};
    use super::*;

    fn holds(filter: &str, packet: &[u8]) -> bool {
        let filter: Filter = filter.parse().unwrap_or_else(|error| panic!("{filter}: {error}"));
        filter.holds(&Headers::read(packet, true), packet.len())
    }

    #[test]
    fn tests_see_protocol_addresses_ports_tags_and_length() {
        let udp = ipv4(UDP, [0, 0], &[0, 53, 1, 0, 0, 8, 0, 0]);
        let plain = frame(&[&[8, 0][..], &udp].concat());
        let tagged = frame(&[&[0x81, 0, 0, 7, 8, 0][..], &udp].concat());
        for filter in [
            "udp",
            "ip",
            "not tcp",
            "not not udp",
            "host 10.0.0.1",
            "src host 10.0.0.1",
            "dst host 10.0.0.2",
            "net 10.0.0.0/8",
            "net 0.0.0.0/0",
            "port 53",
            "dst port 256",
            "ether 02:00:00:00:00:01",
            "src ether 02:00:00:00:00:02",
            "greater 42 and less 42",
            "tcp or udp",
            "tcp and arp or udp",
            "udp or tcp and arp",
            "not vlan",
            "(udp or arp) and not(port 54)",
        ] {
            assert!(holds(filter, &plain), "{filter}");
        }
        for filter in [
            "tcp",
            "arp",
            "ip6",
            "icmp",
            "not udp",
            "src host 10.0.0.2",
            "host fd00::1",
            "net 11.0.0.0/8",
            "dst port 53",
            "src ether 02:00:00:00:00:01",
            "greater 43",
            "less 41",
            "udp and arp",
            "vlan",
            "not(udp or arp)",
            "(udp or tcp) and arp",
        ] {
            assert!(!holds(filter, &plain), "{filter}");
        }
        assert!(
            holds("vlan", &tagged)
                && holds(
                    "vlan 7 and udp port 53".replace("udp port", "udp and port").as_str(),
                    &tagged
                )
        );
        assert!(!holds("vlan 8", &tagged));
    }

    #[test]
    fn what_is_wrong_with_a_filter_is_named() {
        for (filter, named) in [
            ("", "ends too early"),
            ("udp and", "ends too early"),
            ("udp tcp", "`tcp`"),
            ("(udp", "`)`"),
            ("udp)", "`)`"),
            ("frob", "`frob`"),
            ("src udp", "`udp`"),
            ("src dst port 9", "`dst`"),
            ("port 65536", "`65536`"),
            ("vlan 4096", "`4096`"),
            ("host 10.0.0", "`10.0.0`"),
            ("host 10.0.0.0/8", "`10.0.0.0/8`"),
            ("net 10.0.0.0/33", "`10.0.0.0/33`"),
            ("ether 02", "Ethernet address"),
            (&"(".repeat(300), "at most 256 words"),
        ] {
            let error = filter.parse::<Filter>().unwrap_err().to_string();
            assert!(error.contains(named), "{filter}: {error}");
        }
        assert!(format!("{}udp", "not ".repeat(255)).parse::<Filter>().is_ok());
    }
}
