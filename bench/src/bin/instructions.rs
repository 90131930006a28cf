//! Instructions per packet, counted by valgrind: the same on every run, so that a loss of a few
//! per cent on the hot path is seen where a clock would not show it.
//!
//! `instructions check` compares with `bench/instructions.json`, `instructions update` rewrites it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what it is for")]

use anyhow::{Context, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use ringport_bench::in_thread::{Logging, Rings, Toward};
use ringport_bench::own_driver::OwnPair;
use ringport_bench::peers;
use ringport_bench::virtio::{Extent, Format};
use ringport_bench::workload::{self, BURST, OneWay, Through};
use ringport_memif::Direction;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Bursts, or messages, in one count.
const TURNS: usize = 200;
/// The rings of a vhost-user device.
const RINGS: Extent = Extent { rings: 1, size: 1024, regions: 1 };
/// Where the expected counts are.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json");

#[derive(Debug, Parser)]
#[command(about = "Counts instructions per packet with valgrind")]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Counts, and fails when a workload takes more instructions than allowed
    Check,
    /// Counts, and writes the counts to bench/instructions.json
    Update,
    /// Runs one workload; what valgrind is pointed at
    #[command(hide = true)]
    Run {
        /// The workload
        workload: Workload,
    },
}

/// Something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Workload {
    MemifRxServer,
    MemifRxClient,
    MemifTxServer,
    MemifTxClient,
    MemifForward,
    MemifCodec,
    VhostRxSplit,
    VhostRxPacked,
    VhostTxSplit,
    VhostTxPacked,
    DriverRxSplit,
    DriverRxPacked,
    DriverTxSplit,
    DriverTxPacked,
}

