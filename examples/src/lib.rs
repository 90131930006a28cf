//! The `ringport` command: a demonstration, and tools for packet ports.
//!
//! What is public here is for the binary, and for those who test how packets of peers are read; it is
//! no interface to build on.
//!
//! One file for each subcommand; what they share is in `port` (ports by name), `drive` and `end`
//! (the loop around ports whose links come and go), `wait`, `signals`, `log` and `show`.

mod cores;
mod demo;
mod drive;
mod dump;
mod end;
mod forward;
mod inspect;
mod log;
mod manual;
mod ping;
mod pktgen;
mod port;
mod progress;
pub mod reading;
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
Exit codes: 0 done, 1 failed (one line on stderr says why; also: no reply, packets lost or wrong), \
2 wrong arguments, 130 demo interrupted";

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
    /// Shows what was agreed on with a port's peer, its rings and its counters
    Inspect(inspect::Options),
    /// Asks an address whether it is there, and answers who asks us
    Ping(ping::Options),
    /// Sends frames at a rate, and checks whether they arrive
    Pktgen(pktgen::Options),
    /// Makes a network interface of the kernel that leads to a port, until Ctrl-C
    Tap(tap::Options),
    /// Prints completions for a shell
    Completions(manual::CompletionOptions),
    /// Writes the pages of the manual
    Man(manual::ManOptions),
    /// The second process of the demo
    #[command(hide = true)]
    DemoPeer(demo::PeerOptions),
}

/// Runs the command with this process's arguments, and says on stderr why it failed.
#[must_use]
pub fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Dump(options) => dump::run(&options),
        Command::Forward(options) => forward::run(&options),
        Command::Inspect(options) => inspect::run(&options),
        Command::Ping(options) => ping::run(&options),
        Command::Pktgen(options) => pktgen::run(&options),
        Command::Tap(options) => tap::run(&options),
        Command::Completions(options) => manual::completions(&options),
        Command::Man(options) => manual::man(&options),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::PortName;

    const PAGES: [&str; 2] = [include_str!("../README.md"), include_str!("../MIGRATION.md")];

    /// What stands in backquotes, and lines that show what was typed.
    fn quoted() -> impl Iterator<Item = &'static str> {
        PAGES.into_iter().flat_map(|page| {
            let typed = page.lines().filter_map(|line| line.strip_prefix("$ "));
            let inline = page.lines().filter(|line| !line.starts_with("$ "));
            typed.chain(inline.flat_map(|line| line.split('`').skip(1).step_by(2)))
        })
    }

    #[test]
    fn command_lines_of_the_pages_are_understood() {
        let whole = |text: &&str| text.starts_with("ringport ") && text.contains(':');
        let commands = quoted().filter(whole).filter(|text| !text.contains("..."));
        let mut seen = 0;
        for command in commands {
            // What is for the shell.
            let shell = [" | ", " 2>", " &"];
            let end = shell.iter().filter_map(|it| command.find(it)).min();
            let command = &command[..end.unwrap_or(command.len())];
            // Quotes keep an expression together.
            let words = command.split('\'').enumerate().flat_map(|(at, part)| match at % 2 {
                0 => part.split_whitespace().collect(),
                _ => vec![part],
            });
            let parsed = Cli::try_parse_from(words);
            assert!(
                parsed.is_ok(),
                "{command}: {}",
                parsed.err().map_or_else(String::new, |e| e.to_string())
            );
            seen += 1;
        }
        assert!(seen >= 10, "{seen}");
    }

    #[test]
    fn port_strings_of_the_pages_are_understood() {
        let schemes = ["memif:", "vhost:", "tap:", "vdpa:"];
        let ports = quoted().filter(|text| schemes.iter().any(|it| text.starts_with(it)));
        let mut seen = 0;
        for port in ports.filter(|port| !port.contains(' ') && port.contains(',')) {
            let parsed = port.parse::<PortName>();
            assert!(
                parsed.is_ok(),
                "{port}: {:#}",
                parsed.err().map_or_else(String::new, |e| e.to_string())
            );
            seen += 1;
        }
        assert!(seen >= 10, "{seen}");
    }
}
