//! The devices of a daemon, and what is told of them to others.

use super::DeviceName;
use super::config::Wanted;
use super::error::DaemonError;
use super::numbers::Numbers;
use super::status::DeviceStatus;
use super::worker::{Leaving, Over, Surroundings, Worker};
use super::{Note, explain};
use crate::files::{DEVICES_MAX, Entry, check_path, socket_list};
use crate::lookup::Table;
use std::collections::{BTreeMap, BTreeSet};

/// All devices that are served.
#[derive(Debug)]
pub(super) struct Devices {
    surroundings: Surroundings,
    table: Table,
    numbers: Numbers,
    served: BTreeMap<DeviceName, Served>,
    /// Threads that are to end, by the device that they still have.
    leaving: BTreeMap<DeviceName, Leaving>,
    /// What is in the lists, and was removed by request.
    removed: BTreeSet<DeviceName>,
    /// What the list has; none when that is not known.
    listed: Option<Vec<Entry>>,
    ending: bool,
}

#[derive(Debug)]
struct Served {
    worker: Worker,
    /// Not out of the lists, which are not asked.
    by_request: bool,
}

impl Devices {
    pub(super) fn new(surroundings: Surroundings, table: Table) -> Result<Self, DaemonError> {
        let numbers = Numbers::load(surroundings.config.numbers.clone())?;
        Ok(Self {
            surroundings,
            table,
            numbers,
            served: BTreeMap::new(),
            leaving: BTreeMap::new(),
            removed: BTreeSet::new(),
            listed: None,
            ending: false,
        })
    }

    pub(super) fn replace(&mut self, wanted: Vec<Wanted>) -> Vec<(DeviceName, DaemonError)> {
        let by_name: BTreeMap<_, _> =
            wanted.iter().rev().map(|wanted| (wanted.device.clone(), wanted.clone())).collect();
        self.removed.retain(|device| by_name.contains_key(device));
        let stays = |served: &Served| {
            let named = by_name.get(&served.worker.wanted.device);
            served.by_request || named == Some(&served.worker.wanted)
        };
        let gone = self.served.iter().filter(|(_, served)| !stays(served));
        for device in gone.map(|(device, _)| device.clone()).collect::<Vec<_>>() {
            // It is there: it was found just now.
            let _ = self.take_out(&device);
        }
        let mut refused = Vec::new();
        for wanted in wanted {
            let device = wanted.device.clone();
            if self.served.contains_key(&device) || self.removed.contains(&device) {
                continue;
            }
            if let Err(error) = self.serve(wanted, false) {
                refused.push((device, error));
            }
        }
        self.settle();
        refused
    }

    pub(super) fn add(&mut self, wanted: Wanted) -> Result<DeviceStatus, DaemonError> {
        let device = wanted.device.clone();
        let status = self.serve(wanted, true)?;
        self.removed.remove(&device);
        self.settle();
        Ok(status)
    }

    pub(super) fn remove(&mut self, device: &DeviceName) -> Result<Over, DaemonError> {
        let over = self.take_out(device)?;
        self.removed.insert(device.clone());
        self.settle();
        Ok(over)
    }

    pub(super) fn list(&self) -> Vec<DeviceStatus> {
        self.served.values().map(|served| served.worker.status()).collect()
    }

    /// Has all threads end; no more are started.
    pub(super) fn end(&mut self) -> Vec<Over> {
        self.ending = true;
        let devices: Vec<_> = self.served.keys().cloned().collect();
        let over = devices.iter().flat_map(|device| self.take_out(device)).collect();
        if !self.surroundings.config.keep_listed {
            self.refresh();
        }
        over
    }

    /// Tells the others what there is now.
    pub(super) fn refresh(&mut self) {
        self.leaving.retain(|_, leaving| !leaving.is_over());
        let entries = self.entries();
        let keeps = self.ending && self.surroundings.config.keep_listed;
        if keeps || self.listed.as_ref() == Some(&entries) {
            return;
        }
        if let Err(error) = self.table.replace(entries.clone()) {
            tracing::warn!("the look-up keeps the devices before: {error}");
        }
        self.listed = match self.surroundings.config.socket_list.as_deref() {
            Some(path) => match socket_list::store(path, &entries) {
                Ok(()) => Some(entries),
                Err(error) => {
                    tracing::warn!("the list stays as it was: {}", explain(&error));
                    None
                }
            },
            None => Some(entries),
        };
    }

    fn serve(&mut self, wanted: Wanted, by_request: bool) -> Result<DeviceStatus, DaemonError> {
        let device = wanted.device.clone();
        if self.ending {
            return Err(DaemonError::Ending);
        }
        if let Some(Served { worker, .. }) = self.served.get(&device) {
            let socket = worker.socket.clone();
            return Err(DaemonError::AlreadyServed { device, socket });
        }
        if self.served.len() >= DEVICES_MAX {
            return Err(DaemonError::TooMany);
        }
        let socket = self.socket(&wanted)?;
        let before = self.leaving.remove(&device);
        let worker = Worker::start(wanted, socket, self.surroundings.clone(), before)
            .map_err(DaemonError::System)?;
        let status = worker.status();
        self.served.insert(device, Served { worker, by_request });
        Ok(status)
    }

    fn socket(&mut self, wanted: &Wanted) -> Result<String, DaemonError> {
        let socket = match &wanted.socket {
            Some(socket) => socket.clone(),
            None => {
                let served = &self.served;
                let number = self.numbers.of(&wanted.device, |device| served.contains_key(device));
                let name = format!("vdpa-{number}");
                self.surroundings.config.socket_dir.join(name).display().to_string()
            }
        };
        check_path(&socket)?;
        let mut others = self.served.iter();
        match others.find(|(_, served)| served.worker.socket == socket) {
            Some((device, _)) => Err(DaemonError::SocketTaken { socket, device: device.clone() }),
            None => Ok(socket),
        }
    }

    fn take_out(&mut self, device: &DeviceName) -> Result<Over, DaemonError> {
        let served = self.served.remove(device);
        let served = served.ok_or_else(|| DaemonError::NotServed(device.clone()))?;
        let (leaving, over) = served.worker.end();
        self.leaving.insert(device.clone(), leaving);
        Ok(over)
    }

    /// After devices were added or taken out.
    fn settle(&mut self) {
        if let Err(error) = self.numbers.store() {
            tracing::warn!("sockets may be numbered anew after a restart: {}", explain(&error));
        }
        // Full is as good: the list is about to be written.
        let _ = self.surroundings.changed.try_send(Note::Changed);
    }

    /// Devices that are there, in the order of their sockets' numbers.
    fn entries(&self) -> Vec<Entry> {
        let all = self.served.iter();
        let there = all
            .filter(|(_, served)| self.surroundings.config.keep_listed || served.worker.is_there());
        let mut entries: Vec<_> = there
            .filter_map(|(device, served)| {
                Entry::new(device.pci_address()?, served.worker.socket.as_str()).ok()
            })
            .collect();
        // Those by number have names of one length for each count of digits.
        entries.sort_by(|a, b| {
            let key = |entry: &Entry| (entry.socket_path().len(), entry.socket_path().to_owned());
            key(a).cmp(&key(b))
        });
        entries
    }
}
