//! The daemon: many devices, each behind a vhost-user socket, that come and go while it runs.
//!
//! ```text
//! pciList.dat, a configuration, discovery        control socket
//!        | Daemon::replace                          | Daemon::add, remove, list
//!        v                                          v
//!      Daemon --- a thread each: open, relay, give up, open again ---> <dir>/vdpa-<n>
//!        |
//!        `-- as devices change: socketList.dat, the look-up's table
//! ```
//!
//! A device that is not there, or gone, is looked for until it is there; nothing else waits for it. Its socket
//! has a number that it keeps, in the list or out of it, from one start of the daemon to the next.
//!
//! | module | what it is for |
//! |---|---|
//! | [`Daemon`] | the devices |
//! | [`Opener`] | where devices come from |
//! | [`control`] | commands at a socket |
//! | [`metrics`] | figures for Prometheus |
//! | [`settings`] | the configuration file |

mod config;
pub mod control;
pub mod metrics;
mod numbers;
mod progress;
pub mod settings;
mod status;
mod stop;
mod worker;

mod devices;
mod error;

pub use crate::name::{DeviceName, DeviceNameError};
pub use crate::opener::{OpenError, Opener, SystemOpener};
pub use config::{DaemonConfig, Side, Wanted};
pub use error::DaemonError;
pub use status::{DeviceStatus, Kicks, State, Statistics};
pub use stop::Stop;

use crate::device::explain;
use crate::lookup::Table;
use devices::Devices;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use worker::Surroundings;

/// How long a removed device may take until its removal is said to go on without us. A device that does not
/// answer takes longer.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(5);
/// How long all devices together may take at the end: what the kernel gives each of them twice, to stop and
/// to close.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// What the thread that writes the list is told.
#[derive(Debug, Clone, Copy)]
enum Note {
    Changed,
    End,
}

/// Serves devices until it is dropped. That gives all of them back, and takes as long as they take, up to 20 s.
#[derive(Debug)]
pub struct Daemon {
    devices: Arc<Mutex<Devices>>,
    changed: SyncSender<Note>,
    keeper: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Begins with no devices.
    ///
    /// # Errors
    /// [`DaemonError`]: the file of numbers makes no sense, or the system has run out of something.
    pub fn start(
        config: DaemonConfig,
        opener: Arc<dyn Opener>,
        table: Table,
    ) -> Result<Self, DaemonError> {
        // One is enough: it says that something changed, not what.
        let (changed, changes) = sync_channel(1);
        let config = Arc::new(config);
        let surroundings = Surroundings { config, opener, changed: changed.clone() };
        let devices = Arc::new(Mutex::new(Devices::new(surroundings, table)?));
        let kept = Arc::clone(&devices);
        let keeper = std::thread::Builder::new()
            .name("vdpa-list".into())
            .spawn(move || keep(&changes, &kept))
            .map_err(DaemonError::System)?;
        Ok(Self { devices, changed, keeper: Some(keeper) })
    }

    /// Serves these devices, and those that were [added](Self::add): others are given back. Those that stay
    /// notice nothing. Numbers of new ones are given in this order. What was [removed](Self::remove) stays so
    /// as long as it is in the lists. Returns why some cannot be served.
    pub fn replace(&self, wanted: Vec<Wanted>) -> Vec<(DeviceName, DaemonError)> {
        self.lock().replace(wanted)
    }

    /// Serves one more device, whatever [`replace`](Self::replace) says of it.
    ///
    /// # Errors
    /// [`DaemonError`]. That a device is not there is none.
    pub fn add(&self, wanted: Wanted) -> Result<DeviceStatus, DaemonError> {
        self.lock().add(wanted)
    }

    /// Gives a device back. Returns whether it has been: otherwise that goes on, and adding it again waits
    /// for it.
    ///
    /// # Errors
    /// [`DaemonError::NotServed`].
    pub fn remove(&self, device: &DeviceName) -> Result<bool, DaemonError> {
        let over = self.lock().remove(device)?;
        Ok(over.wait_until(Instant::now() + REMOVAL_PATIENCE))
    }

    /// All devices, by their names in order.
    #[must_use]
    pub fn list(&self) -> Vec<DeviceStatus> {
        self.lock().list()
    }

    fn lock(&self) -> MutexGuard<'_, Devices> {
        lock(&self.devices)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let leaving = self.lock().end();
        let deadline = Instant::now() + END_PATIENCE;
        let late = leaving.iter().filter(|over| !over.wait_until(deadline)).count();
        if late > 0 {
            tracing::warn!(devices = late, "ended before devices were given back");
        }
        // The keeper takes it in any case: it waits for nothing but the devices, which we do not hold.
        let _ = self.changed.send(Note::End);
        if let Some(keeper) = self.keeper.take() {
            // It panicked, and has ended as well.
            let _ = keeper.join();
        }
    }
}

/// Writes the list after each change.
fn keep(changes: &Receiver<Note>, devices: &Mutex<Devices>) {
    while let Ok(Note::Changed) = changes.recv() {
        lock(devices).refresh();
    }
}

fn lock(devices: &Mutex<Devices>) -> MutexGuard<'_, Devices> {
    devices.lock().unwrap_or_else(PoisonError::into_inner)
}
