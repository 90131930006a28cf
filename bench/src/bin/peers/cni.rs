//! The CNI plugin beside the programs that do the same: ADD and DEL of a port on Open vSwitch against
//! `ovs-vsctl`, size and memory against an IPAM plugin of Debian's.

mod memory;

use super::Options;
use super::report::{Machine, Spread};
use anyhow::{Context, bail, ensure};
use ringport_bench::peers::{Ovs, PeerLock, find_program, ovs};
use serde::Serialize;
use serde_json::json;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where Debian has its CNI plugins.
const PLUGINS: &str = "/usr/lib/cni";

/// What a container finds on the vswitch.
#[derive(Debug, Clone, Copy)]
enum Bridge {
    /// A bridge with a port of another container, as on a node in use.
    There,
    /// None: it comes with this port, and goes with it.
    Absent,
}

impl Bridge {
    const BOTH: [Self; 2] = [Self::There, Self::Absent];

    /// What ADD and DEL are called then.
    const fn operations(self) -> [&'static str; 2] {
        match self {
            Self::There => ["add", "del"],
            Self::Absent => ["add-first", "del-last"],
        }
    }
}

/// What a run found out.
#[derive(Debug, Serialize)]
struct Results {
    machine: Machine,
    rounds: usize,
    /// Milliseconds, by operation and contender.
    times: BTreeMap<String, Spread>,
    /// `ours/ovs-vsctl`, by operation: medians of the ratios of single rounds.
    ratios: BTreeMap<String, Spread>,
    /// Sizes of the programs, in kilobytes.
    size: BTreeMap<String, u64>,
    /// Most memory that a call had at once (VmHWM), in kilobytes.
    memory: BTreeMap<String, Spread>,
}

/// `peers cni`.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if options.list {
        for operation in Bridge::BOTH.iter().flat_map(|bridge| bridge.operations()) {
            println!("cni-{operation}");
        }
        println!("cni-size\ncni-memory");
        return Ok(());
    }
    let bench = Bench::start()?;
    let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    // The first one of each warms caches up, and does not count.
    for round in 0..=options.rounds() {
        for bridge in Bridge::BOTH {
            let mut taken = [[Duration::ZERO; 2]; 2];
            for turn in 0..2 {
                let who = (round + turn) % 2;
                taken[who] = match who {
                    0 => bench.ours(bridge, round)?,
                    _ => bench.theirs(bridge, round)?,
                };
            }
            for (operation, name) in bridge.operations().iter().enumerate().filter(|_| round > 0) {
                let [ours, theirs] =
                    [0, 1].map(|who: usize| taken[who][operation].as_secs_f64() * 1e3);
                let all = [("ours", ours), ("ovs-vsctl", theirs), ("ratio", ours / theirs)];
                for (what, value) in all {
                    times.entry(format!("{name} {what}")).or_default().push(value);
                }
            }
        }
    }
    let spreads = times.iter().filter_map(|(name, all)| Some((name.clone(), Spread::of(all)?)));
    let (ratios, times) = spreads.partition(|(name, _)| name.ends_with("ratio"));
    let (size, memory) = (bench.sizes()?, bench.memory(options.rounds().min(10))?);
    let machine = Machine::here();
    let results = Results { machine, rounds: options.rounds(), times, ratios, size, memory };
    print(&results);
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&results)?)?;
    }
    Ok(())
}

fn print(results: &Results) {
    let text =
        |spread: &Spread| format!("{:.2}[{:.2}..{:.2}]", spread.median, spread.min, spread.max);
    for operation in Bridge::BOTH.iter().flat_map(|bridge| bridge.operations()) {
        let of = |what: &str| {
            let name = format!("{operation} {what}");
            let found = results.times.get(&name).or_else(|| results.ratios.get(&name));
            found.map(text).unwrap_or_default()
        };
        println!(
            "case=cni-{operation} unit=ms ours={} ovs-vsctl={} ours/ovs-vsctl={} rounds={}",
            of("ours"),
            of("ovs-vsctl"),
            of("ratio"),
            results.rounds
        );
    }
    let sizes: Vec<String> = results.size.iter().map(|(who, kb)| format!("{who}={kb}")).collect();
    println!("case=cni-size unit=kB {}", sizes.join(" "));
    let memory: Vec<String> =
        results.memory.iter().map(|(who, kb)| format!("{who}={}", text(kb))).collect();
    println!("case=cni-memory unit=kB {}", memory.join(" "));
}

