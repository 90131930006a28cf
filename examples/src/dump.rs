//! `ringport dump`: what arrives at a port, or passes between two, as pcapng or as lines.

mod filter;
mod format;
mod headers;
mod pcapng;
mod sink;

pub use filter::{Filter, Side};
pub use format::{json, text};
pub use headers::Headers;

use crate::drive::{self, Rest, Work};
use crate::end::End;
use crate::log::Log;
use crate::port::PortName;
use crate::show::count;
use crate::signals::Signals;
use crate::values::Misuse;
use anyhow::bail;
use clap::Args;
use format::Format;
use ringport::burst::{BURST_MAX, PushError, RxPacket};
use serde::Serialize;
use sink::{Flushed, Sink};
use std::io;
use std::ops::ControlFlow;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, Args)]
#[command(after_help = "\
With one PORT, packets end here. With two, they are forwarded both ways as by `ringport forward`, and \
captured when they have gone on. The pcapng file has one interface for each port, Ethernet or raw IP \
as the port is, and times in nanoseconds. A reader that goes away is an end as good as Ctrl-C.

FILTER, in the order of precedence; names are those of tcpdump:
  arp, ip, ip6, icmp, icmp6, tcp, udp          protocol
  vlan [ID]                                    tag, with this number
  [src|dst] host ADDRESS, net ADDRESS/LENGTH   IP or ARP address
  [src|dst] port NUMBER                        TCP or UDP port; not of later fragments
  [src|dst] ether MAC                          Ethernet address
  less BYTES, greater BYTES                    length, inclusive
  ( FILTER ), not FILTER, FILTER and FILTER, FILTER or FILTER

Examples:
  ringport dump memif:/run/a.sock,role=server
  ringport dump memif:/run/a.sock,role=server -w - --filter 'icmp or arp' | tshark -r -
  ringport dump vhost:/run/vm.sock,role=device memif:/run/a.sock,role=client -w vm.pcapng")]
pub(crate) struct Options {
    /// Port to capture, such as memif:/run/a.sock,role=server,id=0
    #[arg(value_name = "PORT")]
    a: PortName,
    /// Port to forward to and from meanwhile
    #[arg(value_name = "PORT")]
    b: Option<PortName>,
    /// Write pcapng to FILE, or to stdout when it is `-` [default: a line for each packet on stdout]
    #[arg(short, long, value_name = "FILE")]
    write: Option<String>,
    /// Keep only this much of each packet
    #[arg(long, value_name = "BYTES", default_value_t = 262_144)]
    #[arg(value_parser = clap::value_parser!(u32).range(64..=262_144))]
    snaplen: u32,
    /// End after so many packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Capture only packets for which this holds
    #[arg(long, value_name = "FILTER")]
    filter: Option<Filter>,
    /// Write events, and packets unless they go to a file, to stdout, one JSON object a line
    #[arg(long)]
    json: bool,
    /// Never sleep: no packet is missed for want of waking up, for a whole core
    #[arg(long)]
    poll: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if options.json && options.write.as_deref() == Some("-") {
        bail!(Misuse("stdout cannot take both --write - and --json".into()));
    }
    let signals = Signals::catch()?;
    let log = Log::new(options.json);
    let sink = Sink::open(options.write.as_deref())?;
    let outcome = match &options.b {
        None => capture(options, ["a"], [&options.a], sink, &signals, log),
        Some(b) => capture(options, ["a", "b"], [&options.a, b], sink, &signals, log),
    };
    outcome.or_else(|error| {
        let closed = error.downcast_ref().map(io::Error::kind) == Some(io::ErrorKind::BrokenPipe);
        if closed { Ok(()) } else { Err(error) }
    })
}

fn capture<const N: usize>(
    options: &Options,
    names: [&'static str; N],
    ports: [&PortName; N],
    sink: Sink,
    signals: &Signals,
    log: Log,
) -> anyhow::Result<()> {
    let format = match options.write {
        Some(_) => Format::Pcapng,
        None if log.is_json() => Format::Json,
        None => Format::Text,
    };
    let mut work = Dump {
        filter: options.filter.clone(),
        left: options.count.unwrap_or(u64::MAX),
        private: vec![0; usize::try_from(options.snaplen)?],
        ethernet: ports.map(PortName::is_ethernet).to_vec(),
        format,
        sink,
        signals,
        over: false,
        seen: 0,
        captured: 0,
    };
    if format == Format::Pcapng {
        work.sink.put(|out| pcapng::start(out, options.snaplen, &ports));
    }
    let mut ends = drive::open(names, ports, log)?;
    drive::drive(&mut ends, &mut work, signals, log, options.poll)?;
    work.sink.finish()?;
    let dropped = ends.iter().map(|end| end.dropped).sum();
    ends.into_iter().for_each(End::close);
    let line = Line::Summary { seen: work.seen, captured: work.captured, dropped };
    log.note(&line, || {
        let (captured, seen) = (count(work.captured), count(work.seen));
        let dropped =
            if dropped > 0 { format!(", {} dropped", count(dropped)) } else { String::new() };
        format!("captured {captured} of {seen} packets{dropped}")
    })
}

/// A line of JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Summary { seen: u64, captured: u64, dropped: u64 },
}

