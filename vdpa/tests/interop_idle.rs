//! What the daemon does while its devices work, in machines of the lab (verified with kernel 6.12.117): nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test"
)]

mod lab;
#[path = "relay_support/mod.rs"]
mod relay_support;

use lab::{Inside, Tier, in_vm};
use relay_support::{PATIENCE, drive_at, eventually, link_up};
use ringport_bench::peers::CommandGuard;
use ringport_vdpa::daemon::{DeviceStatus, State};
use ringport_vhost_user::driver;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A daemon with these devices.
struct Lab {
    daemon: CommandGuard,
    place: tempfile::TempDir,
}

impl Lab {
    fn start(nodes: &[PathBuf]) -> Self {
        let place = tempfile::tempdir().unwrap();
        let device = |node: &PathBuf| format!("[[device]]\ndevice = \"{}\"\n", node.display());
        let file = place.path().join("vdpad.toml");
        fs::write(&file, nodes.iter().map(device).collect::<String>()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringport-vdpad"));
        command.current_dir(place.path()).args(["--config", "vdpad.toml", "--control", "control"]);
        command.args(["--lookup", "lookup", "--metrics", "127.0.0.1:0"]);
        command.arg("--socket-dir").arg(place.path());
        let mut daemon = CommandGuard::spawn("ringport-vdpad", &mut command).unwrap();
        daemon.wait_for_line("ready", PATIENCE).unwrap();
        Self { daemon, place }
    }

    fn list(&self) -> Vec<DeviceStatus> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringport-vdpactl"));
        command.current_dir(self.place.path()).args(["--control", "control", "--json", "list"]);
        let answer: serde_json::Value =
            serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        serde_json::from_value(answer["devices"].clone()).unwrap_or_else(|_| panic!("{answer}"))
    }

    /// The daemon's figures, once it has come to rest.
    fn at_rest(&self) -> Activity {
        let process = PathBuf::from(format!("/proc/{}", self.daemon.pid()));
        let mut last = Activity::of(&process);
        eventually("the daemon is at rest", || {
            std::thread::sleep(Duration::from_millis(200));
            let before = std::mem::replace(&mut last, Activity::of(&process));
            before == last
        });
        last
    }

    /// A figure of its memory, in kB.
    fn memory(&self, name: &str) -> u64 {
        figure(&Path::new("/proc").join(self.daemon.pid().to_string()), name)
    }
}

/// What a process has done so far. A thread that makes a system call was running: it had been waiting before,
/// so it was switched to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Activity {
    threads: usize,
    switches: u64,
    /// In the kernel and outside of it, in the kernel's ticks.
    time: u64,
}

impl Activity {
    fn of(process: &Path) -> Self {
        let mut all = Self::default();
        for task in fs::read_dir(process.join("task")).unwrap() {
            let task = task.unwrap().path();
            all.threads += 1;
            all.switches += figure(&task, "voluntary_ctxt_switches:");
            all.switches += figure(&task, "nonvoluntary_ctxt_switches:");
            let stat = fs::read_to_string(task.join("stat")).unwrap();
            // Behind the name, which may have spaces.
            let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
            all.time += fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        }
        all
    }
}

fn figure(process: &Path, name: &str) -> u64 {
    let status = fs::read_to_string(process.join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn simulator(inside: &Inside, number: usize) -> PathBuf {
    inside.simulator(&format!("vdpa{number}"), &format!("02:00:00:00:01:{number:02x}"))
}

/// Sends frames to the driver's own address, which the simulator gives back.
#[track_caller]
fn bounce(link: &mut driver::Link, times: u64) {
    let mac = link.parameters.mac.unwrap();
    let mut frame = [0; 100];
    frame[..6].copy_from_slice(&mac);
    for number in 0..times {
        frame[60..68].copy_from_slice(&number.to_le_bytes());
        let mut burst = link.tx[0].tx_burst(1).unwrap();
        burst.push(&frame).unwrap();
        assert_eq!(burst.commit(), 1);
        let mut back = 0;
        eventually("the frame is back", || {
            let burst = link.rx[0].rx_burst(4).unwrap();
            back += burst.packets().filter(|packet| *packet.clone().detach() == frame).count();
            back == 1
        });
    }
}

#[test]
fn daemon_does_nothing_while_a_thousand_packets_pass() {
    in_vm("daemon_does_nothing_while_a_thousand_packets_pass", Tier::T2, |inside| {
        let lab = Lab::start(&[simulator(inside, 0)]);
        let mut driver = drive_at(&lab.place.path().join("vdpa-0"), false);
        let mut link = link_up(&mut driver);
        bounce(&mut link, 1);
        let before = lab.at_rest();
        bounce(&mut link, 1000);
        let process = PathBuf::from(format!("/proc/{}", lab.daemon.pid()));
        assert_eq!(Activity::of(&process), before);
        println!("1000 packets each way: {before:?} before and after");
        // It is the right process: what concerns it wakes it.
        assert_eq!(lab.list()[0].state, State::Linked);
        assert_ne!(Activity::of(&process).switches, before.switches);
    });
}

#[test]
fn sixty_four_devices_at_rest_cost_no_time() {
    in_vm("sixty_four_devices_at_rest_cost_no_time", Tier::T2, |inside| {
        let nodes: Vec<_> = (0..64).map(|number| simulator(inside, number)).collect();
        let lab = Lab::start(&nodes);
        let is_ready = |it: &DeviceStatus| it.state == State::Ready;
        eventually("all are ready", || {
            let list = lab.list();
            list.len() == 64 && list.iter().all(is_ready)
        });
        let before = lab.at_rest();
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(lab.at_rest(), before);
        let [all, private] = ["VmRSS:", "RssAnon:"].map(|name| lab.memory(name));
        println!(
            "64 devices: {} threads, {all} kB resident, {private} kB of its own",
            before.threads
        );
    });
}
