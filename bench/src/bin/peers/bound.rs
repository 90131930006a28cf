//! The search for the fastest raw ring: one change at a time, each against the best so far.

use crate::Options;
use crate::contender::Contender;
use crate::line_up;
use ringport_bench::peers::{PeerLock, free_hugepages_mb};
use ringport_bench::raw_ring::{Kernel, Method, Shape, is_supported};
use std::time::Duration;

const START: Method = Method {
    burst: 64,
    kernel: Kernel::Library,
    fetch_ahead_tx: 0,
    fetch_ahead_rx: 0,
    demote: false,
};
/// A change must gain this much to be kept.
const GAIN_MIN: f64 = 1.02;

/// How thoroughly to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Windows for each of the two that are compared.
    trials: usize,
    window: Duration,
}

impl Effort {
    pub(crate) fn of(options: &Options) -> Self {
        let (trials, millis) = if options.quick { (3, 8) } else { (8, 12) };
        Self { trials, window: Duration::from_millis(millis) }
    }
}

/// The fastest method for a shape that copies frames.
pub(crate) fn best(shape: Shape, effort: Effort) -> anyhow::Result<Method> {
    climb(shape, START, effort, &mut |_, _, _| {})
}

type Tell<'a> = &'a mut dyn FnMut(Method, f64, bool);

/// Tries one change after the other. `tell` hears each method, its gain, and whether it was kept.
fn climb(shape: Shape, from: Method, effort: Effort, tell: Tell<'_>) -> anyhow::Result<Method> {
    let mut best = from;
    let mut incumbent = line_up::raw("raw", shape, best)?;
    for change in changes(from.kernel != Kernel::None) {
        let method = change(best);
        if method == best || !is_supported(method.kernel) {
            continue;
        }
        let mut other = line_up::raw("raw", shape, method)?;
        let gain = gain(&mut incumbent, &mut other, effort)?;
        let keep = gain > GAIN_MIN;
        tell(method, gain, keep);
        if keep {
            (best, incumbent) = (method, other);
        }
    }
    Ok(best)
}

type Change = Box<dyn Fn(Method) -> Method>;

fn changes(copies: bool) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    if copies {
        for kernel in [Kernel::Sse, Kernel::Avx, Kernel::Avx512, Kernel::Bulk] {
            changes.push(Box::new(move |m| Method { kernel, ..m }));
        }
    }
    for fetch_ahead_tx in [4, 8, 16, 32] {
        changes.push(Box::new(move |m| Method { fetch_ahead_tx, ..m }));
    }
    for fetch_ahead_rx in [4, 8, 16, 32] {
        changes.push(Box::new(move |m| Method { fetch_ahead_rx, ..m }));
    }
    changes.push(Box::new(|m| Method { demote: true, ..m }));
    for burst in [8, 16, 32, 128, 256] {
        changes.push(Box::new(move |m| Method { burst, ..m }));
    }
    for ahead in [0, 8, 64] {
        changes.push(Box::new(move |m| Method { fetch_ahead_tx: ahead, ..m }));
        changes.push(Box::new(move |m| Method { fetch_ahead_rx: ahead, ..m }));
    }
    changes
}

/// How many times faster `other` is: the best of several short windows each, which alternate, so
/// that both see what the machine can do at its best, whatever else ran meanwhile.
fn gain(base: &mut Contender, other: &mut Contender, effort: Effort) -> anyhow::Result<f64> {
    let (mut best_base, mut best_other) = (0.0, 0.0);
    for _ in 0..effort.trials {
        best_base = f64::max(best_base, base.measure(effort.window)?.packets_per_second);
        best_other = f64::max(best_other, other.measure(effort.window)?.packets_per_second);
    }
    Ok(best_other / best_base)
}

/// `peers raw`: the search, shown, for several shapes.
pub(crate) fn run_raw(options: &Options) -> anyhow::Result<()> {
    let _lock = PeerLock::acquire()?;
    let effort = Effort::of(options);
    let huge = free_hugepages_mb() >= 8;
    let mut shapes = vec![
        ("memif-64B", Shape::memif(64), START.kernel),
        ("memif-64B-descriptors", Shape::memif(64), Kernel::None),
        ("dense-64B", Shape { stride: 64, ..Shape::memif(64) }, START.kernel),
        ("memif-1518B", Shape::memif(1518), START.kernel),
        ("memif-9000B", Shape::memif(9000), START.kernel),
    ];
    if huge {
        shapes.push((
            "memif-64B-hugepages",
            Shape { hugepages: true, ..Shape::memif(64) },
            START.kernel,
        ));
    }
    for (name, shape, kernel) in shapes.into_iter().filter(|s| s.0.contains(&options.case)) {
        if options.list {
            println!("{name}");
            continue;
        }
        eprintln!("{name}: {shape:?}");
        let mut tell = |method: Method, gain: f64, kept: bool| {
            eprintln!("  {gain:5.2} {} {method:?}", if kept { "+" } else { " " });
        };
        let best = climb(shape, Method { kernel, ..START }, effort, &mut tell)?;
        let mut ring = line_up::raw("raw", shape, best)?;
        let mut rates: Vec<f64> = Vec::new();
        for _ in 0..options.rounds() {
            rates.push(ring.measure(Duration::from_millis(50))?.packets_per_second / 1e6);
        }
        rates.sort_by(f64::total_cmp);
        let (low, mid, high) = (rates[0], rates[rates.len() / 2], rates[rates.len() - 1]);
        println!("raw={name} unit=Mpps median={mid:.1} min={low:.1} max={high:.1} method={best:?}");
    }
    Ok(())
}
