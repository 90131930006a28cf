//! The `ringport` command: a demonstration, and tools for packet ports.
//!
//! One file for each subcommand; what they share is in [`port`] (ports by name), [`wait`],
//! [`signals`] and [`show`].

mod cores;
mod demo;
mod drive;
mod dump;
mod end;
mod forward;
mod log;
mod ping;
mod pktgen;
mod port;
mod progress;
mod show;
mod signals;
mod station;
mod tap;
mod timer;
mod times;
mod values;
mod wait;

use clap::{Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong arguments, 130 demo interrupted";

#[derive(Debug, Parser)]
#[command(name = "ringport", version, about = "Packet ports in shared memory", after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Joins two processes by memif and measures latency and throughput: nothing to set up
    Demo(demo::Options),
    /// Captures what arrives at a port, or passes between two, as pcapng or as lines
    Dump(dump::Options),
    /// Forwards packets both ways between two ports, until Ctrl-C
    Forward(forward::Options),
    /// Asks an address whether it is there, and answers who asks us
    Ping(ping::Options),
    /// Sends frames at a rate, and checks whether they arrive
    Pktgen(pktgen::Options),
    /// Makes a network interface of the kernel that leads to a port, until Ctrl-C
    Tap(tap::Options),
    /// The second process of the demo
    #[command(hide = true)]
    DemoPeer(demo::PeerOptions),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Dump(options) => dump::run(&options),
        Command::Forward(options) => forward::run(&options),
        Command::Ping(options) => ping::run(&options),
        Command::Pktgen(options) => pktgen::run(&options),
        Command::Tap(options) => tap::run(&options),
        Command::DemoPeer(options) => demo::run_peer(&options),
    };
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    if error.is::<signals::Interrupted>() {
        return ExitCode::from(130);
    }
    let code = if error.is::<values::Misuse>() { ExitCode::from(2) } else { ExitCode::FAILURE };
    // Where stderr is gone there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    code
}
