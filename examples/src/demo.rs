//! `ringport demo`: two processes, a link of each kind after the other, latency and throughput.
//!
//! This process listens, as memif server and as vhost-user device: it measures and checks. It starts
//! itself again as the second process ([`peer`]), which owns the memory, connects, echoes and sends,
//! and takes its [`orders`] through a pipe.

mod flood;
mod frame;
mod orders;
mod peer;
mod ping;
mod results;
mod second;
mod session;

pub(crate) use peer::{Options as PeerOptions, run as run_peer};

use crate::cores::Placement;
use crate::progress::Progress;
use anyhow::Context;
use clap::{Args, ValueEnum};
use ping::Mode;
use results::{LinkResults, Results};
use session::Session;
use std::time::Duration;

#[derive(Debug, Args)]
#[command(after_help = "\
Needs no privileges and leaves nothing behind. Frame sizes are without checksum, and Gb/s counts \
the bytes of frames.")]
pub(crate) struct Options {
    /// Time for everything together
    #[arg(long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Only this protocol, instead of all links after each other
    #[arg(long, value_name = "NAME")]
    protocol: Option<Protocol>,
    /// Write one JSON document to stdout, and nothing else
    #[arg(long)]
    json: bool,
}

/// How the two processes are to be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    Memif,
    VhostUser,
}

/// What joins the two processes for a while.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Joint {
    Memif,
    VhostUser {
        /// Whether its rings are packed, or split.
        packed: bool,
    },
}

/// Frame sizes of the throughput measurements, in bytes.
const SIZES: [usize; 4] = [64, 512, 1518, 9000];

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let joints = options.protocol.map_or(&Joint::ALL[..], Protocol::joints);
    let count = u32::try_from(joints.len()).unwrap_or(1);
    let share = Duration::from_secs(options.seconds.into()) / count;
    // Before this process is pinned.
    let placement = Placement::choose();
    let mut results = Results::new(options.json);
    for &joint in joints {
        let session = Session::start(joint, placement)
            .with_context(|| format!("link by {}", joint.name()))?;
        let mut found = results.begin(joint)?;
        measure(session, share, &mut found)?;
        results.add(found);
    }
    results.end()
}

/// Measures one link in about `total`.
fn measure(mut session: Session, total: Duration, results: &mut LinkResults) -> anyhow::Result<()> {
    let mut progress = Progress::new();
    results.link(session.link_up())?;
    results.ping_title()?;
    for mode in [Mode::Polling, Mode::Adaptive] {
        progress.stage(&format!("    ping, {mode} ..."));
        let ping = ping::measure(&mut session, mode, total / 10)
            .with_context(|| format!("ping, {mode}"))?;
        progress.clear();
        results.ping(ping)?;
    }
    results.flood_title()?;
    for size in SIZES {
        let flood = flood::measure(&mut session, size, total / 5, &mut progress)
            .with_context(|| format!("packets of {size} bytes"))?;
        progress.clear();
        results.flood(flood)?;
    }
    session.finish()
}

impl Protocol {
    fn joints(self) -> &'static [Joint] {
        let (memif, vhost_user) = Joint::ALL.split_at(1);
        match self {
            Self::Memif => memif,
            Self::VhostUser => vhost_user,
        }
    }
}

impl Joint {
    const ALL: [Self; 3] =
        [Self::Memif, Self::VhostUser { packed: true }, Self::VhostUser { packed: false }];

    /// As people write it.
    fn name(self) -> &'static str {
        match self {
            Self::Memif => "memif",
            Self::VhostUser { .. } => "vhost-user",
        }
    }

    /// The port strings of the first and of the second process.
    fn ports(self, socket: &std::path::Path) -> [String; 2] {
        let socket = socket.display();
        match self {
            Self::Memif => [
                format!("memif:{socket},role=server"),
                format!("memif:{socket},role=client,reconnect=never"),
            ],
            Self::VhostUser { packed } => {
                let packed = if packed { "on" } else { "off" };
                [
                    format!("vhost:{socket},role=device"),
                    format!(
                        "vhost:{socket},role=driver,socket=connect,reconnect=never,packed={packed}"
                    ),
                ]
            }
        }
    }
}
