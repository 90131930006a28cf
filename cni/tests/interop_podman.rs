//! The plugin under Debian's podman, whose network back end is CNI: two containers on one bridge of a
//! real Open vSwitch with DPDK.
//!
//! podman keeps everything in the test's directory. `runc` is its runtime, because `crun` refuses a
//! machine whose cgroups are of both versions. Limits stay as they are: a test may not raise them
//! everywhere. podman needs a MAC address in the result, and says which in `CNI_ARGS`.

#![cfg(feature = "ovs")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use support::containers::{Container, IDLE, MOUNTS, Network, SHARED, packets_pass, succeed};

const CONTAINERS_CONF: &str = r#"
[containers]
default_ulimits = []
log_driver = "k8s-file"
[network]
network_backend = "cni"
cni_plugin_dirs = ["BASE/bin"]
network_config_dir = "BASE/net.d"
default_network = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
tmp_dir = "BASE/podman"
"#;

const STORAGE_CONF: &str = r#"
[storage]
driver = "vfs"
graphroot = "BASE/storage"
runroot = "BASE/podman-run"
"#;

/// podman with a store of its own; its containers are removed when dropped.
struct Podman<'a>(&'a Network);

impl<'a> Podman<'a> {
    fn new(network: &'a Network) -> Self {
        let base = network.path();
        for (name, text) in [("containers.conf", CONTAINERS_CONF), ("storage.conf", STORAGE_CONF)] {
            let text = text.replace("BASE", base.to_str().unwrap());
            fs::write(base.join(name), text).unwrap();
        }
        Self(network)
    }

    fn command(&self) -> Command {
        let base = self.0.path();
        let mut command = Command::new("podman");
        command
            .env("CONTAINERS_CONF", base.join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", base.join("storage.conf"));
        command
    }

    fn run(&self, name: &str, mac: &str) -> Container<'a> {
        let mut command = self.command();
        command.args(["run", "--detach", "--name", name, "--cap-add=IPC_LOCK,SYS_NICE"]);
        command.arg(format!("--network=fast:mac={mac}"));
        for (path, mode) in MOUNTS.iter().filter(|(path, _)| Path::new(path).exists()) {
            command.arg(format!("--volume={path}:{path}:{mode}"));
        }
        command.arg(format!("--volume={}:{SHARED}", self.0.shared().display()));
        command.arg("--rootfs").arg(self.0.root_file_system(name)).args(IDLE);
        fs::create_dir_all(self.0.shared()).unwrap();
        Container { network: self.0, id: succeed(&mut command) }
    }

    fn exec(&self, container: &Container<'_>) -> Command {
        let mut command = self.command();
        command.args(["exec", &container.id]);
        command
    }

    fn remove(&self, container: &Container<'_>) {
        succeed(self.command().args(["rm", "--force", "--time=0", &container.id]));
    }

    fn inspect(&self, container: &Container<'_>) -> Value {
        let text = succeed(self.command().args(["inspect", &container.id]));
        let all: Value = serde_json::from_str(&text).unwrap();
        all[0]["NetworkSettings"]["Networks"]["fast"].clone()
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        let _ = self.command().args(["rm", "--all", "--force", "--time=0"]).output();
    }
}

#[test]
fn podman_client_ports_of_two_containers_pass_packets_and_leave_nothing() {
    let test = "podman_client_ports";
    let vhost = json!({"mode": "client"});
    let Some(network) = Network::start(test, &["podman", "runc"], &vhost) else { return };
    let podman = Podman::new(&network);
    let mac = "02:00:00:00:00:01";
    let (one, two) = (podman.run("one", mac), podman.run("two", "02:00:00:00:00:02"));
    for container in [&one, &two] {
        assert!(network.ovsdb.names("Port").contains(&container.port()));
        let data = container.data();
        assert_eq!(data["config"]["vhost"]["mode"], "server");
        // The container reads the same.
        let inside = format!("{SHARED}/{0}/configData-{0}-eth0.json", container.short_id());
        let read = succeed(podman.exec(container).args(["/usr/bin/cat", &inside]));
        assert_eq!(serde_json::from_str::<Value>(&read).unwrap(), data);
        // podman shows the address that the delegate gave.
        let shown = podman.inspect(container)["IPAddress"].as_str().unwrap().to_owned();
        let given = data["ipResult"]["ips"][0]["address"].as_str().unwrap();
        assert_eq!(given, format!("{shown}/24"));
    }
    assert_eq!(podman.inspect(&one)["MacAddress"], mac);
    packets_pass(test, |container| podman.exec(container), &one, &two);

    podman.remove(&one);
    assert!(!one.directory().exists());
    assert!(!network.ovsdb.names("Port").contains(&one.port()));
    assert!(two.data_file().is_file());
    podman.remove(&two);
    network.nothing_left();
}

#[test]
fn podman_server_port_has_its_socket_in_the_container_and_goes_with_it() {
    let test = "podman_server_port";
    let vhost = json!({"mode": "server"});
    let Some(network) = Network::start(test, &["podman", "runc"], &vhost) else { return };
    let podman = Podman::new(&network);
    let one = podman.run("one", "02:00:00:00:00:01");
    assert!(one.has_socket());
    assert_eq!(one.data()["config"]["vhost"]["mode"], "client");
    succeed(podman.exec(&one).args(["/usr/bin/test", "-S", &one.socket()]));
    podman.remove(&one);
    network.nothing_left();
}
