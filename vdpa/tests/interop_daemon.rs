//! The daemon with virtual functions under vp_vdpa, in a machine of the lab (verified with kernel 6.12.117 and QEMU
//! 11.1.3): devices that are deleted and made again, and a daemon that is killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test"
)]

#[path = "interop_relay/ask.rs"]
mod ask;
mod lab;
mod relay_support;

use ask::ask;
use lab::{Inside, Tier, in_vm};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::signal::Signal;
use relay_support::{PATIENCE, drive_at, eventually, link_up};
use ringport_bench::peers::CommandGuard;
use ringport_vdpa::files::socket_list;
use std::fs;
use std::path::Path;
use std::process::Command;

const DAEMON: &str = env!("CARGO_BIN_EXE_ringport-vdpad");
const CONTROL: &str = env!("CARGO_BIN_EXE_ringport-vdpactl");

/// A directory for all that a daemon has.
struct Place(tempfile::TempDir);

impl Place {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn start(&self) -> CommandGuard {
        let mut command = Command::new(DAEMON);
        command.current_dir(self.path()).args([
            "--pci-list",
            "./pciList.dat",
            "--control",
            "control",
        ]);
        command.arg("--socket-dir").arg(self.path()).args(["--socket-list", "socketList.dat"]);
        let mut daemon = CommandGuard::spawn("ringport-vdpad", &mut command).unwrap();
        daemon.wait_for_line("ready", PATIENCE).unwrap();
        daemon
    }

    fn tell(&self, verb: &str) -> String {
        let mut command = Command::new(CONTROL);
        let output = command.current_dir(self.path()).args(["--control", "control", verb]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until these functions are in the list, and no others.
    #[track_caller]
    fn lists(&self, functions: &[&String]) {
        eventually(&format!("the list has {functions:?}"), || {
            let list = socket_list::load(&self.path().join("socketList.dat")).unwrap_or_default();
            let names: Vec<_> = list.iter().map(|it| it.pci_address().to_string()).collect();
            names.iter().eq(functions.iter().copied())
        });
    }
}

#[test]
fn functions_that_go_and_return_and_a_killed_daemon_keep_their_sockets() {
    let test = "functions_that_go_and_return_and_a_killed_daemon_keep_their_sockets";
    in_vm(test, Tier::T3, |inside: &Inside| {
        setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).unwrap();
        let functions = inside.virtual_functions(2);
        let [first, second] = &functions[..] else { panic!("two functions: {functions:?}") };
        let interface = inside.interfaces(&inside.physical_function()).remove(0);
        inside.sh(&format!("ip address add 10.0.0.1/24 dev {interface}"));
        inside.vp_vdpa("vdpa0", first);
        let place = Place(tempfile::tempdir().unwrap());
        fs::write(place.path().join("pciList.dat"), format!("{first}\n{second}\n")).unwrap();
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
        let said = || place.tell("list");
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
        println!("{}{}", place.tell("list"), place.tell("stats"));
        place.tell("quit");
        assert_eq!(daemon.wait_end(PATIENCE).unwrap().unwrap().code(), Some(0));
        assert!(!place.path().join("vdpa-0").exists());
    });
}
