//! The two processes and the link between them.

use super::Joint;
use super::frame::REPORT_IT;
use super::orders::{Answer, Order};
use super::second::{Second, TRY_AGAIN};
use crate::cores::{self, Placement};
use crate::port::{Event, Facts, Link, Port, PortName};
use crate::signals::{Interrupted, Signals};
use crate::wait::{Relax, readable};
use anyhow::{Context, anyhow, bail};
use ringport::error::QueueError;
use serde::Serialize;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Session {
    pub(super) link: Link,
    pub(super) watch: Watch,
    pub(super) relax: Relax,
    link_up: LinkUp,
}

/// Everything that can end the demo early.
#[derive(Debug)]
pub(super) struct Watch {
    signals: Signals,
    /// Dropped before the port, so that no complaint is made of its end.
    second: Second,
    port: Port,
    next: Instant,
}

/// How the link came about.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LinkUp {
    #[serde(flatten)]
    pub(super) facts: Facts,
    /// From the start of the second process.
    pub(super) up_after_ms: f64,
    /// The first and the second process, if each has a core of its own.
    pub(super) cores: Option<[usize; 2]>,
}

impl Session {
    /// Listens, starts the second process, and waits until the link is up.
    pub(super) fn start(joint: Joint, placement: Placement) -> anyhow::Result<Self> {
        let signals = Signals::catch()?;
        let directory = tempfile::Builder::new().prefix("ringport-demo-").tempdir();
        let directory = directory.context(
            "cannot make a directory for the socket; set TMPDIR to a directory that can be written",
        )?;
        let [ours, theirs] = joint.ports(&directory.path().join("demo.sock"));
        let ours: PortName = ours.parse().context(SOCKET_HINT)?;
        let port = Port::open(&ours).context(SOCKET_HINT)?;
        let started = Instant::now();
        let second = Second::start(&theirs.parse()?, placement)?;
        let mut relax = Relax::Yield;
        if let Placement::Pinned([core, _]) = placement {
            cores::pin(core);
            relax = Relax::Spin;
        }
        let mut watch = Watch { signals, second, port, next: started };
        let link = watch.wait_up()?;
        let up_after_ms = started.elapsed().as_secs_f64() * 1e3;
        // The link needs no file any more; now even SIGKILL leaves none behind.
        directory.close().context("cannot remove the socket's directory")?;
        let Answer::Up { buffer_bytes } = watch.answer()? else {
            bail!("the second process answers out of order; {REPORT_IT}");
        };
        let facts = Facts { buffer_bytes, ..link.facts.clone() };
        let cores = match placement {
            Placement::Pinned(cores) => Some(cores),
            Placement::Shared => None,
        };
        Ok(Self { link, watch, relax, link_up: LinkUp { facts, up_after_ms, cores } })
    }

    pub(super) fn link_up(&self) -> &LinkUp {
        &self.link_up
    }

    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.watch.second.finish()
    }
}

impl Watch {
    pub(super) fn order(&mut self, order: Order) -> anyhow::Result<()> {
        self.second.order(order)
    }

    /// Waits for an answer.
    pub(super) fn answer(&mut self) -> anyhow::Result<Answer> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.second.fail();
            }
            let fds = [self.second.as_fd(), self.port.as_fd(), self.signals.as_fd()];
            match readable(fds, &[], Some(left))? {
                [true, ..] => return self.second.answer(),
                _ => self.check()?,
            }
        }
    }

    /// As [`check`](Self::check), but not too often.
    pub(super) fn glance(&mut self, now: Instant) -> anyhow::Result<()> {
        if now < self.next {
            return Ok(());
        }
        self.next = now + GLANCE_EVERY;
        self.check()
    }

    /// Fails when somebody pressed Ctrl-C, the link went down, or the second process ended.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        if self.signals.arrived() {
            bail!(Interrupted);
        }
        self.second.check()?;
        match self.port.poll(Duration::ZERO)? {
            Some(Event::Down(reason)) => self.lost(&reason),
            Some(_) | None => Ok(()),
        }
    }

    /// Sleeps until the doorbell rings or there is something to [check](Self::check).
    pub(super) fn sleep(&mut self, doorbell: BorrowedFd<'_>) -> anyhow::Result<()> {
        let fds = [self.signals.as_fd(), self.port.as_fd()];
        match readable(fds, &[doorbell], Some(PATIENCE))? {
            [false, false] => Ok(()),
            _ => self.check(),
        }
    }

    /// What to report when a queue failed: the cause, if it can be found.
    pub(super) fn explain(&mut self, error: QueueError) -> anyhow::Error {
        self.check().err().unwrap_or_else(|| anyhow!("{error}; {REPORT_IT}"))
    }

    /// Fails when nothing has come for too long.
    pub(super) fn patience(&self, since: Instant, now: Instant) -> anyhow::Result<()> {
        if now.saturating_duration_since(since) > PATIENCE {
            bail!(
                "no packet for {} s, though the link is up; {TRY_AGAIN}, the machine may be too busy",
                PATIENCE.as_secs()
            );
        }
        Ok(())
    }

    fn wait_up(&mut self) -> anyhow::Result<Link> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.port.poll(Duration::ZERO)? {
                match event {
                    Event::Up(link) => return Ok(link),
                    Event::Down(reason) | Event::Refused(reason) => self.lost(&reason)?,
                    Event::TxQueues(_) | Event::Trouble(_) => {}
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!(
                    "no link after {} s; {TRY_AGAIN}, the machine may be too busy",
                    PATIENCE.as_secs()
                );
            }
            // The second process closes its answers when it ends.
            let fds = [self.second.as_fd(), self.port.as_fd(), self.signals.as_fd()];
            match readable(fds, &[], Some(left))? {
                [false, _, false] => {}
                _ if self.signals.arrived() => bail!(Interrupted),
                [true, true, _] => {}
                _ => self.second.fail()?,
            }
        }
    }

    /// The link went down: most likely because the second process ended.
    fn lost(&mut self, reason: &str) -> anyhow::Result<()> {
        if self.signals.arrived() {
            bail!(Interrupted);
        }
        let ended: anyhow::Result<()> = self.second.fail();
        ended.with_context(|| format!("link lost: {reason}"))
    }
}

/// How long nothing may happen.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a busy loop looks at everything else.
const GLANCE_EVERY: Duration = Duration::from_millis(10);

const SOCKET_HINT: &str = "cannot make the socket; set TMPDIR to a shorter path without commas";
