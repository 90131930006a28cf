//! Calls whose conversations with VPP are recorded, and compared afterwards.

use super::lab::network;
use crate::support::call::{PLUGINS, Runtime};
use serde_json::{Value, json};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// A conversation: its name, what was recorded, and the calls that lead to it.
pub(crate) struct Transcript {
    pub(crate) name: &'static str,
    pub(crate) recorded: &'static str,
    host: fn() -> Value,
    ipam: bool,
    verbs: &'static [&'static str],
}

macro_rules! transcript {
    ($name:literal, $host:expr, $ipam:literal, $verbs:expr) => {
        Transcript {
            name: $name,
            recorded: include_str!(concat!("../../fixtures/vpp/", $name, ".txt")),
            host: || $host,
            ipam: $ipam,
            verbs: &$verbs,
        }
    };
}

pub(crate) const ALL: [Transcript; 6] = [
    transcript!("memif-bridge", memif_bridge(), false, ["ADD", "CHECK", "STATUS", "DEL"]),
    transcript!("memif-trunk", memif_trunk(), false, ["ADD", "CHECK", "STATUS", "DEL"]),
    transcript!("memif-routed", memif_routed(), true, ["ADD", "CHECK", "DEL"]),
    transcript!("vhost-client", vhost("client"), false, ["ADD", "CHECK", "STATUS", "DEL"]),
    transcript!("vhost-server", vhost("server"), false, ["ADD", "CHECK", "DEL"]),
    transcript!("gc", memif_bridge(), false, ["ADD", "forget", "GC"]),
];

fn memif_bridge() -> Value {
    json!({
        "engine": "vpp", "iftype": "memif", "netType": "bridge", "mtu": 1400,
        "memif": {"role": "master", "secret": "tiger", "ringSize": 512, "bufferSize": 4096},
        "bridge": {"bridgeName": "7"},
    })
}

fn memif_trunk() -> Value {
    json!({
        "engine": "vpp", "iftype": "memif", "netType": "bridge",
        "memif": {"role": "master"},
        "bridge": {"bridgeId": 3, "vlanId": 7, "trunk": [8, 9]},
    })
}

fn memif_routed() -> Value {
    json!({
        "engine": "vpp", "iftype": "memif", "netType": "interface",
        "memif": {"role": "slave", "mode": "ip", "rxQueues": 2, "txQueues": 3},
    })
}

fn vhost(mode: &str) -> Value {
    json!({
        "engine": "vpp", "iftype": "vhostuser", "netType": "bridge",
        "vhost": {"mode": mode}, "bridge": {"bridgeId": 7},
    })
}

impl Transcript {
    /// Whether everything is here that it needs besides VPP.
    pub(crate) fn can_run(&self) -> bool {
        !self.ipam || Path::new(PLUGINS).join("host-local").is_file()
    }

    /// Makes the calls. Where VPP only seems to be there, its sockets are made here.
    pub(crate) fn run(&self, base: &Path, api: &Path) {
        let mut runtime = network(base, api, &(self.host)());
        if self.ipam {
            runtime = runtime.with_host_local();
        }
        for verb in self.verbs {
            match *verb {
                "ADD" => {
                    let result = runtime.call("ADD").ok().json();
                    let socket = result["interfaces"][1]["socketPath"].as_str().unwrap();
                    if self.name != "vhost-client" && !Path::new(socket).exists() {
                        drop(UnixListener::bind(socket).unwrap());
                    }
                    runtime.conf["prevResult"] = result;
                }
                "forget" => std::fs::remove_dir_all(base.join("data/records")).unwrap(),
                "GC" => {
                    runtime.conf["cni.dev/valid-attachments"] = json!([]);
                    runtime.call("GC").ok();
                }
                verb => drop(runtime.call(verb).ok()),
            }
        }
        if !self.verbs.contains(&"GC") {
            assert_eq!(Runtime::leftovers(&runtime), Vec::<PathBuf>::new());
        }
    }
}
