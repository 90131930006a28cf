//! Ringport against DPDK and against the fastest ring we can write, side by side in one run.
//!
//! How it measures, and what each side really does, is in `bench/NOTES.md`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what it is for")]

mod bound;
mod cases;
mod cni;
mod contender;
mod guest;
mod hold;
mod line_up;
mod report;
mod rounds;
mod transport;
mod worker;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Parser)]
#[command(about = "Compares Ringport with DPDK and with a raw ring, in alternating rounds")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// memif: throughput, cycles, round trips; a line for each case and regime of the machine
    Memif(Options),
    /// vhost-user: throughput; a line for each case and regime of the machine
    VhostUser(Options),
    /// The CNI plugin: ADD and DEL beside ovs-vsctl, size and memory beside host-local
    Cni(Options),
    /// A Linux guest's TCP through `ringport tap`, beside QEMU's own device
    Guest(Options),
    /// Looks for the fastest raw ring, for several shapes, and prints what was tried
    Raw(Options),
    /// One memif link for some seconds, for a profiler
    Hold(hold::Hold),
    /// One side of a pair; started by the others
    #[command(hide = true)]
    Worker {
        /// What to do, as JSON
        order: String,
    },
}

/// What all measurements share.
#[derive(Debug, Clone, Args)]
struct Options {
    /// Few and short rounds: under two minutes in all
    #[arg(long)]
    quick: bool,
    /// Only cases whose name contains this
    #[arg(long, value_name = "SUBSTRING", default_value = "")]
    case: String,
    /// Rounds of each case that count; more are run when some are dropped, up to twice as many
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Length of each measurement, in milliseconds
    #[arg(long, value_name = "MS")]
    window: Option<u64>,
    /// Have another build of this program do what ours does, beside it: to compare two versions
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Also write the results to FILE, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Names of the cases, and nothing else
    #[arg(long)]
    list: bool,
}

impl Options {
    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 4 } else { 30 }).max(1)
    }

    fn window(&self) -> Duration {
        Duration::from_millis(self.window.unwrap_or(if self.quick { 70 } else { 150 }).max(5))
    }
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Worker { order } => {
            let order = serde_json::from_str(&order).context("a worker's order")?;
            worker::run(&order)
        }
        Command::Memif(options) => cases::run_memif(&options),
        Command::VhostUser(options) => cases::run_vhost_user(&options),
        Command::Cni(options) => cni::run(&options),
        Command::Guest(options) => guest::run(&options),
        Command::Raw(options) => bound::run_raw(&options),
        Command::Hold(hold) => hold::run(&hold),
    }
}
