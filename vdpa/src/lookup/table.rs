//! What the look-up answers from.

use crate::files::{ContentError, Entry, check};
use crate::pci::PciAddress;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// The devices and their sockets, for a [`Server`](super::Server) and for whoever knows them. Clones are the
/// same table, from any thread.
#[derive(Debug, Clone)]
pub struct Table(Arc<watch::Sender<Arc<Snapshot>>>);

/// The devices at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// How often they had been replaced.
    pub(super) generation: u64,
    pub(super) sockets: BTreeMap<PciAddress, Entry>,
}

impl Table {
    /// Puts other devices in the place of all that are there, at once: nobody sees a mixture, and who
    /// watches is told. The same devices again are no change.
    ///
    /// # Errors
    /// The entries make no [list](check); the table stays as it is.
    pub fn replace(&self, entries: Vec<Entry>) -> Result<(), ContentError> {
        check(&entries)?;
        let sockets: BTreeMap<_, _> =
            entries.into_iter().map(|entry| (entry.pci_address(), entry)).collect();
        self.0.send_if_modified(|current| {
            let changes = current.sockets != sockets;
            if changes {
                let generation = current.generation + 1;
                *current = Arc::new(Snapshot { generation, sockets });
            }
            changes
        });
        Ok(())
    }

    /// A device's socket, if there is one.
    #[must_use]
    pub fn socket_path(&self, address: PciAddress) -> Option<String> {
        self.0.borrow().sockets.get(&address).map(|entry| entry.socket_path().into())
    }

    /// All devices, by their addresses in order.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.current().sockets.values().cloned().collect()
    }

    pub(super) fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.borrow())
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.subscribe()
    }
}

impl Default for Table {
    /// No devices.
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Arc::default())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: &str, path: &str) -> Entry {
        Entry::new(address.parse().unwrap(), path).unwrap()
    }

    #[test]
    fn devices_are_replaced_all_at_once_and_told_once() {
        let table = Table::default();
        let mut told = table.subscribe();
        let a = entry("82:00.2", "/a");
        table.replace(vec![entry("82:00.3", "/b"), a.clone()]).unwrap();
        assert!(told.has_changed().unwrap());
        assert_eq!(told.borrow_and_update().generation, 1);
        assert_eq!(table.socket_path(a.pci_address()).as_deref(), Some("/a"));
        table.replace(vec![a.clone(), entry("82:00.3", "/b")]).unwrap();
        assert!(!told.has_changed().unwrap());
        table.replace(vec![a.clone()]).unwrap();
        assert_eq!(told.borrow_and_update().generation, 2);
        assert_eq!(table.entries(), [a]);
        assert_eq!(table.socket_path("82:00.3".parse().unwrap()), None);
    }

    #[test]
    fn entries_that_make_no_list_change_nothing() {
        let table = Table::default();
        let a = entry("82:00.2", "/a");
        table.replace(vec![a.clone()]).unwrap();
        table.replace(vec![a.clone(), a.clone()]).unwrap_err();
        assert_eq!(table.current().generation, 1);
        assert_eq!(table.entries(), [a]);
    }
}
