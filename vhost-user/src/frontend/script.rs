//! What is to be said, in order.

use super::told::{CONFIG, TELLS};
use super::{Agreed, FrontendConfig, Offer, RingSetup};
use crate::backend::RingBase;
use crate::wire::{Message, ProtocolFeatures, Request, VringFd, VringState, feature};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// The driver has noticed the device, knows how to drive it, and has agreed on features.
///
/// Spec: VIRTIO 1.3 §2.1.
const FEATURES_OK: u8 = 1 | 2 | 8;
/// As above, and drives it.
const DRIVER_OK: u8 = FEATURES_OK | 4;

/// One thing to say.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) message: Message,
    pub(super) fds: Vec<OwnedFd>,
    pub(super) reply: Wait,
}

/// What a request is followed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// The next one.
    Nothing,
    /// An acknowledgement, which is asked for.
    Ack,
    /// An answer of its own.
    Answer,
}

/// Where a ring lies: front-end addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct RingPlace {
    pub(super) index: u8,
    pub(super) descriptor_area: u64,
    pub(super) driver_area: u64,
    pub(super) device_area: u64,
}

/// Lines not yet said.
#[derive(Debug, Default)]
pub(super) struct Script {
    lines: VecDeque<Line>,
    acks: bool,
}

impl Script {
    /// Whether requests ask for acknowledgements from now on.
    pub(super) fn set_acks(&mut self, acks: bool) {
        self.acks = acks;
    }

    pub(super) fn next(&mut self) -> Option<Line> {
        self.lines.pop_front()
    }

    /// The request that comes next.
    pub(super) fn upcoming(&self) -> Option<Request> {
        self.lines.front().map(|line| line.message.request())
    }

    /// Whether an answer is still to come for something that was not said yet.
    pub(super) fn will_wait(&self) -> bool {
        self.lines.iter().any(|line| line.reply != Wait::Nothing)
    }

    pub(super) fn clear(&mut self) {
        self.lines.clear();
    }

    pub(super) fn ask(&mut self, request: Request) {
        self.answered(Message::Plain(request));
    }

    /// What follows the back-end's protocol features; `agreed` has those in common.
    pub(super) fn introduce(&mut self, config: &FrontendConfig, agreed: &Agreed) {
        let (features, protocol) = (agreed.features, agreed.protocol_features);
        if features & feature::PROTOCOL_FEATURES != 0 {
            self.plainly(Message::Number(Request::SetProtocolFeatures, protocol.bits()));
        }
        self.plainly(Message::Plain(Request::SetOwner));
        if (config.queue_pairs > 1 || config.control_ring) && has_pairs(agreed) {
            self.ask(Request::GetQueueNum);
        }
        if tells_config(agreed) {
            self.read_config();
        }
    }

    /// Reads the configuration space.
    pub(super) fn read_config(&mut self) {
        self.answered(Message::GetConfig(CONFIG));
    }

    /// Enables the first `enabled` pairs of `pairs`, and no others.
    pub(super) fn enable_pairs(&mut self, pairs: u16, enabled: u16) {
        for index in (0..=u8::MAX).take(2 * usize::from(pairs)) {
            let on = u16::from(index) / 2 < enabled;
            self.set_ring(Request::SetVringEnable, index, on.into());
        }
        self.sync();
    }

    /// Everything from SET_FEATURES to rings that run.
    pub(super) fn start(&mut self, config: &FrontendConfig, agreed: &Agreed, offer: Offer) {
        let (features, protocol) = (agreed.features, agreed.protocol_features);
        let has_status = protocol.contains(ProtocolFeatures::STATUS);
        self.say(Message::Number(Request::SetFeatures, features), None);
        if has_status {
            self.say(Message::Number(Request::SetStatus, FEATURES_OK.into()), None);
            self.ask(Request::GetStatus);
        }
        let has_channel = protocol.contains(ProtocolFeatures::BACKEND_REQ);
        if let Some(channel) = offer.channel.filter(|_| has_channel) {
            self.say(Message::Plain(Request::SetBackendReqFd), Some(channel));
        }
        let (control, control_ring) = offer.control.map(|it| (it.memory, it.ring)).unzip();
        let memory = offer.memory.into_iter().chain(control);
        let (regions, fds): (_, Vec<_>) = memory.map(|it| (it.region, it.fd)).unzip();
        self.say(Message::MemTable(regions), fds);
        let tells_mtu =
            features & feature::MTU != 0 && protocol.contains(ProtocolFeatures::NET_MTU);
        if let Some(mtu) = config.mtu.filter(|_| tells_mtu) {
            self.say(Message::Number(Request::NetSetMtu, mtu.into()), None);
        }
        let rings = offer.rings.len();
        let base = RingBase::start(features & feature::RING_PACKED != 0);
        for (index, ring) in (0..=u8::MAX).zip(offer.rings) {
            self.set_up(index, ring, base);
        }
        let control = agreed.control_ring.zip(control_ring);
        let control_index = control.as_ref().map(|(index, _)| *index);
        if let Some((index, ring)) = control {
            self.set_up(index, ring, base);
        }
        if features & feature::PROTOCOL_FEATURES != 0 {
            for index in (0..=u8::MAX).take(rings).chain(control_index) {
                self.set_ring(Request::SetVringEnable, index, 1);
            }
        }
        if has_status {
            self.say(Message::Number(Request::SetStatus, DRIVER_OK.into()), None);
        }
        self.sync();
    }

