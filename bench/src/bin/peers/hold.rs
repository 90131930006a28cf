//! One link that runs for a while, to look at with a profiler.

use crate::line_up::{Link, Side};
use crate::transport::{Transport, Way};
use clap::{Args, ValueEnum};
use ringport_bench::peers::testpmd::DataPath;
use ringport_bench::peers::{PeerLock, require_peer};
use std::time::Duration;

/// `peers hold`.
#[derive(Debug, Args)]
pub(crate) struct Hold {
    /// Length of a frame
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    bytes: u16,
    /// How long the link runs
    #[arg(long, value_name = "N", default_value_t = 5)]
    seconds: u64,
    /// From client to server, or back
    #[arg(long, value_enum, default_value_t = Direction::C2s)]
    way: Direction,
    /// vhost-user with such rings instead of memif, where the driver is DPDK's and a client
    #[arg(long, value_enum)]
    vhost_user: Option<Format>,
    /// Who sends, on core 1
    #[arg(long, value_enum, default_value_t = Who::Ours)]
    sender: Who,
    /// Who receives, on core 0
    #[arg(long, value_enum, default_value_t = Who::Ours)]
    receiver: Who,
    /// Send a few frames in turn, which stay in the nearest caches
    #[arg(long)]
    hot_pool: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Direction {
    C2s,
    S2c,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Split,
    Packed,
}

impl Format {
    fn transport(self) -> Transport {
        Transport::VhostUser(match self {
            Self::Split => DataPath::SplitInOrderMergeable,
            Self::Packed => DataPath::PackedInOrderMergeable,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Who {
    Ours,
    Dpdk,
}

impl Who {
    fn side(self) -> Side {
        match self {
            Self::Ours => Side::Ours,
            Self::Dpdk => Side::Dpdk,
        }
    }
}

/// Runs the link and prints its rate.
pub(crate) fn run(hold: &Hold) -> anyhow::Result<()> {
    // A found peer holds the lock already.
    let _lock = match [hold.sender, hold.receiver].contains(&Who::Dpdk) {
        true => require_peer("peers hold", "dpdk-testpmd").is_none().then(PeerLock::acquire),
        false => Some(PeerLock::acquire()),
    }
    .transpose()?;
    let way = match hold.way {
        Direction::C2s => Way::ToListener,
        Direction::S2c => Way::ToConnector,
    };
    let transport = hold.vhost_user.map_or(Transport::Memif, Format::transport);
    let link = Link::new(transport, way, hold.sender.side(), hold.receiver.side());
    let link = link.frame_len(hold.bytes);
    let link = if hold.hot_pool { link.hot_pool() } else { link };
    let rate = link.start("held")?.measure(Duration::from_secs(hold.seconds))?;
    println!(
        "{:.2} Mpps, {:.2} Gb/s",
        rate.packets_per_second / 1e6,
        rate.bytes_per_second * 8.0 / 1e9
    );
    Ok(())
}
