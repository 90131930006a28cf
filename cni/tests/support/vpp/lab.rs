//! One test's directory, its VPP, and a look at both.

use super::fake::FakeVpp;
use super::proxy::Proxy;
use super::real::RealVpp;
use super::recording::PREFIX;
use super::table::Table;
use crate::support::DEADLINE;
use crate::support::call::Runtime;
use ringport_cni::engines::vpp::Session;
use ringport_cni::engines::vpp::bridge::BridgeDomain;
use ringport_cni::engines::vpp::interface::Interface;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A VPP behind a proxy.
pub(crate) struct Lab {
    pub(crate) proxy: Proxy,
    pub(crate) vpp: Vpp,
    directory: TempDir,
}

/// The VPP.
pub(crate) enum Vpp {
    Fake(FakeVpp),
    Real(RealVpp),
}

impl Lab {
    /// With a fake VPP of the build that was recorded.
    pub(crate) fn fake(_: &str) -> Option<Self> {
        Some(Self::with_table(Table::recorded()))
    }

    /// With a fake VPP that has these messages.
    pub(crate) fn with_table(table: Table) -> Self {
        let directory = directory();
        let vpp = FakeVpp::start(directory.path(), table);
        let proxy = Proxy::start(&directory.path().join("proxy"), &vpp.api);
        Self { proxy, vpp: Vpp::Fake(vpp), directory }
    }

    /// With a real VPP, if there is one.
    pub(crate) fn real(test: &str) -> Option<Self> {
        let directory = directory();
        let vpp = RealVpp::start(test, &directory.path().join("vpp"))?;
        let proxy = Proxy::start(&directory.path().join("proxy"), &vpp.api());
        Some(Self { proxy, vpp: Vpp::Real(vpp), directory })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn base(&self) -> String {
        self.path().display().to_string()
    }

    /// Ends VPP for good.
    pub(crate) fn stop_vpp(&mut self) {
        match &mut self.vpp {
            Vpp::Fake(fake) => fake.stop(),
            Vpp::Real(real) => real.stop(),
        }
    }

    pub(crate) fn api(&self) -> PathBuf {
        match &self.vpp {
            Vpp::Fake(fake) => fake.api.clone(),
            Vpp::Real(real) => real.api(),
        }
    }

    /// A connection that the proxy does not see.
    pub(crate) fn session(&self) -> Session {
        Session::connect(&self.api(), DEADLINE).unwrap()
    }

    pub(crate) fn restart_vpp(&mut self) {
        match &mut self.vpp {
            Vpp::Fake(fake) => fake.restart(),
            Vpp::Real(real) => real.restart(),
        }
    }

    /// The fake VPP.
    pub(crate) fn fake_vpp(&self) -> &FakeVpp {
        match &self.vpp {
            Vpp::Fake(fake) => fake,
            Vpp::Real(_) => panic!("the VPP is real"),
        }
    }

    pub(crate) const fn is_real(&self) -> bool {
        matches!(self.vpp, Vpp::Real(_))
    }

    /// The real VPP.
    pub(crate) fn real_vpp(&self) -> &RealVpp {
        match &self.vpp {
            Vpp::Real(real) => real,
            Vpp::Fake(_) => panic!("the VPP is a fake"),
        }
    }

    /// A network of memifs on bridge domain 7; VPP listens.
    pub(crate) fn memif(&self) -> Runtime {
        network(
            self.path(),
            &self.proxy.api,
            &json!({
                "engine": "vpp", "iftype": "memif", "netType": "bridge",
                "memif": {"role": "master"}, "bridge": {"bridgeName": "7"},
            }),
        )
    }

    /// A network of vhost-user interfaces on bridge domain 7.
    pub(crate) fn vhost(&self, mode: &str) -> Runtime {
        network(
            self.path(),
            &self.proxy.api,
            &json!({
                "engine": "vpp", "iftype": "vhostuser", "netType": "bridge",
                "vhost": {"mode": mode}, "bridge": {"bridgeName": "7"},
            }),
        )
    }

    /// Interfaces but the one that is always there.
    pub(crate) fn interfaces(&self) -> Vec<Interface> {
        let mut all = self.session().interfaces().unwrap();
        all.retain(|interface| interface.name != "local0");
        all
    }

    /// Number of the interface that has the gateways of a network.
    pub(crate) fn loopback(&self) -> Option<u32> {
        let found = self.interfaces().into_iter().find(|it| it.name.starts_with("loop"));
        found.map(|it| it.sw_if_index)
    }

    /// The gateways that VPP has.
    pub(crate) fn gateways(&self) -> Vec<String> {
        let all = self.loopback().map(|it| self.session().addresses(it).unwrap());
        all.unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    pub(crate) fn bridges(&self) -> Vec<BridgeDomain> {
        self.session().bridges().unwrap()
    }

    /// Routes to containers, and hosts that ARP is answered for.
    fn routes(&self) -> Vec<String> {
        match &self.vpp {
            Vpp::Fake(fake) => {
                let world = fake.world.lock().unwrap();
                let hosts = world.arp_hosts.iter().map(|it| format!("ARP {it:?}"));
                world.routes.iter().map(|it| format!("{it:?}")).chain(hosts).collect()
            }
            Vpp::Real(real) => {
                let shown =
                    ["show ip fib", "show ip6 fib", "show arp proxy"].map(|it| real.show(it));
                let lines = shown.iter().flat_map(|text| text.lines().map(str::trim));
                let ours = lines.filter(|it| it.contains("10.9.0.") || it.contains("fd09:"));
                ours.map(str::to_owned).collect()
            }
        }
    }

    /// Nothing is left of any attachment, on VPP or in files.
    #[track_caller]
    pub(crate) fn nothing_left(&self, runtime: &Runtime) {
        assert_eq!(self.interfaces(), []);
        assert_eq!(self.bridges(), []);
        let sockets = self.session().memif_sockets().unwrap();
        assert_eq!(sockets.len(), 1, "{sockets:?}");
        assert_eq!(self.routes(), Vec::<String>::new());
        assert_eq!(runtime.leftovers(), Vec::<PathBuf>::new());
    }
}

/// A network with its files below `base`.
pub(crate) fn network(base: &Path, api: &Path, host: &Value) -> Runtime {
    let mut runtime = Runtime::new(base, "unix:/nonexistent/db.sock", "1.1.0");
    runtime.conf["host"] = host.clone();
    runtime.conf["vpp"] = json!({"api": api, "timeoutMs": 15000});
    runtime
}

/// A directory whose name is as long every time, for recordings.
pub(crate) fn directory() -> TempDir {
    tempfile::Builder::new().prefix(PREFIX).rand_bytes(6).tempdir_in("/tmp").unwrap()
}
