//! The second process of the demo: connects, echoes and sends as it is told.

use super::frame::Frame;
use super::orders::{Answer, Order};
use crate::cores;
use crate::port::{Event, Link, Port, PortName};
use crate::wait::{Relax, readable};
use anyhow::{Context, bail};
use clap::Args;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use ringport::burst::{self, PushError};
use std::io::{BufRead, Stdin, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where the first process listens
    port: PortName,
    /// Core to run on; none when the only one is shared
    #[arg(long)]
    core: Option<usize>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    // Ctrl-C goes to both processes; the first one decides. If that one is killed we go with it: by
    // signal, and where that came too early because there are no more orders.
    SigSet::from(Signal::SIGINT).thread_block().context("cannot block signals")?;
    set_pdeathsig(Signal::SIGKILL).context("cannot ask to end with the first process")?;
    options.core.into_iter().for_each(cores::pin);
    let relax = if options.core.is_some() { Relax::Spin } else { Relax::Yield };
    let mut port = Port::open(&options.port)?;
    let link = wait_up(&mut port)?;
    answer(Answer::Up { buffer_bytes: link.facts.buffer_bytes })?;
    let mut worker = Worker { stdin: std::io::stdin(), port, link, relax };
    while let Some(order) = worker.next_order()? {
        let sent = match order {
            Order::Echo { sleep } => worker.echo(sleep)?,
            Order::Send { len } => worker.send(len)?,
            Order::Stop => continue,
        };
        answer(Answer::Done { sent })?;
    }
    worker.port.close();
    Ok(())
}

fn wait_up(port: &mut Port) -> anyhow::Result<Link> {
    loop {
        match port.poll(Duration::from_secs(5))? {
            Some(Event::Up(link)) => return Ok(link),
            Some(Event::Down(reason) | Event::Refused(reason)) => bail!("{reason}"),
            Some(_) => {}
            None => bail!("no link within 5 s"),
        }
    }
}

fn answer(answer: Answer) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(&answer)?;
    line.push('\n');
    std::io::stdout().write_all(line.as_bytes()).context("the first process is gone")
}

#[derive(Debug)]
struct Worker {
    stdin: Stdin,
    port: Port,
    link: Link,
    relax: Relax,
}

impl Worker {
    /// Waits for an order; `None` when there will be no more.
    fn next_order(&self) -> anyhow::Result<Option<Order>> {
        let mut line = String::new();
        self.stdin.lock().read_line(&mut line).context("cannot read orders")?;
        if line.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_str(&line)?)) }
    }

    /// Sends back what arrives, until there is another order; returns how many packets.
    fn echo(&mut self, sleep: bool) -> anyhow::Result<u64> {
        let (rx, tx) = (&mut *self.link.rx[0], &mut *self.link.tx[0]);
        let mut sent = 0;
        let mut look = Instant::now();
        loop {
            let echoed = burst::forward(rx, tx, BURST)?.packets;
            sent += echoed as u64;
            if echoed > 0 {
                continue;
            }
            let order = if sleep {
                if rx.arm()? {
                    continue;
                }
                let fds = [self.stdin.as_fd(), self.port.as_fd()];
                let [order, event] = readable(fds, &[rx.doorbell()], None)?;
                if event {
                    no_event(&mut self.port)?;
                }
                order
            } else {
                self.relax.relax();
                has_order(&self.stdin, &mut self.port, &mut look)?
            };
            if order {
                return Ok(sent);
            }
        }
    }

    /// Sends numbered frames until there is another order; returns how many.
    fn send(&mut self, len: usize) -> anyhow::Result<u64> {
        let tx = &mut *self.link.tx[0];
        let mut frame = Frame::new(len);
        let mut sent = 0;
        let mut look = Instant::now();
        while !has_order(&self.stdin, &mut self.port, &mut look)? {
            let mut out = tx.tx_burst(BURST)?;
            loop {
                match out.push(frame.stamp(sent)) {
                    Ok(()) => sent += 1,
                    Err(PushError::Full) => break,
                    Err(error) => bail!(error),
                }
            }
            if out.commit() == 0 {
                self.relax.relax();
            }
        }
        Ok(sent)
    }
}

/// Whether the first process wants something else; asked again after a while only.
fn has_order(stdin: &Stdin, port: &mut Port, look: &mut Instant) -> anyhow::Result<bool> {
    let now = Instant::now();
    if now < *look {
        return Ok(false);
    }
    *look = now + LOOK_EVERY;
    let [order, event] = readable([stdin.as_fd(), port.as_fd()], &[], Some(Duration::ZERO))?;
    if event {
        no_event(port)?;
    }
    Ok(order)
}

/// Fails when the link went down.
fn no_event(port: &mut Port) -> anyhow::Result<()> {
    match port.poll(Duration::ZERO)? {
        Some(Event::Down(reason) | Event::Refused(reason)) => bail!("link lost: {reason}"),
        Some(_) | None => Ok(()),
    }
}

/// Slots filled at a time.
const BURST: usize = 64;

const LOOK_EVERY: Duration = Duration::from_millis(1);
