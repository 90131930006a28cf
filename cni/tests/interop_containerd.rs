//! The plugin under Debian's containerd, by `ctr run --cni`: two containers on one bridge of a real
//! Open vSwitch with DPDK.
//!
//! `ctr` reads `/etc/cni/net.d` and runs what is in `/opt/cni/bin`, whatever it is told: it gets a mount
//! namespace in which these are the test's. It names containers `<namespace>-<ID>`, and the plugin names
//! sockets by the first twelve characters of that.

#![cfg(feature = "ovs")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use ringport_bench::peers::CommandGuard;
use serde_json::json;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use support::containers::{Container, IDLE, MOUNTS, Network, SHARED, packets_pass, succeed};
use support::{DEADLINE, until};

/// Puts the test's directories where `ctr` looks, then becomes `ctr`.
const IN_ITS_NAMESPACE: &str = r#"
set -e
mount -t tmpfs none /opt
mkdir -p /opt/cni/bin /etc/cni/net.d
mount --bind "$0/bin" /opt/cni/bin
mount --bind "$0/net.d" /etc/cni/net.d
exec ctr "$@"
"#;

/// containerd with everything in the test's directory; killed when dropped, after its containers.
struct Containerd<'a> {
    network: &'a Network,
    running: Vec<(String, CommandGuard)>,
    _daemon: CommandGuard,
}

impl<'a> Containerd<'a> {
    fn start(network: &'a Network) -> Self {
        let base = network.path().display();
        let configuration = format!(
            "version = 2\nroot = \"{base}/ctd\"\nstate = \"{base}/ctd-state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{base}/ctd.sock\"\n[ttrpc]\naddress = \"{base}/ctd-ttrpc.sock\"\n"
        );
        let file = network.path().join("containerd.toml");
        fs::write(&file, configuration).unwrap();
        let daemon =
            CommandGuard::spawn("containerd", Command::new("containerd").arg("-c").arg(&file));
        let this = Self { network, running: Vec::new(), _daemon: daemon.unwrap() };
        until("containerd answers", || {
            UnixStream::connect(network.path().join("ctd.sock")).is_ok()
                && this.ctr().arg("version").output().unwrap().status.success()
        });
        this
    }

    fn ctr(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", IN_ITS_NAMESPACE]).arg(self.network.path());
        command.arg("--address").arg(self.network.path().join("ctd.sock"));
        command.args(["--namespace", "rp"]);
        command
    }

    fn run(&mut self, name: &str) -> Container<'a> {
        fs::create_dir_all(self.network.shared()).unwrap();
        let mut command = self.ctr();
        command.args(["run", "--cni", "--null-io", "--rootfs"]);
        let shared = self.network.shared();
        let shared = [(shared.to_str().unwrap(), SHARED, "rw")];
        let here = MOUNTS.iter().filter(|(path, _)| Path::new(path).exists());
        for (from, to, mode) in here.map(|(path, mode)| (*path, *path, *mode)).chain(shared) {
            let mount = format!("type=bind,src={from},dst={to},options=rbind:{mode}");
            command.args(["--mount", &mount]);
        }
        command.arg(self.network.root_file_system(name)).arg(name).args(IDLE);
        let running = CommandGuard::spawn("ctr run", &mut command).unwrap();
        self.running.push((name.to_owned(), running));
        let container = Container { network: self.network, id: format!("rp-{name}") };
        until("the container runs", || {
            self.running.last_mut().unwrap().1.check_running().unwrap();
            let listed = self.ctr().args(["task", "list"]).output().unwrap().stdout;
            let listed = String::from_utf8(listed).unwrap();
            listed.lines().any(|line| line.starts_with(name) && line.ends_with("RUNNING"))
        });
        container
    }

    /// Kills a container; its `ctr` then takes the network away and ends.
    fn stop(&mut self, container: &Container<'_>) {
        let at = self.running.iter().position(|(name, _)| container.id.ends_with(name.as_str()));
        let (name, mut running) = self.running.remove(at.unwrap());
        succeed(self.ctr().args(["task", "kill", "--all", "--signal", "SIGKILL", &name]));
        assert!(running.wait_end(DEADLINE).unwrap().is_some(), "{}", running.log());
    }

    fn exec(&self, container: &Container<'_>, exec_id: &str) -> Command {
        let name = container.id.trim_start_matches("rp-");
        let mut command = self.ctr();
        command.args(["task", "exec", "--exec-id", exec_id, name]);
        command
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        for (name, running) in &mut self.running {
            let kill = ["task", "kill", "--all", "--signal", "SIGKILL", name.as_str()];
            let mut command = Command::new("ctr");
            command.arg("--address").arg(self.network.path().join("ctd.sock"));
            let _ = command.args(["--namespace", "rp"]).args(kill).output();
            let _ = running.wait_end(DEADLINE);
        }
    }
}

#[test]
fn containerd_client_ports_of_two_containers_pass_packets_and_leave_nothing() {
    let test = "containerd_client_ports";
    let vhost = json!({"mode": "client"});
    let programs = ["containerd", "ctr", "runc", "unshare"];
    let Some(network) = Network::start(test, &programs, &vhost) else { return };
    let mut containerd = Containerd::start(&network);
    let (one, two) = (containerd.run("one"), containerd.run("two"));
    for container in [&one, &two] {
        until("the container has its data", || container.data_file().is_file());
        assert!(network.ovsdb.names("Port").contains(&container.port()));
        assert_eq!(container.data()["config"]["vhost"]["mode"], "server");
    }
    let address =
        |container: &Container<'_>| container.data()["ipResult"]["ips"][0]["address"].clone();
    assert_ne!(address(&one), address(&two));
    packets_pass(test, |container| containerd.exec(container, "testpmd"), &one, &two);

    containerd.stop(&one);
    assert!(!one.directory().exists());
    assert!(!network.ovsdb.names("Port").contains(&one.port()));
    assert!(two.data_file().is_file());
    containerd.stop(&two);
    network.nothing_left();
}

#[test]
fn containerd_server_port_has_its_socket_in_the_container_and_goes_with_it() {
    let test = "containerd_server_port";
    let vhost = json!({"mode": "server"});
    let programs = ["containerd", "ctr", "runc", "unshare"];
    let Some(network) = Network::start(test, &programs, &vhost) else { return };
    let mut containerd = Containerd::start(&network);
    let one = containerd.run("one");
    until("the socket is there", || one.has_socket());
    assert_eq!(one.data()["config"]["vhost"]["mode"], "client");
    succeed(containerd.exec(&one, "look").args(["/usr/bin/test", "-S", &one.socket()]));
    containerd.stop(&one);
    network.nothing_left();
}
