//! What becomes of a request: an acknowledgement, a refusal, or the data side's answer.

use super::machine::{BackendMachine, State};
use super::pending::{Asked, Change, Question, Waiting};
use super::{Failed, InflightMemory, RingBase};
use crate::error::ControlError;
use crate::wire::{Inflight, ProtocolFeatures, Reply, Request, VringState};
use std::os::fd::OwnedFd;

/// Answer to SET_DEVICE_STATE_FD: the state moves through the pipe that the front-end sent.
const STATE_NO_FD: u64 = 1 << 8;

const NO: u64 = 1;

impl BackendMachine {
    /// Says that an event was dealt with, or that it could not be.
    ///
    /// # Errors
    /// [`ControlError::OutOfOrder`] unless such an event waits; [`ControlError::Failed`] when the
    /// front-end cannot be told, which ends the conversation.
    pub fn answer_ack(&mut self, result: Result<(), Failed>) -> Result<(), ControlError> {
        let waiting = self.answered("answer_ack", |asked| matches!(asked, Question::Done(_)))?;
        match (result, waiting.question) {
            (Ok(()), Question::Done(change)) => {
                self.apply(change);
                self.acknowledge(waiting.asked);
                Ok(())
            }
            _ => self.fail(waiting.asked, waiting.request),
        }
    }

    /// Says where a ring stopped. Nothing may be written to it any more.
    ///
    /// # Errors
    /// [`ControlError::OutOfOrder`] unless that ring is to stop, or when `base` belongs to the other
    /// layout.
    pub fn answer_vring_base(&mut self, index: u16, base: RingBase) -> Result<(), ControlError> {
        let right_base = self.is_packed() == matches!(base, RingBase::Packed { .. });
        let waiting = self.answered("answer_vring_base", |asked| {
            right_base && matches!(asked, Question::VringBase(waiting) if *waiting == index)
        })?;
        if let Some(ring) = self.rings.get_mut(usize::from(index)) {
            ring.running = false;
            ring.base = Some(base.to_wire());
        }
        let state = VringState { index: u32::from(index), value: base.to_wire() };
        self.outbox.push(waiting.asked.number, &Reply::VringState(state), None);
        Ok(())
    }

    /// Gives the part of the configuration space that was asked for. Any other length counts as
    /// [`Failed`].
    ///
    /// # Errors
    /// [`ControlError::OutOfOrder`] unless it was asked for.
    pub fn answer_config(&mut self, contents: Result<Vec<u8>, Failed>) -> Result<(), ControlError> {
        let waiting =
            self.answered("answer_config", |asked| matches!(asked, Question::Config(_)))?;
        match (contents, waiting.question) {
            (Ok(contents), Question::Config(span)) if contents.len() == span.size as usize => {
                self.outbox.push(waiting.asked.number, &Reply::Config(span, contents), None);
                Ok(())
            }
            _ => self.fail(waiting.asked, waiting.request),
        }
    }

    /// Gives memory for chains in flight. The front-end keeps it, and gives it back after a
    /// reconnect.
    ///
    /// # Errors
    /// [`ControlError::OutOfOrder`] unless it was asked for.
    pub fn answer_inflight(
        &mut self,
        memory: Result<InflightMemory, Failed>,
    ) -> Result<(), ControlError> {
        let waiting =
            self.answered("answer_inflight", |asked| matches!(asked, Question::Inflight(_)))?;
        let Question::Inflight(wanted) = waiting.question else {
            return self.fail(waiting.asked, waiting.request);
        };
        let (reply, fd) = match memory {
            Ok(InflightMemory { fd, size, offset, .. }) => {
                (Inflight { mmap_size: size, mmap_offset: offset, ..wanted }, Some(fd))
            }
            Err(Failed) => (Inflight { padded: wanted.padded, ..NO_INFLIGHT }, None),
        };
        self.outbox.push(waiting.asked.number, &Reply::Inflight(reply), fd);
        Ok(())
    }