/// Everything that is measured, ready.
struct Bench {
    plugin: PathBuf,
    host_local: Option<PathBuf>,
    vsctl: PathBuf,
    ofctl: PathBuf,
    /// Its bridge has a port already, and stays.
    vswitch: Ovs,
    /// How often it was waited for.
    settled: Cell<u64>,
    _lock: PeerLock,
}

impl Bench {
    fn start() -> anyhow::Result<Self> {
        let plugin = std::env::var_os("RINGPORT_CNI_PLUGIN").map(PathBuf::from);
        let plugin = plugin.context("RINGPORT_CNI_PLUGIN does not name the plugin: use ./ci.sh")?;
        ensure!(plugin.is_file(), "{} is not there", plugin.display());
        let program = |name| find_program(name).context(format!("{name} is not installed"));
        let (vsctl, ofctl) = (program("ovs-vsctl")?, program("ovs-ofctl")?);
        let lock = PeerLock::acquire()?;
        if let Some(why) = ovs::missing() {
            bail!("no Open vSwitch with DPDK: {why}");
        }
        let vswitch = Ovs::start()?;
        let host_local = Some(Path::new(PLUGINS).join("host-local")).filter(|it| it.is_file());
        let settled = Cell::new(0);
        let this = Self { plugin, host_local, vsctl, ofctl, vswitch, settled, _lock: lock };
        std::fs::write(this.vswitch.path().join("netns"), "")?;
        let conf = this.conf(Bridge::There).to_string();
        timed(this.call("ADD", "resident").stdin(Stdio::piped()), &conf)?;
        Ok(this)
    }

    /// A port by the plugin: ADD and DEL.
    fn ours(&self, bridge: Bridge, round: usize) -> anyhow::Result<[Duration; 2]> {
        let conf = self.conf(bridge).to_string();
        let mut taken = [Duration::ZERO; 2];
        for (taken, verb) in taken.iter_mut().zip(["ADD", "DEL"]) {
            self.settle()?;
            let mut command = self.call(verb, &format!("bench-{round}"));
            *taken = timed(command.stdin(Stdio::piped()), &conf)?;
        }
        Ok(taken)
    }

    /// A port by what the plugin before ran: three programs for ADD, and two more for the bridge; two for
    /// DEL, and one more.
    fn theirs(&self, on: Bridge, round: usize) -> anyhow::Result<[Duration; 2]> {
        let port = format!("bench-{round}-net2");
        let path = self.vswitch.path().join("shared").join(&port);
        let bridge = self.bridge(on);
        self.settle()?;
        let start = Instant::now();
        self.vsctl(&["--bare", "--columns=name", "find", "bridge", &format!("name={bridge}")])?;
        if matches!(on, Bridge::Absent) {
            let set = ["set", "bridge", &bridge, "datapath_type=netdev"];
            self.vsctl(&[&["add-br", &bridge, "--"], &set[..]].concat())?;
            let mut flow = Command::new(&self.ofctl);
            flow.env("OVS_RUNDIR", self.vswitch.path());
            timed(flow.args(["add-flow", &bridge, "actions=NORMAL"]).stdin(Stdio::null()), "")?;
        }
        let options = format!("options:vhost-server-path={}", path.display());
        let kind = "type=dpdkvhostuserclient";
        self.vsctl(&["add-port", &bridge, &port, "--", "set", "Interface", &port, kind, &options])?;
        self.vsctl(&["--bare", "--columns=mac", "find", "port", &format!("name={port}")])?;
        let added = start.elapsed();
        self.settle()?;
        let start = Instant::now();
        self.vsctl(&["--if-exists", "del-port", &bridge, &port])?;
        self.vsctl(&["list-ports", &bridge])?;
        if matches!(on, Bridge::Absent) {
            self.vsctl(&["del-br", &bridge])?;
        }
        Ok([added, start.elapsed()])
    }

