//! Where the devices to serve come from, and that they change.

use ringport_vdpa::PciAddress;
use ringport_vdpa::daemon::settings::{self, Settings};
use ringport_vdpa::daemon::{DeviceName, Wanted};
use ringport_vdpa::discovery::{Discovery, FoundDevice};
use ringport_vdpa::files::{Changes, FileError, pci_list};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// All that is looked at.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    settings: Option<Source<Settings>>,
    pci_list: Option<Source<Vec<PciAddress>>>,
    discovery: Option<Discovery>,
    found: Vec<FoundDevice>,
    /// Functions under vfio-pci that were found.
    functions: Vec<PciAddress>,
}

/// A file that is read again when it changes.
#[derive(Debug)]
struct Source<T> {
    path: PathBuf,
    load: fn(&Path) -> Result<T, FileError>,
    changes: Option<Changes>,
    /// What it was when it last made sense.
    value: T,
    /// What was wrong with it when it was last read.
    trouble: String,
}

impl Inputs {
    /// Begins with the configuration, which has to be there.
    pub(crate) fn with_settings(path: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let mut source = Source::open(path, settings::load)?;
        source.value = settings::load(path)?;
        Ok(Self { settings: Some(source), ..Self::default() })
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings.as_ref().map(|source| source.value.clone()).unwrap_or_default()
    }

    /// Reads this list as well, which need not be there yet.
    pub(crate) fn read_list(&mut self, path: &Path) -> Result<(), String> {
        self.pci_list = Some(Source::open(path, pci_list::load)?);
        Ok(())
    }

    pub(crate) fn discover(&mut self) {
        self.discovery = Some(Discovery::default());
    }

    /// Readable when something may have changed.
    pub(crate) fn changes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let settings = self.settings.as_ref().and_then(|source| source.changes.as_ref());
        let list = self.pci_list.as_ref().and_then(|source| source.changes.as_ref());
        [settings, list].into_iter().flatten().map(AsFd::as_fd)
    }

    /// Looks at everything.
    pub(crate) fn read(&mut self) {
        if let Some(source) = &mut self.settings {
            source.read();
        }
        if let Some(source) = &mut self.pci_list {
            source.read();
        }
        let Some(discovery) = &self.discovery else { return };
        match discovery.devices() {
            Ok(found) => self.found = found,
            Err(error) => tracing::debug!("devices cannot be discovered: {error}"),
        }
        match discovery.vfio_functions() {
            Ok(functions) => self.functions = functions,
            Err(error) => tracing::debug!("functions cannot be discovered: {error}"),
        }
    }

    /// The devices to serve, each once: those of the configuration, with what is particular about them,
    /// those of the list, those that were found.
    pub(crate) fn wanted(&self) -> Vec<Wanted> {
        let mut wanted = self.settings().devices;
        let list = self.pci_list.iter().flat_map(|source| &source.value);
        wanted.extend(list.map(|address| Wanted::new(DeviceName::Pci(*address))));
        let named: BTreeSet<_> = wanted.iter().map(|it| it.device.clone()).collect();
        let found = names(&self.found).into_iter().filter(|(node, _)| !named.contains(node));
        wanted.extend(found.map(|(_, name)| Wanted::new(name)));
        let functions = self.functions.iter();
        wanted.extend(functions.map(|address| Wanted::new(DeviceName::Pci(*address))));
        let mut seen = BTreeSet::new();
        wanted.retain(|wanted| seen.insert(wanted.device.clone()));
        wanted
    }
}

/// Devices that have a node: that, and the device's name. They are named by their PCI functions, unless
/// a function has several.
fn names(found: &[FoundDevice]) -> Vec<(DeviceName, DeviceName)> {
    let mut of_function = BTreeMap::<PciAddress, usize>::new();
    let with_node = || found.iter().filter(|device| device.node.is_some());
    with_node().filter_map(|device| device.pci).for_each(|pci| {
        *of_function.entry(pci).or_default() += 1;
    });
    let name = |device: &FoundDevice| {
        let node: DeviceName = device.node.as_ref()?.to_str()?.parse().ok()?;
        let alone = device.pci.filter(|pci| of_function.get(pci) == Some(&1));
        Some((node.clone(), alone.map_or(node, DeviceName::Pci)))
    };
    with_node().filter_map(name).collect()
}

