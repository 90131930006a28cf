//! What changes while a link is up: the device's configuration, and the pairs that are in use.

use super::channel::{Channel, tells_changes};
use super::session::{CHANNEL, Session};
use super::{DownReason, Event};
use crate::endpoint::Events;
use crate::error::DeviceError;
use crate::frontend::{Agreed, Told};
use crate::wire::feature;
use ringport::reactor::Interest;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

impl Session {
    /// Has the device enable so many pairs, once it has answered what it was asked before.
    pub(super) fn set_pairs(&mut self, pairs: u16) -> Result<(), DownReason> {
        self.pairs_wanted = Some(pairs);
        self.ask_next()
    }

    /// Most pairs that can be enabled; `None` while there is no link, or where the device has no way
    /// to be told.
    pub(super) fn pairs_max(&self) -> Option<u16> {
        let Agreed { features, queue_pairs, .. } = *self.connection.machine.agreed();
        let can = self.up.is_some() && features & feature::PROTOCOL_FEATURES != 0;
        can.then_some(queue_pairs)
    }

    /// The device's end of a second socket, where that is of use.
    pub(super) fn open_channel(&mut self, agreed: &Agreed) -> Result<Option<OwnedFd>, DeviceError> {
        if !tells_changes(agreed) {
            return Ok(None);
        }
        let (channel, theirs) = Channel::open(agreed)?;
        self.side.add(channel.as_fd(), CHANNEL, Interest::Read)?;
        self.channel = Some(channel);
        Ok(Some(theirs))
    }

    pub(super) fn hear_channel(&mut self, events: &mut Events<Self>) {
        let Some(channel) = &mut self.channel else { return };
        match channel.go_on(&self.side, CHANNEL) {
            Ok(changed) => self.changed |= changed,
            Err(reason) => {
                self.side.remove(channel.as_fd());
                self.channel = None;
                // Of a device that has gone altogether, that is told.
                if self.up.is_some() && !self.connection.has_hung_up() {
                    events.push_back(Event::ChannelEnded(reason));
                }
            }
        }
    }

    /// Asks the device one thing, if it has answered all others. However often it says that its
    /// configuration changed, one read is under way and one is to follow.
    pub(super) fn ask_next(&mut self) -> Result<(), DownReason> {
        let (machine, now) = (&mut self.connection.machine, Instant::now());
        if !machine.is_idle() {
            return Ok(());
        }
        let asked = if let Some(pairs) = self.pairs_wanted.take() {
            machine.enable_pairs(pairs, now)
        } else if std::mem::take(&mut self.changed) {
            machine.read_config(now)
        } else {
            return Ok(());
        };
        asked.map_err(|error| DownReason::Protocol(error.into()))?;
        self.connection.flush()
    }

    /// Reports what the configuration says now and did not before. A device that keeps asking for an
    /// announcement is reported once if it can be told of it, and otherwise each time: to read it is
    /// all that can be told.
    pub(super) fn compare(&mut self, now: Told, events: &mut Events<Self>) {
        let Some(before) = self.told else { return };
        self.told = Some(Told { mtu: now.mtu.or(before.mtu), ..now });
        if now.carrier != before.carrier {
            events.push_back(Event::Carrier(now.carrier));
        }
        if let Some(mtu) = now.mtu.filter(|_| now.mtu != before.mtu) {
            events.push_back(Event::Mtu(mtu));
        }
        if now.announce && !(before.announce && self.control.is_some()) {
            events.push_back(Event::AnnounceWanted);
        }
    }
}