    /// Says that the device's state moves: through a pipe of ours, or with `None` through the one
    /// that the event brought.
    ///
    /// # Errors
    /// [`ControlError::OutOfOrder`] unless it was asked for.
    pub fn answer_device_state(
        &mut self,
        pipe: Result<Option<OwnedFd>, Failed>,
    ) -> Result<(), ControlError> {
        let waiting =
            self.answered("answer_device_state", |asked| matches!(asked, Question::DeviceState))?;
        let Ok(pipe) = pipe else {
            return self.fail(waiting.asked, waiting.request);
        };
        let number = if pipe.is_some() { 0 } else { STATE_NO_FD };
        self.outbox.push(waiting.asked.number, &Reply::Number(number), pipe);
        Ok(())
    }

    /// Says yes, to those who wait for it.
    pub(super) fn acknowledge(&mut self, asked: Asked) {
        let answers = matches!(
            Request::from_wire(asked.number),
            Some(Request::SetLogBase | Request::CheckDeviceState)
        );
        if answers || self.wants_ack(asked) {
            self.outbox.push(asked.number, &Reply::Number(0), None);
        }
    }

    /// Says no, or ends the conversation when that cannot be said and must be known.
    pub(super) fn refuse(&mut self, asked: Asked, error: ControlError) -> ControlError {
        let unoffered = error.is_about_unoffered();
        let reply = if unoffered { self.plain_no(asked) } else { self.refusal(asked) };
        match reply {
            Some(reply) => self.outbox.push(asked.number, &reply, None),
            None if unoffered || asked.is_optional() => {}
            None => self.close(),
        }
        error
    }

    fn fail(&mut self, asked: Asked, request: Request) -> Result<(), ControlError> {
        let error = self.refuse(asked, ControlError::Failed { request });
        if self.is_closed() { Err(error) } else { Ok(()) }
    }

    /// How to say no; `None` when the front-end does not listen, or would take it for an answer.
    fn refusal(&self, asked: Asked) -> Option<Reply> {
        match Request::from_wire(asked.number) {
            Some(Request::GetConfig) => Some(Reply::Empty),
            Some(Request::GetInflightFd) => Some(Reply::Inflight(NO_INFLIGHT)),
            Some(Request::SetDeviceStateFd) => Some(Reply::Number(STATE_NO_FD | NO)),
            Some(Request::CheckDeviceState) => Some(Reply::Number(NO)),
            Some(
                Request::GetFeatures
                | Request::GetProtocolFeatures
                | Request::GetQueueNum
                | Request::GetVringBase
                | Request::GetMaxMemSlots
                | Request::GetStatus
                | Request::SetLogBase,
            ) => None,
            _ => self.plain_no(asked),
        }
    }

    fn plain_no(&self, asked: Asked) -> Option<Reply> {
        self.wants_ack(asked).then_some(Reply::Number(NO))
    }

    fn wants_ack(&self, asked: Asked) -> bool {
        asked.need_reply && self.protocol_features.contains(ProtocolFeatures::REPLY_ACK)
    }

    /// Takes the question back that an answer is for.
    fn answered(
        &mut self,
        call: &'static str,
        fits: impl Fn(&Question) -> bool,
    ) -> Result<Waiting, ControlError> {
        match std::mem::replace(&mut self.state, State::Reading) {
            State::Waiting(waiting) if fits(&waiting.question) => Ok(waiting),
            other => {
                self.state = other;
                Err(ControlError::OutOfOrder { call })
            }
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Nothing => {}
            Change::Features(features) => {
                self.features = Some(features);
                if self.is_always_enabled() {
                    self.rings.iter_mut().for_each(|ring| ring.enabled = true);
                }
            }
            Change::Memory(memory) => self.memory = memory,
            Change::Status(status) => self.status = status,
            Change::Inflight(queue_size) => self.inflight_queue_size = Some(queue_size),
            Change::Ring(index, change) => {
                if let Some(ring) = self.rings.get_mut(usize::from(index)) {
                    ring.apply(change);
                }
            }
        }
    }
}

const NO_INFLIGHT: Inflight =
    Inflight { mmap_size: 0, mmap_offset: 0, queues: 0, queue_size: 0, padded: true };
