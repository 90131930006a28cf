//! The second process, seen from the first.

use super::orders::{Answer, Order};
use crate::cores::Placement;
use crate::port::PortName;
use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Killed when dropped.
#[derive(Debug)]
pub(super) struct Second {
    child: Child,
    /// Closed to say that there are no more orders.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Second {
    /// Starts this program again.
    pub(super) fn start(port: &PortName, placement: Placement) -> anyhow::Result<Self> {
        let program =
            std::env::current_exe().context("cannot find this program (is /proc there?)")?;
        let mut command = Command::new(program);
        command.arg("demo-peer").arg(port.to_string());
        if let Placement::Pinned([_, core]) = placement {
            command.arg("--core").arg(core.to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start the second process")?;
        let orders = child.stdin.take();
        let answers = child.stdout.take().context("the second process has no stdout")?;
        Ok(Self { child, orders, answers: BufReader::new(answers) })
    }

    /// Gives an order; fails when nobody is there to take it.
    pub(super) fn order(&mut self, order: Order) -> anyhow::Result<()> {
        let mut line = serde_json::to_string(&order)?;
        line.push('\n');
        match self.orders.as_mut().map(|orders| orders.write_all(line.as_bytes())) {
            Some(Ok(())) => Ok(()),
            _ => self.fail(),
        }
    }

    /// Reads the next answer, which should be there.
    pub(super) fn answer(&mut self) -> anyhow::Result<Answer> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(1..) => serde_json::from_str(&line).context("cannot understand the second process"),
            Ok(0) | Err(_) => self.fail(),
        }
    }

    /// Fails when the process has ended.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{}", self.epitaph(status)),
            None => Ok(()),
        }
    }

    /// Fails, with what became of the process if it ended or is about to.
    pub(super) fn fail<T>(&mut self) -> anyhow::Result<T> {
        match self.wait(Duration::from_millis(500))? {
            Some(status) => bail!("{}", self.epitaph(status)),
            None => bail!(
                "the second process does not answer; {TRY_AGAIN}, the machine may be too busy"
            ),
        }
    }

    /// Lets the process end by itself.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        self.orders = None;
        match self.wait(Duration::from_secs(2))? {
            Some(status) if status.success() => Ok(()),
            _ => self.fail(),
        }
    }

    fn wait(&mut self, patience: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let start = Instant::now();
        loop {
            let status = self.child.try_wait()?;
            if status.is_some() || start.elapsed() > patience {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn epitaph(&mut self, status: ExitStatus) -> String {
        if let Some(number) = status.signal() {
            let signal = Signal::try_from(number).map_or("a signal", Signal::as_str);
            return format!(
                "the second process was killed by {signal}; {TRY_AGAIN}, `dmesg` may say why"
            );
        }
        let mut said = String::new();
        // Its last words; without them the status has to do.
        let _ = self.child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
        match said.lines().last() {
            Some(line) => {
                let why = line.strip_prefix("error: ").unwrap_or(line);
                format!("the second process failed: {why}; {TRY_AGAIN}, please report it")
            }
            None => format!(
                "the second process ended too early ({status}); {TRY_AGAIN}, please report it"
            ),
        }
    }
}

impl AsFd for Second {
    /// Readable when there is an answer.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.answers.get_ref().as_fd()
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        // Already reaped if it ended by itself; both then do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What to do when something outside the demo went wrong.
pub(super) const TRY_AGAIN: &str = "run the demo again; if that repeats";
