//! Asks a look-up which vhost-user socket belongs to a VF.

use clap::Parser;
use ringport_vdpa::lookup::{Change, Client, ClientError, Line, Log, SOCKET};
use ringport_vdpa::{PciAddress, files::Entry};
use serde::Serialize;
use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const AFTER: &str = "\
Without addresses it asks what the client of the first vDPA deployment for Kubernetes asked, one address that is in \
that deployment's example and one that is not, and logs as that one did.

Exit codes: 0 done, 1 failed (one line on stderr says why; also: a look-up that was watched ended), 2 wrong arguments, 3 an address is not known";

/// What the client of the first deployment asked for.
const QUESTIONS: [&str; 2] = ["0000:82:00.5", "0000:87:00.5"];

/// An address is not known.
const UNKNOWN: u8 = 3;

/// Asks a look-up which vhost-user socket belongs to a VF
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER)]
struct Options {
    /// PCI addresses of VFs. For each, a line: the address and its socket's path, or - if it is not known
    #[arg(value_name = "ADDRESS", group = "what")]
    addresses: Vec<PciAddress>,
    /// Where the look-up listens
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
    /// List all devices, in lines as for addresses
    #[arg(long, group = "what")]
    list: bool,
    /// Show devices as they come (+), go (-) and get another socket (=), until the look-up ends
    #[arg(long, group = "what")]
    watch: bool,
    /// JSON instead: one object a line
    #[arg(long, requires = "what")]
    json: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    run(&options).unwrap_or_else(|error| {
        let mut text = error.to_string();
        if let Some(cause) = error.source() {
            text = format!("{text}: {cause}");
        }
        // Where stderr is gone there is nobody left to tell.
        let _ = writeln!(io::stderr(), "error: {text}");
        ExitCode::FAILURE
    })
}

fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    if options.addresses.is_empty() && !options.list && !options.watch {
        return ask_as_of_old(options);
    }
    let mut client = Client::connect(&options.socket)?;
    let show = Show { json: options.json };
    if options.list {
        for entry in client.list()? {
            show.socket(entry.pci_address(), Some(entry.socket_path()))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if options.watch {
        return watch(&mut client, show);
    }
    ask(&mut client, options, show)
}

fn ask(client: &mut Client, options: &Options, show: Show) -> Result<ExitCode, Box<dyn Error>> {
    let mut code = ExitCode::SUCCESS;
    for &address in &options.addresses {
        let path = client.socket_path(&address.to_string())?;
        show.socket(address, path.as_deref())?;
        if path.is_none() {
            code = ExitCode::from(UNKNOWN);
        }
    }
    Ok(code)
}

fn watch(client: &mut Client, show: Show) -> Result<ExitCode, Box<dyn Error>> {
    let mut watch = client.watch()?;
    loop {
        for change in watch.next(None)? {
            show.change(&change)?;
        }
    }
}

fn ask_as_of_old(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let log = Log::original(io::stderr());
    log.say(Line::Client);
    let mut client = Client::connect(&options.socket)?;
    let mut code = ExitCode::SUCCESS;
    for address in QUESTIONS {
        log.say(Line::Asking(address));
        match client.socket_path(address) {
            Ok(path) => log.say(Line::Retrieved(path.as_deref().unwrap_or_default())),
            Err(error) => {
                log.say(Line::Trouble(&unable(&error)));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn unable(error: &ClientError) -> String {
    format!("Unable to retrieve socketpath via gRPC - {error}")
}

/// How answers are shown on stdout.
#[derive(Debug, Clone, Copy)]
struct Show {
    json: bool,
}

/// As in the list that the look-up reads.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'a str>,
    #[serde(rename = "pciAddress")]
    pci_address: PciAddress,
    socketpath: Option<&'a str>,
}

impl Show {
    fn socket(self, pci_address: PciAddress, path: Option<&str>) -> io::Result<()> {
        if self.json {
            return object(&Row { change: None, pci_address, socketpath: path });
        }
        writeln!(io::stdout(), "{pci_address} {}", path.unwrap_or("-"))
    }

    fn change(self, change: &Change) -> io::Result<()> {
        let (sign, word) = match change {
            Change::Added(_) => ('+', "added"),
            Change::Removed(_) => ('-', "removed"),
            Change::Moved(_) => ('=', "moved"),
        };
        let entry: &Entry = change.entry();
        let (pci_address, path) = (entry.pci_address(), entry.socket_path());
        if self.json {
            return object(&Row { change: Some(word), pci_address, socketpath: Some(path) });
        }
        writeln!(io::stdout(), "{sign}{pci_address} {path}")
    }
}

fn object(row: &Row<'_>) -> io::Result<()> {
    writeln!(io::stdout(), "{}", serde_json::to_string(row)?)
}
