//! A station on a link: answers ARP and pings, and pings.

use super::inet::{Host, Seen};
use super::{Outcome, PATIENCE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringport::burst::{PacketRx, PacketTx};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// How long an answer is waited for before it is asked again.
const ANSWER: Duration = Duration::from_millis(500);

/// Naps longer than an answer may take: without its doorbell it comes too late.
pub const NAP_MS: u16 = 1000;

/// A link, of any protocol, with somebody at our end.
pub struct Station<R, T> {
    pub host: Host,
    rx: Vec<R>,
    tx: Vec<T>,
    /// The queue that sends next.
    next: usize,
    /// Questions answered.
    pub answered: u64,
    /// Wait on the doorbell for so long at most, in milliseconds, not in a loop.
    nap_ms: Option<u16>,
    seen: Vec<Seen>,
}

impl<R: PacketRx, T: PacketTx> Station<R, T> {
    pub fn new(host: Host, rx: Vec<R>, tx: Vec<T>, nap_ms: Option<u16>) -> Self {
        Self { host, rx, tx, next: 0, answered: 0, nap_ms, seen: Vec::new() }
    }

    /// How often a doorbell has rung.
    pub fn wake_ups(&self) -> u64 {
        self.rx.iter().map(|rx| rx.stats().wake_ups).sum()
    }

    /// Takes what has arrived and answers it. When nothing has, waits for the doorbell, not longer
    /// than `patience_ms` or than it naps.
    pub fn turn(&mut self, patience_ms: u16) -> Outcome {
        let mut answers = Vec::new();
        let mut idle = true;
        for rx in &mut self.rx {
            for packet in rx.rx_burst(64)?.packets() {
                idle = false;
                match self.host.look_at(&packet.detach()) {
                    Seen::Question(answer) => answers.push(answer),
                    Seen::Other => {}
                    seen => self.seen.push(seen),
                }
            }
        }
        for answer in answers {
            self.send(&answer)?;
            self.answered += 1;
        }
        if idle { self.wait(patience_ms) } else { Ok(()) }
    }

    fn wait(&mut self, patience_ms: u16) -> Outcome {
        let Some(nap_ms) = self.nap_ms else {
            std::thread::sleep(Duration::from_micros(50));
            return Ok(());
        };
        for rx in &mut self.rx {
            if rx.arm()? {
                return Ok(());
            }
        }
        let fds = self.rx.iter().map(|rx| PollFd::new(rx.doorbell(), PollFlags::POLLIN));
        poll(&mut fds.collect::<Vec<_>>(), PollTimeout::from(patience_ms.min(nap_ms)))?;
        Ok(())
    }

    /// Sends on each queue in turn.
    fn send(&mut self, packet: &[u8]) -> Outcome {
        let end = Instant::now() + PATIENCE;
        let queue = self.next;
        self.next = (queue + 1) % self.tx.len();
        loop {
            let mut burst = self.tx[queue].tx_burst(256)?;
            if burst.push(packet).is_ok() {
                burst.commit();
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("no room for {} bytes", packet.len()).into());
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Answers for as long as `busy` says.
    pub fn serve_while(&mut self, mut busy: impl FnMut() -> Outcome<bool>) -> Outcome {
        while busy()? {
            self.turn(5)?;
        }
        Ok(())
    }

    /// Waits for what `pick` finds among what was seen. `None` when it takes too long.
    fn wait_for<F>(&mut self, pick: impl Fn(&Seen) -> Option<F>) -> Outcome<Option<F>> {
        let end = Instant::now() + ANSWER;
        while Instant::now() < end {
            self.turn(u16::MAX)?;
            if let Some(found) = self.seen.drain(..).find_map(|seen| pick(&seen)) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Finds `ip`'s address. Asks again, as a peer may not be ready yet.
    pub fn resolve(&mut self, ip: Ipv4Addr) -> Outcome<[u8; 6]> {
        if self.host.ip_mode {
            return Ok([0; 6]);
        }
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            self.send(&self.host.arp_request(ip))?;
            let mac = self.wait_for(|seen| match seen {
                Seen::ArpReply { ip: of, mac } if *of == ip => Some(*mac),
                _ => None,
            })?;
            if let Some(mac) = mac {
                return Ok(mac);
            }
        }
        Err(format!("{ip} does not answer ARP").into())
    }

    /// Pings `ip` with `len` bytes; the payload must come back whole. Returns whether the checksum of
    /// the answer was right.
    pub fn ping(&mut self, mac: [u8; 6], ip: Ipv4Addr, sequence: u16, len: usize) -> Outcome<bool> {
        let payload: Vec<u8> = (0..len).map(|at| (at * 7 % 251) as u8).collect();
        self.send(&self.host.echo_request(mac, ip, sequence, &payload))?;
        let reply = self.wait_for(|seen| match seen {
            Seen::EchoReply { sequence: of, payload, checksum_is_right } if *of == sequence => {
                Some((payload.clone(), *checksum_is_right))
            }
            _ => None,
        })?;
        match reply {
            None => Err(format!("no answer to a ping of {len} bytes").into()),
            Some((got, _)) if got != payload => {
                Err(format!("{len} bytes sent, {} others came back", got.len()).into())
            }
            Some((_, checksum_is_right)) => Ok(checksum_is_right),
        }
    }
}
