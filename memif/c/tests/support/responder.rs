//! The C example, running, and a station of ours at the other end.

use super::inet::Host;
use super::library::Library;
use super::station::{NAP_MS, Station};
use super::{Outcome, PATIENCE};
use ringport_bench::peers::CommandGuard;
use ringport_memif::{Port, RxQueue, TxQueue};
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Instant;

/// Address that the example answers to.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 1);

/// Lengths of pings: from nothing to several of a client's buffers.
pub const PAYLOADS: [usize; 6] = [0, 1, 56, 1400, 2048, 8900];

/// Starts the example with `arguments`.
pub fn start(library: &Library, arguments: &[&str]) -> Outcome<CommandGuard> {
    let program = library.compile("responder");
    Ok(CommandGuard::spawn("responder", Command::new(program).args(arguments))?)
}

/// Ends the example as people do, by Ctrl-C.
pub fn interrupt(mut responder: CommandGuard) -> Outcome<String> {
    let status = responder.stop_within(PATIENCE)?;
    if !status.success() {
        return Err(format!("{status}: {}", responder.log()).into());
    }
    Ok(responder.log())
}

/// Somebody at our end of `port`'s link.
pub fn station(port: &mut Port) -> Outcome<Station<RxQueue, TxQueue>> {
    let link = port.wait_link_up(PATIENCE)?;
    let host = Host { mac: [2, 0, 0, 0, 0, 9], ip: Ipv4Addr::new(10, 9, 8, 2), ip_mode: false };
    Ok(Station::new(host, link.rx, link.tx, Some(NAP_MS)))
}

/// Pings the example with each of `lens` bytes, until it answers. An answer has to be right.
pub fn pings(peer: &mut Station<RxQueue, TxQueue>, lens: &[usize]) -> Outcome {
    let mac = peer.resolve(ADDRESS)?;
    let end = Instant::now() + PATIENCE;
    let mut sequence = 0;
    for len in lens {
        let checksum_is_right = loop {
            sequence += 1;
            match peer.ping(mac, ADDRESS, sequence, *len) {
                // The machine is busy.
                Err(late) if late.to_string().contains("no answer") && Instant::now() < end => {}
                answer => break answer?,
            }
        };
        if !checksum_is_right {
            return Err(format!("wrong checksum of an answer of {len} bytes").into());
        }
    }
    Ok(())
}
