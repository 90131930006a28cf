//! Open vSwitch with DPDK, on a database of its own, without hugepages.
//!
//! What 3.1 does:
//! * A bridge is a device of the machine as well, and stays unless the daemon is asked to clean up.
//! * `--no-huge` needs `--legacy-mem`.
//! * Without `per-port-memory`, a daemon that finds ports when it starts may not get the buffers that it wants
//!   to share between them: it connects their links, forwards nothing, and says so in its log only.
//! * A daemon that was killed leaves the sockets on which it listened. The next one fails to listen there
//!   and closes a descriptor twice, often that of the bridge's device, whose thread never rests again.

use super::{CommandGuard, PeerError, find_program};
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const VSWITCHD: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// How long a daemon, or a change of the configuration, may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How its packet threads get memory: hugepages are for those who forward for a benchmark.
const MEMORY: &str = "--no-huge --legacy-mem --no-pci -m 512";

/// Bridges of this process so far.
static BRIDGES: AtomicU32 = AtomicU32::new(0);

/// A database server and ovs-vswitchd, with one bridge. It polls core 1. Ends when dropped.
#[derive(Debug)]
pub struct Ovs {
    dir: TempDir,
    bridge: String,
    /// Ports on whose sockets it listens.
    listening: Vec<String>,
    vswitchd: Option<CommandGuard>,
    _ovsdb: CommandGuard,
}

/// Which end of the socket is Open vSwitch's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// `dpdkvhostuserclient`: it connects to a driver that listens.
    Connects,
    /// `dpdkvhostuser`: it listens.
    Listens,
}

/// Why Open vSwitch with DPDK cannot be had here, if it cannot.
#[must_use]
pub fn missing() -> Option<String> {
    let programs = ["ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-appctl"];
    if !nix::unistd::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    let absent = programs.iter().find(|name| find_program(name).is_none());
    let file = [VSWITCHD, SCHEMA].into_iter().find(|path| !Path::new(path).is_file());
    absent.copied().or(file).map(|what| format!("{what} is not installed"))
}

impl Ovs {
    /// Starts both daemons, and makes a bridge.
    ///
    /// # Errors
    /// When one of them does not run, or has no DPDK.
    pub fn start() -> Result<Self, PeerError> {
        let dir = tempfile::Builder::new().prefix("ringport-ovs-").tempdir();
        let dir = dir.map_err(|error| PeerError::io("a directory for Open vSwitch", error))?;
        let at = |name: &str| dir.path().join(name);
        run(Command::new("ovsdb-tool").arg("create").arg(at("conf.db")).arg(SCHEMA))?;
        let mut command = Command::new("ovsdb-server");
        command.arg(at("conf.db")).arg(format!("--remote=punix:{}", at("db.sock").display()));
        command.arg(format!("--unixctl={}", at("db.ctl").display()));
        let ovsdb = CommandGuard::spawn("ovsdb-server", &mut command)?;
        let number = BRIDGES.fetch_add(1, Ordering::Relaxed);
        let bridge = format!("rpv{}-{number}", std::process::id());
        let (listening, vswitchd) = (Vec::new(), None);
        let mut ovs = Self { dir, bridge, listening, vswitchd, _ovsdb: ovsdb };
        ovs.wait_for("the database", |ovs| ovs.dir.path().join("db.sock").exists())?;
        ovs.vsctl(&["--no-wait", "init"])?;
        // A prefix of its own: another may run on this machine.
        let extra = format!("other_config:dpdk-extra={MEMORY} --file-prefix={}", ovs.bridge);
        let set = ["set", "Open_vSwitch", ".", "other_config:dpdk-init=true", &extra];
        let more = ["other_config:pmd-cpu-mask=0x2", "other_config:per-port-memory=true"];
        ovs.vsctl(&[&["--no-wait"], &set[..], &more].concat())?;
        ovs.start_vswitchd()?;
        let bridge = ovs.bridge.clone();
        let set = ["set", "bridge", &bridge, "datapath_type=netdev"];
        ovs.vsctl(&[&["add-br", &bridge, "--"], &set[..]].concat())?;
        Ok(ovs)
    }

    /// A directory that lives as long, where both daemons have their files.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Address of the database.
    #[must_use]
    pub fn database(&self) -> String {
        format!("unix:{}", self.dir.path().join("db.sock").display())
    }