    /// Waits until the vswitch has done all that it was told, or whoever comes next would wait for it.
    fn settle(&self) -> anyhow::Result<()> {
        // It waits for changes only.
        self.settled.set(self.settled.get() + 1);
        let change = format!("external_ids:settled={}", self.settled.get());
        self.vsctl(&["set", "Open_vSwitch", ".", &change])
    }

    fn vsctl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.vsctl);
        command.arg(format!("--db={}", self.vswitch.database())).args(arguments);
        timed(command.stdin(Stdio::null()), "").map(|_| ())
    }

    fn bridge(&self, which: Bridge) -> String {
        match which {
            Bridge::There => self.vswitch.bridge().to_owned(),
            Bridge::Absent => format!("{}f", self.vswitch.bridge()),
        }
    }

    fn conf(&self, bridge: Bridge) -> serde_json::Value {
        let base = self.vswitch.path();
        json!({
            "cniVersion": "1.0.0", "name": "bench", "type": "userspace",
            "sharedDir": base.join("shared"), "dataDir": base.join("data"),
            "ovs": {"db": self.vswitch.database()},
            "host": {"engine": "ovs-dpdk", "iftype": "vhostuser", "netType": "bridge",
                     "bridge": {"bridgeName": self.bridge(bridge)}},
        })
    }

    fn call(&self, verb: &str, container: &str) -> Command {
        self.call_of(&self.plugin, verb, container)
    }

    fn call_of(&self, plugin: &Path, verb: &str, container: &str) -> Command {
        let mut command = Command::new(plugin);
        command
            .env_clear()
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", container)
            .env("CNI_IFNAME", "net1")
            .env("CNI_NETNS", self.vswitch.path().join("netns"))
            .env("CNI_PATH", PLUGINS);
        command
    }

    /// Sizes of the programs, in kilobytes.
    fn sizes(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let all = [("userspace", Some(&self.plugin)), ("host-local", self.host_local.as_ref())];
        let there = all.into_iter().filter_map(|(name, path)| Some((name, path?)));
        there
            .map(|(name, path)| Ok((name.to_owned(), path.metadata()?.len().div_ceil(1024))))
            .collect()
    }

    /// Most memory of an ADD, in kilobytes.
    fn memory(&self, rounds: usize) -> anyhow::Result<BTreeMap<String, Spread>> {
        let ipam = json!({
            "cniVersion": "1.0.0", "name": "bench",
            "ipam": {"type": "host-local", "subnet": "10.9.0.0/24",
                     "dataDir": self.vswitch.path().join("ipam")},
        });
        let all = [
            ("userspace", Some(&self.plugin), self.conf(Bridge::There)),
            ("host-local", self.host_local.as_ref(), ipam),
        ];
        let mut peaks = BTreeMap::new();
        for (name, plugin, conf) in all {
            let Some(plugin) = plugin else { continue };
            let mut of = Vec::new();
            for round in 0..rounds {
                let container = format!("memory-{round}");
                let add = self.call_of(plugin, "ADD", &container);
                of.push(memory::peak_kb(add, &conf.to_string())?);
                timed(
                    self.call_of(plugin, "DEL", &container).stdin(Stdio::piped()),
                    &conf.to_string(),
                )?;
            }
            peaks.extend(Spread::of(&of).map(|spread| (name.to_owned(), spread)));
        }
        Ok(peaks)
    }
}

/// How long a program takes from its start to its end, which must be a good one.
fn timed(command: &mut Command, input: &str) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let taken = start.elapsed();
    ensure!(
        output.status.success(),
        "{command:?}: {} {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(taken)
}
