//! How long a look-up takes, with 256 devices: `cargo run --release --example lookup_latency [QUESTIONS]`.
//!
//! Server and client are in one process, as two threads. Once over one connection, and once with a
//! connection for each question, as a CNI plugin has it.

use ringport_vdpa::PciAddress;
use ringport_vdpa::files::Entry;
use ringport_vdpa::lookup::{Client, Config, Log, Server, Table};
use std::error::Error;
use std::io::{Write, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let questions = std::env::args().nth(1).map_or(Ok(20_000), |text| text.parse())?;
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("vdpa.sock");
    let devices: Vec<_> = (0..=255).filter_map(|bus| PciAddress::new(0, bus, 0, 2)).collect();
    let entry = |&device: &PciAddress| Entry::new(device, format!("/run/vdpa/{device}.sock"));
    let table = Table::default();
    table.replace(devices.iter().map(entry).collect::<Result<_, _>>()?)?;
    let _server = Server::start(&Config::at(&socket), &table, &Log::Tracing)?;
    let names: Vec<_> = devices.iter().map(ToString::to_string).collect();
    show("one connection", over_one_connection(&socket, &names, questions)?)?;
    show("one connection each", with_one_connection_each(&socket, &names, questions / 10)?)?;
    Ok(())
}

type Times = Result<Vec<Duration>, Box<dyn Error>>;

fn over_one_connection(socket: &Path, names: &[String], questions: usize) -> Times {
    let mut client = Client::connect(socket)?;
    names
        .iter()
        .cycle()
        .take(questions)
        .map(|name| ask(&mut client, name, Instant::now()))
        .collect()
}

fn with_one_connection_each(socket: &Path, names: &[String], questions: usize) -> Times {
    let ask = |name: &String| {
        let began = Instant::now();
        ask(&mut Client::connect(socket)?, name, began)
    };
    names.iter().cycle().take(questions).map(ask).collect()
}

fn ask(client: &mut Client, name: &str, began: Instant) -> Result<Duration, Box<dyn Error>> {
    client.socket_path(name)?.ok_or("a device is not known")?;
    Ok(began.elapsed())
}

fn show(name: &str, mut times: Vec<Duration>) -> std::io::Result<()> {
    times.sort_unstable();
    let at = |hundredth: usize| times[times.len() * hundredth / 100];
    let (count, p50, p99) = (times.len(), at(50), at(99));
    let max = times.last().copied().unwrap_or_default();
    writeln!(stdout(), "{name}: {count} look-ups, p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?}")
}
