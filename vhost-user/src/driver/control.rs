//! Commands to the device, and what becomes of them.

use super::Event;
use super::config::ring_features;
use super::prepare::Bells;
use super::queue::control::ControlQueue;
use super::queue::{CallMode, LayoutError, QueueOptions, RingLayout};
use super::session::{CONTROL, Session};
use crate::endpoint::Events;
use crate::error::{CommandError, ConfigError, ControlError, DeviceError};
use crate::frontend::{Agreed, ControlOffer, MemoryOffer};
use crate::wire::{ADDRESSES_MAX, Command, feature};
use ringport::error::CallError;
use ringport::port_string::check_range;
use ringport::reactor::Interest;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The control queue of a link.
#[derive(Debug)]
pub(super) struct Control {
    queue: ControlQueue,
    /// When the device must have answered the command that is under way.
    deadline: Option<Instant>,
    /// It says that the driver has announced itself.
    announces: bool,
}

impl Control {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl Session {
    /// Makes a control queue, where the device is to have one.
    pub(super) fn open_control(
        &mut self,
        agreed: &Agreed,
    ) -> Result<Option<ControlOffer>, DeviceError> {
        if agreed.control_ring.is_none() {
            return Ok(None);
        }
        let bells = Bells::new()?;
        let packed = agreed.features & feature::RING_PACKED != 0;
        let layout = if packed { RingLayout::Packed } else { RingLayout::Split };
        let options = QueueOptions {
            features: ring_features(agreed.features),
            calls: CallMode::Interrupt,
            kick: Some(Arc::clone(&bells.kick)),
            call: Some(Arc::clone(&bells.call)),
        };
        let queue = ControlQueue::new(layout, &options, &self.link)?;
        let fd = queue.fd().try_clone_to_owned().map_err(LayoutError::from)?;
        let memory = MemoryOffer { region: queue.region(), fd };
        let ring = self.ring_at(queue.addresses(), &bells)?;
        self.side.add(queue.as_fd(), CONTROL, Interest::Read)?;
        self.control = Some(Control { queue, deadline: None, announces: false });
        Ok(Some(ControlOffer { memory, ring }))
    }

    /// Gives the device a command.
    pub(super) fn command(&mut self, command: &Command, now: Instant) -> Result<(), DeviceError> {
        let needed = feature::CTRL_VQ | command.feature();
        let has = self.connection.machine.agreed().features & needed == needed;
        let out_of_order = DeviceError::Control(ControlError::OutOfOrder { call: "command" });
        let up = self.up.is_some();
        let control = self.control.as_mut().filter(|it| up && has && it.queue.is_ready());
        let control = control.ok_or(out_of_order)?;
        if let Command::Addresses { unicast, multicast } = command {
            let most = u16::try_from(ADDRESSES_MAX).unwrap_or(u16::MAX);
            for list in [unicast, multicast] {
                let count = u16::try_from(list.len()).unwrap_or(u16::MAX);
                check_range("addresses", count, 0, most).map_err(ConfigError::from)?;
            }
        }
        control.queue.give(command).map_err(CallError::io("write a command"))?;
        control.deadline = now.checked_add(self.config.timeout);
        control.announces = *command == Command::Announced;
        Ok(())
    }

    /// The device called.
    pub(super) fn hear_control(&mut self, events: &mut Events<Self>) {
        let Some(control) = &mut self.control else { return };
        let Some(answer) = control.queue.take_answer() else {
            return self.leave_control_if_lost();
        };
        control.deadline = None;
        let announced = answer.is_ok() && control.announces;
        if let Some(told) = self.told.as_mut().filter(|_| announced) {
            told.announce = false;
        }
        events.push_back(Event::CommandDone(answer));
        self.leave_control_if_lost();
    }

    /// Gives up a command whose time is over.
    pub(super) fn end_command(&mut self, now: Instant, events: &mut Events<Self>) {
        let waited: Duration = self.config.timeout;
        let Some(control) = &mut self.control else { return };
        if control.deadline.take_if(|deadline| now >= *deadline).is_some() {
            control.queue.give_up();
            events.push_back(Event::CommandDone(Err(CommandError::Late { waited })));
            self.leave_control_if_lost();
        }
    }

    /// A device that rings for a queue which is not used any more wakes nobody.
    fn leave_control_if_lost(&mut self) {
        if let Some(control) = &self.control
            && !control.queue.is_ready()
            && !control.queue.is_busy()
        {
            self.side.remove(control.queue.as_fd());
        }
    }
}
