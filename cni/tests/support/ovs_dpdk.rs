//! A real Open vSwitch with DPDK, without hugepages.

use super::ovsdb::Ovsdb;
use super::{DEADLINE, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringport_bench::peers::{PeerLock, find_program, skip};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const VSWITCHD: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";

const EXIT: [&str; 2] = ["exit", "--cleanup"];

/// ovs-vswitchd with DPDK; ended when dropped. It polls: one at a time.
pub(crate) struct Vswitch {
    process: Child,
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
        let process = Command::new(VSWITCHD)
            .arg(ovsdb.address())
            .arg(format!("--log-file={}", ovsdb.path().join("vswitchd.log").display()))
            .arg(format!("--unixctl={}", ovsdb.path().join("vswitchd.ctl").display()))
            .env("OVS_RUNDIR", ovsdb.path())
            .env("OVS_LOGDIR", ovsdb.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let control = ovsdb.path().join("vswitchd.ctl");
        let this = Self { process, control, _lock: lock };
        until("DPDK is initialised", || ovsdb.database(DEADLINE).vswitch().unwrap().dpdk);
        Some(this)
    }
}

impl Drop for Vswitch {
    fn drop(&mut self) {
        // Asked this way, it takes its devices away as well.
        if let Some(appctl) = find_program("ovs-appctl") {
            let _ = Command::new(appctl).arg("-t").arg(&self.control).args(EXIT).status();
        }
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        let _ = kill(pid, Signal::SIGTERM);
        let _ = self.process.wait();
    }
}
