//! Serves a list of devices and their vhost-user sockets over gRPC.

#[path = "shared/logging.rs"]
mod logging;
#[path = "shared/report.rs"]
mod report;
#[path = "shared/values.rs"]
mod values;

use clap::{Parser, ValueEnum};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use ringport_vdpa::files::{Changes, Entry, socket_list};
use ringport_vdpa::lookup::{Config, Line, Log, SOCKET, Server, Table, example};
use std::error::Error;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

const AFTER: &str = "\
Ends at SIGHUP, SIGINT, SIGTERM and SIGQUIT, and removes its socket. A socket that a killed server left is \
replaced, one with a server is not.

Exit codes: 0 ended by a signal, 1 failed (one line on stderr says why), 2 wrong arguments";

/// Answers over gRPC which vhost-user socket belongs to a VF
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER)]
struct Options {
    /// JSON list of devices and sockets; read again when it changes. Without: the example of the first
    /// vDPA deployment for Kubernetes, sixteen devices from 0000:82:00.2 on
    #[arg(long, value_name = "FILE")]
    socketlist: Option<PathBuf>,
    /// Where to listen
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
    /// Permissions of the socket, octal: whoever may write it may ask
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = values::octal)]
    mode: u32,
    /// User that owns the socket, by name or number
    #[arg(long, value_parser = values::user)]
    owner: Option<u32>,
    /// Group that owns the socket, by name or number
    #[arg(long, value_parser = values::group)]
    group: Option<u32>,
    /// How the log on stderr looks
    #[arg(long, value_enum, default_value_t = Format::Text)]
    log_format: Format,
    /// Log each question as well
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Structured lines with levels
    Text,
    /// The lines of the first deployment's server, questions and all
    Original,
}

fn main() -> ExitCode {
    let options = Options::parse_from(std::env::args_os().map(with_two_dashes));
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report::failed(&*error),
    }
}

/// The first deployment's server took its one option with one dash as well.
fn with_two_dashes(argument: OsString) -> OsString {
    match argument.to_str() {
        Some(text) if text == "-socketlist" || text.starts_with("-socketlist=") => {
            format!("-{text}").into()
        }
        _ => argument,
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let log = log(options);
    // Before there are threads: they inherit the mask.
    let signals = signals()?;
    let table = Table::default();
    let mut list = List::open(options.socketlist.clone())?;
    list.load(&log, &table)?;
    let server = Server::start(&config(options), &table, &log)?;
    loop {
        wait(&signals, list.changes.as_ref())?;
        if signals.read_signal()?.is_some() {
            server.stop();
            return Ok(());
        }
        list.reload(&log, &table);
    }
}

fn log(options: &Options) -> Log {
    match options.log_format {
        Format::Original => Log::original(std::io::stderr()),
        Format::Text => {
            logging::start(options.verbose);
            Log::Tracing
        }
    }
}

fn config(options: &Options) -> Config {
    let mut config = Config::at(&options.socket);
    config.access.mode = Some(options.mode);
    (config.access.uid, config.access.gid) = (options.owner, options.group);
    config
}

fn signals() -> nix::Result<SignalFd> {
    let set = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT];
    let set: SigSet = set.into_iter().collect();
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Waits for a signal, or until the list may have changed.
fn wait(signals: &SignalFd, changes: Option<&Changes>) -> nix::Result<()> {
    let fds = [Some(signals.as_fd()), changes.map(AsFd::as_fd)];
    let mut fds: Vec<_> =
        fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Where the devices come from.
struct List {
    path: Option<PathBuf>,
    changes: Option<Changes>,
    /// What was wrong with it when it was last read.
    trouble: String,
}

impl List {
    /// Watches before it reads: what changes in between is not missed.
    fn open(path: Option<PathBuf>) -> Result<Self, String> {
        let watch = |path: &PathBuf| {
            Changes::of(path).map_err(|error| {
                format!("{}: its directory cannot be watched for changes: {error}", path.display())
            })
        };
        let changes = path.as_ref().map(watch).transpose()?;
        Ok(Self { path, changes, trouble: String::new() })
    }

    fn load(&mut self, log: &Log, table: &Table) -> Result<(), Box<dyn Error>> {
        let entries = match &self.path {
            Some(path) => {
                log.say(Line::File(path));
                socket_list::load(path)?
            }
            None => {
                log.say(Line::ExampleData);
                example()
            }
        };
        take(entries, log, table)
    }

    /// A list that makes no sense leaves the one before in place.
    fn reload(&mut self, log: &Log, table: &Table) {
        if let Some(changes) = &self.changes
            && let Err(error) = changes.clear()
        {
            log.say(Line::Trouble(&format!("changes of the list are not seen any more: {error}")));
            self.changes = None;
        }
        let Some(path) = &self.path else { return };
        let trouble = match socket_list::load(path) {
            Ok(entries) if same(&entries, table) => String::new(),
            Ok(entries) => {
                log.say(Line::File(path));
                take(entries, log, table).err().map(|error| error.to_string()).unwrap_or_default()
            }
            Err(error) => error.to_string(),
        };
        // Once for each trouble: the directory may change often.
        if !trouble.is_empty() && trouble != self.trouble {
            log.say(Line::Trouble(&format!("{trouble}; the list before stays")));
        }
        self.trouble = trouble;
    }
}

fn same(entries: &[Entry], table: &Table) -> bool {
    let mut entries = entries.to_vec();
    entries.sort_by_key(Entry::pci_address);
    entries == table.entries()
}

fn take(entries: Vec<Entry>, log: &Log, table: &Table) -> Result<(), Box<dyn Error>> {
    log.say(Line::Loaded);
    entries.iter().for_each(|entry| log.say(Line::Device(entry)));
    Ok(table.replace(entries)?)
}
