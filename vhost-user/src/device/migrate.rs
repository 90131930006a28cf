//! A device that another one follows: its state is saved, or that of the one before is loaded.

use super::Event;
use super::session::{STATE, Session};
use super::state::{SavedState, StateError};
use super::transfer::{Moved, Transfer};
use crate::backend::Failed;
use crate::endpoint::Events;
use crate::error::{ControlError, DeviceError};
use crate::wire::{DeviceState, feature};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// What was asked of this kind.
#[derive(Debug, Default)]
pub(super) struct Migration {
    transfer: Option<Transfer>,
    /// What came of the last transfer, until somebody asks.
    outcome: Option<Result<(), StateError>>,
    /// Somebody asks, and waits.
    asked: bool,
}

impl Migration {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.transfer.as_ref().and_then(|transfer| transfer.deadline)
    }
}

impl Session {
    /// Begins to move a state, in place of one that is on its way.
    pub(super) fn begin_transfer(
        &mut self,
        way: DeviceState,
        pipe: OwnedFd,
        events: &mut Events<Self>,
    ) -> Result<(), DeviceError> {
        self.end_transfer();
        let deadline = Instant::now().checked_add(self.config.answer_timeout);
        let begun = Transfer::new(way, pipe, || self.state(), deadline);
        let transfer = match begun.map_err(DeviceError::from).and_then(|transfer| {
            self.side.add(transfer.as_fd(), STATE, transfer.interest())?;
            Ok(transfer)
        }) {
            Ok(transfer) => transfer,
            Err(error) => {
                self.connection.machine.answer_device_state(Err(Failed))?;
                events.push_back(Event::RequestRefused(error));
                return Ok(());
            }
        };
        self.connection.machine.answer_device_state(Ok(None))?;
        self.migration = Migration { transfer: Some(transfer), ..Migration::default() };
        self.go_on_with_state(events)?;
        Ok(())
    }

    /// Moves what can be moved now.
    pub(super) fn go_on_with_state(
        &mut self,
        events: &mut Events<Self>,
    ) -> Result<(), ControlError> {
        let Some(transfer) = &mut self.migration.transfer else { return Ok(()) };
        match transfer.go_on() {
            Ok(None) => Ok(()),
            Ok(Some(Moved::Saved)) => self.finish(Ok(()), events),
            Ok(Some(Moved::Loaded(state))) => {
                let loaded = self.load(*state, events);
                self.finish(loaded, events)
            }
            Err(error) => self.finish(Err(error), events),
        }
    }

    /// The front-end had its time.
    pub(super) fn end_late_transfer(
        &mut self,
        now: Instant,
        events: &mut Events<Self>,
    ) -> Result<(), ControlError> {
        if self.migration.deadline().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        self.finish(Err(StateError::Late), events)
    }

    /// Says whether the last state was moved, as soon as that is known.
    pub(super) fn check_state(&mut self, events: &mut Events<Self>) -> Result<(), ControlError> {
        self.migration.asked = true;
        if self.migration.transfer.is_some() {
            // All of it may be there, and nobody has looked yet.
            return self.go_on_with_state(events);
        }
        let outcome = self.migration.outcome.take().unwrap_or(Err(StateError::None));
        self.tell(outcome, events)
    }

    fn finish(
        &mut self,
        outcome: Result<(), StateError>,
        events: &mut Events<Self>,
    ) -> Result<(), ControlError> {
        self.end_transfer();
        if self.migration.asked {
            return self.tell(outcome, events);
        }
        self.migration.outcome = Some(outcome);
        Ok(())
    }

    fn tell(
        &mut self,
        outcome: Result<(), StateError>,
        events: &mut Events<Self>,
    ) -> Result<(), ControlError> {
        self.migration.asked = false;
        let machine = &mut self.connection.machine;
        match outcome {
            Ok(()) => machine.answer_ack(Ok(())),
            Err(error) => {
                events.push_back(Event::RequestRefused(DeviceError::State(error)));
                machine.answer_ack(Err(Failed))
            }
        }
    }

    fn end_transfer(&mut self) {
        if let Some(transfer) = self.migration.transfer.take() {
            self.side.remove(transfer.as_fd());
        }
    }

    fn state(&self) -> SavedState {
        let features = self.connection.machine.features();
        SavedState::new(features, self.status.word(), self.filter.clone(), self.pairs_wanted)
    }

    /// Goes on with what the device before knew, or changes nothing.
    fn load(&mut self, state: SavedState, events: &mut Events<Self>) -> Result<(), StateError> {
        let SavedState { features, status, filter, queue_pairs } = state;
        let bits = features & !self.config.backend().features;
        if bits != 0 {
            return Err(StateError::Features { bits });
        }
        if queue_pairs.is_some_and(|pairs| pairs > self.config.queue_pairs) {
            return Err(StateError::Contents { tag: super::state::PAIRS });
        }
        let saved = super::status::Status::of(status);
        self.status
            .want_announcement(self.status.wants_announcement() || saved.wants_announcement());
        // What the driver was told by the device before.
        self.channel.set_known(status);
        self.pairs_wanted = queue_pairs;
        self.filter = filter;
        self.loaded = true;
        if features & feature::CTRL_VQ != 0 && self.config.control {
            events.push_back(Event::FilterChanged(Box::new(self.filter.clone())));
            events.extend(queue_pairs.map(Event::PairsWanted));
        }
        Ok(())
    }
}
