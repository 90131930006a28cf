//! Gives commands to the daemon.

#[path = "shared/report.rs"]
mod report;

use clap::{Parser, Subcommand, ValueEnum};
use ringport_vdpa::daemon::control::{Answer, Command, ControlClient, SOCKET};
use ringport_vdpa::daemon::{DeviceName, DeviceStatus, Side, State, Wanted};
use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const AFTER: &str = "\
Exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong arguments, 3 the daemon refuses, \
4 the device is to be served, and is not there, or is to be given back, and that goes on still";

/// The daemon refuses.
const REFUSED: u8 = 3;
/// What was to be is to come yet.
const PENDING: u8 = 4;

/// Gives commands to ringport-vdpad
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER)]
struct Options {
    /// Where the daemon takes commands
    #[arg(long, global = true, value_name = "SOCKET", default_value = SOCKET)]
    control: PathBuf,
    /// Show the daemon's answer: one JSON object on a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show all devices: name, state, kind (vhost-vdpa, vfio-pci, - while it is not there), socket, and what is wrong
    List,
    /// Show what has happened to a device, or to all, and whether its kicks go by the kernel or by a thread
    Stats {
        /// PCI address, or node
        device: Option<DeviceName>,
    },
    /// Serve a device at this socket
    Create {
        /// The socket, an absolute path
        socket: String,
        /// PCI address, or node
        device: DeviceName,
        /// Who makes the socket
        #[arg(long, value_enum, default_value_t = Who::Server)]
        side: Who,
    },
    /// Serve a device at a socket with its number
    Add {
        /// PCI address, or node
        device: DeviceName,
    },
    /// Give a device back
    Remove {
        /// PCI address, or node
        device: DeviceName,
    },
    /// End the daemon
    Quit,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Who {
    /// The daemon
    Server,
    /// The front-end
    Client,
}

fn main() -> ExitCode {
    let Options { control, json, verb } = Options::parse();
    run(&control, json, verb).unwrap_or_else(|error| report::failed(&*error))
}

fn run(control: &std::path::Path, json: bool, verb: Verb) -> Result<ExitCode, Box<dyn Error>> {
    let (command, counts) = (command(&verb), matches!(verb, Verb::Stats { .. }));
    let adds = matches!(command, Command::Add(_));
    let answer = ControlClient::connect(control)?.tell(&command)?;
    if json {
        writeln!(io::stdout(), "{}", serde_json::to_string(&answer)?)?;
    }
    Ok(match answer {
        Answer::Devices(devices) => {
            if !json {
                devices.iter().try_for_each(|device| show(device, counts))?;
            }
            let absent = devices.iter().any(|device| device.state == State::Absent);
            if adds && absent { ExitCode::from(PENDING) } else { ExitCode::SUCCESS }
        }
        Answer::Removed(true) | Answer::Quitting => ExitCode::SUCCESS,
        Answer::Removed(false) => ExitCode::from(PENDING),
        Answer::Refused(why) => {
            // Where stderr is gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "error: {}", printable(&why));
            ExitCode::from(REFUSED)
        }
    })
}

fn command(verb: &Verb) -> Command {
    match verb {
        Verb::List => Command::List {},
        Verb::Stats { device } => Command::Stats { device: device.clone() },
        Verb::Create { socket, device, side } => Command::Add(Wanted {
            device: device.clone(),
            socket: Some(socket.clone()),
            side: match side {
                Who::Server => Side::Server,
                Who::Client => Side::Client,
            },
        }),
        Verb::Add { device } => Command::Add(Wanted::new(device.clone())),
        Verb::Remove { device } => Command::Remove { device: device.clone() },
        Verb::Quit => Command::Quit {},
    }
}

fn show(status: &DeviceStatus, counts: bool) -> io::Result<()> {
    let DeviceStatus { device, socket, state, kind, kicks, trouble, statistics: it, .. } = status;
    let kind = printable(kind.as_deref().unwrap_or("-"));
    if counts {
        return writeln!(
            io::stdout(),
            "{device} opened={} given_up={} links={} links_lost={} connections_refused={} requests_refused={} \
             kind={kind} kicks={}",
            it.opened,
            it.given_up,
            it.links,
            it.links_lost,
            it.connections_refused,
            it.requests_refused,
            kicks.map_or_else(|| "-".to_owned(), |kicks| kicks.to_string())
        );
    }
    let trouble = trouble.as_deref().map(|it| format!(" {}", printable(it))).unwrap_or_default();
    writeln!(io::stdout(), "{device} {state} {kind} {}{trouble}", printable(socket))
}

/// On one line, without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}