    /// Name of the bridge.
    #[must_use]
    pub fn bridge(&self) -> &str {
        &self.bridge
    }

    /// The socket of a port.
    #[must_use]
    pub fn socket(&self, port: &str) -> PathBuf {
        self.dir.path().join(port)
    }

    /// Adds a vhost-user port to the bridge, with `settings` such as `tag=7`.
    ///
    /// # Errors
    /// What `ovs-vsctl` says.
    pub fn add_port(
        &mut self,
        port: &str,
        socket: Socket,
        settings: &[&str],
    ) -> Result<(), PeerError> {
        let path = format!("options:vhost-server-path={}", self.socket(port).display());
        let kind: &[&str] = match socket {
            Socket::Connects => &["type=dpdkvhostuserclient", &path],
            Socket::Listens => {
                self.listening.push(port.to_owned());
                &["type=dpdkvhostuser"]
            }
        };
        let add = [&["add-port", &self.bridge, port][..], settings].concat();
        self.vsctl(&[&add, &["--", "set", "Interface", port][..], kind].concat())
    }

    /// Removes a port, if it is there.
    ///
    /// # Errors
    /// What `ovs-vsctl` says.
    pub fn remove_port(&mut self, port: &str) -> Result<(), PeerError> {
        self.listening.retain(|listening| listening != port);
        self.vsctl(&["--if-exists", "del-port", &self.bridge, port])
    }

    /// Kills ovs-vswitchd and starts it again, with the same configuration and without the sockets that
    /// it left.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn restart(&mut self) -> Result<(), PeerError> {
        if let Some(mut killed) = self.vswitchd.take() {
            killed.signal(Signal::SIGKILL)?;
            killed.wait_end(DEADLINE)?;
        }
        for port in &self.listening {
            // It may not have listened yet.
            let _ = std::fs::remove_file(self.socket(port));
        }
        self.start_vswitchd()
    }

    /// What ovs-vswitchd printed.
    #[must_use]
    pub fn log(&self) -> String {
        self.vswitchd.as_ref().map(CommandGuard::log).unwrap_or_default()
    }

    /// Runs `ovs-vsctl` with `arguments`, which waits until its change is in effect.
    ///
    /// # Errors
    /// What it says.
    pub fn vsctl(&self, arguments: &[&str]) -> Result<(), PeerError> {
        let database = format!("--db={}", self.database());
        let timeout = format!("--timeout={}", DEADLINE.as_secs());
        run(Command::new("ovs-vsctl").args([&database, &timeout]).args(arguments))
    }

    fn start_vswitchd(&mut self) -> Result<(), PeerError> {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let mut command = Command::new(VSWITCHD);
        command.arg(self.database());
        command.arg(format!("--unixctl={}", at("vswitchd.ctl")));
        command.arg("--pidfile").env("OVS_RUNDIR", self.dir.path());
        command.env("OVS_LOGDIR", self.dir.path());
        let mut vswitchd = CommandGuard::spawn("ovs-vswitchd", &mut command)?;
        vswitchd.wait_for_line("DPDK Enabled - initialized", DEADLINE)?;
        self.vswitchd = Some(vswitchd);
        // Waits until all that is configured is there.
        self.vsctl(&["set", "Open_vSwitch", ".", "external_ids:restarted=true"])
    }

    fn wait_for(&self, what: &str, there: impl Fn(&Self) -> bool) -> Result<(), PeerError> {
        let start = Instant::now();
        while !there(self) {
            if start.elapsed() > DEADLINE {
                let what = format!("{what} did not appear");
                return Err(PeerError::Unexpected { name: "ovs".to_owned(), what });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Ovs {
    fn drop(&mut self) {
        // Asked this way, it takes the bridge's device away as well; if it cannot be asked, it is
        // ended without.
        let control = self.dir.path().join("vswitchd.ctl");
        let mut ask = Command::new("ovs-appctl");
        ask.args(["--timeout=5", "-t"]).arg(control).args(["exit", "--cleanup"]);
        if run(&mut ask).is_ok()
            && let Some(vswitchd) = &mut self.vswitchd
        {
            let _ = vswitchd.wait_end(Duration::from_secs(5));
        }
    }
}

fn run(command: &mut Command) -> Result<(), PeerError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| PeerError::io(&name, error))?;
    if output.status.success() {
        return Ok(());
    }
    let what = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(PeerError::Unexpected { name, what })
}
