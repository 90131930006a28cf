//! `ringport ping`: asks an address whether it is there, and answers who asks us.

mod asker;
mod options;
mod report;

pub(crate) use options::Options;

use crate::drive::{self, Rest, Work};
use crate::end::End;
use crate::log::Log;
use crate::port::Link;
use crate::signals::Signals;
use crate::station::{Heard, Station};
use crate::values::Mac;
use anyhow::bail;
use asker::Asker;
use report::Report;
use ringport::burst::{PushError, RxPacket, TxBurst};
use ringport::error::QueueError;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::time::Instant;

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let signals = Signals::catch()?;
    let log = Log::new(options.json);
    let station = options.station();
    let asker = options.plan()?.map(Asker::new).transpose()?;
    let deadline = options.deadline.map(|time| Instant::now() + time);
    let mut ends = drive::open(["port"], [&options.port], log)?;
    let mut work = Ping {
        station,
        mac_is_given: options.mac.is_some(),
        asker,
        deadline,
        unknown: Vec::new(),
        report: Report::new(log),
        packet: vec![0; PACKET_MAX],
        answer: Vec::new(),
    };
    drive::drive(&mut ends, &mut work, &signals, log, options.poll)?;
    ends.into_iter().for_each(End::close);
    work.report.summary(work.asker.as_ref())?;
    match &work.asker {
        Some(asker) if asker.received() == 0 => bail!("no reply from {}", asker.target()),
        _ => Ok(()),
    }
}

#[derive(Debug)]
struct Ping {
    station: Station,
    /// Or the link's is to be used, where it has one.
    mac_is_given: bool,
    /// `None`: only answers.
    asker: Option<Asker>,
    deadline: Option<Instant>,
    /// Our addresses of which nobody behind the link knows yet where they are.
    unknown: Vec<IpAddr>,
    report: Report,
    /// Where packets are copied to before anybody looks at them.
    packet: Vec<u8>,
    answer: Vec<u8>,
}

impl Work<1> for Ping {
    fn round(&mut self, [end]: &mut [End; 1]) -> anyhow::Result<ControlFlow<(), usize>> {
        let Some(link) = &mut end.link else { return Ok(ControlFlow::Continue(0)) };
        if let Some(mac) = link.mac.filter(|_| !self.mac_is_given) {
            self.station.mac = Mac(mac);
        }
        self.announce(link);
        let mut done = 0;
        for at in 0..link.rx.len() {
            done += self.receive(link, at)?;
        }
        done += self.ask(link)?;
        if self.asker.as_ref().is_some_and(Asker::is_done) {
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(done))
    }

    fn rest(&mut self, [end]: &mut [End; 1]) -> anyhow::Result<Rest> {
        if end.arm() {
            return Ok(Rest::Soon);
        }
        let now = Instant::now();
        let asker = self.asker.as_ref().filter(|_| end.is_up());
        let next = asker.and_then(|asker| asker.due(now)).into_iter().chain(self.deadline).min();
        let left = next.map(|time| time.saturating_duration_since(now));
        // What is due and was not done found no room in the ring.
        let blocked = left.is_some_and(|left| left.is_zero());
        let blocked = blocked || end.is_up() && !self.unknown.is_empty();
        Ok(if blocked { Rest::Blocked } else { Rest::Idle(left) })
    }

    fn tick(&mut self, _: &[End; 1]) -> anyhow::Result<ControlFlow<()>> {
        let late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        Ok(if late { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn link_up(&mut self, _: usize) {
        if self.station.ethernet {
            self.unknown = self.station.addresses.clone();
        }
        self.asker.iter_mut().for_each(Asker::link_up);
    }
}

impl Ping {
    /// Tells neighbours where our addresses are: they may have known another place. A ring without
    /// room gets it later, as a peer's may have before the peer is ready.
    fn announce(&mut self, link: &mut Link) {
        if self.unknown.is_empty() {
            return;
        }
        let Some(Ok(mut out)) = transmit(link) else { return };
        while let Some(&address) = self.unknown.first() {
            self.station.write_announcement(address, &mut self.answer);
            if out.push(&self.answer) == Err(PushError::Full) {
                break;
            }
            self.unknown.remove(0);
        }
        out.commit();
    }

    /// Takes a burst from a receive queue, and answers it. A queue that fails belongs to a link that
    /// has ended, which its port is about to say.
    fn receive(&mut self, link: &mut Link, at: usize) -> anyhow::Result<usize> {
        let Some(tx) = link.tx.first_mut() else { return Ok(0) };
        let (Ok(burst), Ok(mut out)) = (link.rx[at].rx_burst(BURST), tx.tx_burst(BURST)) else {
            return Ok(0);
        };
        for packet in burst.packets() {
            self.take(&packet, &mut out)?;
        }
        out.commit();
        Ok(burst.len())
    }

    fn take(&mut self, packet: &RxPacket<'_>, out: &mut TxBurst<'_>) -> anyhow::Result<()> {
        if packet.offload().is_plain() {
            let mut copy = std::mem::take(&mut self.packet);
            // What does not fit is cut off, so that its lengths are wrong.
            let len = packet.copy_to(&mut copy);
            let outcome = self.hear(&copy[..len], out);
            self.packet = copy;
            return outcome;
        }
        // Its checksum is still to be computed.
        for packet in packet.finished().into_iter().flatten() {
            self.hear(&packet, out)?;
        }
        Ok(())
    }

    fn hear(&mut self, packet: &[u8], out: &mut TxBurst<'_>) -> anyhow::Result<()> {
        let heard = self.station.hear(packet, &mut self.answer);
        match (heard, &mut self.asker) {
            (Heard::Question, _) => {
                // An answer that finds no room is as lost as one on a cable.
                self.report.answered += u64::from(out.push(&self.answer).is_ok());
            }
            (Heard::Neighbour { address, mac }, Some(asker)) => asker.neighbour(address, mac),
            (Heard::Reply { from, echo }, Some(asker)) => {
                if let Some(reply) = asker.reply(from, &echo, Instant::now()) {
                    self.report.reply(&reply)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Sends what is due; returns how many packets.
    fn ask(&mut self, link: &mut Link) -> anyhow::Result<usize> {
        let Some(asker) = &mut self.asker else { return Ok(0) };
        let now = Instant::now();
        for number in asker.expire(now) {
            self.report.timeout(number)?;
        }
        if asker.due(now).is_none_or(|due| due > now) {
            return Ok(0);
        }
        let Some(Ok(mut out)) = transmit(link) else { return Ok(0) };
        let Some(question) = asker.ask(now, &self.station, &mut self.answer) else { return Ok(0) };
        // Before the peer can see it.
        let sent = Instant::now();
        match out.push(&self.answer) {
            Ok(()) => {
                out.commit();
                asker.asked(question, sent);
                Ok(1)
            }
            Err(PushError::Full) => Ok(0),
            Err(error) => bail!("a packet of {} bytes cannot be sent: {error}", self.answer.len()),
        }
    }
}

/// Slots for what we send. A peer may have no queue for that; an error means that the link has ended.
fn transmit(link: &mut Link) -> Option<Result<TxBurst<'_>, QueueError>> {
    link.tx.first_mut().map(|tx| tx.tx_burst(BURST))
}

/// Packets taken at a time, and slots for their answers.
const BURST: usize = 64;

/// An Ethernet header and the longest IPv6 packet.
const PACKET_MAX: usize = 14 + 40 + 65_535;
