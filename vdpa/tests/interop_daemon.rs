//! The daemon with devices of each kind, in machines of the lab (verified with kernel 6.12.117 and QEMU 11.1.3):
//! virtual functions under vfio-pci and vp_vdpa and the simulator, which are deleted, unbound and made again under
//! traffic, and a daemon that is killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test"
)]

#[path = "interop_relay/ask.rs"]
mod ask;
#[path = "interop_daemon/functions.rs"]
mod functions;
#[path = "interop_daemon/kicks.rs"]
mod kicks;
mod lab;
#[path = "interop_daemon/place.rs"]
mod place;
mod relay_support;
#[path = "interop_relay/traffic.rs"]
mod traffic;

use ask::ask;
use lab::{Inside, Tier, in_vm};
use nix::sys::signal::Signal;
use place::{Place, two_functions};
use relay_support::{PATIENCE, drive_at, eventually, link_up};

#[test]
fn functions_that_go_and_return_and_a_killed_daemon_keep_their_sockets() {
    let test = "functions_that_go_and_return_and_a_killed_daemon_keep_their_sockets";
    in_vm(test, Tier::T3, |inside: &Inside| {
        let [first, second] = &two_functions(inside);
        inside.vp_vdpa("vdpa0", first);
        let place = Place::new();
        place.want(&[first, second]);
        let mut daemon = place.start();
        place.lists(&[first]);
        let mut driver = drive_at(&place.path().join("vdpa-0"), false);
        let mut link = link_up(&mut driver);
        ask(&mut link, 5);

        // Another comes, and nothing happens to the first.
        inside.vp_vdpa("vdpa1", second);
        place.lists(&[first, second]);
        ask(&mut link, 5);
        // It goes while its front-end uses it, and returns.
        inside.sh("vdpa dev del vdpa0");
        place.lists(&[second]);
        let said = || place.tell(&["list"]);
        assert!(said().contains(&format!("{first} absent")), "{}", said());
        let advice = format!("vdpa dev add mgmtdev pci/{first}");
        eventually("it is said what makes it", || said().contains(&advice));
        inside.vp_vdpa("vdpa0", first);
        place.lists(&[first, second]);
        drop(link);
        let mut link = link_up(&mut driver);
        ask(&mut link, 5);

        daemon.signal(Signal::SIGKILL).unwrap();
        daemon.wait_end(PATIENCE).unwrap().unwrap();
        assert!(place.path().join("vdpa-0").exists(), "it was left");
        let mut daemon = place.start();
        drop(link);
        let mut link = link_up(&mut driver);
        ask(&mut link, 5);
        println!("{}{}", place.tell(&["list"]), place.tell(&["stats"]));
        place.tell(&["quit"]);
        assert_eq!(daemon.wait_end(PATIENCE).unwrap().unwrap().code(), Some(0));
        assert!(!place.path().join("vdpa-0").exists());
    });
}
