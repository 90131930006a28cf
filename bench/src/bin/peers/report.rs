//! Results: medians by regime, as text and as JSON.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Median and extremes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let mid = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[mid] } else { sorted[mid - 1].midpoint(sorted[mid]) };
        Some(Self { median, min, max })
    }
}

/// Everything that a run found out.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// Rounds that were wanted of each case.
    pub(crate) rounds: usize,
    pub(crate) window_millis: u128,
    /// How the fastest raw ring works, by frame length.
    pub(crate) bounds: BTreeMap<String, String>,
    pub(crate) rows: Vec<Row>,
    /// Cases of which every round was dropped.
    pub(crate) without_a_round: Vec<String>,
    /// Cores that a port of ours uses while no packet comes, by mode.
    pub(crate) idle_cpu_cores: BTreeMap<String, f64>,
    pub(crate) failed: Vec<String>,
}

impl Results {
    /// The results as lines of `name=value` items.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let idle = self.idle_cpu_cores.iter();
        let idle = idle
            .map(|(mode, cores)| format!("case=memif-idle-cpu-{mode} unit=cores ours={cores:.4}"));
        self.rows.iter().map(Row::to_line).chain(self.without_a_round.iter().cloned()).chain(idle)
    }
}

/// Where a run took place.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
}

impl Machine {
    pub(crate) fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpus = read("/proc/cpuinfo");
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            cpu: model.map_or("unknown", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// How fast the machine was, as the raw ring tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Regime {
    /// The two virtual cores share a physical one, and its caches.
    Shared,
    Fast,
    Slow,
}

impl Regime {
    pub(crate) const ALL: [Self; 3] = [Self::Fast, Self::Slow, Self::Shared];
    /// Between the bands in which the probe was seen: up to 45, 60 to 150, and from 180 Mpps on.
    const PART_AT: [f64; 2] = [50.0, 165.0];

    /// The regime in which the probe makes `mpps`.
    pub(crate) fn of(mpps: f64) -> Self {
        let [slow, fast] = Self::PART_AT;
        match mpps {
            _ if mpps < slow => Self::Slow,
            _ if mpps < fast => Self::Fast,
            _ => Self::Shared,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Fast => "fast",
            Self::Slow => "slow",
        }
    }
}

/// One case in one regime.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) regime: Regime,
    pub(crate) unit: &'static str,
    /// Rounds that count.
    pub(crate) rounds: usize,
    /// Rounds of the case, in any regime, that were dropped because the machine changed its speed.
    pub(crate) dropped_changed: usize,
    /// Rounds of the case, in any regime, that were dropped because other processes ran.
    pub(crate) dropped_disturbed: usize,
    /// The raw ring's rate in the probes, in Mpps.
    pub(crate) probe: Spread,
    /// By contender, in the order of the case.
    pub(crate) values: Vec<(String, Spread)>,
    /// `ours/...`: medians of the ratios of single rounds.
    pub(crate) ratios: Vec<(String, Spread)>,
    /// By contender: the receiver's cycles per packet, the part of its looks that found nothing, and
    /// packets of a look that found some; the part of the sender's bursts that were cut short.
    pub(crate) work: Vec<(String, Spread)>,
    /// Packets with a wrong length or out of sequence, by contender; only those above zero.
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Row {
    /// The row as one line of `name=value` items.
    pub(crate) fn to_line(&self) -> String {
        let regime = self.regime.name();
        let mut line = format!("case={} regime={regime} unit={}", self.case, self.unit);
        for (name, spread) in &self.values {
            push(&mut line, name, *spread);
        }
        for (name, spread) in &self.ratios {
            push(&mut line, name, *spread);
        }
        for (name, spread) in &self.work {
            push(&mut line, name, *spread);
        }
        push(&mut line, "probe-Mpps", self.probe);
        for (name, count) in &self.errors {
            line += &format!(" {name}-ERRORS={count}");
        }
        let Self { rounds, dropped_changed, dropped_disturbed, .. } = self;
        line + &format!(
            " rounds={rounds} dropped-changed={dropped_changed} dropped-disturbed={dropped_disturbed}"
        )
    }
}

fn push(line: &mut String, name: &str, spread: Spread) {
    let digits = if spread.median.abs() >= 100.0 { 0 } else { 2 };
    let Spread { median, min, max } = spread;
    // Writing to a string cannot fail.
    let _ = write!(line, " {name}={median:.digits$}[{min:.digits$}..{max:.digits$}]");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even_counts() {
        assert_eq!(Spread::of(&[]), None);
        let odd = Spread::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
    }
}
