//! What `pktgen` is told.

use super::frame::{Frame, Path};
use super::load::{Rate, Sizes};
use super::receiver::Receiver;
use super::sender::{Plan, Sender};
use crate::port::PortName;
use crate::values::{Mac, Misuse, parse_time};
use clap::{Args, Subcommand};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

#[derive(Debug, Args)]
#[command(after_help = "\
Frames are UDP over IPv4, with a number, the time and a pattern in the payload. Lengths are without \
Ethernet checksum. On a memif port with mode=ip, frames have no Ethernet header.

Examples:
  ringport pktgen recv memif:/run/a.sock,role=server --count 1000000
  ringport pktgen send memif:/run/a.sock,role=client --count 1000000 --rate 1M --size imix
  ringport pktgen bounce vhost:/run/b.sock,role=device --seconds 10 --rate 10k --flows 8
  ringport pktgen send vdpa:/dev/vhost-vdpa-0 --to-mac 52:54:00:00:00:01 --count 1000")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Sends frames
    Send {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        stream: Stream,
    },
    /// Receives what `send` sends, and checks it: exit code 1 if anything is wrong
    Recv {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        limits: Limits,
    },
    /// Sends frames to a peer that sends them back, and checks them: exit code 1 if anything is wrong
    Bounce {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        stream: Stream,
        /// Most frames under way: more than the peer's rings hold are lost there
        #[arg(long, value_name = "N", default_value_t = 256)]
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        window: u64,
    },
}

#[derive(Debug, Args)]
pub(super) struct Common {
    /// Port, such as memif:/run/a.sock,role=client,id=0
    #[arg(value_name = "PORT")]
    pub(super) port: PortName,
    /// How often to say on stderr what goes through
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time)]
    pub(super) stats: Duration,
    /// Write events, rates and results to stdout, one JSON object a line
    #[arg(long)]
    pub(super) json: bool,
    /// Never sleep: lower latency, for a whole core
    #[arg(long)]
    pub(super) poll: bool,
}

#[derive(Debug, Args)]
struct Stream {
    /// Lengths of frames, in bytes, one after the other: 64, 64-1514, 60,1514 or imix
    #[arg(long, value_name = "BYTES", default_value = "64")]
    size: Sizes,
    /// Frames a second: 250, 10k, 14.88M [default: as many as go]
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// End after so many frames [default: at Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End so long after the first frame
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    seconds: Option<Duration>,
    /// Flows to spread frames over. They differ in their source ports, and share the rings
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    flows: u16,
    /// Ethernet address of the sender
    #[arg(long, value_name = "MAC", default_value = "02:00:00:00:00:01")]
    from_mac: Mac,
    /// Ethernet address of the receiver
    #[arg(long, value_name = "MAC", default_value = "02:00:00:00:00:02")]
    to_mac: Mac,
    /// Address and port of the sender, for the first flow
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "198.18.0.1:10000")]
    from: SocketAddrV4,
    /// Address and port of the receiver
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "198.18.0.2:9")]
    to: SocketAddrV4,
}

/// When to end receiving.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Limits {
    /// End after so many frames; fewer are a fault
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// End so long after the first frame
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    seconds: Option<Duration>,
    /// End when no frame came for so long after another one
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    idle: Option<Duration>,
}

impl Limits {
    pub(super) fn ends_at(&self, receiver: &Receiver) -> Option<Instant> {
        let (first, last) = (receiver.first()?, receiver.last()?);
        let all = self.count.filter(|&count| receiver.found.packets >= count).map(|_| last);
        let times = [all, self.seconds.map(|time| first + time), self.idle.map(|time| last + time)];
        times.into_iter().flatten().min()
    }
}

impl Options {
    pub(super) fn common(&self) -> &Common {
        match &self.what {
            What::Send { common, .. } | What::Recv { common, .. } | What::Bounce { common, .. } => {
                common
            }
        }
    }

    pub(super) fn limits(&self) -> Limits {
        match &self.what {
            What::Recv { limits, .. } => limits.clone(),
            _ => Limits::default(),
        }
    }

    /// Most frames that may be under way.
    pub(super) fn window(&self) -> u64 {
        match self.what {
            What::Bounce { window, .. } => window,
            _ => u64::MAX,
        }
    }

    pub(super) fn receiver(&self) -> anyhow::Result<Option<Receiver>> {
        match &self.what {
            What::Recv { common, .. } | What::Bounce { common, .. } => {
                Receiver::new(common.port.is_ethernet()).map(Some)
            }
            What::Send { .. } => Ok(None),
        }
    }

    pub(super) fn sender(&self) -> anyhow::Result<Option<Sender>> {
        match &self.what {
            What::Send { common, stream } | What::Bounce { common, stream, .. } => {
                stream.sender(common.port.is_ethernet()).map(Some)
            }
            What::Recv { .. } => Ok(None),
        }
    }
}

impl Stream {
    fn sender(&self, ethernet: bool) -> anyhow::Result<Sender> {
        let macs = ethernet.then_some((self.from_mac, self.to_mac));
        let path = Path { macs, from: self.from, to: self.to };
        let sizes = self.size.on(ethernet).map_err(|error| Misuse(format!("--size: {error}")))?;
        let frame = Frame::new(path, sizes.iter().copied().max().unwrap_or_default());
        let shapes = sizes.iter().map(|&len| frame.shape(len)).collect();
        let (flows, count, time) = (self.flows, self.count, self.seconds);
        Ok(Sender::new(Plan { frame, shapes, flows, count, time, rate: self.rate }))
    }
}
