//! Containers of real runtimes on one bridge of a real Open vSwitch, and what is looked at in each.

use super::call::PLUGINS;
use super::ovs_dpdk::Vswitch;
use super::ovsdb::Ovsdb;
use super::{DEADLINE, until};
use ringport_bench::peers::{CommandGuard, find_program, free_hugepages_mb, skip};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where containers see what the host has in [`Network::shared`].
pub(crate) const SHARED: &str = "/shared";
/// Directories of the host that containers need for programs of the host, and for huge pages.
pub(crate) const MOUNTS: [(&str, &str); 2] = [("/usr", "ro"), ("/dev/hugepages", "rw")];
/// What a container does until it is killed.
pub(crate) const IDLE: [&str; 2] = ["/usr/bin/sleep", "600"];

/// A network of the plugin, in the form in which runtimes want it: a list of one plugin.
pub(crate) struct Network {
    // Ended before its database: members are dropped in this order.
    _vswitch: Vswitch,
    pub(crate) ovsdb: Ovsdb,
    bridge: String,
}

/// One container of it.
pub(crate) struct Container<'a> {
    pub(crate) network: &'a Network,
    pub(crate) id: String,
}

impl Network {
    /// Starts a vswitch and writes `net.d/10-fast.conflist` and `bin/userspace`. `None`: a program is
    /// not here, and the test was reported as skipped. `vhost` is the configuration's.
    pub(crate) fn start(test: &str, programs: &[&str], vhost: &Value) -> Option<Self> {
        for program in programs {
            if find_program(program).is_none() {
                skip(test, &format!("{program} is not installed"));
                return None;
            }
        }
        if !Path::new(PLUGINS).join("host-local").is_file() {
            skip(test, "host-local is not installed");
            return None;
        }
        let namespaces = Command::new("unshare").args(["--mount", "--net", "true"]).output();
        if !namespaces.is_ok_and(|output| output.status.success()) {
            skip(test, "namespaces cannot be made here");
            return None;
        }
        let ovsdb = Ovsdb::start(test)?;
        let vswitch = Vswitch::start(test, &ovsdb)?;
        let bridge = format!("{}{}", &test[..3], std::process::id());
        let this = Self { _vswitch: vswitch, ovsdb, bridge };
        for directory in ["net.d", "bin"] {
            fs::create_dir(this.path().join(directory)).unwrap();
        }
        let list = this.path().join("net.d/10-fast.conflist");
        fs::write(list, this.configuration(vhost).to_string()).unwrap();
        for (file, name) in [
            (Path::new(env!("CARGO_BIN_EXE_userspace")), "userspace"),
            (&Path::new(PLUGINS).join("host-local"), "host-local"),
        ] {
            fs::copy(file, this.path().join("bin").join(name)).unwrap();
        }
        Some(this)
    }

    pub(crate) fn path(&self) -> &Path {
        self.ovsdb.path()
    }

    /// Directory of all containers' directories.
    pub(crate) fn shared(&self) -> PathBuf {
        self.path().join("shared")
    }

    fn configuration(&self, vhost: &Value) -> Value {
        json!({"cniVersion": "1.0.0", "name": "fast", "plugins": [{
            "type": "userspace",
            "sharedDir": self.shared(), "dataDir": self.path().join("data"),
            "logFile": self.path().join("userspace.log"), "logLevel": "info",
            "ovs": {"db": self.ovsdb.address(), "runDir": self.path(), "timeoutMs": 15000},
            "host": {"engine": "ovs-dpdk", "iftype": "vhostuser", "vhost": vhost,
                     "bridge": {"bridgeName": self.bridge}},
            "ipam": {"type": "host-local", "subnet": "10.9.0.0/24",
                     "dataDir": self.path().join("ipam")},
        }]})
    }