    /// Makes sure that an answer follows all that was said.
    pub(super) fn sync(&mut self) {
        if !self.acks {
            self.ask(Request::GetFeatures);
        }
    }

    /// Everything that stops all rings.
    pub(super) fn stop(&mut self, agreed: &Agreed) {
        let rings = agreed.queue_pairs.saturating_mul(2);
        let control = agreed.control_ring.map(u32::from);
        for index in (0..u32::from(rings)).chain(control) {
            let state = VringState { index, value: 0 };
            self.answered(Message::VringState(Request::GetVringBase, state));
        }
        if agreed.protocol_features.contains(ProtocolFeatures::STATUS) {
            self.say(Message::Number(Request::SetStatus, 0), None);
        }
    }

    /// The ring starts with its kick. Its call comes first: VPP has two rings until it is given the
    /// call of another one, and ends the conversation at whatever else is said of that.
    fn set_up(&mut self, index: u8, ring: RingSetup, base: u32) {
        let place = RingPlace::of(index, &ring);
        self.set_fd(Request::SetVringCall, index, ring.call);
        self.set_ring(Request::SetVringNum, index, ring.size.into());
        self.set_ring(Request::SetVringBase, index, base);
        self.say(Message::VringAddress(place.address(None)), None);
        if ring.err.is_some() {
            self.set_fd(Request::SetVringErr, index, ring.err);
        }
        self.set_fd(Request::SetVringKick, index, ring.kick);
    }

    fn set_ring(&mut self, request: Request, index: u8, value: u32) {
        let state = VringState { index: index.into(), value };
        self.say(Message::VringState(request, state), None);
    }

    fn set_fd(&mut self, request: Request, index: u8, fd: Option<OwnedFd>) {
        let bell = VringFd { index, no_fd: fd.is_none() };
        self.say(Message::VringFd(request, bell), fd);
    }

    /// Says something that may fail.
    pub(super) fn say(&mut self, message: Message, fds: impl IntoIterator<Item = OwnedFd>) {
        let reply = if self.acks { Wait::Ack } else { Wait::Nothing };
        self.lines.push_back(Line { message, fds: fds.into_iter().collect(), reply });
    }

    /// Says something that has no answer.
    fn plainly(&mut self, message: Message) {
        self.lines.push_back(Line { message, fds: Vec::new(), reply: Wait::Nothing });
    }

    fn answered(&mut self, message: Message) {
        self.answered_with(message, []);
    }

    pub(super) fn answered_with(
        &mut self,
        message: Message,
        fds: impl IntoIterator<Item = OwnedFd>,
    ) {
        self.lines.push_back(Line { message, fds: fds.into_iter().collect(), reply: Wait::Answer });
    }
}

impl RingPlace {
    pub(super) fn of(index: u8, ring: &RingSetup) -> Self {
        let &RingSetup { descriptor_area, driver_area, device_area, .. } = ring;
        Self { index, descriptor_area, driver_area, device_area }
    }
}

/// Whether more than one pair can be had: DPDK's devices want both bits.
fn has_pairs(agreed: &Agreed) -> bool {
    agreed.protocol_features.contains(ProtocolFeatures::MQ) && agreed.features & feature::MQ != 0
}

/// Whether the configuration space has something for us.
pub(super) fn tells_config(agreed: &Agreed) -> bool {
    agreed.protocol_features.contains(ProtocolFeatures::CONFIG) && agreed.features & TELLS != 0
}
