//! Either side restarts under traffic, again and again.

use crate::device_support::Place;
use crate::row::{DeviceRestarts, Row};
use crate::table;
use nix::sys::signal::Signal;
use ringport_bench::interop::Outcome;
use ringport_bench::interop::census::Census;
use ringport_bench::interop::echo::{EchoPlan, echo, pump};
use ringport_bench::peers::testpmd::DataPath;
use ringport_vhost_user::DownReason;
use std::time::Duration;

const RESTARTS: u32 = 20;

/// Frames on each link.
const FRAMES: u64 = 2000;

const PATHS: [DataPath; 3] =
    [DataPath::SplitInOrderMergeable, DataPath::PackedMergeable, DataPath::PackedInOrderMergeable];

#[test]
fn driver_restarts_under_traffic_and_each_link_works() {
    let test = "driver_restarts_under_traffic_and_each_link_works";
    table(test, PATHS.map(Row::new), |row| {
        let place = Place::new();
        let (mut peer, device, mut link) = row.join(&place)?;
        let mut census = None;
        for round in 0..RESTARTS {
            echo(&mut link.rx, &mut link.tx, &EchoPlan { frames: FRAMES, ..row.plan() })?;
            pump(&mut link.rx, &mut link.tx, Duration::from_millis(5))?;
            peer.process().signal(Signal::SIGKILL)?;
            // Until we notice.
            while pump(&mut link.rx, &mut link.tx, Duration::from_millis(1)).is_ok() {}
            match device.link_down() {
                DownReason::PeerClosed => {}
                other => return Err(format!("round {round}: {other}").into()),
            }
            drop((link, peer));
            census.get_or_insert_with(Census::take).compare()?;
            peer = ringport_bench::interop::Killed(row.testpmd(&place).start()?);
            link = device.link_up();
            peer.start_when_up(1)?;
        }
        echo(&mut link.rx, &mut link.tx, &row.plan())
    });
}

#[test]
fn port_of_the_driver_that_is_stopped_and_started_goes_on() {
    let test = "port_of_the_driver_that_is_stopped_and_started_goes_on";
    table(test, PATHS.map(Row::new), |row| {
        let place = Place::new();
        let (mut peer, _device, mut link) = row.join(&place)?;
        for _ in 0..RESTARTS {
            echo(&mut link.rx, &mut link.tx, &EchoPlan { frames: FRAMES, ..row.plan() })?;
            for command in ["stop", "port stop 0", "port start 0", "start"] {
                peer.command(command)?;
            }
        }
        echo(&mut link.rx, &mut link.tx, &row.plan())
    });
}

fn device_restarts(row: &Row, quiet: bool) -> Outcome {
    let mut restarts = DeviceRestarts::new(row.path, quiet);
    let mut left = RESTARTS;
    restarts.run(FRAMES, || {
        left -= 1;
        Ok(left > 0)
    })?;
    println!("{RESTARTS} restarts of ours: {restarts:?}");
    let few = restarts.failures <= u64::from(RESTARTS / 2);
    if few { Ok(()) } else { Err(format!("{restarts:?}").into()) }
}

#[test]
fn device_restarts_under_traffic_and_most_links_work() {
    let test = "device_restarts_under_traffic_and_most_links_work";
    table(test, PATHS.map(Row::new), |row| device_restarts(row, false));
}

#[test]
fn device_restarts_with_nothing_on_its_way_and_every_link_works() {
    let test = "device_restarts_with_nothing_on_its_way_and_every_link_works";
    table(test, PATHS.map(Row::new), |row| device_restarts(row, true));
}
