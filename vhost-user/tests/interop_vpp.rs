//! Our driver on a real VPP (verified with 26.10-rc0): both layouts, both socket roles, every rx-mode,
//! one pair and more, what VPP can be asked to have, restarts of either side. Runs where `RINGPORT_VPP`
//! names one: `RINGPORT_VPP/bin/vpp` with the plugins vhost and ping.
//!
//! What VPP does:
//! * It starts a ring with the first kick; where it polls, it has said before that it needs none.
//! * It has two rings until it is given the call of another one, and ends the conversation at whatever else is
//!   said of that; as it does at packed rings whose size is no power of two, and at all that it does not know.
//! * It reads the eventfds by which it calls, as if others called it: a call is lost to whoever has not woken
//!   by then. A driver that sleeps must look at its rings now and then, or poll.
//! * It calls for more than 32 packets, or within a millisecond.
//! * Where no merged buffers were agreed on it spreads a packet over several all the same, with a header in the
//!   first one only: nobody can put such packets together again.
//! * With `event-idx` on split rings it never says which kick it waits for: in rx-mode interrupt it misses them.
//!   On packed rings that works.
//! * With one thread it sends on the first pair only.
//! * With `gso` it leaves the length of headers at zero.
//! * Where it connects, it tries every 3 s.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "a test, which reports what peers did"
)]

#[path = "interop_vpp/bridge.rs"]
mod bridge;
mod device_support;
#[path = "interop_vpp/lab.rs"]
mod lab;

use device_support::leave;
use lab::{Attached, LENS, Lab, Outcome, PATIENCE, Row, VPPS, optional_peer, ping_each_other};
use ringport_bench::interop::census::Census;
use ringport_bench::interop::table::each_row;
use ringport_vhost_user::Event;
use std::fmt::Display;
use std::path::Path;

/// Runs a table, where there is a VPP.
fn table<R: Display>(
    test: &str,
    rows: impl IntoIterator<Item = R>,
    run: impl Fn(&R, &Path) -> Outcome,
) {
    let Some(peer) = optional_peer(test, "RINGPORT_VPP", "bin/vpp") else { return };
    each_row(rows, |row| run(row, &peer.dir));
}

/// The whole life of one link.
fn ping(row: &Row, install: &Path) -> Outcome {
    let mut lab = Lab::start(install)?;
    let Attached { driver: _driver, link } = lab.attach(row, 0, || lab.create_host(row))?;
    let mut station = row.station(link);
    ping_each_other(&lab.vpp, &mut station, VPPS, row.lens)?;
    let (sleeps, woken) = (!row.ours.contains("rx-mode=polling"), station.wake_ups());
    if sleeps == (woken == 0) {
        return Err(format!("{woken} calls").into());
    }
    lab.vpp.check_running()
}

#[test]
fn vpp_and_we_ping_each_other_in_every_role_layout_and_rx_mode() {
    let modes = [
        ("polling", ",rx-mode=polling"),
        ("interrupt", ",rx-mode=interrupt"),
        ("adaptive", ",rx-mode=adaptive"),
        ("interrupt", ",rx-mode=polling"),
        ("polling", ",rx-mode=interrupt"),
    ];
    let lens = &[56, 8900];
    let rows = modes
        .into_iter()
        .flat_map(|(rx_mode, ours)| Row::all().map(move |row| Row { rx_mode, ours, lens, ..row }));
    table("vpp_and_we_ping_each_other_in_every_role_layout_and_rx_mode", rows, ping);
}

#[test]
fn vpp_and_we_ping_each_other_over_rings_and_buffers_of_every_size() {
    let ours = [
        ",ring-size=16",
        ",ring-size=256",
        ",ring-size=32768",
        ",buffer-size=512",
        ",buffer-size=9216",
        ",memory=hugepages",
    ];
    let rows = ours.into_iter().flat_map(|ours| Row::layouts().map(move |row| Row { ours, ..row }));
    let rows = rows.chain(Row::layouts().map(|row| Row { ours: ",queues=4", pairs: 4, ..row }));
    table("vpp_and_we_ping_each_other_over_rings_and_buffers_of_every_size", rows, ping);
}

