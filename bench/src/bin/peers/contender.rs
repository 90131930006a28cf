//! Pairs of processes that run only while they are measured.

use crate::worker::{Job, Order};
use anyhow::{Context, bail};
use ringport_bench::peers::CommandGuard;
use ringport_bench::peers::testpmd::RunningTestpmd;
use ringport_bench::shared::{Board, Counts};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a worker may take to start, and a pair to move its first packet.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// After a pair was resumed, before it is measured.
const SETTLE: Duration = Duration::from_millis(8);

/// A worker process of ours.
#[derive(Debug)]
pub(crate) struct Worker {
    guard: CommandGuard,
    board: Board,
}

impl Worker {
    /// Starts one and waits until it is set up (a port of ours: open, not yet connected).
    pub(crate) fn start(core: usize, job: Job) -> anyhow::Result<Self> {
        Self::start_of(&std::env::current_exe()?, core, job)
    }

    /// As [`start`](Self::start), of another build of this program.
    pub(crate) fn start_of(program: &Path, core: usize, job: Job) -> anyhow::Result<Self> {
        let board = Board::create().context("a worker's board")?;
        let order = serde_json::to_string(&Order { core, board: board.path(), job })?;
        let mut guard =
            CommandGuard::spawn("worker", Command::new(program).arg("worker").arg(order))?;
        let end = Instant::now() + START_DEADLINE;
        while !board.is_ready() {
            guard.check_running()?;
            if Instant::now() > end {
                bail!("a worker did not start: {}", guard.log());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Self { guard, board })
    }
}

/// One process of a contender.
#[derive(Debug)]
pub(crate) enum Member {
    Worker(Worker),
    Testpmd(Box<RunningTestpmd>),
}

impl Member {
    fn pause(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Worker(worker) => worker.guard.pause()?,
            Self::Testpmd(testpmd) => testpmd.pause()?,
        }
        Ok(())
    }

    fn resume(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Worker(worker) => worker.guard.resume()?,
            Self::Testpmd(testpmd) => testpmd.resume()?,
        }
        Ok(())
    }

    fn check_running(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Worker(worker) => worker.guard.check_running()?,
            Self::Testpmd(testpmd) => testpmd.process().check_running()?,
        }
        Ok(())
    }

    /// Time that the scheduler gave to all threads, and time that they waited for it.
    fn schedule(&mut self) -> anyhow::Result<Schedule> {
        let pid = match self {
            Self::Worker(worker) => worker.guard.pid(),
            Self::Testpmd(testpmd) => testpmd.process().pid(),
        };
        let mut sum = Schedule::default();
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let mut nanos = text.split_whitespace().map(|n| n.parse().map(Duration::from_nanos));
            sum.ran += nanos.next().transpose()?.unwrap_or_default();
            sum.waited += nanos.next().transpose()?.unwrap_or_default();
        }
        Ok(sum)
    }
}

/// What the scheduler did with a process.
#[derive(Debug, Clone, Copy, Default)]
struct Schedule {
    ran: Duration,
    waited: Duration,
}

/// What a member counted, and when.
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    counts: Counts,
}

/// What one window of measurement gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) packets_per_second: f64,
    pub(crate) bytes_per_second: f64,
    /// Of the receiver, in bursts that were not empty.
    pub(crate) cycles_per_packet: Option<f64>,
    /// Part of the receiver's looks at its rings that found nothing.
    pub(crate) idle: Option<f64>,
    /// Packets of a look that found some.
    pub(crate) burst: Option<f64>,
    /// Part of the sender's bursts that did not find room for all packets.
    pub(crate) short: Option<f64>,
    /// Part of the window for which a process was ready to run, and something else ran.
    pub(crate) waited: f64,
}

impl Rate {
    /// What was counted within `seconds`; `cycles` when testpmd told them.
    fn of(before: &Counts, after: &Counts, seconds: f64, cycles: Option<f64>) -> Self {
        let grown = |what: fn(&Counts) -> u64| what(after).saturating_sub(what(before)) as f64;
        let (packets, looks) = (grown(|c| c.packets), grown(|c| c.looks));
        let (spent, idle) = (grown(|c| c.cycles), grown(|c| c.idle_looks));
        let offers = grown(|c| c.offers);
        let counted = (spent > 0.0 && packets > 0.0).then(|| spent / packets);
        Self {
            packets_per_second: packets / seconds,
            bytes_per_second: grown(|c| c.bytes) / seconds,
            cycles_per_packet: cycles.or(counted),
            idle: (looks > 0.0).then(|| idle / looks),
            burst: (looks > idle).then(|| packets / (looks - idle)),
            short: (offers > 0.0).then(|| grown(|c| c.short_offers) / offers),
            waited: 0.0,
        }
    }
}

