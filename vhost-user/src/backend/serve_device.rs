//! Requests about the device: configuration, status, dirty log, chains in flight, state.

use super::event::{Event, InflightMemory};
use super::machine::BackendMachine;
use super::pending::{Change, Question};
use super::serve::Step;
use super::{PeerIncompatible, PeerMisbehaved};
use crate::error::ControlError;
use crate::wire::{ConfigSpan, DeviceState, Inflight, LogArea, Message, Request};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

/// The least that IPv4 asks of every link, and the largest packet, in bytes.
///
/// Spec: VIRTIO 1.3 §5.1.4.1.
const MTU: RangeInclusive<u16> = 68..=65535;

/// Most bytes of memory for chains in flight: 256 rings of 32768 descriptors of 64 bytes.
const INFLIGHT_BYTES_MAX: u64 = 1 << 30;

impl BackendMachine {
    pub(super) fn serve_device(
        &mut self,
        message: Message,
        fd: Option<OwnedFd>,
    ) -> Result<Step, ControlError> {
        let request = message.request();
        Ok(match (message, fd) {
            (Message::LogBase(area), Some(fd)) => self.set_log_base(area, fd)?,
            (Message::Rarp(address), _) => Step::then(Event::Rarp(address), Change::Nothing),
            (Message::GetConfig(span), _) => {
                Step::ask(Event::ConfigRead(span), Question::Config(span))
            }
            (Message::SetConfig(span, contents), _) => set_config(span, contents)?,
            (Message::Inflight(Request::SetInflightFd, inflight), Some(fd)) => {
                self.set_inflight_fd(&inflight, fd)?
            }
            (Message::Inflight(_, inflight), _) => self.get_inflight_fd(inflight)?,
            (Message::DeviceState(state), Some(fd)) => self.set_device_state_fd(state, fd)?,
            _ => return Err(PeerIncompatible::NotOffered { request }.into()),
        })
    }

    pub(super) fn serve_device_number(
        &mut self,
        request: Request,
        number: u64,
    ) -> Result<Step, PeerMisbehaved> {
        let wrong = PeerMisbehaved::Value { request, value: number };
        if request == Request::SetStatus {
            let status = u8::try_from(number).map_err(|_| wrong)?;
            return Ok(Step::then(Event::Status(status), Change::Status(status)));
        }
        let mtu = u16::try_from(number).ok().filter(|mtu| MTU.contains(mtu)).ok_or(wrong)?;
        Ok(Step::then(Event::Mtu(mtu), Change::Nothing))
    }

    fn set_log_base(&self, area: LogArea, fd: OwnedFd) -> Result<Step, PeerMisbehaved> {
        let LogArea { size, offset } = area;
        check_area(Request::SetLogBase, size, offset, self.config.limits.log_bytes)?;
        Ok(Step::then(Event::LogBase { fd, area }, Change::Nothing))
    }

    fn get_inflight_fd(&self, wanted: Inflight) -> Result<Step, PeerMisbehaved> {
        self.check_shape(&wanted)?;
        let Inflight { queues, queue_size, .. } = wanted;
        Ok(Step::ask(Event::InflightWanted { queues, queue_size }, Question::Inflight(wanted)))
    }

    fn set_inflight_fd(&self, said: &Inflight, fd: OwnedFd) -> Result<Step, PeerMisbehaved> {
        let request = Request::SetInflightFd;
        self.check_shape(said)?;
        check_area(request, said.mmap_size, said.mmap_offset, INFLIGHT_BYTES_MAX)?;
        self.check_all_stopped(request)?;
        let memory = InflightMemory {
            fd,
            size: said.mmap_size,
            offset: said.mmap_offset,
            queues: said.queues,
            queue_size: said.queue_size,
        };
        Ok(Step::then(Event::Inflight(memory), Change::Inflight(said.queue_size)))
    }

    fn set_device_state_fd(&self, state: DeviceState, fd: OwnedFd) -> Result<Step, PeerMisbehaved> {
        let request = Request::SetDeviceStateFd;
        if state.direction > 1 || state.phase > 0 {
            let value = u64::from(state.direction.max(state.phase));
            return Err(PeerMisbehaved::Value { request, value });
        }
        self.check_all_stopped(request)?;
        Ok(Step::ask(Event::DeviceState(state, fd), Question::DeviceState))
    }

    fn check_shape(&self, inflight: &Inflight) -> Result<(), PeerMisbehaved> {
        let Inflight { queues, queue_size, .. } = *inflight;
        let limit = self.config.ring_size_limit();
        if (1..=self.config.ring_count()).contains(&queues) && (1..=limit).contains(&queue_size) {
            return Ok(());
        }
        Err(PeerMisbehaved::InflightShape { queues, queue_size })
    }

    fn check_all_stopped(&self, request: Request) -> Result<(), PeerMisbehaved> {
        if self.any_running() { Err(PeerMisbehaved::WhileRunning { request }) } else { Ok(()) }
    }
}

fn set_config(span: ConfigSpan, contents: Vec<u8>) -> Result<Step, PeerMisbehaved> {
    if span.flags > 1 {
        let (request, value) = (Request::SetConfig, u64::from(span.flags));
        return Err(PeerMisbehaved::Value { request, value });
    }
    Ok(Step::then(Event::ConfigWrite(span, contents), Change::Nothing))
}

fn check_area(request: Request, size: u64, offset: u64, limit: u64) -> Result<(), PeerMisbehaved> {
    if (1..=limit).contains(&size) && offset.checked_add(size).is_some() {
        return Ok(());
    }
    Err(PeerMisbehaved::FileArea { request, size, offset, limit })
}