#[derive(Debug)]
struct Dump<'s> {
    filter: Option<Filter>,
    format: Format,
    /// By port.
    ethernet: Vec<bool>,
    sink: Sink,
    signals: &'s Signals,
    /// Where packets are copied to before anybody looks at them: as much as is kept.
    private: Vec<u8>,
    /// Packets that may still be captured.
    left: u64,
    /// Nobody reads any more.
    over: bool,
    seen: u64,
    captured: u64,
}

/// Packets taken at a time.
const BURST: usize = 64;

impl<const N: usize> Work<N> for Dump<'_> {
    fn round(&mut self, ends: &mut [End; N]) -> anyhow::Result<ControlFlow<(), usize>> {
        if self.over || self.left == 0 {
            return Ok(ControlFlow::Break(()));
        }
        let done = match &mut ends[..] {
            [a, b] => self.forward(0, a, b) + self.forward(1, b, a),
            ends => ends.iter_mut().map(|end| self.receive(end)).sum(),
        };
        if self.sink.is_full() {
            self.flush()?;
        }
        Ok(ControlFlow::Continue(done))
    }

    fn rest(&mut self, ends: &mut [End; N]) -> anyhow::Result<Rest> {
        self.flush()?;
        if self.over {
            return Ok(Rest::Soon);
        }
        // Packets that cannot go on wake nobody.
        let waiting = ends.iter().all(End::is_up)
            && ends.iter_mut().fold(false, |waiting, end| end.arm() | waiting);
        Ok(match waiting {
            true if N > 1 => Rest::Blocked,
            true => Rest::Soon,
            false => Rest::Idle(None),
        })
    }

    fn tick(&mut self, _: &[End; N]) -> anyhow::Result<ControlFlow<()>> {
        self.flush()?;
        Ok(if self.over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

impl Dump<'_> {
    /// Takes one burst from each queue; returns how many packets. A queue that fails belongs to a
    /// link that has ended, which its port is about to say.
    fn receive(&mut self, end: &mut End) -> usize {
        let mut taken = 0;
        for rx in end.link.iter_mut().flat_map(|link| &mut link.rx) {
            let Ok(burst) = rx.rx_burst(BURST) else { continue };
            let now = now();
            burst.packets().for_each(|packet| self.record(0, end.name, &packet, now));
            taken += burst.len();
        }
        taken
    }

    /// Moves one burst from each queue of port number `at` to the other port, and records what went;
    /// returns how many packets are done with. Nothing moves unless both have a link.
    fn forward(&mut self, at: usize, from: &mut End, to: &mut End) -> usize {
        let (Some(rx), Some(tx)) = (&mut from.link, &mut to.link) else { return 0 };
        let queues = tx.tx_in_use.max(1);
        let mut moved = 0;
        for (queue, rx) in rx.rx.iter_mut().enumerate() {
            let Some(tx) = tx.tx.get_mut(queue % queues) else { return moved };
            let Ok(burst) = rx.rx_burst(BURST) else { continue };
            if burst.is_empty() {
                continue;
            }
            let Ok(mut out) = tx.tx_burst(BURST_MAX) else {
                burst.release(0);
                continue;
            };
            let (now, mut done) = (now(), 0);
            for packet in burst.packets() {
                match out.push_packet(&packet) {
                    Ok(()) => self.record(at, from.name, &packet, now),
                    Err(PushError::Full) => break,
                    Err(_) => from.dropped += 1,
                }
                done += 1;
            }
            out.commit();
            burst.release(done);
            moved += done;
        }
        moved
    }

    /// Records a packet that came in at port number `at`, if it is asked for.
    fn record(&mut self, at: usize, port: &'static str, packet: &RxPacket<'_>, now: u64) {
        self.seen += 1;
        if self.left == 0 {
            return;
        }
        let kept = packet.copy_to(&mut self.private);
        let bytes = &self.private[..kept];
        let read = self.filter.is_some() || self.format != Format::Pcapng;
        let headers =
            if read { Headers::read(bytes, self.ethernet[at]) } else { Headers::default() };
        let len = packet.len();
        if self.filter.as_ref().is_some_and(|filter| !filter.holds(&headers, len)) {
            return;
        }
        (self.left, self.captured) = (self.left - 1, self.captured + 1);
        let format = self.format;
        self.sink.put(|out| match format {
            Format::Pcapng => pcapng::packet(out, at, now, len, bytes),
            Format::Json => json(out, port, now, len, &headers),
            Format::Text => text(out, port, now, len, &headers),
        });
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        // The loop itself sees to a signal.
        self.over |= self.sink.flush(self.signals)? == Flushed::Closed;
        Ok(())
    }
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
