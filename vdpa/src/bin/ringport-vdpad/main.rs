//! Serves vDPA devices behind vhost-user sockets.

mod inputs;
#[path = "../shared/logging.rs"]
mod logging;
mod options;
#[path = "../shared/report.rs"]
mod report;
#[path = "../shared/values.rs"]
mod values;

use clap::Parser;
use inputs::Inputs;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use options::{Options, Setup};
use ringport::socket::SocketOptions;
use ringport_vdpa::daemon::control::ControlServer;
use ringport_vdpa::daemon::metrics::MetricsServer;
use ringport_vdpa::daemon::{Daemon, Stop, SystemOpener, Wanted};
use ringport_vdpa::lookup::{Config, Log, Server, Table};
use std::error::Error;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report::failed(&*error),
    }
}

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    logging::start(options.verbose);
    // Before there are threads: they inherit the mask.
    let signals = signals()?;
    let mut inputs = options.config.as_deref().map(Inputs::with_settings).transpose()?;
    let inputs = inputs.get_or_insert_default();
    let setup = options.with(&inputs.settings())?;
    if let Some(list) = &setup.pci_list {
        inputs.read_list(list)?;
    }
    if setup.discover {
        inputs.discover();
    }
    make_directory(&setup.daemon.socket_dir)?;
    let (table, quit) = (Table::default(), Stop::new()?);
    let Setup { daemon, lookup, metrics, control, discover, .. } = setup;
    // They end in the other order: metrics, commands, look-up, devices.
    let daemon = Daemon::start(daemon, Arc::new(SystemOpener::default()), table.clone())?;
    let daemon = Arc::new(daemon);
    let lookup = lookup.map(|socket| Server::start(&Config::at(socket), &table, &Log::Tracing));
    let _lookup = lookup.transpose()?;
    let access = SocketOptions { mode: Some(0o600), ..SocketOptions::default() };
    let _control = ControlServer::start(&control, &access, Arc::clone(&daemon), quit.clone())?;
    let metrics = metrics.map(|address| MetricsServer::start(address, Arc::clone(&daemon)));
    let metrics = metrics.transpose()?;
    if let Some(metrics) = &metrics {
        tracing::info!(address = %metrics.address(), "metrics");
    }
    tracing::info!(control = %control.display(), "ready");
    serve(&daemon, inputs, &signals, &quit, discover)
}

/// Until a signal or a command says that it is enough.
fn serve(
    daemon: &Daemon,
    inputs: &mut Inputs,
    signals: &SignalFd,
    quit: &Stop,
    discover: bool,
) -> Result<(), Box<dyn Error>> {
    let every = if discover { PollTimeout::from(1000_u16) } else { PollTimeout::NONE };
    let mut before = None;
    loop {
        inputs.read();
        let wanted = inputs.wanted();
        if before.as_ref() != Some(&wanted) {
            replace(daemon, wanted.clone());
            before = Some(wanted);
        }
        if wait(inputs, signals, quit, every)? {
            tracing::info!("ends by a command");
            return Ok(());
        }
        while let Some(signal) = signals.read_signal()? {
            if !is_hangup(&signal) {
                tracing::info!("ends by a signal");
                return Ok(());
            }
            tracing::info!("files are read again");
            before = None;
        }
    }
}

fn replace(daemon: &Daemon, wanted: Vec<Wanted>) {
    tracing::info!(devices = wanted.len(), "devices to serve");
    for (device, error) in daemon.replace(wanted) {
        tracing::warn!(%device, "not served: {error}");
    }
}

/// Waits until something may have changed, or the time is over; whether it is to end by a command.
fn wait(inputs: &Inputs, signals: &SignalFd, quit: &Stop, every: PollTimeout) -> nix::Result<bool> {
    let fds = [quit.as_fd(), signals.as_fd()].into_iter().chain(inputs.changes());
    let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    match poll(&mut fds, every) {
        Ok(_) => Ok(fds.first().and_then(PollFd::any).unwrap_or_default()),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn signals() -> nix::Result<SignalFd> {
    let set = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT];
    let set: SigSet = set.into_iter().collect();
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

fn is_hangup(signal: &siginfo) -> bool {
    i32::try_from(signal.ssi_signo).is_ok_and(|number| number == Signal::SIGHUP as i32)
}

/// The directory of sockets, which others may enter. The one above it has to be there.
fn make_directory(path: &Path) -> Result<(), String> {
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(format!("{}: this directory of sockets cannot be made: {error}", path.display()))
        }
        _ => Ok(()),
    }
}
