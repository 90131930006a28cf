//! A private Open vSwitch with DPDK, without hugepages.

use anyhow::{Context, ensure};
use nix::unistd::geteuid;
use ringport_bench::peers::{CommandGuard, find_program};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const VSWITCHD: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const PATIENCE: Duration = Duration::from_secs(20);

/// Database and vswitch; both end when dropped, the vswitch first.
pub(super) struct Vswitch {
    _vswitchd: CommandGuard,
    _server: CommandGuard,
    directory: TempDir,
}

impl Vswitch {
    pub(super) fn start() -> anyhow::Result<Self> {
        ensure!(
            Path::new(VSWITCHD).is_file() && geteuid().is_root(),
            "ovs-vswitchd with DPDK is not installed, or we are not root"
        );
        let program = |name: &str| find_program(name).with_context(|| format!("no {name}"));
        let (tool, server) = (program("ovsdb-tool")?, program("ovsdb-server")?);
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name).display().to_string();
        run(Command::new(tool).args(["create", &at("conf.db"), SCHEMA]))?;
        let mut command = Command::new(server);
        command.arg(at("conf.db")).arg(format!("--remote=punix:{}", at("db.sock")));
        command.arg("--no-chdir").arg(format!("--unixctl={}", at("db.ctl")));
        let server = CommandGuard::spawn("ovsdb-server", &mut command)?;
        let address = format!("unix:{}", at("db.sock"));
        let vsctl = |arguments: &[&str]| {
            let mut command = Command::new("ovs-vsctl");
            run(command.arg(format!("--db={address}")).args(["--timeout=20"]).args(arguments))
        };
        until(|| Path::new(&at("db.sock")).exists())?;
        vsctl(&["--no-wait", "init"])?;
        vsctl(&[
            "--no-wait",
            "set",
            "Open_vSwitch",
            ".",
            "other_config:dpdk-init=true",
            "other_config:dpdk-extra=--no-huge --legacy-mem --no-pci -m 256",
            "other_config:pmd-cpu-mask=0x2",
        ])?;
        let mut command = Command::new(VSWITCHD);
        command.arg(&address).arg(format!("--unixctl={}", at("vswitchd.ctl")));
        command.arg(format!("--log-file={}", at("vswitchd.log")));
        command.env("OVS_RUNDIR", directory.path()).env("OVS_LOGDIR", directory.path());
        let vswitchd = CommandGuard::spawn("ovs-vswitchd", &mut command)?;
        // It answers when it has taken up what is in the database, DPDK before anything else.
        vsctl(&["set", "Open_vSwitch", ".", "external_ids:bench=true"])?;
        Ok(Self { _vswitchd: vswitchd, _server: server, directory })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn address(&self) -> String {
        format!("unix:{}", self.path().join("db.sock").display())
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}

fn until(mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        ensure!(Instant::now() < deadline, "the vswitch does not come up");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
