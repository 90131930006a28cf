//! What a watcher is told.

use super::pb::devices as pb;
use super::table::Snapshot;
use crate::files::Entry;

/// What became of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is there now.
    Added(Entry),
    /// It is gone; this is what it was.
    Removed(Entry),
    /// Its socket is another one; this is what it is now.
    Moved(Entry),
}

impl Change {
    /// The device.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        match self {
            Self::Added(entry) | Self::Removed(entry) | Self::Moved(entry) => entry,
        }
    }

    pub(super) fn to_message(&self) -> pb::Change {
        let kind = match self {
            Self::Added(_) => pb::Kind::Added,
            Self::Removed(_) => pb::Kind::Removed,
            Self::Moved(_) => pb::Kind::Moved,
        };
        pb::Change { kind: kind.into(), device: Some(to_device(self.entry())) }
    }

    /// What a server says, checked.
    pub(super) fn from_message(message: pb::Change) -> Result<Self, String> {
        let kind = message.kind();
        let entry = from_device(message.device.ok_or("a change without a device")?)?;
        match kind {
            pb::Kind::Added => Ok(Self::Added(entry)),
            pb::Kind::Removed => Ok(Self::Removed(entry)),
            pb::Kind::Moved => Ok(Self::Moved(entry)),
            pb::Kind::Unspecified => Err("a change of a kind that is not known".into()),
        }
    }
}

pub(super) fn to_device(entry: &Entry) -> pb::Device {
    let (pci_address, socket_path) = (entry.pci_address().to_string(), entry.socket_path().into());
    pb::Device { pci_address, socket_path }
}

pub(super) fn from_device(device: pb::Device) -> Result<Entry, String> {
    let address = device.pci_address.parse().map_err(show)?;
    Entry::new(address, device.socket_path).map_err(|error| format!("{address}: {error}"))
}

fn show(error: crate::pci::PciAddressError) -> String {
    error.to_string()
}

/// What leads from `old` to `new`, by the addresses in order.
pub(super) fn between(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let gone = old.sockets.iter().filter(|(address, _)| !new.sockets.contains_key(address));
    let gone = gone.map(|(_, entry)| Change::Removed(entry.clone()));
    let come = new.sockets.iter().filter_map(|(address, entry)| match old.sockets.get(address) {
        None => Some(Change::Added(entry.clone())),
        Some(before) if before != entry => Some(Change::Moved(entry.clone())),
        Some(_) => None,
    });
    let mut changes: Vec<_> = gone.chain(come).collect();
    changes.sort_by_key(|change| change.entry().pci_address());
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(rows: &[(&str, &str)]) -> Snapshot {
        let entry =
            |(address, path): &(&str, &str)| Entry::new(address.parse().unwrap(), *path).unwrap();
        let sockets = rows.iter().map(entry).map(|entry| (entry.pci_address(), entry)).collect();
        Snapshot { generation: 0, sockets }
    }

    #[test]
    fn changes_lead_from_one_list_to_the_other() {
        let old = snapshot(&[("82:00.2", "/a"), ("82:00.3", "/b"), ("82:00.4", "/c")]);
        let new = snapshot(&[("82:00.0", "/z"), ("82:00.2", "/a"), ("82:00.4", "/d")]);
        let changes = between(&old, &new);
        let [Change::Added(z), Change::Removed(b), Change::Moved(d)] = changes.as_slice() else {
            panic!("{changes:?}")
        };
        assert_eq!([z.socket_path(), b.socket_path(), d.socket_path()], ["/z", "/b", "/d"]);
        assert_eq!(between(&new, &new), []);
        for change in changes {
            assert_eq!(Change::from_message(change.to_message()), Ok(change));
        }
    }

    #[test]
    fn what_a_server_cannot_mean_is_refused() {
        let device = pb::Device { pci_address: "82:00.2".into(), socket_path: "/a".into() };
        let with = |kind, device| Change::from_message(pb::Change { kind, device });
        let added = pb::Kind::Added.into();
        assert!(with(added, Some(device.clone())).is_ok());
        assert!(with(added, None).is_err());
        assert!(with(0, Some(device.clone())).is_err());
        assert!(with(77, Some(device.clone())).is_err());
        let odd = pb::Device { pci_address: "vf0".into(), ..device.clone() };
        assert!(with(added, Some(odd)).is_err());
        let odd = pb::Device { socket_path: "\u{1b}[2J".into(), ..device };
        assert!(with(added, Some(odd)).is_err());
    }
}
