//! The method: short rounds that alternate, each bracketed by probes of the machine.

use crate::contender::{Contender, Rate};
use crate::report::{Regime, Row, Spread};
use std::collections::BTreeMap;
use std::time::Duration;

/// Length of a probe.
const PROBE: Duration = Duration::from_millis(50);
/// A round is dropped when its probes differ by more than this factor.
const PROBES_DIFFER_MAX: f64 = 1.2;
/// A round is dropped when a process had to wait for its core for more than this part of a window.
const WAITED_MAX: f64 = 0.05;

/// Something that may be known of a rate.
type Told = fn(&Rate) -> Option<f64>;

/// What is said of receivers, and of senders that are the same process, where it is known.
const WORK: [(&str, Told); 4] = [
    ("rx-cycles", |rate| rate.cycles_per_packet),
    ("rx-idle", |rate| rate.idle),
    ("rx-burst", |rate| rate.burst),
    ("tx-short", |rate| rate.short),
];

/// How a measured rate is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Millions of packets a second.
    Mpps,
    /// Gigabits a second, without preamble and gap.
    Gbps,
    /// Nanoseconds for one packet's round trip.
    NanosPerTrip,
    /// Cycles of the receiver, or of whoever is measured, for one packet.
    Cycles,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Mpps => "Mpps",
            Self::Gbps => "Gb/s",
            Self::NanosPerTrip => "ns",
            Self::Cycles => "cycles",
        }
    }

    fn of(self, rate: Rate) -> f64 {
        match self {
            Self::Mpps => rate.packets_per_second / 1e6,
            Self::Gbps => rate.bytes_per_second * 8.0 / 1e9,
            Self::NanosPerTrip => 1e9 / rate.packets_per_second,
            Self::Cycles => rate.cycles_per_packet.unwrap_or(f64::NAN),
        }
    }
}

/// What one round gave: a rate for each contender, and the mean of its probes.
struct Round {
    probe: f64,
    rates: Vec<Rate>,
}

/// Why a round does not count.
enum Unusable {
    Changed,
    Disturbed,
}

/// Rounds that do not count.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Dropped {
    /// The machine became faster or slower.
    changed: usize,
    /// Other processes took their share.
    disturbed: usize,
}

/// Runs cases, each with the same probe.
pub(crate) struct Runner {
    pub(crate) probe: Contender,
    pub(crate) rounds: usize,
    pub(crate) window: Duration,
}

/// What a case measured, before its regimes are told apart.
pub(crate) struct Measured {
    case: String,
    unit: Unit,
    names: Vec<String>,
    errors: BTreeMap<String, u64>,
    rounds: Vec<Round>,
    dropped: Dropped,
}

impl Runner {
    /// Measures the contenders in turn until enough rounds count. The first one is compared with
    /// each other.
    pub(crate) fn run(
        &mut self,
        case: &str,
        unit: Unit,
        mut contenders: Vec<Contender>,
    ) -> anyhow::Result<Measured> {
        let mut rounds = Vec::new();
        let mut dropped = Dropped::default();
        for turn in 0..2 * self.rounds {
            match self.round(&mut contenders, turn)? {
                Ok(round) => rounds.push(round),
                Err(Unusable::Changed) => dropped.changed += 1,
                Err(Unusable::Disturbed) => dropped.disturbed += 1,
            }
            if rounds.len() == self.rounds {
                break;
            }
        }
        let names = contenders.iter().map(|c| c.name.clone()).collect();
        let wrong = contenders.iter().filter(|c| c.errors > 0);
        let errors = wrong.map(|c| (c.name.clone(), c.errors)).collect();
        Ok(Measured { case: case.to_owned(), unit, names, errors, rounds, dropped })
    }

