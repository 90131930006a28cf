//! Cases: who is compared with whom, and running them.

mod memif;
mod vhost_user;

use crate::bound::{self, Effort};
use crate::contender::Contender;
use crate::line_up::{self, Link, Side};
use crate::report::{Machine, Results};
use crate::rounds::{Measured, Runner, Unit};
use crate::transport::Way;
use crate::{Options, line_up::raw};
use anyhow::{Context, bail};
use ringport_bench::in_thread::Logging;
use ringport_bench::peers::testpmd::DataPath;
use ringport_bench::peers::{self, PeerLock};
use ringport_bench::raw_ring::{Method, Shape};
use ringport_bench::virtio::{Extent, Format};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

/// Length of a measurement of idleness.
const IDLE_WINDOW: Duration = Duration::from_secs(1);

/// Who takes part in a case; the first one is ours.
#[derive(Debug, Clone, Copy)]
enum Entry {
    Link(&'static str, Link),
    /// The raw ring with the memory shape of a memif ring.
    Bound(&'static str, Shape),
    /// From memif to vhost-user, by this forwarder.
    Forwarding(&'static str, Side, DataPath),
    /// Our device and a driver in one thread.
    InThread(&'static str, Way, Format, (Extent, Logging)),
    RoundTrip {
        sleeps: bool,
    },
    /// One frame through two raw rings.
    RawRoundTrip,
    Words,
    Events,
}

/// Things to compare.
#[derive(Debug)]
struct Case {
    name: String,
    unit: Unit,
    entries: Vec<Entry>,
}

impl Case {
    fn new(name: impl Into<String>, unit: Unit, entries: Vec<Entry>) -> Self {
        Self { name: name.into(), unit, entries }
    }
}

/// The cases of one subcommand.
#[derive(Debug)]
struct Suite {
    /// The subcommand, for messages.
    command: &'static str,
    /// In the order in which they run.
    cases: Vec<Case>,
    /// The name of the measurement of idle ports, where there is one.
    idle: Option<&'static str>,
}

/// What a run of cases shares.
struct Run<'a> {
    options: &'a Options,
    dpdk: bool,
    /// The fastest method found, by frame length.
    methods: HashMap<usize, Method>,
}

/// `peers memif`.
pub(crate) fn run_memif(options: &Options) -> anyhow::Result<()> {
    run(
        Suite { command: "peers memif", cases: memif::all(), idle: Some("memif-idle-cpu") },
        options,
    )
}

/// `peers vhost-user`.
pub(crate) fn run_vhost_user(options: &Options) -> anyhow::Result<()> {
    run(Suite { command: "peers vhost-user", cases: vhost_user::all(), idle: None }, options)
}

fn run(suite: Suite, options: &Options) -> anyhow::Result<()> {
    let is_wanted = |name: &str| name.contains(&options.case);
    let cases: Vec<Case> = suite.cases.into_iter().filter(|c| is_wanted(&c.name)).collect();
    let idle = suite.idle.filter(|name| is_wanted(name));
    if options.list {
        cases.iter().map(|case| case.name.as_str()).chain(idle).for_each(|name| println!("{name}"));
        return Ok(());
    }
    let peer =
        peers::require_peer(&format!("{}: everything with DPDK", suite.command), "dpdk-testpmd");
    // A found peer holds the lock already.
    let _lock = peer.is_none().then(PeerLock::acquire).transpose()?;
    let mut run = Run { options, dpdk: peer.is_some(), methods: HashMap::new() };
    eprintln!("looking for the fastest raw ring of 64 B");
    let probe = raw("probe", Shape::memif(64), run.method(Shape::memif(64))?)?;
    let (rounds, window) = (options.rounds(), options.window());
    let mut runner = Runner { probe, rounds, window };
    let (mut measured, mut failed) = (Vec::new(), Vec::new());
    for case in &cases {
        eprintln!("case {}", case.name);
        match run.case(case, &mut runner) {
            Ok(result) => measured.push(result),
            Err(error) => {
                eprintln!("case {} FAILED: {error:#}", case.name);
                failed.push(case.name.clone());
            }
        }
    }
    let results = Results {
        machine: Machine::here(),
        rounds: options.rounds(),
        window_millis: options.window().as_millis(),
        bounds: run.methods.iter().map(|(len, m)| (format!("{len} B"), format!("{m:?}"))).collect(),
        rows: measured.iter().flat_map(|m| m.rows()).collect(),
        without_a_round: measured.iter().filter_map(Measured::line_of_nothing).collect(),
        idle_cpu_cores: if idle.is_some() { measure_idle()? } else { BTreeMap::new() },
        failed: failed.clone(),
    };
    if measured.iter().any(Measured::is_disturbed) {
        eprintln!(
            "other processes cost rounds: for figures, this machine must have nothing else to do"
        );
    }
    results.lines().for_each(|line| println!("{line}"));
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&results)?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    if !failed.is_empty() {
        bail!("failed cases: {}", failed.join(", "));
    }
    if measured.iter().any(Measured::has_errors) {
        bail!("packets arrived damaged or out of sequence");
    }
    Ok(())
}

impl Run<'_> {
    fn case(&mut self, case: &Case, runner: &mut Runner) -> anyhow::Result<Measured> {
        let mut contenders = Vec::new();
        for entry in &case.entries {
            contenders.extend(self.start(entry)?);
            if let (1, Some(program)) = (contenders.len(), &self.options.against) {
                contenders.extend(start_other(program, entry)?);
            }
        }
        runner.run(&case.name, case.unit, contenders)
    }

    /// Starts a contender; `None` when its peer is missing.
    fn start(&mut self, entry: &Entry) -> anyhow::Result<Option<Contender>> {
        Ok(Some(match entry {
            Entry::Link(name, link) => {
                if !self.dpdk && [link.sender, link.receiver].iter().any(|side| side.is_dpdk()) {
                    return Ok(None);
                }
                link.start(name)?
            }
            Entry::Forwarding(name, forwarder, path) => {
                if !self.dpdk && forwarder.is_dpdk() {
                    return Ok(None);
                }
                line_up::forwarding(name, *forwarder, *path, &std::env::current_exe()?)?
            }
            Entry::InThread(name, way, format, extent) => {
                line_up::in_thread(name, *way, *format, *extent)?
            }
            Entry::Bound(name, shape) => raw(name, *shape, self.method(*shape)?)?,
            Entry::RoundTrip { sleeps } => line_up::round_trip("ours", *sleeps)?,
            Entry::RawRoundTrip => line_up::raw_round_trip("bound", Shape::memif(64))?,
            Entry::Words => line_up::words("word")?,
            Entry::Events => line_up::events("bound")?,
        }))
    }

    /// The fastest method for a shape; looked for once, with the usual pool.
    fn method(&mut self, shape: Shape) -> anyhow::Result<Method> {
        if let Some(method) = self.methods.get(&shape.frame_len) {
            return Ok(*method);
        }
        let shape = Shape::memif(shape.frame_len);
        let method = bound::best(shape, Effort::of(self.options))?;
        eprintln!("fastest raw ring of {} B: {method:?}", shape.frame_len);
        self.methods.insert(shape.frame_len, method);
        Ok(method)
    }
}

/// Starts a contender with another build of this program in our place, where that is possible.
fn start_other(program: &Path, entry: &Entry) -> anyhow::Result<Option<Contender>> {
    const NAME: &str = "other-build";
    match entry {
        Entry::Link(_, link) => link.start_of(program, NAME).map(Some),
        Entry::Forwarding(_, side, path) => {
            line_up::forwarding(NAME, *side, *path, program).map(Some)
        }
        _ => Ok(None),
    }
}

/// CPU time that a port takes while no packet comes, in cores.
fn measure_idle() -> anyhow::Result<BTreeMap<String, f64>> {
    let measure = |(name, sleeps): (&str, bool)| {
        Ok((name.to_owned(), line_up::idle(name, sleeps)?.measure_cpu(IDLE_WINDOW)?))
    };
    [("polling", false), ("interrupt", true)].into_iter().map(measure).collect()
}