#[test]
fn vpp_and_we_ping_each_other_with_whatever_vpp_has() {
    let short = &LENS[..2];
    let rows = Row::layouts().flat_map(|row| {
        let pairs = ",queues=2";
        [
            Row { theirs: " event-idx", ..row },
            Row { theirs: " event-idx", rx_mode: row.event_idx_mode(), ..row },
            Row { theirs: " event-idx", rx_mode: "polling", ours: ",rx-mode=polling", ..row },
            Row { theirs: " gso", ours: ",offload=segmentation", ..row },
            Row { theirs: " gso", ours: ",offload=checksum", ..row },
            // No pairs, no merged buffers, no protocol features.
            Row { theirs: " feature-mask 0x140008000", ours: pairs, ..row },
            Row { theirs: " feature-mask 0x140000000", ours: pairs, lens: short, ..row },
            Row { theirs: " feature-mask 0x100000000", ours: pairs, lens: short, ..row },
            Row { ours: ",mergeable=off", lens: short, ..row },
        ]
    });
    table("vpp_and_we_ping_each_other_with_whatever_vpp_has", rows, ping);
}

#[test]
fn driver_that_vpp_has_too_little_for_says_so() {
    // Without version 1; without packed rings, which alone have such a size; with them, but not of
    // that size: VPP ends the conversation.
    let split = Row::new(false, true);
    let rows = [
        (Row { theirs: " feature-mask 0x40008000", ..split }, "features 0x100000000 are required"),
        (Row { ours: ",ring-size=1000", ..split }, "features 0x400000000 are required"),
        (Row { ours: ",ring-size=1000", ..Row::new(true, true) }, "peer closed the connection"),
    ];
    let test = "driver_that_vpp_has_too_little_for_says_so";
    let Some(peer) = optional_peer(test, "RINGPORT_VPP", "bin/vpp") else { return };
    for (row, expected) in rows {
        let mut lab = Lab::start(&peer.dir).unwrap();
        lab.create(&row, 0).unwrap();
        let driver = row.open(&lab.socket(0)).unwrap();
        // It tries again, and VPP lives.
        for _ in 0..3 {
            let Event::Refused(reason) = driver.next() else { panic!("{row}: no refusal") };
            let said = ringport_bench::interop::chain(&reason);
            assert!(said.contains(expected), "{row}: {said}");
        }
        lab.vpp.check_running().unwrap();
    }
}

#[test]
fn driver_that_restarts_finds_vpp_again() {
    let rows = Row::all().map(|row| Row { lens: &[56], ..row });
    table("driver_that_restarts_finds_vpp_again", rows, |row, install| {
        let mut lab = Lab::start(install)?;
        let Attached { mut driver, mut link } = lab.attach(row, 0, || lab.create_host(row))?;
        let mut census: Option<Census> = None;
        for round in 0..4 {
            let mut station = row.station(link);
            ping_each_other(&lab.vpp, &mut station, VPPS, row.lens)?;
            let last = leave(driver, round % 2 == 0)?;
            drop((station, last));
            census.get_or_insert_with(Census::take).compare()?;
            driver = row.open(&lab.socket(0))?;
            link = row.next_link(&driver)?;
        }
        ping_each_other(&lab.vpp, &mut row.station(link), VPPS, &LENS)?;
        lab.vpp.check_running()
    });
}

#[test]
fn vpp_hears_nothing_that_it_does_not_know() {
    let ours = ",queues=2,mtu=9000,offload=segmentation";
    let rows = Row::layouts().map(|row| Row { ours, theirs: " gso event-idx", pairs: 2, ..row });
    table("vpp_hears_nothing_that_it_does_not_know", rows, |row, install| {
        let mut lab = Lab::start(install)?;
        lab.vpp.run("set logging class vhost-user level debug")?;
        let Attached { driver, link } = lab.attach(row, 0, || lab.create_host(row))?;
        drop(link);
        let mut driver = driver.into_inner();
        driver.stop();
        driver.poll(Some(PATIENCE))?;
        let log = lab.vpp.show("show logging")?;
        let heard = |message: &str| log.contains(&format!("msg VHOST_USER_{message}"));
        // All that is said to VPP, so the log does have messages.
        let all =
            ["SET_OWNER", "GET_QUEUE_NUM", "SET_MEM_TABLE", "SET_VRING_ERR", "GET_VRING_BASE"];
        if let Some(missing) = all.iter().find(|message| !heard(message)) {
            return Err(format!("VPP has not heard {missing}: {log}").into());
        }
        let complaints = ["unknown", "malformed", "invalid", "too short", "must have", "failed"];
        if let Some(complaint) = complaints.iter().find(|complaint| log.contains(**complaint)) {
            return Err(format!("VPP says {complaint}: {log}").into());
        }
        lab.vpp.check_running()
    });
}
