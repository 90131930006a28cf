//! Counts: what testpmd says it sent is what we got, and the other way round.

use crate::driver_support::Place;
use crate::support::echo::EchoPlan;
use crate::support::frames::{Checker, fill};
use crate::support::table::each_row;
use crate::support::{Killed, Outcome, PATIENCE, link, open, received};
use crate::{HUGEPAGES, Row, table};
use ringport_bench::peers::testpmd::{MemifArgs, MemifRole, Mode};
use ringport_bench::peers::{Testpmd, require_peer_with_hugepages};
use ringport_memif::Link;
use std::time::{Duration, Instant};

/// Takes whatever arrives until nothing has for a while; packets and bytes.
fn drain(link: &mut Link) -> Outcome<(u64, u64)> {
    let mut moved = Instant::now();
    while moved.elapsed() < Duration::from_millis(50) {
        for rx in &mut link.rx {
            if !rx.rx_burst(256)?.is_empty() {
                moved = Instant::now();
            }
        }
    }
    let stats: Vec<_> = link.rx.iter().map(ringport_memif::RxQueue::stats).collect();
    Ok((stats.iter().map(|s| s.packets).sum(), stats.iter().map(|s| s.bytes).sum()))
}

#[test]
fn we_receive_as_many_packets_as_testpmd_counts_as_sent() {
    let rows = [1, 4].into_iter().flat_map(|queues| Row::all().map(|row| Row { queues, ..row }));
    table("we_receive_as_many_packets_as_testpmd_counts_as_sent", rows, |row| {
        let place = Place::new();
        let pieces = [700, 700];
        let testpmd = row.testpmd(&place).forward(Mode::TxOnly).txpkts(&pieces);
        let (mut peer, _port, mut link) = row.join(&place, testpmd)?;
        let end = Instant::now() + Duration::from_millis(300);
        while Instant::now() < end {
            for rx in &mut link.rx {
                rx.rx_burst(256)?;
            }
        }
        let sent = peer.stop_forwarding()?.tx_packets;
        let got = drain(&mut link)?;
        if sent < 1000 || got != (sent, sent * 1400) {
            return Err(format!("testpmd sent {sent}; we got (packets, bytes) {got:?}").into());
        }
        Ok(())
    });
}

#[test]
fn testpmd_receives_as_many_packets_as_we_count_as_sent() {
    let rows = [1, 4].into_iter().flat_map(|queues| Row::all().map(|row| Row { queues, ..row }));
    table("testpmd_receives_as_many_packets_as_we_count_as_sent", rows, |row| {
        let place = Place::new();
        let testpmd = row.testpmd(&place).forward(Mode::RxOnly);
        let (mut peer, _port, mut link) = row.join(&place, testpmd)?;
        // One packet in one slot, one in two.
        let frames = [[1u8; 64].as_slice(), &[2; 3000]];
        let end = Instant::now() + Duration::from_millis(300);
        while Instant::now() < end {
            for tx in &mut link.tx {
                let mut burst = tx.tx_burst(64)?;
                while frames.iter().all(|frame| burst.push(frame).is_ok()) {}
                burst.commit();
            }
        }
        let stats: Vec<_> = link.tx.iter().map(ringport_memif::TxQueue::stats).collect();
        let sent = stats.iter().fold((0, 0), |sum, s| (sum.0 + s.packets, sum.1 + s.bytes));
        let counted = received(&mut peer, 0, sent.0)?;
        if sent.0 < 1000 || (counted.rx_packets, counted.rx_bytes) != sent {
            return Err(format!("we sent {sent:?}, testpmd counted {counted:?}").into());
        }
        // net_memif always polls: it never wants a doorbell.
        let doorbells: u64 = stats.iter().map(|s| s.doorbells).sum();
        if doorbells > 1 { Err(format!("{doorbells} doorbells").into()) } else { Ok(()) }
    });
}

/// Sends on `from` what has to arrive on `to`, through testpmd.
fn cross(from: &mut Link, to: &mut Link, plan: &EchoPlan<'_>) -> Outcome {
    let (mut checker, mut sent, mut buffer) = (Checker::new(0), 0, Vec::new());
    let len_of = |number: u64| plan.lens[usize::try_from(number).unwrap_or(0) % plan.lens.len()];
    let start = Instant::now();
    while checker.count() < plan.frames {
        let mut burst = from.tx[0].tx_burst(32)?;
        while sent < plan.frames && sent - checker.count() < 64 {
            buffer.resize(len_of(sent), 0);
            fill(&mut buffer, 0, sent);
            if burst.push(&buffer).is_err() {
                break;
            }
            sent += 1;
        }
        burst.commit();
        for packet in to.rx[0].rx_burst(256)?.packets() {
            checker.take(&packet, len_of)?;
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("{} of {sent} arrived", checker.count()).into());
        }
    }
    Ok(())
}

#[test]
fn testpmd_forwards_between_two_ports_of_ours_in_order() {
    let test = "testpmd_forwards_between_two_ports_of_ours_in_order";
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", HUGEPAGES) else { return };
    let roles = [MemifRole::Client, MemifRole::Server];
    let rows = roles.into_iter().flat_map(|a| roles.map(|b| format!("{a:?} and {b:?}")));
    each_row(rows, |row| {
        let (left, right) = (Place::new(), Place::new());
        let role = |server| if server { MemifRole::Server } else { MemifRole::Client };
        let roles = [role(row.starts_with("Server")), role(row.ends_with("Server"))];
        let places = [&left, &right];
        let mut ports = [None, None];
        let open_if = |ports: &mut [Option<_>; 2], theirs, ours: &str| -> Outcome {
            for at in 0..2 {
                if roles[at] == theirs {
                    ports[at] = Some(open(&places[at].path, ours)?);
                }
            }
            Ok(())
        };
        open_if(&mut ports, MemifRole::Client, "role=server,id=0")?;
        let memif = |at: usize| MemifArgs::new(roles[at], &places[at].path);
        let testpmd = Testpmd::new().memif(memif(0)).memif(memif(1)).forward(Mode::Io);
        let mut peer = Killed(testpmd.app_arg(crate::MULTI_SEGS).interactive().start()?);
        open_if(&mut ports, MemifRole::Server, "role=client,id=0,reconnect=10ms-50ms")?;
        let [Some(a), Some(b)] = &mut ports else { return Err("a port is missing".into()) };
        let (mut a, mut b) = (link(a)?, link(b)?);
        peer.start_when_up(2)?;
        // A copying client of DPDK's cannot mix packets of one slot with longer ones.
        let all_servers = roles == [MemifRole::Server; 2];
        let lens: &[usize] = if all_servers { &[64, 1518, 9000] } else { &[64, 1518, 2048] };
        let plan = EchoPlan { lens, frames: 5000, ..EchoPlan::default() };
        cross(&mut a, &mut b, &plan)?;
        cross(&mut b, &mut a, &plan)?;
        let (first, second) = (peer.counters(0)?, peer.counters(1)?);
        let all = [first.rx_packets, first.tx_packets, second.rx_packets, second.tx_packets];
        if all == [5000; 4] { Ok(()) } else { Err(format!("testpmd counted {all:?}").into()) }
    });
}
