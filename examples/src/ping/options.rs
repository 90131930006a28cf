//! What `ping` is told.

use super::asker::Plan;
use crate::port::PortName;
use crate::station::Station;
use crate::values::{Mac, Misuse, parse_time};
use anyhow::{Context, bail};
use clap::Args;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

#[derive(Debug, Args)]
#[command(after_help = "\
Questions for our own addresses are answered meanwhile. On a memif port with mode=ip, packets have no \
Ethernet header, and nobody is asked for addresses. Packets are sent whole, however long.

Exit code 0 after at least one reply (with --answer: always), 1 after none, also when Ctrl-C ends it.

Examples:
  ringport ping memif:/run/a.sock,role=client 10.0.0.1 --address 10.0.0.2/24 --count 5
  ringport ping vhost:/run/vm.sock,role=device fd00::1 --address fd00::2 --interval 0
  ringport ping vdpa:0000:83:00.2 10.0.0.1 --address 10.0.0.2/24
  ringport ping memif:/run/a.sock,role=server --answer --address 10.0.0.1 --address fd00::1")]
pub(crate) struct Options {
    /// Port to ask through, such as memif:/run/a.sock,role=client,id=0
    #[arg(value_name = "PORT")]
    pub(super) port: PortName,
    /// IPv4 or IPv6 address to ask
    #[arg(value_name = "ADDRESS", required_unless_present = "answer")]
    target: Option<IpAddr>,
    /// Ask nobody: only answer, until Ctrl-C
    #[arg(long, conflicts_with = "target")]
    answer: bool,
    /// An address of ours; once for each. With a length, others outside need --gateway
    #[arg(long = "address", value_name = "ADDRESS[/LENGTH]", required = true)]
    addresses: Vec<Address>,
    /// Neighbour that knows the way to other networks
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<IpAddr>,
    /// Our Ethernet address [default: that of a vDPA device, else a random one]
    #[arg(long, value_name = "MAC")]
    pub(super) mac: Option<Mac>,
    /// Ask so many times [default: until Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Time between two questions: 250ms, 1.5s; 0: as soon as the reply to the last one is there
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time)]
    interval: Duration,
    /// Bytes of data in each question
    #[arg(long, value_name = "BYTES", default_value_t = 56)]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=65_000))]
    size: u16,
    /// How long to wait for each reply
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time)]
    timeout: Duration,
    /// End after this time in any case
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(super) deadline: Option<Duration>,
    /// Write results and events to stdout, one JSON object a line
    #[arg(long)]
    pub(super) json: bool,
    /// Never sleep: lower latency, for a whole core
    #[arg(long)]
    pub(super) poll: bool,
}

/// `10.0.0.2` or `10.0.0.2/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Address {
    address: IpAddr,
    /// Bits of the network; 0 when every address is a neighbour.
    length: u32,
}

impl Options {
    pub(super) fn station(&self) -> Station {
        Station {
            mac: self.mac.unwrap_or_else(Mac::random),
            addresses: self.addresses.iter().map(|own| own.address).collect(),
            ethernet: self.port.is_ethernet(),
        }
    }

    /// Whom to ask, and how; `None`: nobody.
    pub(super) fn plan(&self) -> anyhow::Result<Option<Plan>> {
        let Some(target) = self.target else { return Ok(None) };
        let from = self.addresses.iter().filter(|own| own.is_like(target));
        let from = from.max_by_key(|own| own.reaches(target));
        let from =
            from.ok_or_else(|| Misuse(format!("no --address is of the kind of {target}")))?;
        let via = if from.reaches(target) { Some(target) } else { self.gateway };
        let Some(via) = via.filter(|&via| from.is_like(via)) else {
            let from = from.address;
            bail!(Misuse(format!("{target} is not in the network of {from}: name a --gateway")));
        };
        Ok(Some(Plan {
            target,
            from: from.address,
            via: self.port.is_ethernet().then_some(via),
            count: self.count,
            interval: self.interval,
            size: self.size.into(),
            timeout: self.timeout,
        }))
    }
}

impl Address {
    fn is_like(self, other: IpAddr) -> bool {
        self.address.is_ipv4() == other.is_ipv4()
    }

    /// Whether `other` is in our network.
    fn reaches(self, other: IpAddr) -> bool {
        let differs = match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        differs >= self.length
    }
}

impl FromStr for Address {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        const EXPECTED: &str = "expected an address such as 10.0.0.2/24 or fd00::2";
        let (address, length) = text.split_once('/').unwrap_or((text, "0"));
        let address: IpAddr = address.parse().context(EXPECTED)?;
        let length = length.parse().context(EXPECTED)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        anyhow::ensure!(length <= most, "expected a length of at most {most} bits");
        let host = !(address.is_unspecified() || address.is_multicast());
        anyhow::ensure!(host, "expected the address of a host");
        Ok(Self { address, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_the_addresses_that_begin_alike() {
        let own = |text: &str| text.parse::<Address>().unwrap();
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(own("10.0.0.2/24").reaches(at("10.0.0.254")));
        assert!(!own("10.0.0.2/24").reaches(at("10.0.1.2")));
        assert!(own("10.0.0.2").reaches(at("8.8.8.8")));
        assert!(own("10.0.0.2/32").reaches(at("10.0.0.2")));
        assert!(own("fd00::2/64").reaches(at("fd00::1:0:0:1")));
        assert!(!own("fd00::2/64").reaches(at("fd00:0:0:1::1")));
        assert!(!own("10.0.0.2").reaches(at("::1")));
        for bad in ["10.0.0.2/33", "fd00::/129", "10.0.0", "10.0.0.2/x", "0.0.0.0", "ff02::1", ""] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
