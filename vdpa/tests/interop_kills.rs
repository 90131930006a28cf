//! The daemon and front-ends, each a process of its own, killed at any moment, with the kernel's simulator in a
//! machine of the lab (verified with kernel 6.12.117): what comes after them finds nothing of theirs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test"
)]

mod lab;
mod relay_support;
#[allow(dead_code, reason = "a part of it")]
#[path = "interop_vhost_vdpa/rig.rs"]
mod rig;

use lab::{Inside, Tier, in_vm};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::signal::Signal;
use relay_support::{PATIENCE, drive_at, eventually, link_up};
use rig::{Rig, frame};
use ringport_bench::interop::kills::{live, start_child};
use ringport_bench::peers::CommandGuard;
use ringport_vdpa::{VdpaDevice, VhostVdpa};
use ringport_vhost_user::driver;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const DAEMON: &str = env!("CARGO_BIN_EXE_ringport-vdpad");
const CONTROL: &str = env!("CARGO_BIN_EXE_ringport-vdpactl");

/// How often somebody is killed.
const ROUNDS: u64 = 24;
/// Longest life of who is killed. Processes take a good part of that to begin, in such a machine.
const LIFE_MAX_MILLIS: u64 = 900;

/// Not a test: what this program does when it is started as a front-end.
#[test]
#[ignore = "the peer process of the other"]
fn child_peer() {
    live().unwrap();
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }
}

/// A directory for all that a daemon has.
struct Place(tempfile::TempDir);

impl Place {
    fn with(node: &Path) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let device = format!("[[device]]\ndevice = \"{}\"\n", node.display());
        fs::write(place.path("vdpad.toml"), device).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn start(&self) -> CommandGuard {
        let mut command = Command::new(DAEMON);
        command.arg("--config").arg(self.path("vdpad.toml"));
        command.arg("--control").arg(self.path("control"));
        command.arg("--socket-dir").arg(self.0.path());
        command.arg("--socket-list").arg(self.path("socketList.dat"));
        CommandGuard::spawn("ringport-vdpad", &mut command).unwrap()
    }

    fn front_end(&self) -> CommandGuard {
        let socket = self.path("vdpa-0");
        let options = "role=driver,ring-size=256,socket=connect,reconnect=1ms-5ms";
        start_child(&format!("vhost:{},{options}", socket.display())).unwrap()
    }

    fn quit(&self, mut daemon: CommandGuard) {
        let mut command = Command::new(CONTROL);
        let output = command.arg("--control").arg(self.path("control")).arg("quit").output();
        assert!(output.unwrap().status.success());
        assert_eq!(daemon.wait_end(PATIENCE).unwrap().unwrap().code(), Some(0));
    }

    /// Files of sockets, and half-written ones.
    fn sockets(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let known = ["vdpad.toml", "socketList.dat", "socketNumbers.json"];
        names.filter(|name| !known.contains(&&**name)).collect()
    }
}

/// Kills a process, and returns what it had said.
fn kill(mut process: CommandGuard) -> String {
    process.signal(Signal::SIGKILL).unwrap();
    process.wait_end(PATIENCE).unwrap().expect("it is dead");
    process.log()
}

/// The device is free and works, as it is opened here.
fn works(node: &Path, round: u64) {
    let mut device = VhostVdpa::open(node).unwrap_or_else(|error| panic!("{round}: {error}"));
    let mut rig = Rig::new(16);
    rig.start(&mut device);
    (0..3).for_each(|number| rig.bounce(number));
    drop(device.stop());
}

/// A frame to all comes back through daemon and device.
fn passes(link: &mut driver::Link, number: u64) {
    let sent = frame(number);
    let mut burst = link.tx[0].tx_burst(1).unwrap();
    burst.push(&sent).unwrap();
    burst.commit();
    let mut heard = false;
    eventually("the frame comes back", || {
        let burst = link.rx[0].rx_burst(8).unwrap();
        heard |= burst.packets().any(|packet| packet.detach().to_vec() == sent);
        heard
    });
}

/// A daemon that starts where others were killed serves front-ends, and leaves nothing when it ends.
fn serves(place: &Place, round: u64) {
    let mut daemon = place.start();
    daemon.wait_for_line("device is served", PATIENCE).unwrap();
    let mut driver = drive_at(&place.path("vdpa-0"), false);
    let mut link = link_up(&mut driver);
    passes(&mut link, round);
    drop((link, driver));
    place.quit(daemon);
    assert_eq!(place.sockets(), [""; 0], "round {round}");
}

/// Kills one of the two at a moment, and the other at a later one. Returns whether there was a link.
fn round(place: &Place, random: &mut Random) -> bool {
    let mut daemon = place.start();
    let moment = |random: &mut Random| {
        std::thread::sleep(Duration::from_millis(random.below(LIFE_MAX_MILLIS)));
    };
    // Half of the time the daemon is ready before, so that a link is killed and not a beginning.
    if random.below(2) == 0 {
        daemon.wait_for_line("device is served", PATIENCE).unwrap();
    }
    let front_end = place.front_end();
    moment(random);
    let (first, second) =
        if random.below(2) == 0 { (daemon, front_end) } else { (front_end, daemon) };
    let mut said = kill(first);
    moment(random);
    said += &kill(second);
    said.contains("link up")
}

#[test]
fn daemon_and_front_ends_that_are_killed_at_any_moment_leave_a_device_that_works() {
    let test = "daemon_and_front_ends_that_are_killed_at_any_moment_leave_a_device_that_works";
    in_vm(test, Tier::T2, |inside: &Inside| {
        setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).unwrap();
        inside.load(&["vdpa_sim use_va=0"]);
        let node = inside.simulator("vdpa0", "02:00:00:00:00:55");
        let place = Place::with(&node);
        let mut random = Random(0x7269_6e67_706f_7274);
        works(&node, 0);
        let mut links = 0;
        for number in 1..=ROUNDS {
            links += u64::from(round(&place, &mut random));
            works(&node, number);
            if number % 6 == 0 {
                serves(&place, number);
            }
        }
        println!("{ROUNDS} rounds, {links} with a link");
        assert!((ROUNDS / 4..ROUNDS).contains(&links), "{links} of {ROUNDS} had a link");
    });
}
