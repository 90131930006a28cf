//! What the daemon is told at its start: options, and below them the configuration file.

use super::values;
use clap::Parser;
use ringport::socket::SocketOptions;
use ringport_vdpa::daemon::DaemonConfig;
use ringport_vdpa::daemon::control;
use ringport_vdpa::daemon::settings::Settings;
use std::net::SocketAddr;
use std::path::PathBuf;

const AFTER: &str = "\
Devices are those of the configuration file, of the list, and with --discover all that there are. Each has a \
socket vdpa-N with a number that it keeps. One that is not there is looked for every second, and served when it \
comes. The files are read again when they change, and at SIGHUP; options and all but the devices of the \
configuration file need a new start. Ends at SIGINT, SIGTERM and SIGQUIT, and gives all devices back.

Exit codes: 0 ended by a signal or by a command, 1 failed (one line on stderr says why), 2 wrong arguments";

/// Serves vDPA devices behind vhost-user sockets
#[derive(Debug, Parser)]
#[command(name = "ringport-vdpad", version, after_help = AFTER)]
pub(crate) struct Options {
    /// Configuration file, TOML; options have precedence
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// List of devices, a PCI address a line; it need not be there yet, its directory must
    #[arg(long, value_name = "FILE")]
    pci_list: Option<PathBuf>,
    /// Serve all devices that have a node /dev/vhost-vdpa-N, and all virtual functions of virtio network devices
    /// under vfio-pci; not for machines where others use some of them
    #[arg(long)]
    discover: bool,
    /// Where sockets are; made if it is not there [default: /var/run/vdpa/vhost]
    #[arg(long, value_name = "DIRECTORY")]
    socket_dir: Option<PathBuf>,
    /// JSON list of devices and sockets, written as they change; numbers are kept beside it
    #[arg(long, value_name = "FILE")]
    socket_list: Option<PathBuf>,
    /// List devices that are not there as well
    #[arg(long)]
    keep_listed: bool,
    /// Answer over gRPC which socket belongs to a VF
    #[arg(long, value_name = "SOCKET")]
    lookup: Option<PathBuf>,
    /// Metrics for Prometheus, at http://ADDRESS:PORT/metrics, for all who reach it
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    /// Where commands are taken [default: /var/run/vdpa/control.sock]
    #[arg(long, value_name = "SOCKET")]
    control: Option<PathBuf>,
    /// Permissions of vhost-user sockets, octal: whoever may write one may connect [default: 600]
    #[arg(long, value_name = "MODE", value_parser = values::octal)]
    mode: Option<u32>,
    /// User that owns them, by name or number
    #[arg(long, value_parser = values::user)]
    owner: Option<u32>,
    /// Group that owns them, by name or number
    #[arg(long, value_parser = values::group)]
    group: Option<u32>,
    /// Log commands and all refusals as well
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// What comes of both.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) daemon: DaemonConfig,
    pub(crate) pci_list: Option<PathBuf>,
    pub(crate) discover: bool,
    pub(crate) lookup: Option<PathBuf>,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) control: PathBuf,
}

/// Where sockets are, unless it is said otherwise.
const SOCKET_DIR: &str = "/var/run/vdpa/vhost";
/// Where numbers are kept, beside the list, or else beside the sockets.
const NUMBERS: &str = "socketNumbers.json";

impl Options {
    /// Puts both together.
    pub(crate) fn with(self, settings: &Settings) -> Result<Setup, String> {
        let dir = self.socket_dir.or_else(|| settings.socket_dir.clone());
        let mut daemon = DaemonConfig::at(dir.unwrap_or_else(|| SOCKET_DIR.into()));
        daemon.socket_list = self.socket_list.or_else(|| settings.socket_list.clone());
        let numbers = match &daemon.socket_list {
            Some(list) => list.with_file_name(NUMBERS),
            None => daemon.socket_dir.join(NUMBERS),
        };
        daemon.numbers = Some(numbers);
        daemon.keep_listed = self.keep_listed || settings.keep_listed.unwrap_or_default();
        let value = |key, text: &Option<String>, parse: fn(&str) -> Result<u32, String>| {
            let parsed = text.as_deref().map(parse).transpose();
            parsed.map_err(|why| format!("the configuration's {key}: {why}"))
        };
        let access = SocketOptions {
            mode: self.mode.or(value("mode", &settings.mode, values::octal)?).or(Some(0o600)),
            uid: self.owner.or(value("owner", &settings.owner, values::user)?),
            gid: self.group.or(value("group", &settings.group, values::group)?),
            ..SocketOptions::default()
        };
        daemon.access = access;
        let control = self.control.or_else(|| settings.control.clone());
        Ok(Setup {
            daemon,
            pci_list: self.pci_list.or_else(|| settings.pci_list.clone()),
            discover: self.discover || settings.discover.unwrap_or_default(),
            lookup: self.lookup.or_else(|| settings.lookup.clone()),
            metrics: self.metrics.or(settings.metrics),
            control: control.unwrap_or_else(|| control::SOCKET.into()),
        })
    }
}
