//! A daemon as a process, with all that it has.

use super::lab::Inside;
use super::relay_support::{PATIENCE, eventually};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use ringport_bench::peers::CommandGuard;
use ringport_vdpa::files::socket_list;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const DAEMON: &str = env!("CARGO_BIN_EXE_ringport-vdpad");
const CONTROL: &str = env!("CARGO_BIN_EXE_ringport-vdpactl");
/// How long the kernel may take to take something away that the daemon has.
const SOON: Duration = Duration::from_secs(8);

/// A directory for all that a daemon has.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts these functions on the list of those to be served.
    pub(crate) fn want(&self, functions: &[&String]) {
        let lines: String = functions.iter().map(|function| format!("{function}\n")).collect();
        fs::write(self.path().join("pciList.dat"), lines).unwrap();
    }

    /// Starts a daemon for what is on the list.
    pub(crate) fn start(&self) -> CommandGuard {
        self.start_with(&["--pci-list", "./pciList.dat"])
    }

    pub(crate) fn start_with(&self, arguments: &[&str]) -> CommandGuard {
        let mut command = Command::new(DAEMON);
        command.current_dir(self.path()).args(arguments).args(["--control", "control"]);
        command.arg("--socket-dir").arg(self.path()).args(["--socket-list", "socketList.dat"]);
        let mut daemon = CommandGuard::spawn("ringport-vdpad", &mut command).unwrap();
        daemon.wait_for_line("ready", PATIENCE).unwrap();
        daemon
    }

    #[track_caller]
    pub(crate) fn tell(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(CONTROL);
        command.current_dir(self.path()).args(["--control", "control"]).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What is said of a device by a verb; nothing if it is not served.
    #[track_caller]
    pub(crate) fn said_of(&self, device: &str, verb: &str) -> String {
        let all = self.tell(&[verb]);
        let line = all.lines().find(|line| line.starts_with(&format!("{device} ")));
        line.unwrap_or_default().to_owned()
    }

    /// Waits until that has these words, all of them.
    #[track_caller]
    pub(crate) fn says(&self, device: &str, verb: &str, words: &[&str]) {
        let mut said = String::new();
        eventually(&format!("{verb} of {device} has {words:?}"), || {
            said = self.said_of(device, verb);
            words.iter().all(|word| said.contains(word))
        });
        println!("{said}");
    }

    /// Where a device has its socket.
    #[track_caller]
    pub(crate) fn socket(&self, device: &str) -> PathBuf {
        self.said_of(device, "list").split(' ').nth(3).unwrap().into()
    }

    /// Waits until these functions are in the list, and no others.
    #[track_caller]
    pub(crate) fn lists(&self, functions: &[&String]) {
        eventually(&format!("the list has {functions:?}"), || {
            let list = socket_list::load(&self.path().join("socketList.dat")).unwrap_or_default();
            let names: Vec<_> = list.iter().map(|it| it.pci_address().to_string()).collect();
            names.iter().eq(functions.iter().copied())
        });
    }
}

/// Open files and threads of a daemon.
pub(crate) fn holds(daemon: &CommandGuard) -> [usize; 2] {
    let count = |of| fs::read_dir(format!("/proc/{}/{of}", daemon.pid())).unwrap().count();
    [count("fd"), count("task")]
}

/// Two virtual functions without drivers, on a wire with an interface that has the address 10.0.0.1. As much
/// memory may be locked as is liked.
#[track_caller]
pub(crate) fn two_functions(inside: &Inside) -> [String; 2] {
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).unwrap();
    let functions = inside.virtual_functions(2).try_into().unwrap();
    let interface = inside.interfaces(&inside.physical_function()).remove(0);
    inside.sh(&format!("ip address add 10.0.0.1/24 dev {interface}"));
    functions
}

/// Writes to a file of sysfs, which is to return soon.
#[track_caller]
pub(crate) fn write_soon(file: &str, text: &str) {
    let began = Instant::now();
    fs::write(file, text).unwrap();
    let took = began.elapsed();
    println!("{text} > {file}: {took:.1?}");
    assert!(took < SOON, "{took:?}");
}