impl<T: Default> Source<T> {
    /// Watches before it reads: what changes in between is not missed.
    fn open(path: &Path, load: fn(&Path) -> Result<T, FileError>) -> Result<Self, String> {
        let changes = Changes::of(path).map_err(|error| {
            format!("{}: its directory cannot be watched for changes: {error}", path.display())
        })?;
        let (path, changes) = (path.to_owned(), Some(changes));
        Ok(Self { path, load, changes, value: T::default(), trouble: String::new() })
    }

    /// What makes no sense leaves what was before.
    fn read(&mut self) {
        if let Some(Err(error)) = self.changes.as_ref().map(Changes::clear) {
            let path = self.path.display();
            tracing::warn!("{path}: changes are not seen any more, but at SIGHUP: {error}");
            self.changes = None;
        }
        let trouble = match (self.load)(&self.path) {
            Ok(value) => {
                self.value = value;
                String::new()
            }
            Err(FileError::Read { path, source }) => {
                format!("{}: cannot be read: {source}", path.display())
            }
            Err(error) => error.to_string(),
        };
        // Once for each trouble: the directory may change often.
        if !trouble.is_empty() && trouble != self.trouble {
            tracing::warn!("{trouble}; the devices before stay");
        }
        self.trouble = trouble;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, pci: Option<&str>) -> FoundDevice {
        FoundDevice {
            name: name.to_owned(),
            driver: None,
            node: Some(format!("/dev/vhost-{name}").into()),
            management: None,
            pci: pci.map(|it| it.parse().unwrap()),
        }
    }

    #[test]
    fn devices_that_were_found_are_named_by_function_where_that_is_one_device() {
        let (a, b) = (found("a", Some("82:00.2")), found("b", Some("82:00.3")));
        let inputs = Inputs {
            found: vec![a, b, found("c", Some("82:00.3")), found("d", None)],
            ..Inputs::default()
        };
        let names: Vec<_> = inputs.wanted().iter().map(|it| it.device.to_string()).collect();
        assert_eq!(names, ["0000:82:00.2", "/dev/vhost-b", "/dev/vhost-c", "/dev/vhost-d"]);
    }

    #[test]
    fn functions_that_were_found_are_wanted_once_whatever_else_names_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vdpad.toml");
        let own = "[[device]]\ndevice = \"82:00.2\"\nsocket = \"/run/own.sock\"\n";
        std::fs::write(&path, own).unwrap();
        let mut inputs = Inputs::with_settings(&path).unwrap();
        inputs.found = vec![found("a", None)];
        inputs.functions = ["82:00.2", "82:00.3"].map(|it| it.parse().unwrap()).to_vec();
        let wanted = inputs.wanted();
        let names: Vec<_> = wanted.iter().map(|it| it.device.to_string()).collect();
        assert_eq!(names, ["0000:82:00.2", "/dev/vhost-a", "0000:82:00.3"]);
        assert_eq!(wanted[0].socket.as_deref(), Some("/run/own.sock"));
    }

    #[test]
    fn device_that_is_named_by_its_node_is_not_found_again_by_its_function() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vdpad.toml");
        std::fs::write(&path, "[[device]]\ndevice = \"/dev/vhost-a\"\n").unwrap();
        let mut inputs = Inputs::with_settings(&path).unwrap();
        inputs.found = vec![found("a", Some("82:00.2"))];
        assert_eq!(inputs.wanted(), [Wanted::new("/dev/vhost-a".parse().unwrap())]);
    }

    #[test]
    fn list_that_makes_no_sense_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pciList.dat");
        let mut inputs = Inputs::default();
        inputs.read_list(&path).unwrap();
        inputs.read();
        assert_eq!(inputs.wanted(), []);
        std::fs::write(&path, "82:00.2\n").unwrap();
        inputs.read();
        assert_eq!(inputs.wanted().len(), 1);
        std::fs::write(&path, "82:00.2\n82:0").unwrap();
        inputs.read();
        assert_eq!(inputs.wanted().len(), 1);
    }
}