    /// A root file system for one container: everything in it is the host's, mounted later.
    pub(crate) fn root_file_system(&self, name: &str) -> PathBuf {
        let root = self.path().join(name);
        for directory in ["usr", "etc", "proc", "sys", "dev", "run", "tmp", "shared"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for link in ["bin", "sbin", "lib", "lib64"] {
            symlink(Path::new("usr").join(link), root.join(link)).unwrap();
        }
        root
    }

    /// Nothing is left of any container, on the vswitch, in files or in the delegate's store.
    #[track_caller]
    pub(crate) fn nothing_left(&self) {
        until("the ports are gone", || self.ovsdb.names("Port").is_empty());
        assert!(self.ovsdb.names("Bridge").is_empty());
        for directory in ["shared", "data/records/fast"] {
            let left: Vec<_> =
                fs::read_dir(self.path().join(directory)).into_iter().flatten().collect();
            assert!(left.is_empty(), "{left:?}");
        }
        let addresses = fs::read_dir(self.path().join("ipam/fast")).unwrap().flatten();
        let names = addresses.map(|entry| entry.file_name().into_string().unwrap());
        assert_eq!(names.filter(|name| name.starts_with("10.9.")).count(), 0);
    }
}

impl Container<'_> {
    /// What the container's directories and the vswitch's port are called.
    pub(crate) fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// Name of its port, which is that of its socket too.
    pub(crate) fn port(&self) -> String {
        format!("{}-eth0", self.short_id())
    }

    /// The file with its data, as the host sees it.
    pub(crate) fn data_file(&self) -> PathBuf {
        self.directory().join(format!("configData-{}.json", self.port()))
    }

    /// Its directory, as the host sees it.
    pub(crate) fn directory(&self) -> PathBuf {
        self.network.shared().join(self.short_id())
    }

    /// Its socket, as it sees it itself.
    pub(crate) fn socket(&self) -> String {
        format!("{SHARED}/{}/{}", self.short_id(), self.port())
    }

    /// Its data, which must say that it is this container's.
    pub(crate) fn data(&self) -> Value {
        let data: Value = serde_json::from_slice(&fs::read(self.data_file()).unwrap()).unwrap();
        assert_eq!(data["containerId"], self.id);
        assert_eq!(data["ifName"], "eth0");
        assert_eq!(data["name"], "fast");
        assert_eq!(data["config"]["vhost"]["socketfile"], self.port());
        data
    }

    /// Whether the vswitch has made its socket.
    pub(crate) fn has_socket(&self) -> bool {
        let metadata = self.directory().join(self.port()).symlink_metadata();
        metadata.is_ok_and(|metadata| metadata.file_type().is_socket())
    }
}

/// Runs a command that must succeed, and gives what it printed, without the newline at its end.
#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Sends packets from one container to another. `exec` is a command that runs, in the container, the
/// program that is put behind it. Without huge pages: reported as skipped.
pub(crate) fn packets_pass(
    test: &str,
    exec: impl Fn(&Container<'_>) -> Command,
    from: &Container<'_>,
    to: &Container<'_>,
) {
    if find_program("dpdk-testpmd").is_none() || free_hugepages_mb() < 256 {
        skip(test, "no packets: dpdk-testpmd or 256 MB of hugepages are not here");
        return;
    }
    let mut receiver = testpmd(exec(to), to, "rxonly");
    let sender = testpmd(exec(from), from, "txonly");
    let deadline = 3 * DEADLINE;
    let received = |line: &str| {
        let count = line.split("RX-packets:").nth(1).unwrap_or_default();
        count.split_whitespace().next().is_some_and(|count| count.parse::<u64>().unwrap() > 0)
    };
    let end = std::time::Instant::now() + deadline;
    while !received(&receiver.wait_for_line("RX-packets:", deadline).unwrap()) {
        assert!(
            std::time::Instant::now() < end,
            "no packets: {}\n{}",
            sender.log(),
            receiver.log()
        );
    }
}

fn testpmd(mut exec: Command, container: &Container<'_>, mode: &str) -> CommandGuard {
    let server = u8::from(container.data()["config"]["vhost"]["mode"] == "server");
    let device = format!("net_virtio_user0,path={},server={server}", container.socket());
    exec.args(["/usr/bin/stdbuf", "-oL", "/usr/bin/dpdk-testpmd", "--no-pci", "--in-memory"])
        .args(["-m", "64", "--lcores", "0@0,1@0", "--single-file-segments", "--no-telemetry"])
        .args([format!("--vdev={device}"), "--".to_owned(), format!("--forward-mode={mode}")])
        .args(["--auto-start", "--stats-period=1", "--no-lsc-interrupt", "--nb-cores=1"])
        .args(["--total-num-mbufs=4096"]);
    CommandGuard::spawn("dpdk-testpmd in a container", &mut exec).unwrap()
}
