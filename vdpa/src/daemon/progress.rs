//! How far a device is, for who asks meanwhile.

use super::config::Wanted;
use super::status::{DeviceStatus, Kicks, State, Statistics};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a device's thread keeps up to date.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) state: State,
    pub(super) kind: Option<&'static str>,
    pub(super) kicks: Option<Kicks>,
    pub(super) trouble: Option<String>,
    pub(super) statistics: Statistics,
}

/// That, for the thread and others.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedProgress(Arc<Mutex<Progress>>);

impl SharedProgress {
    pub(super) fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is told of the device.
    pub(super) fn status(&self, wanted: &Wanted, socket: &str) -> DeviceStatus {
        let progress = self.lock();
        DeviceStatus {
            device: wanted.device.clone(),
            socket: socket.to_owned(),
            side: wanted.side,
            state: progress.state,
            kind: progress.kind.map(str::to_owned),
            kicks: progress.kicks,
            trouble: progress.trouble.clone(),
            statistics: progress.statistics,
        }
    }
}
