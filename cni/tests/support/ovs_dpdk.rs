//! A real Open vSwitch with DPDK, without hugepages.

use super::ovsdb::Ovsdb;
use super::{DEADLINE, until};
use ringport_bench::peers::{CommandGuard, PeerLock, find_program, skip};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const VSWITCHD: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";

const EXIT: [&str; 3] = ["--timeout=5", "exit", "--cleanup"];

/// ovs-vswitchd with DPDK; ended when dropped. It polls: one at a time.
pub(crate) struct Vswitch {
    process: CommandGuard,
    control: PathBuf,
    _lock: PeerLock,
}

impl Vswitch {
    pub(crate) fn start(test: &str, ovsdb: &Ovsdb) -> Option<Self> {
        if !Path::new(VSWITCHD).is_file() || !nix::unistd::geteuid().is_root() {
            skip(test, "ovs-vswitchd with DPDK is not installed, or we are not root");
            return None;
        }
        let lock = PeerLock::acquire().unwrap();
        // Files of its own: there may be another vswitch on the machine.
        let memory = "--no-huge --legacy-mem --no-pci -m 512";
        let extra = format!("{memory} --file-prefix ringport-{}", std::process::id());
        let options = json!([
            "map",
            [
                ["dpdk-init", "true"],
                ["dpdk-extra", extra],
                ["pmd-cpu-mask", "0x2"],
                // Buffers that all ports share do not fit: ports would be without a single one.
                ["per-port-memory", "true"],
            ]
        ]);
        let set = json!({"op": "update", "table": "Open_vSwitch", "where": [],
                         "row": {"other_config": options}});
        ovsdb.database(DEADLINE).transact(vec![set]).unwrap();
        let mut command = Command::new(VSWITCHD);
        command
            .arg(ovsdb.address())
            // Whoever does not listen yet is worth a line a second.
            .arg("--verbose=dpdk:file:err")
            .arg(format!("--log-file={}", ovsdb.path().join("vswitchd.log").display()))
            .arg(format!("--unixctl={}", ovsdb.path().join("vswitchd.ctl").display()))
            .env("OVS_RUNDIR", ovsdb.path())
            .env("OVS_LOGDIR", ovsdb.path());
        let process = CommandGuard::spawn("ovs-vswitchd", &mut command).unwrap();
        let control = ovsdb.path().join("vswitchd.ctl");
        let this = Self { process, control, _lock: lock };
        until("DPDK is initialised", || ovsdb.database(DEADLINE).vswitch().unwrap().dpdk);
        Some(this)
    }
}

impl Vswitch {
    /// The ports that it has, in its own words.
    pub(crate) fn ports(&self) -> String {
        let mut command = Command::new(find_program("ovs-appctl").unwrap());
        command.arg("--timeout=20").arg("-t").arg(&self.control).arg("dpif/show");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Vswitch {
    fn drop(&mut self) {
        // Asked this way, it takes its devices away as well; if it cannot be asked, it is ended without.
        if let Some(appctl) = find_program("ovs-appctl") {
            let _ = Command::new(appctl).arg("-t").arg(&self.control).args(EXIT).status();
            let _ = self.process.wait_end(Duration::from_secs(5));
        }
    }
}
