//! The cases of `peers memif`.

use crate::bound::{self, Effort};
use crate::contender::Contender;
use crate::line_up::{self, Link, Side, Way};
use crate::report::{Machine, Results};
use crate::rounds::{Measured, Runner, Unit};
use crate::{Options, line_up::raw};
use anyhow::{Context, bail};
use ringport_bench::frames::HOT_POOL_FRAMES;
use ringport_bench::peers::{self, PeerLock};
use ringport_bench::raw_ring::{Method, Shape};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Length of a measurement of idleness.
const IDLE_WINDOW: Duration = Duration::from_secs(1);

/// Who takes part in a case; the first one is ours.
#[derive(Debug, Clone, Copy)]
enum Entry {
    Link(&'static str, Link),
    /// The raw ring with the memory shape of a memif ring.
    Bound(&'static str, Shape),
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

/// All cases, in the order in which they run.
fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for way in [Way::C2s, Way::S2c] {
        cases.push(one_way(way));
        cases.push(to_dpdk(way));
        cases.push(from_dpdk(way));
    }
    cases.push(packed_from_dpdk());
    for way in [Way::C2s, Way::S2c] {
        for bytes in [1518, 9000] {
            cases.push(long_frames(way, bytes));
            cases.push(long_hot_frames(way, bytes));
        }
    }
    cases.push(lease_only());
    cases.push(queue_pairs());
    let polling = vec![Entry::RoundTrip { sleeps: false }, Entry::RawRoundTrip, Entry::Words];
    cases.push(Case::new("memif-64B-roundtrip-polling", Unit::NanosPerTrip, polling));
    let sleeping = vec![Entry::RoundTrip { sleeps: true }, Entry::Events];
    cases.push(Case::new("memif-64B-roundtrip-interrupt", Unit::NanosPerTrip, sleeping));
    cases
}

fn one_way(way: Way) -> Case {
    let mut entries = vec![
        Entry::Link("ours", Link::new(way, Side::Ours, Side::Ours)),
        Entry::Link("dpdk-copy", Link::new(way, Side::Dpdk, Side::Dpdk)),
    ];
    let zero_copy = match way {
        Way::C2s => Link::new(way, Side::DpdkZeroCopy, Side::Dpdk),
        Way::S2c => Link::new(way, Side::Dpdk, Side::DpdkZeroCopy),
    };
    entries.push(Entry::Link("dpdk-zero-copy", zero_copy));
    entries.push(Entry::Bound("bound", Shape::memif(64)));
    Case::new(format!("memif-64B-{}", way.name()), Unit::Mpps, entries)
}

fn to_dpdk(way: Way) -> Case {
    let entries = vec![
        Entry::Link("ours", Link::new(way, Side::Ours, Side::Dpdk)),
        Entry::Link("dpdk", Link::new(way, Side::Dpdk, Side::Dpdk)),
    ];
    Case::new(format!("memif-64B-{}-to-dpdk-receiver", way.name()), Unit::Mpps, entries)
}

fn from_dpdk(way: Way) -> Case {
    let entries = vec![
        Entry::Link("ours", Link::new(way, Side::Dpdk, Side::Ours).cycles()),
        Entry::Link("dpdk", Link::new(way, Side::Dpdk, Side::Dpdk).cycles()),
    ];
    Case::new(format!("memif-64B-{}-from-dpdk-sender", way.name()), Unit::Mpps, entries)
}

/// Our buffers lie back to back, as those of DPDK's client do.
fn packed_from_dpdk() -> Case {
    let link = |receiver| Link::new(Way::S2c, Side::Dpdk, receiver).cycles();
    let entries =
        vec![Entry::Link("ours", link(Side::Ours).packed()), Entry::Link("dpdk", link(Side::Dpdk))];
    Case::new("memif-64B-s2c-from-dpdk-sender-packed", Unit::Mpps, entries)
}

fn long_frames(way: Way, bytes: u16) -> Case {
    let shape = Shape::memif(usize::from(bytes));
    let entries = vec![
        Entry::Link("ours", Link::new(way, Side::Ours, Side::Ours).frame_len(bytes)),
        Entry::Link("dpdk-copy", Link::new(way, Side::Dpdk, Side::Dpdk).frame_len(bytes)),
        Entry::Bound("bound", shape),
    ];
    Case::new(format!("memif-{bytes}B-{}", way.name()), Unit::Gbps, entries)
}

/// The same with frames that stay in the nearest caches, as those of testpmd's generator do.
fn long_hot_frames(way: Way, bytes: u16) -> Case {
    let shape = Shape { pool_frames: HOT_POOL_FRAMES, ..Shape::memif(usize::from(bytes)) };
    let entries = vec![
        Entry::Link("ours", Link::new(way, Side::Ours, Side::Ours).frame_len(bytes).hot_pool()),
        Entry::Link("dpdk-copy", Link::new(way, Side::Dpdk, Side::Dpdk).frame_len(bytes)),
        Entry::Bound("bound", shape),
    ];
    Case::new(format!("memif-{bytes}B-{}-hot-pool", way.name()), Unit::Gbps, entries)
}

/// Our receiver gives packets back without a look at them.
fn lease_only() -> Case {
    let link = Link::new(Way::C2s, Side::Ours, Side::Ours);
    let entries = vec![
        Entry::Link("ours-lease-only", link.lease_only()),
        Entry::Link("ours-copied-out", link),
    ];
    Case::new("memif-64B-c2s-lease-only", Unit::Mpps, entries)
}

fn queue_pairs() -> Case {
    let link = |queues| Link::new(Way::C2s, Side::Ours, Side::Ours).queues(queues);
    let dpdk = |queues| Link::new(Way::C2s, Side::Dpdk, Side::Dpdk).queues(queues);
    let entries = vec![
        Entry::Link("ours-4-queues", link(4)),
        Entry::Link("ours-1-queue", link(1)),
        Entry::Link("dpdk-4-queues", dpdk(4)),
        Entry::Link("dpdk-1-queue", dpdk(1)),
    ];
    Case::new("memif-64B-4-queues", Unit::Mpps, entries)
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
    let cases: Vec<Case> = all().into_iter().filter(|c| c.name.contains(&options.case)).collect();
    let idle = "memif-idle-cpu".contains(&options.case);
    if options.list {
        cases.iter().for_each(|case| println!("{}", case.name));
        println!("memif-idle-cpu");
        return Ok(());
    }
    let peer = peers::require_peer("peers memif: everything with DPDK", "dpdk-testpmd");
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
        idle_cpu_cores: if idle { measure_idle()? } else { BTreeMap::new() },
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
        }
        runner.run(&case.name, case.unit, contenders)
    }

    /// Starts a contender; `None` when its peer is missing.
    fn start(&mut self, entry: &Entry) -> anyhow::Result<Option<Contender>> {
        Ok(Some(match entry {
            Entry::Link(name, link) => {
                if !self.dpdk && (link.sender != Side::Ours || link.receiver != Side::Ours) {
                    return Ok(None);
                }
                link.start(name)?
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

/// CPU time that a port takes while no packet comes, in cores.
fn measure_idle() -> anyhow::Result<BTreeMap<String, f64>> {
    let measure = |(name, sleeps): (&str, bool)| {
        Ok((name.to_owned(), line_up::idle(name, sleeps)?.measure_cpu(IDLE_WINDOW)?))
    };
    [("polling", false), ("interrupt", true)].into_iter().map(measure).collect()
}
