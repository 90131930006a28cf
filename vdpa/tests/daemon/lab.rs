//! Where a daemon has its devices and files.

use super::relay_support::{FakeConfig, eventually};
use super::shelf::Shelf;
use ringport_vdpa::daemon::{Daemon, DaemonConfig, DeviceName, State, Wanted};
use ringport_vdpa::files::{Entry, socket_list};
use ringport_vdpa::lookup::Table;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Devices, and where a daemon has its files.
pub(crate) struct Lab {
    dir: TempDir,
    pub(crate) table: Table,
    pub(crate) shelf: Arc<Shelf>,
}

pub(crate) const A: &str = "0000:82:00.2";
pub(crate) const B: &str = "0000:82:00.3";
pub(crate) const C: &str = "0000:82:00.4";

pub(crate) fn name(text: &str) -> DeviceName {
    text.parse().unwrap()
}

pub(crate) fn wanted(devices: &[&str]) -> Vec<Wanted> {
    devices.iter().map(|device| Wanted::new(name(device))).collect()
}

impl Lab {
    /// With these devices there.
    pub(crate) fn with(devices: &[&str]) -> Self {
        let (dir, shelf) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()));
        devices.iter().for_each(|device| shelf.put(&name(device), FakeConfig::default()));
        Self { dir, table: Table::default(), shelf }
    }

    pub(crate) fn config(&self) -> DaemonConfig {
        let mut config = DaemonConfig::at(self.dir.path());
        config.socket_list = Some(self.path("socketList.dat"));
        config.numbers = Some(self.path("socketNumbers.json"));
        config.retry = Duration::from_millis(10);
        config
    }

    pub(crate) fn start(&self) -> Daemon {
        self.start_with(|_| {})
    }

    pub(crate) fn start_with(&self, change: impl FnOnce(&mut DaemonConfig)) -> Daemon {
        let mut config = self.config();
        change(&mut config);
        let opener = Arc::clone(&self.shelf);
        Daemon::start(config, opener, self.table.clone()).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Names of sockets by device, as the list and the look-up have them; they agree in the end.
    #[track_caller]
    pub(crate) fn lists(&self, expected: &[(&str, &str)]) {
        let named = |entries: Vec<Entry>| {
            let mut all: Vec<_> = entries
                .iter()
                .map(|it| (it.pci_address().to_string(), it.socket_path().to_owned()))
                .collect();
            all.sort();
            all
        };
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let expected: Vec<_> =
            expected.iter().map(|(device, name)| ((*device).to_owned(), path(name))).collect();
        eventually(&format!("the list has {expected:?}"), || {
            let list = socket_list::load(&self.path("socketList.dat"));
            list.is_ok_and(|list| named(list) == expected)
                && named(self.table.entries()) == expected
        });
    }
}

pub(crate) fn state(daemon: &Daemon, device: &str) -> Option<State> {
    daemon.list().into_iter().find(|it| it.device == name(device)).map(|it| it.state)
}

pub(crate) fn trouble(daemon: &Daemon, device: &str) -> String {
    let found = daemon.list().into_iter().find(|it| it.device == name(device));
    found.and_then(|it| it.trouble).unwrap_or_default()
}

#[track_caller]
pub(crate) fn is(daemon: &Daemon, device: &str, expected: State) {
    eventually(&format!("{device} is {expected}"), || state(daemon, device) == Some(expected));
}
