//! Calls of the plugin as a runtime makes them.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where Debian keeps other plugins.
pub(crate) const PLUGINS: &str = "/usr/lib/cni";

/// Directories of one test, and the container that it is about.
pub(crate) struct Runtime {
    pub(crate) base: PathBuf,
    pub(crate) container: String,
    pub(crate) if_name: String,
    pub(crate) conf: Value,
    /// `CNI_ARGS`
    pub(crate) args: String,
    /// Where delegates are looked for.
    pub(crate) plugins: PathBuf,
    /// The container's namespace, when it matters.
    pub(crate) netns: Option<PathBuf>,
}

/// A call that goes on.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Kills the plugin, and the delegate that it may be running.
    pub(crate) fn kill(mut self) {
        let group = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        // It may have ended already.
        let _ = killpg(group, Signal::SIGKILL);
        self.0.wait().unwrap();
    }
}

/// What the plugin said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    /// Standard output, which must be JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Code of the error.
    pub(crate) fn code(&self) -> u64 {
        assert!(!self.success, "{self:?}");
        self.json()["code"].as_u64().unwrap()
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(self.success, "{self:?}");
        self
    }
}

impl Runtime {
    /// A network on Open vSwitch whose database is at `db`.
    pub(crate) fn new(base: &Path, db: &str, version: &str) -> Self {
        let conf = json!({
            "cniVersion": version, "name": "net", "type": "userspace",
            "sharedDir": base.join("shared"), "dataDir": base.join("data"),
            "ovs": {"db": db, "timeoutMs": 15000},
            "host": {"engine": "ovs-dpdk", "iftype": "vhostuser", "netType": "bridge"},
        });
        Self {
            base: base.to_owned(),
            container: "0123456789abcdef".to_owned(),
            if_name: "net1".to_owned(),
            conf,
            args: String::new(),
            plugins: PathBuf::from(PLUGINS),
            netns: None,
        }
    }

    /// Adds addresses from Debian's host-local.
    pub(crate) fn with_host_local(mut self) -> Self {
        self.conf["ipam"] = json!({
            "type": "host-local", "dataDir": self.base.join("ipam"),
            "ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd09::/64"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        });
        self
    }

    pub(crate) fn call(&self, verb: &str) -> Answer {
        self.call_with(verb, &self.conf)
    }

    /// Begins a verb and kills it after a while, together with the delegate that it may be running.
    pub(crate) fn killed_after(&self, verb: &str, delay: std::time::Duration) {
        let call = self.begin(verb);
        std::thread::sleep(delay);
        call.kill();
    }

    /// Begins a verb, or `reconcile`; what it says goes nowhere.
    pub(crate) fn begin(&self, verb: &str) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_userspace"));
        command.env_clear();
        if verb == "reconcile" {
            command.arg(verb).arg(self.base.join("data"));
        } else {
            command.env("CNI_COMMAND", verb);
        }
        let mut child = self.spawn(&mut command);
        // It may end without having read.
        let _ = child.stdin.take().unwrap().write_all(self.conf.to_string().as_bytes());
        Running(child)
    }

    /// Starts a command about the attachment, as a group of its own; what it says goes nowhere.
    pub(crate) fn spawn(&self, command: &mut Command) -> Child {
        self.attachment(command)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Tells a command which attachment it is about.
    pub(crate) fn attachment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("CNI_CONTAINERID", &self.container)
            .env("CNI_IFNAME", &self.if_name)
            .env("CNI_NETNS", self.netns())
            .env("CNI_ARGS", &self.args)
            .env("CNI_PATH", &self.plugins)
    }

    pub(crate) fn call_with(&self, verb: &str, conf: &Value) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_userspace"));
        command.env_clear().env("CNI_COMMAND", verb);
        answer(self.attachment(&mut command), &conf.to_string())
    }

    /// CHECK, with the result of ADD.
    pub(crate) fn check(&self, result: &Value) -> Answer {
        let mut conf = self.conf.clone();
        conf["prevResult"] = result.clone();
        self.call_with("CHECK", &conf)
    }

    /// GC of everything.
    pub(crate) fn collect_all(&self) -> Answer {
        let mut conf = self.conf.clone();
        conf["cniVersion"] = json!("1.1.0");
        conf["cni.dev/valid-attachments"] = json!([]);
        self.call_with("GC", &conf)
    }

    /// Any file that is not our own namespace serves when nothing enters it.
    fn netns(&self) -> PathBuf {
        self.netns.clone().unwrap_or_else(|| {
            let netns = self.base.join("netns");
            std::fs::write(&netns, "").unwrap();
            netns
        })
    }

    /// The container's directory.
    pub(crate) fn dir(&self) -> PathBuf {
        let id = self.container.get(..12).unwrap_or(&self.container);
        self.base.join("shared").join(id)
    }

    /// All files that are left of the attachment: records, sockets, data, addresses.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for directory in ["shared", "data/records/net", "ipam/net"] {
            let entries = std::fs::read_dir(self.base.join(directory));
            found.extend(entries.into_iter().flatten().map(|entry| entry.unwrap().path()));
        }
        let kept = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name != "lock" && !name.starts_with("last_reserved_ip") && !is_torn(path)
        };
        found.retain(kept);
        found
    }

    /// Removes what a host-local that was killed does not know again.
    pub(crate) fn remove_torn_addresses(&self) {
        let addresses = std::fs::read_dir(self.base.join("ipam/net")).into_iter().flatten();
        let paths = addresses.map(|entry| entry.unwrap().path());
        paths.filter(|path| is_torn(path)).for_each(|path| std::fs::remove_file(path).unwrap());
    }
}

/// host-local makes the file of an address before it writes into it: killed in between, it leaves an
/// empty one that it does not know again, and never gives that address again.
fn is_torn(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    (name.starts_with("10.9.") || name.starts_with("fd09:")) && path.metadata().unwrap().len() == 0
}

/// Runs the plugin as a command of its own.
pub(crate) fn userspace(arguments: &[&str]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_userspace"));
    let output = command.env_clear().args(arguments).stdin(Stdio::null()).output().unwrap();
    Answer {
        success: output.status.success(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs the plugin with nothing but these variables.
pub(crate) fn plugin(vars: &[(&str, &str)], input: &str) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_userspace"));
    answer(command.env_clear().envs(vars.iter().copied()), input)
}

/// Runs a plugin to its end.
pub(crate) fn answer(command: &mut Command, input: &str) -> Answer {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without having read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Answer {
        success: output.status.success(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
