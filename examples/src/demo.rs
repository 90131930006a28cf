//! `ringport demo`: two processes, one memif link, latency and throughput.
//!
//! This process is the server: it measures and checks. It starts itself again as the second process
//! ([`peer`]), which connects, echoes and sends, and takes its [`orders`] through a pipe.

mod flood;
mod frame;
mod orders;
mod peer;
mod ping;
mod results;
mod second;
mod session;

pub(crate) use peer::{Options as PeerOptions, run as run_peer};

use crate::progress::Progress;
use anyhow::Context;
use clap::Args;
use ping::Mode;
use results::Results;
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
    /// Write one JSON document to stdout, and nothing else
    #[arg(long)]
    json: bool,
}

/// Frame sizes of the throughput measurements, in bytes.
const SIZES: [usize; 4] = [64, 512, 1518, 9000];

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let total = Duration::from_secs(options.seconds.into());
    let mut progress = Progress::new();
    let mut results = Results::new(options.json);
    let mut session = Session::start()?;
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
    session.finish()?;
    results.end()
}
