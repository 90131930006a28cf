//! Fake devices by name, that a test puts there and takes away.

use super::relay_support::{Fake, FakeConfig, Handle};
use ringport_vdpa::VdpaDevice;
use ringport_vdpa::daemon::{DeviceName, OpenError, Opener};
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex};

/// All devices that there are.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    places: Mutex<BTreeMap<DeviceName, Place>>,
    changed: Condvar,
}

#[derive(Debug)]
enum Place {
    There(FakeConfig, Option<Handle>),
    /// Opening it takes until something else is in its place.
    Hangs,
}

impl Shelf {
    pub(crate) fn put(&self, device: &DeviceName, config: FakeConfig) {
        self.change(device, Some(Place::There(config, None)));
    }

    pub(crate) fn hang(&self, device: &DeviceName) {
        self.change(device, Some(Place::Hangs));
    }

    /// What a test has of a device that was opened.
    #[track_caller]
    pub(crate) fn device(&self, device: &DeviceName) -> Handle {
        match self.places.lock().unwrap().get(device) {
            Some(Place::There(_, Some(handle))) => handle.clone(),
            other => panic!("{device} was not opened: {other:?}"),
        }
    }

    /// As the kernel does: first it is not found, then those that have it are told.
    #[track_caller]
    pub(crate) fn take_away(&self, device: &DeviceName) -> Handle {
        let handle = self.device(device);
        self.change(device, None);
        handle.yank();
        handle
    }

    fn change(&self, device: &DeviceName, place: Option<Place>) {
        let mut places = self.places.lock().unwrap();
        match place {
            Some(place) => drop(places.insert(device.clone(), place)),
            None => drop(places.remove(device)),
        }
        self.changed.notify_all();
    }
}

impl Opener for Shelf {
    fn open(&self, device: &DeviceName) -> Result<Box<dyn VdpaDevice>, OpenError> {
        let places = self.places.lock().unwrap();
        let hangs = |places: &mut BTreeMap<_, _>| matches!(places.get(device), Some(Place::Hangs));
        let mut places = self.changed.wait_while(places, hangs).unwrap();
        match places.get_mut(device) {
            Some(Place::There(config, handle)) => {
                let (fake, its) = Fake::new(config.clone());
                *handle = Some(its);
                Ok(Box::new(fake))
            }
            _ => Err(OpenError::NotThere(device.pci_address().unwrap())),
        }
    }
}
