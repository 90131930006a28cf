//! A link of ours that has to go on while something attacks the thread that moves its frames.
//!
//! Time is the thread's own processor time: what other threads and programs take of the machine does
//! not count, what an attack makes this thread do does.

use super::Outcome;
use super::frames::{Checker, FRAME_MIN, fill};
use super::ports::{AnyPort, Queues, open, wait_both};
use nix::time::{ClockId, clock_gettime};
use std::fmt;
use std::time::{Duration, Instant};

/// Processor time over which frames are counted.
const INTERVAL: Duration = Duration::from_millis(20);

/// Bursts between two looks at what is attacked, and frames of a burst.
const BURSTS: usize = 8;
const BURST: usize = 32;

/// Longest that other work may keep a thread from a victim's frames, in processor time, of which a
/// host may take away a tenth of a second at once.
pub const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Two ports of ours that are linked; frames go from the first to the second.
#[derive(Debug)]
pub struct Victim {
    links: [Queues; 2],
    _ports: [Box<dyn AnyPort>; 2],
    _dir: tempfile::TempDir,
    sent: u64,
    checker: Checker,
}

impl Victim {
    /// A memif client and its server.
    ///
    /// # Errors
    /// When they do not find each other.
    pub fn memif() -> Outcome<Self> {
        Self::new("memif", ["role=server,rx-mode=polling", "role=client,rx-mode=polling"])
    }

    /// A vhost-user device and its driver.
    ///
    /// # Errors
    /// When they do not find each other.
    pub fn vhost() -> Outcome<Self> {
        let device = "role=device,rx-mode=polling";
        Self::new("vhost", [device, "role=driver,socket=connect,rx-mode=polling"])
    }

    fn new(scheme: &str, options: [&str; 2]) -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("victim.sock");
        let port = |options| open(&format!("{scheme}:{},{options}", path.display()));
        let mut ports = [port(options[0])?, port(options[1])?];
        let links = wait_both(&mut ports)?;
        Ok(Self { links, _ports: ports, _dir: dir, sent: 0, checker: Checker::new(0) })
    }

    /// Sends a burst, and receives it. Returns how many frames it was.
    ///
    /// # Errors
    /// When one of them is lost, or is not what it was.
    pub fn turn(&mut self) -> Outcome<u64> {
        let [from, to] = &mut self.links;
        let mut frame = [0; 64];
        let mut burst = from.tx[0].tx_burst(BURST)?;
        let before = self.sent;
        for _ in 0..BURST {
            fill(&mut frame, 0, self.sent);
            if burst.push(&frame).is_err() {
                break;
            }
            self.sent += 1;
        }
        burst.commit();
        for packet in to.rx[0].rx_burst(2 * BURST)?.packets() {
            self.checker.take(&packet, |_| frame.len())?;
        }
        if self.checker.count() != self.sent || self.sent == before {
            return Err(format!("{} frames of {} arrived", self.checker.count(), self.sent).into());
        }
        Ok(self.sent - before)
    }

    /// Moves frames for `time`, and does `step` after every 256 of them.
    ///
    /// # Errors
    /// When a frame is lost, and what `step` says.
    pub fn during(&mut self, time: Duration, mut step: impl FnMut() -> Outcome) -> Outcome<Rates> {
        self.until(|elapsed| step().map(|()| elapsed >= time))
    }

    /// Moves frames until `step` says that it is enough, which is asked after every 256 of them and
    /// told how long it has been.
    ///
    /// # Errors
    /// As [`during`](Self::during).
    pub fn until(&mut self, mut step: impl FnMut(Duration) -> Outcome<bool>) -> Outcome<Rates> {
        let start = Instant::now();
        let mut rates = Rates::new()?;
        while !step(start.elapsed())? {
            for _ in 0..BURSTS {
                rates.count(self.turn()?)?;
            }
        }
        Ok(rates)
    }
}

/// How fast frames moved.
#[derive(Debug, Clone)]
pub struct Rates {
    /// Frames in a second, of each interval.
    each: Vec<f64>,
    /// Of the current interval.
    frames: u64,
    since: Duration,
    last: Duration,
    /// Longest processor time between two bursts.
    pub pause: Duration,
}

impl Rates {
    fn new() -> Outcome<Self> {
        let now = processor_time()?;
        Ok(Self { each: Vec::new(), frames: 0, since: now, last: now, pause: Duration::ZERO })
    }

    fn count(&mut self, frames: u64) -> Outcome {
        let now = processor_time()?;
        self.frames += frames;
        self.pause = self.pause.max(now.saturating_sub(self.last));
        self.last = now;
        let elapsed = now.saturating_sub(self.since);
        if elapsed >= INTERVAL {
            let frames = u32::try_from(self.frames).unwrap_or(u32::MAX);
            self.each.push(f64::from(frames) / elapsed.as_secs_f64());
            (self.frames, self.since) = (0, now);
        }
        Ok(())
    }

    /// Frames in a second, in the middle of all intervals.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.each.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }

    /// Frames in a second, in the worst interval.
    #[must_use]
    pub fn worst(&self) -> f64 {
        self.each.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Fails when something kept the thread from its frames for longer than [`PAUSE_MAX`].
    ///
    /// # Errors
    /// How long it was kept.
    pub fn check(&self) -> Outcome {
        if self.pause > PAUSE_MAX {
            return Err(format!("no frame moved for {:?} of processor time", self.pause).into());
        }
        Ok(())
    }

    /// The line of a table: `attack`, then both rates without and with it.
    #[must_use]
    pub fn row(&self, attack: &str, undisturbed: &Self) -> String {
        let all = undisturbed.median();
        let share = |rate: f64| format!("{:.0} %", 100.0 * rate / all);
        format!(
            "| {attack} | {undisturbed} | {self} | {} | {} | {:?} |",
            share(self.median()),
            share(self.worst()),
            self.pause
        )
    }
}

impl fmt::Display for Rates {
    /// Median and worst, in millions a second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}, {:.1}", self.median() / 1e6, self.worst() / 1e6)
    }
}

/// Of this thread.
fn processor_time() -> Outcome<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

const _: () = assert!(FRAME_MIN <= 64);

#[cfg(test)]
mod tests {
    use super::*;

    fn spin(time: Duration) {
        let start = processor_time().unwrap();
        while processor_time().unwrap() - start < time {}
    }

    #[test]
    fn work_between_bursts_shows_in_the_longest_pause() {
        for victim in [Victim::memif, Victim::vhost] {
            let mut victim = victim().unwrap();
            let busy = victim.during(Duration::from_millis(100), || {
                spin(Duration::from_millis(10));
                Ok(())
            });
            let pause = busy.unwrap().pause;
            assert!(pause >= Duration::from_millis(10), "{pause:?}");
        }
    }

    #[test]
    fn pause_that_is_too_long_is_an_error() {
        let mut victim = Victim::memif().unwrap();
        let rates = victim.during(Duration::from_millis(1), || {
            spin(PAUSE_MAX + Duration::from_millis(5));
            Ok(())
        });
        let error = rates.unwrap().check().unwrap_err();
        assert!(error.to_string().starts_with("no frame moved for 1"), "{error}");
    }
}