/// Processes that work together, and are compared with others that do the same.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    /// In the order in which they were started; the last one counts what arrives.
    members: Vec<Member>,
    meter: usize,
    /// The meter is a testpmd that is told to start and stop, because it then tells its cycles.
    asks_cycles: bool,
    /// Things that must live as long as the processes.
    _keep: Vec<Box<dyn std::fmt::Debug>>,
    pub(crate) errors: u64,
}

impl Contender {
    /// `members[meter]` counts what arrives.
    pub(crate) fn new(name: &str, members: Vec<Member>, meter: usize) -> Self {
        let name = name.to_owned();
        Self { name, members, meter, asks_cycles: false, _keep: Vec::new(), errors: 0 }
    }

    pub(crate) fn keep(mut self, thing: impl std::fmt::Debug + 'static) -> Self {
        self._keep.push(Box::new(thing));
        self
    }

    pub(crate) fn asking_cycles(mut self) -> Self {
        self.asks_cycles = true;
        self
    }

    /// Waits until packets flow, then stops all processes until they are measured.
    pub(crate) fn park(mut self) -> anyhow::Result<Self> {
        self.start_counting()?;
        let end = Instant::now() + START_DEADLINE;
        while self.read()?.counts.packets == 0 {
            self.check()?;
            if Instant::now() > end {
                bail!("{}: no packet arrived", self.name);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.stop_counting()?;
        self.pause()?;
        Ok(self)
    }

    /// Runs the processes for `window`, and a little before.
    pub(crate) fn measure(&mut self, window: Duration) -> anyhow::Result<Rate> {
        self.resume()?;
        self.start_counting()?;
        std::thread::sleep(SETTLE);
        let waited = self.schedules()?;
        let before = self.read()?;
        std::thread::sleep(window);
        let after = self.read()?;
        let waited = most(&waited, &self.schedules()?, |s| s.waited);
        let asked = self.stop_counting()?;
        self.pause()?;
        self.check()?;
        self.errors = after.counts.errors;
        let seconds = (after.at - before.at).as_secs_f64();
        Ok(Rate {
            waited: waited / seconds,
            ..Rate::of(&before.counts, &after.counts, seconds, asked)
        })
    }

    /// Runs the processes for `window`; CPU time used, or waited for, in cores, by the one that wants
    /// most.
    pub(crate) fn measure_cpu(&mut self, window: Duration) -> anyhow::Result<f64> {
        self.resume()?;
        std::thread::sleep(SETTLE);
        let start = Instant::now();
        let before = self.schedules()?;
        std::thread::sleep(window);
        let after = self.schedules()?;
        let seconds = start.elapsed().as_secs_f64();
        self.pause()?;
        Ok(most(&before, &after, |s| s.ran + s.waited) / seconds)
    }

    pub(crate) fn pause(&mut self) -> anyhow::Result<()> {
        self.members.iter_mut().try_for_each(Member::pause)
    }

    fn resume(&mut self) -> anyhow::Result<()> {
        self.members.iter_mut().try_for_each(Member::resume)
    }

    fn check(&mut self) -> anyhow::Result<()> {
        let name = &self.name;
        self.members.iter_mut().try_for_each(|m| m.check_running().with_context(|| name.clone()))
    }

    fn schedules(&mut self) -> anyhow::Result<Vec<Schedule>> {
        self.members.iter_mut().map(Member::schedule).collect()
    }

    fn read(&mut self) -> anyhow::Result<Reading> {
        let before = Instant::now();
        match &mut self.members[self.meter] {
            Member::Worker(worker) => Ok(Reading { at: before, counts: worker.board.counts() }),
            Member::Testpmd(testpmd) => {
                let c = testpmd.counters(0)?;
                // The answer was made in the middle of the time that asking took.
                let at = before + before.elapsed() / 2;
                let (packets, bytes) = (c.rx_packets, c.rx_bytes);
                Ok(Reading { at, counts: Counts { packets, bytes, ..Counts::default() } })
            }
        }
    }

    fn start_counting(&mut self) -> anyhow::Result<()> {
        if let Member::Testpmd(testpmd) = &mut self.members[self.meter]
            && self.asks_cycles
        {
            testpmd.command("start")?;
        }
        Ok(())
    }

    fn stop_counting(&mut self) -> anyhow::Result<Option<f64>> {
        if let Member::Testpmd(testpmd) = &mut self.members[self.meter]
            && self.asks_cycles
        {
            let totals = testpmd.stop_forwarding()?;
            return Ok(totals.cycles_per_packet);
        }
        Ok(None)
    }
}

/// The largest growth of `what` among processes, in seconds.
fn most(before: &[Schedule], after: &[Schedule], what: fn(&Schedule) -> Duration) -> f64 {
    let grown = before.iter().zip(after).map(|(b, a)| what(a).saturating_sub(what(b)));
    grown.max().unwrap_or_default().as_secs_f64()
}

impl Drop for Contender {
    fn drop(&mut self) {
        // Receivers of testpmd may crash when their link goes down while they forward; nothing is
        // left to be learned from them. Every member is stopped by its own guard, the sender last.
        self.members.rotate_left(self.meter);
    }
}
