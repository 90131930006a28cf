//! The plugin on a real Open vSwitch with DPDK, without hugepages.

#![cfg(feature = "ovs")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringport_bench::peers::{PeerLock, find_program, skip};
use serde_json::{Value, json};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::call::Runtime;
use support::ovsdb::Ovsdb;
use support::{DEADLINE, until};

const VSWITCHD: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";

const EXIT: [&str; 2] = ["exit", "--cleanup"];

/// ovs-vswitchd with DPDK; ended when dropped. It polls: one at a time.
struct Vswitch {
    process: Child,
    control: PathBuf,
    _lock: PeerLock,
}

impl Vswitch {
    fn start(test: &str, ovsdb: &Ovsdb) -> Option<Self> {
        if !Path::new(VSWITCHD).is_file() || !nix::unistd::geteuid().is_root() {
            skip(test, "ovs-vswitchd with DPDK is not installed, or we are not root");
            return None;
        }
        let lock = PeerLock::acquire().unwrap();
        let options = json!([
            "map",
            [
                ["dpdk-init", "true"],
                ["dpdk-extra", "--no-huge --legacy-mem --no-pci -m 256"],
                ["pmd-cpu-mask", "0x2"],
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

#[test]
fn ports_of_both_modes_come_and_go() {
    let test = "ports_of_both_modes_come_and_go";
    let Some(ovsdb) = Ovsdb::start(test) else { return };
    let Some(vswitch) = Vswitch::start(test, &ovsdb) else { return };
    let mut runtime = Runtime::new(ovsdb.path(), &ovsdb.address(), "1.1.0");
    // The bridge is a device of the machine as well: its name must be nobody else's.
    let bridge = format!("rp{}", std::process::id());
    runtime.conf["host"]["bridge"] = json!({"bridgeName": bridge, "vlanId": 5});
    runtime.conf["ovs"]["runDir"] = json!(ovsdb.path());
    runtime.call("STATUS").ok();

    let mut results: Vec<(String, Value)> = Vec::new();
    for (mode, container) in [("client", "one"), ("server", "two")] {
        runtime.container = container.to_owned();
        runtime.conf["host"]["vhost"] = json!({"mode": mode});
        let result = runtime.call("ADD").ok().json();
        let mut conf = runtime.conf.clone();
        conf["prevResult"] = result.clone();
        runtime.call_with("CHECK", &conf).ok();
        results.push((container.to_owned(), result));
    }
    // The vswitch listens on the socket that was moved.
    let socket = results[1].1["interfaces"][1]["socketPath"].as_str().unwrap().to_owned();
    UnixStream::connect(socket).unwrap();

    for (container, _) in results {
        runtime.container = container;
        runtime.call("DEL").ok();
    }
    assert_eq!(runtime.leftovers(), Vec::<PathBuf>::new());
    assert!(ovsdb.names("Bridge").is_empty());
    let device = Path::new("/sys/class/net").join(bridge);
    until("the bridge's device is gone", || !device.exists());
    drop(vswitch);
}