impl Workload {
    /// The function that is counted.
    fn step(self) -> &'static str {
        match self {
            Self::MemifRxServer | Self::MemifRxClient => "step_rx",
            Self::MemifTxServer | Self::MemifTxClient => "step_tx",
            Self::VhostRxSplit | Self::VhostRxPacked => "step_receive",
            Self::VhostTxSplit | Self::VhostTxPacked => "step_send",
            Self::DriverRxSplit | Self::DriverRxPacked => "step_drive_receive",
            Self::DriverTxSplit | Self::DriverTxPacked => "step_drive_send",
            Self::MemifForward => "step_forward",
            Self::MemifCodec => "step_codec",
        }
    }

    /// Packets, or messages, that one run handles.
    fn run(self) -> anyhow::Result<usize> {
        let one_way = |direction| {
            let mut way = OneWay::new(direction, 64)?;
            let packets = (0..TURNS).map(|_| way.turn()).sum::<Result<usize, _>>()?;
            ensure!(way.errors() == 0, "{} packets were damaged", way.errors());
            Ok(packets)
        };
        let rings = |toward, format| {
            let mut rings = Rings::new(toward, format, RINGS, Logging::Off, 64)?;
            let packets = (0..TURNS).map(|_| rings.turn::<BURST>()).sum::<Result<usize, _>>()?;
            ensure!(rings.errors() == 0, "{} packets were damaged", rings.errors());
            Ok(packets)
        };
        let driver = |toward, format| {
            let mut pair = OwnPair::new(format, RINGS.size, 64)?;
            let packets =
                (0..TURNS).map(|_| pair.turn::<BURST>(toward)).sum::<Result<usize, _>>()?;
            ensure!(pair.errors() == 0, "{} packets were damaged", pair.errors());
            Ok(packets)
        };
        match self {
            Self::DriverRxSplit => driver(Toward::Driver, Format::Split),
            Self::DriverRxPacked => driver(Toward::Driver, Format::Packed),
            Self::DriverTxSplit => driver(Toward::Device, Format::Split),
            Self::DriverTxPacked => driver(Toward::Device, Format::Packed),
            Self::VhostRxSplit => rings(Toward::Device, Format::Split),
            Self::VhostRxPacked => rings(Toward::Device, Format::Packed),
            Self::VhostTxSplit => rings(Toward::Driver, Format::Split),
            Self::VhostTxPacked => rings(Toward::Driver, Format::Packed),
            Self::MemifRxServer | Self::MemifTxClient => one_way(Direction::C2s),
            Self::MemifRxClient | Self::MemifTxServer => one_way(Direction::S2c),
            Self::MemifForward => {
                let mut through = Through::new(64)?;
                let packets = (0..TURNS).map(|_| through.turn()).sum::<Result<usize, _>>()?;
                ensure!(through.errors() == 0, "{} packets were damaged", through.errors());
                Ok(packets)
            }
            Self::MemifCodec => {
                let message = workload::message();
                ensure!(
                    (0..TURNS).all(|_| workload::step_codec(&message)),
                    "a message was damaged"
                );
                Ok(TURNS)
            }
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// What `bench/instructions.json` says.
#[derive(Debug, Serialize, Deserialize)]
struct Expected {
    /// The compiler that the counts were made with. Another one may give others.
    rustc: String,
    /// How much more than expected a workload may take, in per cent.
    limit_percent: f64,
    /// Instructions per packet, or per message.
    instructions: BTreeMap<Workload, f64>,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Action::Run { workload } => {
            println!("packets: {}", workload.run()?);
            Ok(())
        }
        Action::Check => check(),
        Action::Update => update(),
    }
}

fn check() -> anyhow::Result<()> {
    let Some(counts) = count_all("instructions check")? else { return Ok(()) };
    let text = std::fs::read_to_string(FILE).context("bench/instructions.json")?;
    let expected: Expected = serde_json::from_str(&text).context("bench/instructions.json")?;
    let rustc = rustc_version();
    if rustc != expected.rustc {
        eprintln!("counts were made with {}, this is {rustc}", expected.rustc);
    }
    println!("{:<18} {:>10} {:>10} {:>8}", "per packet", "expected", "now", "change");
    let mut over = Vec::new();
    for (workload, now) in &counts {
        let name = workload.name();
        let Some(was) = expected.instructions.get(workload) else {
            bail!("{name} is not in bench/instructions.json: run `instructions update`");
        };
        let change = (now / was - 1.0) * 100.0;
        println!("{name:<18} {was:>10.2} {now:>10.2} {change:>+7.2}%");
        if change > expected.limit_percent {
            over.push(name);
        } else if change < -expected.limit_percent {
            eprintln!("{name} takes fewer instructions than expected: run `instructions update`");
        }
    }
    ensure!(
        over.is_empty(),
        "over the limit of +{} %: {}",
        expected.limit_percent,
        over.join(", ")
    );
    Ok(())
}

fn update() -> anyhow::Result<()> {
    let Some(instructions) = count_all("instructions update")? else { return Ok(()) };
    for (workload, count) in &instructions {
        println!("{:<18} {count:>10.2}", workload.name());
    }
    let expected = Expected { rustc: rustc_version(), limit_percent: 3.0, instructions };
    let text = serde_json::to_string_pretty(&expected)? + "\n";
    std::fs::write(FILE, text).context("bench/instructions.json")
}

/// `None`: there is no valgrind; that was reported.
fn count_all(what: &str) -> anyhow::Result<Option<BTreeMap<Workload, f64>>> {
    ensure!(!cfg!(debug_assertions), "counts of a debug build mean nothing: use --release");
    if peers::find_program("valgrind").is_none() {
        peers::skip(what, "valgrind: not installed");
        return Ok(None);
    }
    let count = |workload: &Workload| Ok((*workload, count(*workload)?));
    Workload::value_variants().iter().map(count).collect::<anyhow::Result<_>>().map(Some)
}

/// Instructions per packet.
fn count(workload: Workload) -> anyhow::Result<f64> {
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--toggle-collect=*{}*", workload.step()))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(["run", &workload.name()])
        .output()
        .context("valgrind")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} under valgrind: {printed}{errors}", workload.name());
    let packets = number_after(&printed, "packets: ").context("no packets")?;
    let instructions = summary(&out)?;
    ensure!(instructions > 0.0, "valgrind did not find {}", workload.step());
    Ok((instructions / packets * 100.0).round() / 100.0)
}

fn summary(out: &Path) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(out)?;
    number_after(&text, "\ntotals: ").context("no total in valgrind's output")
}

fn number_after(text: &str, name: &str) -> Option<f64> {
    text.split_once(name)?.1.lines().next()?.trim().parse().ok()
}

fn rustc_version() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.map_or_else(
        |_| "an unknown rustc".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