    /// One round: a probe before, between and after the contenders, which take turns at being
    /// first.
    fn round(
        &mut self,
        contenders: &mut [Contender],
        turn: usize,
    ) -> anyhow::Result<Result<Round, Unusable>> {
        let count = contenders.len();
        let mut rates = vec![None; count];
        let mut probes = vec![self.probe.measure(PROBE)?];
        for n in 0..count {
            let at = (n + turn) % count;
            rates[at] = Some(contenders[at].measure(self.window)?);
            probes.push(self.probe.measure(PROBE)?);
        }
        let rates: Vec<Rate> = rates.into_iter().flatten().collect();
        if rates.iter().chain(&probes).any(|rate| rate.waited > WAITED_MAX) {
            return Ok(Err(Unusable::Disturbed));
        }
        let probes: Vec<f64> = probes.iter().map(|rate| Unit::Mpps.of(*rate)).collect();
        let low = probes.iter().copied().fold(f64::INFINITY, f64::min);
        let high = probes.iter().copied().fold(0.0, f64::max);
        if high > low * PROBES_DIFFER_MAX {
            return Ok(Err(Unusable::Changed));
        }
        let probe = probes.iter().sum::<f64>() / probes.len() as f64;
        Ok(Ok(Round { probe, rates }))
    }
}

impl Measured {
    /// A row for each regime that occurred.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let row = |regime: Regime| {
            let rounds = self.rounds.iter().filter(|round| Regime::of(round.probe) == regime);
            self.row(regime, &rounds.collect::<Vec<_>>())
        };
        Regime::ALL.into_iter().filter_map(row).collect()
    }

    fn row(&self, regime: Regime, rounds: &[&Round]) -> Option<Row> {
        let column = |at: usize| -> Vec<f64> {
            rounds.iter().map(|round| self.unit.of(round.rates[at])).collect()
        };
        let ours = column(0);
        let probes: Vec<f64> = rounds.iter().map(|round| round.probe).collect();
        let (mut values, mut ratios, mut work) = (Vec::new(), Vec::new(), Vec::new());
        for (at, name) in self.names.iter().enumerate() {
            let theirs = column(at);
            values.push((name.clone(), Spread::of(&theirs)?));
            if at > 0 {
                let each: Vec<f64> = ours.iter().zip(&theirs).map(|(o, t)| o / t).collect();
                ratios.push((format!("{}/{name}", self.names[0]), Spread::of(&each)?));
            }
            for (what, of) in WORK {
                let each: Vec<f64> = rounds.iter().filter_map(|r| of(&r.rates[at])).collect();
                work.extend(Spread::of(&each).map(|spread| (format!("{name}-{what}"), spread)));
            }
        }
        Some(Row {
            case: self.case.clone(),
            regime,
            unit: self.unit.name(),
            rounds: rounds.len(),
            dropped_changed: self.dropped.changed,
            dropped_disturbed: self.dropped.disturbed,
            probe: Spread::of(&probes)?,
            values,
            ratios,
            work,
            errors: self.errors.clone(),
        })
    }

    /// Says that every round was dropped, when that is so.
    pub(crate) fn line_of_nothing(&self) -> Option<String> {
        let Self { case, dropped: Dropped { changed, disturbed }, .. } = self;
        self.rounds.is_empty().then(|| {
            format!("case={case} rounds=0 dropped-changed={changed} dropped-disturbed={disturbed}")
        })
    }

    /// Whether other processes cost more rounds than count.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.dropped.disturbed > self.rounds.len()
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(mpps: f64) -> Rate {
        Rate {
            packets_per_second: mpps * 1e6,
            bytes_per_second: 0.0,
            cycles_per_packet: None,
            idle: None,
            burst: None,
            short: None,
            waited: 0.0,
        }
    }

    #[test]
    fn regimes_are_told_apart_and_ratios_are_made_within_rounds() {
        let probes = [80.0, 82.0, 24.0, 78.0, 25.0];
        let rounds =
            probes.map(|probe| Round { probe, rates: vec![rate(probe / 2.0), rate(probe / 4.0)] });
        let measured = Measured {
            case: "c".into(),
            unit: Unit::Mpps,
            names: vec!["ours".into(), "peer".into()],
            errors: BTreeMap::new(),
            rounds: rounds.into(),
            dropped: Dropped { changed: 1, disturbed: 0 },
        };
        let rows = measured.rows();
        let shown: Vec<_> = rows.iter().map(|row| (row.regime, row.rounds)).collect();
        assert_eq!(shown, [(Regime::Fast, 3), (Regime::Slow, 2)]);
        assert_eq!(rows[0].ratios[0].0, "ours/peer");
        assert!((rows[1].ratios[0].1.median - 2.0).abs() < 1e-9);
        assert!(rows[0].to_line().contains(" ours=40.00[39.00..41.00] "), "{}", rows[0].to_line());
    }
}
