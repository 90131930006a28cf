//! The dirty log, in which the driver's side sees what the back-end wrote while it migrates.
//!
//! Spec: vhost-user "Migration".

use super::machine::{FrontendMachine, Job};
use super::script::{RingPlace, Script};
use super::{Agreed, LogOffer};
use crate::error::ControlError;
use crate::wire::{Message, ProtocolFeatures, Request, VringAddress, feature};
use std::time::Instant;

impl FrontendMachine {
    /// Whether the back-end can note what it writes. It is not to from the start, so
    /// [`LOG_ALL`](feature::LOG_ALL) is no feature to be wanted of it.
    #[must_use]
    pub fn can_log(&self) -> bool {
        let protocol = self.agreed.protocol_features;
        self.logs && protocol.contains(ProtocolFeatures::LOG_SHMFD)
    }

    /// Has the back-end note each page that it writes to, from now on; [`Event::Logging`] follows. To
    /// begin anew, with another log, is possible.
    ///
    /// [`Event::Logging`]: super::Event::Logging
    ///
    /// # Errors
    /// [`ControlError::OutOfOrder`] unless the machine [is idle](Self::is_idle), the back-end
    /// [can](Self::can_log), and there is an address for each ring.
    pub fn start_log(&mut self, log: LogOffer, now: Instant) -> Result<(), ControlError> {
        if !self.is_idle() || !self.can_log() || log.device_areas.len() != self.places.len() {
            return Err(ControlError::OutOfOrder { call: "start_log" });
        }
        self.script.start_log(&self.agreed, &self.places, log);
        self.begin(Job::Log(true), now);
        Ok(())
    }

    /// Has the back-end note nothing any more; [`Event::Logging`] follows.
    ///
    /// [`Event::Logging`]: super::Event::Logging
    ///
    /// # Errors
    /// [`ControlError::OutOfOrder`] unless the machine [is idle](Self::is_idle), and the back-end
    /// [can](Self::can_log).
    pub fn stop_log(&mut self, now: Instant) -> Result<(), ControlError> {
        if !self.is_idle() || !self.can_log() {
            return Err(ControlError::OutOfOrder { call: "stop_log" });
        }
        self.script.stop_log(&self.agreed, &self.places);
        self.begin(Job::Log(false), now);
        Ok(())
    }
}

impl Script {
    /// The log, the feature by which it is used, and then the rings: in the order of QEMU.
    fn start_log(&mut self, agreed: &Agreed, places: &[RingPlace], log: LogOffer) {
        let LogOffer { area, fd, device_areas } = log;
        self.answered_with(Message::LogBase(area), [fd]);
        let features = agreed.features | feature::LOG_ALL;
        self.say(Message::Number(Request::SetFeatures, features), None);
        for (place, log) in places.iter().zip(device_areas) {
            self.say(Message::VringAddress(place.address(Some(log))), None);
        }
        self.sync();
    }

    fn stop_log(&mut self, agreed: &Agreed, places: &[RingPlace]) {
        self.say(Message::Number(Request::SetFeatures, agreed.features), None);
        for place in places {
            self.say(Message::VringAddress(place.address(None)), None);
        }
        self.sync();
    }
}

impl RingPlace {
    /// What a back-end is told of it; `log`: the guest address under which writes to the device area
    /// are noted.
    pub(super) fn address(&self, log: Option<u64>) -> VringAddress {
        let &Self { index, descriptor_area, device_area, driver_area } = self;
        VringAddress {
            index: index.into(),
            log: log.is_some(),
            descriptor_area,
            device_area,
            driver_area,
            log_address: log.unwrap_or(0),
        }
    }
}
