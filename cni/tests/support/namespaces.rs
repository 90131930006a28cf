//! Network namespaces, named as container runtimes name theirs.

use nix::sched::{CloneFlags, setns};
use ringport_bench::peers::{find_program, skip};
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

/// Where `ip` keeps them.
const DIRECTORY: &str = "/run/netns";

/// Namespaces of one test; they go when dropped.
pub(crate) struct Namespaces(Vec<String>);

impl Namespaces {
    /// Makes some. `None`: that is not permitted, and the test was reported as skipped.
    pub(crate) fn make(test: &str, count: usize) -> Option<Self> {
        let Some(ip) = find_program("ip").filter(|_| nix::unistd::geteuid().is_root()) else {
            skip(test, "not root, or there is no `ip`");
            return None;
        };
        let mut made = Self(Vec::new());
        for number in 0..count {
            let name = format!("ringport-{}-{number}", std::process::id());
            let status = Command::new(&ip).args(["netns", "add", &name]).status().unwrap();
            assert!(status.success(), "{name}");
            made.0.push(name);
        }
        Some(made)
    }

    pub(crate) fn path(&self, number: usize) -> PathBuf {
        PathBuf::from(DIRECTORY).join(&self.0[number])
    }

    /// Takes one away before the others.
    pub(crate) fn remove(&mut self, number: usize) {
        let name = self.0.remove(number);
        let status = Command::new("ip").args(["netns", "del", &name]).status().unwrap();
        assert!(status.success(), "{name}");
    }

    /// Puts a device into one, for plugins that will not do without.
    pub(crate) fn add_device(&self, number: usize, device: &str) {
        let mut command = Command::new("ip");
        command.args(["-n", &self.0[number], "link", "add", device, "type", "veth"]);
        assert!(command.args(["peer", "name", "peer"]).status().unwrap().success());
    }

    /// Names of all devices that are in any of them.
    pub(crate) fn devices(&self) -> Vec<String> {
        let of = |name: &String| {
            let namespace = File::open(PathBuf::from(DIRECTORY).join(name)).unwrap();
            // The thread that enters it ends in it.
            let listed = std::thread::spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
                std::fs::read_to_string("/proc/thread-self/net/dev").unwrap()
            });
            let listed = listed.join().unwrap();
            let rows = listed.lines().skip(2);
            rows.map(|row| row.split(':').next().unwrap().trim().to_owned()).collect::<Vec<_>>()
        };
        let mut all: Vec<String> = self.0.iter().flat_map(of).collect();
        all.sort();
        all.dedup();
        all
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}
