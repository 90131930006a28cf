//! A Linux guest's TCP through `ringport tap`, beside QEMU's own device on a TAP.
//!
//! Guests are emulated: the figures are those of an emulated CPU that copies and counts, and are good for
//! the comparison within one run only.

use super::Options;
use super::report::{Machine, Spread};
use anyhow::{Context, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use ringport_bench::peers::guest::{self, Guest, Nic, RunningGuest};
use ringport_bench::peers::{CommandGuard, PeerLock};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Bytes of a transfer.
const MANY: usize = 24 << 20;
const PATIENCE: Duration = Duration::from_secs(60);
/// What ratios are to.
const THEIRS: &str = "qemu-tap";
const CASES: [&str; 2] = ["guest-to-host", "host-to-guest"];

/// Who carries the packets of one interface of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contender {
    Split,
    Packed,
    /// QEMU's device, in QEMU.
    Qemu,
    /// QEMU's device, in the host's kernel.
    VhostNet,
}

impl Contender {
    /// Those that can be had here.
    fn all() -> Vec<Self> {
        let mut all = vec![Self::Split, Self::Packed, Self::Qemu];
        if Path::new("/dev/vhost-net").exists() {
            all.push(Self::VhostNet);
        }
        all
    }

    fn name(self) -> &'static str {
        match self {
            Self::Split => "ours-split",
            Self::Packed => "ours-packed",
            Self::Qemu => THEIRS,
            Self::VhostNet => "qemu-tap-vhost",
        }
    }
}

/// What a run found out.
#[derive(Debug, Serialize)]
struct Results {
    machine: Machine,
    rounds: usize,
    transfer_bytes: usize,
    /// Megabits of TCP payload a second, by case and contender.
    megabits: BTreeMap<String, Spread>,
    /// `CONTENDER/qemu-tap`, by case: medians of the ratios of single rounds.
    ratios: BTreeMap<String, Spread>,
}

/// `peers guest`.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let cases: Vec<_> = CASES.into_iter().filter(|case| case.contains(&options.case)).collect();
    if options.list {
        cases.iter().for_each(|case| println!("{case}"));
        return Ok(());
    }
    let mut bench = Bench::start()?;
    let rounds = options.rounds.unwrap_or(if options.quick { 4 } else { 10 });
    let (mut megabits, mut ratios) = (BTreeMap::new(), BTreeMap::new());
    // The first one of each warms caches up, and does not count.
    for round in 0..=rounds {
        for case in &cases {
            let speeds = bench.round(case, round)?;
            if round > 0 {
                keep(case, &speeds, &mut megabits, &mut ratios);
            }
        }
    }
    let spreads = |all: BTreeMap<String, Vec<f64>>| {
        all.into_iter().filter_map(|(name, all)| Some((name, Spread::of(&all)?))).collect()
    };
    let (megabits, ratios) = (spreads(megabits), spreads(ratios));
    let machine = Machine::here();
    let results = Results { machine, rounds, transfer_bytes: MANY, megabits, ratios };
    print(&cases, &results);
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&results)?)?;
    }
    Ok(())
}

/// Adds what one round has found.
fn keep(
    case: &str,
    speeds: &[(Contender, f64)],
    megabits: &mut BTreeMap<String, Vec<f64>>,
    ratios: &mut BTreeMap<String, Vec<f64>>,
) {
    let theirs = speeds.iter().find(|(who, _)| *who == Contender::Qemu).map(|(_, speed)| speed);
    for (who, speed) in speeds {
        megabits.entry(format!("{case} {}", who.name())).or_default().push(*speed);
        if let Some(theirs) = theirs.filter(|_| *who != Contender::Qemu) {
            let name = format!("{case} {}/{THEIRS}", who.name());
            ratios.entry(name).or_default().push(speed / theirs);
        }
    }
}

fn print(cases: &[&str], results: &Results) {
    for case in cases {
        let of = |all: &BTreeMap<String, Spread>, digits: usize| -> String {
            let of_case = all.iter().filter_map(|(name, spread)| {
                let name = name.strip_prefix(case)?.trim_start();
                let Spread { median, min, max } = spread;
                Some(format!(" {name}={median:.digits$}[{min:.digits$}..{max:.digits$}]"))
            });
            of_case.collect()
        };
        let (speeds, ratios) = (of(&results.megabits, 0), of(&results.ratios, 2));
        println!("case={case} unit=Mb/s{speeds}{ratios} rounds={}", results.rounds);
    }
    eprintln!("the guest is emulated: only the ratios mean something");
}

/// A guest with an interface for each contender, `ethN` on 10.0.N.2, in a network namespace of ours.
struct Bench {
    contenders: Vec<Contender>,
    guest: RunningGuest,
    _taps: Vec<CommandGuard>,
    _lock: PeerLock,
}

