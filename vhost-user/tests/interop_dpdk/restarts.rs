//! Either side restarts under traffic, again and again.

use crate::device_support::Place;
use crate::row::{Row, Side, next_link};
use crate::table;
use nix::sys::signal::Signal;
use ringport_bench::interop::census::Census;
use ringport_bench::interop::echo::{EchoPlan, echo, echo_some, pump};
use ringport_bench::peers::testpmd::DataPath;
use ringport_vhost_user::DownReason;
use std::time::Duration;

const RESTARTS: u32 = 20;

/// Frames on each link.
const FRAMES: u64 = 2000;

const PATHS: [DataPath; 2] = [DataPath::SplitInOrderMergeable, DataPath::PackedInOrderMergeable];

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

#[test]
fn device_restarts_under_traffic_and_each_link_works() {
    let test = "device_restarts_under_traffic_and_each_link_works";
    let rows = PATHS.map(|path| Row { connects: Side::Device, ..Row::new(path) });
    table(test, rows, |row| {
        let place = Place::new();
        let (mut peer, mut device, mut link) = row.join(&place)?;
        let mut strangers = 0;
        for _ in 0..RESTARTS {
            // The driver's ring still has what it sent, and sends what it received.
            let plan = EchoPlan { strangers_max: 2048, ..row.plan() };
            strangers += echo_some(&mut link.rx, &mut link.tx, &plan, FRAMES)?;
            drop((device, link));
            device = row.device(&place);
            link = next_link(&mut peer, &device)?;
        }
        println!("{row}: {strangers} frames of earlier links");
        Ok(())
    });
}
