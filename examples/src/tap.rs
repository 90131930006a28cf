//! `ringport tap`: a network interface of the kernel at the end of a port.

use crate::forward::{self, How};
use crate::port::PortName;
use crate::values::{Mac, Misuse};
use clap::Args;
use ringport::tap::{TapAddress, TapConfig};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
Needs CAP_NET_ADMIN. The interface is gone when the program ends; when somebody else deletes it, the \
program ends with exit code 1. What packets leave to be done, checksums and TCP segments, is passed on \
where PORT can do that (offload=segmentation), and else done in software. Everything else is as with \
forward, where a TAP is a port as well: tap:ring0,address=10.0.0.1/24

Example: ringport tap memif:/run/a.sock,role=client --name ring0 --address 10.0.0.1/24")]
pub(crate) struct Options {
    /// The port, such as memif:/run/a.sock,role=client,id=0
    #[arg(value_name = "PORT")]
    port: PortName,
    /// Name of the interface; %d becomes a number
    #[arg(long, value_name = "NAME", default_value = "ring%d")]
    name: String,
    /// Longest packet without its Ethernet header, in bytes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(68..=65_521))]
    mtu: Option<u32>,
    /// Ethernet address of the interface
    #[arg(long, value_name = "MAC")]
    mac: Option<Mac>,
    /// IP address of the interface, such as 10.0.0.1/24 or fd00::1/64
    #[arg(long, value_name = "ADDRESS/LEN")]
    address: Option<TapAddress>,
    /// Network namespace of the interface, such as /run/netns/a
    #[arg(long, value_name = "FILE")]
    netns: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut config = TapConfig::new(&options.name);
    config.mtu = options.mtu;
    config.mac = options.mac.map(|Mac(bytes)| bytes);
    config.address = options.address;
    config.netns.clone_from(&options.netns);
    config.check().map_err(|error| Misuse(error.to_string()))?;
    if !options.port.is_ethernet() {
        return Err(Misuse("a TAP has Ethernet frames, PORT has IP packets".into()).into());
    }
    forward::between([&options.port, &PortName::Tap(Box::new(config))], &options.how)
}