impl Bench {
    fn start() -> anyhow::Result<Self> {
        let tool = std::env::var_os("RINGPORT_TOOL").map(PathBuf::from);
        let tool = tool.context("RINGPORT_TOOL does not name the ringport tool: use ./ci.sh")?;
        ensure!(tool.is_file(), "{} is not there", tool.display());
        if let Some(why) = guest::missing() {
            bail!("no guest kit: {why}");
        }
        let lock = PeerLock::acquire()?;
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace")?;
        let contenders = Contender::all();
        let directory = tempfile::tempdir()?;
        let (mut guest, mut taps) = (Guest::new(), Vec::new());
        for (number, who) in contenders.iter().enumerate() {
            let socket = directory.path().join(number.to_string());
            let nic = match who {
                Contender::Qemu => Nic::tap(&format!("t{number}")),
                Contender::VhostNet => Nic::tap(&format!("t{number}")).vhost_net(),
                Contender::Split | Contender::Packed => {
                    taps.push(tap(&tool, &socket, number)?);
                    Nic::vhost_user(&socket)
                }
            };
            guest = guest.nic(if *who == Contender::Packed { nic.packed() } else { nic });
        }
        let mut this = Self { contenders, guest: guest.start()?, _taps: taps, _lock: lock };
        this.configure()?;
        Ok(this)
    }

    /// Gives addresses to the guest's interfaces and to QEMU's TAPs, and the guest something to send.
    fn configure(&mut self) -> anyhow::Result<()> {
        for (n, who) in self.contenders.iter().enumerate() {
            let line = format!("ip link set eth{n} up; ip address add 10.0.{n}.2/24 dev eth{n}");
            self.guest.run(&line)?;
            if matches!(who, Contender::Qemu | Contender::VhostNet) {
                ip(&format!("address add 10.0.{n}.1/24 dev t{n}"))?;
                ip(&format!("link set t{n} up"))?;
            }
        }
        let line = format!("head -c {MANY} /dev/zero >/tmp/zeros; httpd -p 80 -h /tmp");
        self.guest.run(&line)?;
        Ok(())
    }

    /// One transfer of each contender, in megabits a second; who begins changes from round to round.
    fn round(&mut self, case: &str, round: usize) -> anyhow::Result<Vec<(Contender, f64)>> {
        let count = self.contenders.len();
        let mut speeds = Vec::with_capacity(count);
        for turn in 0..count {
            let number = (round + turn) % count;
            let time =
                if case == CASES[0] { fetch(number)? } else { give(number, &mut self.guest)? };
            #[expect(clippy::cast_precision_loss, reason = "a number of megabytes")]
            let speed = MANY as f64 * 8e-6 / time.as_secs_f64();
            speeds.push((self.contenders[number], speed));
        }
        Ok(speeds)
    }
}

/// A `ringport tap` that listens for the guest.
fn tap(tool: &Path, socket: &Path, number: usize) -> anyhow::Result<CommandGuard> {
    let port = format!("vhost:{},role=device,offload=segmentation", socket.display());
    let (name, address) = (format!("t{number}"), format!("10.0.{number}.1/24"));
    let mut command = Command::new(tool);
    command.args(["tap", &port, "--name", &name, "--address", &address]);
    let mut tap = CommandGuard::spawn("ringport tap", &mut command)?;
    tap.wait_for_line("b: up", PATIENCE)?;
    Ok(tap)
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {arguments}: {}", said.trim());
    Ok(())
}

/// Fetches a file from the guest's web server, which sends it from its page cache.
fn fetch(number: usize) -> anyhow::Result<Duration> {
    let mut stream = connect(number, 80)?;
    let start = Instant::now();
    stream.write_all(b"GET /zeros HTTP/1.0\r\n\r\n")?;
    let (mut bytes, mut total) = (vec![0; 1 << 16], 0);
    loop {
        match stream.read(&mut bytes)? {
            0 => break,
            len => total += len,
        }
    }
    ensure!(total > MANY, "{total} bytes came");
    Ok(start.elapsed())
}

/// Sends to a program in the guest that throws everything away, until it has everything.
fn give(number: usize, guest: &mut RunningGuest) -> anyhow::Result<Duration> {
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let mut stream = connect(number, 5000)?;
            let start = Instant::now();
            stream.write_all(&vec![0; MANY])?;
            stream.shutdown(Shutdown::Write)?;
            // It sends this when it has read the end.
            stream.read_exact(&mut [0])?;
            anyhow::Ok(start.elapsed())
        });
        guest.run("nc -l -p 5000 -e sh -c 'cat >/dev/null; echo'")?;
        sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?
    })
}

/// Connects as soon as somebody listens there.
fn connect(number: usize, port: u16) -> anyhow::Result<TcpStream> {
    let (start, address) = (Instant::now(), format!("10.0.{number}.2:{port}"));
    let stream = loop {
        match TcpStream::connect(&address) {
            Ok(stream) => break stream,
            Err(error) if start.elapsed() > PATIENCE => return Err(error).context(address),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}
