//! Many attachments at once.

use super::call::{PLUGINS, Runtime};
use super::namespaces::Namespaces;
use super::ovs_dpdk::Vswitch;
use super::ovsdb::Ovsdb;
use super::until;
use super::vswitch::FakeVswitch;
use ringport_bench::peers::skip;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Containers, each with a namespace of its own.
pub(crate) const CONTAINERS: usize = 50;
/// Interfaces of each container.
const INTERFACES: usize = 4;

/// Containers with namespaces, a database with a vswitch or a stand-in for it, and host-local.
pub(crate) struct Load {
    /// The real one, unless there is a stand-in. It ends before its database does, and takes its devices
    /// away.
    vswitch: Option<Vswitch>,
    ovsdb: Ovsdb,
    namespaces: Namespaces,
    attachments: Vec<Runtime>,
}

impl Load {
    /// On a stand-in for the vswitch. `None`: something is missing, and the test was reported as skipped.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let load = Self::on(test, "br0")?;
        FakeVswitch::start(&load.ovsdb.address(), load.ovsdb.path());
        Some(load)
    }

    /// On Open vSwitch with DPDK.
    pub(crate) fn start_real(test: &str) -> Option<Self> {
        // The bridge is a device of the machine as well: its name must be nobody else's.
        let mut load = Self::on(test, &format!("rpl{}", std::process::id()))?;
        load.vswitch = Some(Vswitch::start(test, &load.ovsdb)?);
        Some(load)
    }

    fn on(test: &str, bridge: &str) -> Option<Self> {
        if !Path::new(PLUGINS).join("host-local").is_file() {
            skip(test, "host-local is not installed");
            return None;
        }
        let ovsdb = Ovsdb::start(test)?;
        let namespaces = Namespaces::make(test, CONTAINERS)?;
        let all =
            (0..CONTAINERS).flat_map(|container| (0..INTERFACES).map(move |it| (container, it)));
        let attachment = |(container, interface): (usize, usize)| {
            let runtime = Runtime::new(ovsdb.path(), &ovsdb.address(), "1.1.0").with_host_local();
            let mut runtime = Runtime {
                container: format!("container-{container}"),
                if_name: format!("net{interface}"),
                netns: Some(namespaces.path(container)),
                ..runtime
            };
            runtime.conf["ovs"]["timeoutMs"] = json!(60_000);
            runtime.conf["host"]["bridge"] = json!({"bridgeName": bridge});
            runtime
        };
        let attachments = all.map(attachment).collect();
        Some(Self { ovsdb, vswitch: None, namespaces, attachments })
    }

    /// ADD of all at once, CHECK, DEL of all at once; nothing is left. Returns the seconds that ADDs and
    /// DELs took.
    pub(crate) fn round(&self) -> [f64; 2] {
        let start = Instant::now();
        let results = self.each(|runtime| runtime.call("ADD").ok().json());
        let added = start.elapsed().as_secs_f64();
        self.all_there(&results);
        let last = self.attachments.len() - 1;
        for number in [0, last] {
            self.attachments[number].check(&results[number]).ok();
        }
        let start = Instant::now();
        self.each(|runtime| drop(runtime.call("DEL").ok()));
        let deleted = start.elapsed().as_secs_f64();
        self.nothing_left();
        [added, deleted]
    }

    fn each<T: Send>(&self, work: impl Fn(&Runtime) -> T + Sync) -> Vec<T> {
        let work = &work;
        std::thread::scope(|scope| {
            let run = |runtime| scope.spawn(move || work(runtime));
            let all: Vec<_> = self.attachments.iter().map(run).collect();
            all.into_iter().map(|it| it.join().unwrap()).collect()
        })
    }

    fn all_there(&self, results: &[Value]) {
        let addresses: BTreeSet<String> = results
            .iter()
            .flat_map(|result| result["ips"].as_array().unwrap())
            .map(|ip| ip["address"].to_string())
            .collect();
        let all = self.attachments.len();
        assert_eq!(addresses.len(), 2 * all, "nobody shares an address");
        // All of the attachments, and the bridge's own.
        assert_eq!(self.ovsdb.names("Port").len(), all + 1);
        let records = std::fs::read_dir(self.ovsdb.path().join("data/records/net")).unwrap();
        assert_eq!(records.count(), all);
        assert_eq!(self.namespaces.devices(), ["lo"]);
        if let Some(vswitch) = &self.vswitch {
            let ports = vswitch.ports();
            assert_eq!(ports.matches("dpdkvhostuserclient").count(), all, "{ports}");
        }
    }

    fn nothing_left(&self) {
        for table in ["Interface", "Port", "Bridge"] {
            assert_eq!(self.ovsdb.names(table), Vec::<String>::new());
        }
        assert_eq!(self.attachments[0].leftovers(), Vec::<PathBuf>::new());
        assert!(!self.ovsdb.path().join("data/records/net").exists());
        assert_eq!(self.namespaces.devices(), ["lo"]);
        if let Some(vswitch) = &self.vswitch {
            // DEL does not wait until the vswitch has followed.
            let gone =
                || !vswitch.ports().contains("container-") && !vswitch.ports().contains("rpl");
            until("the vswitch has neither port nor bridge", gone);
        }
    }
}
