//! What is to be said, in order.

use super::{Agreed, FrontendConfig, MemoryOffer, Offer, RingSetup};
use crate::backend::RingBase;
use crate::wire::{
    ConfigSpan, Message, ProtocolFeatures, Request, VringAddress, VringFd, VringState, feature,
};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// The driver has noticed the device, knows how to drive it, and has agreed on features.
///
/// Spec: VIRTIO 1.3 §2.1.
const FEATURES_OK: u8 = 1 | 2 | 8;
/// As above, and drives it.
const DRIVER_OK: u8 = FEATURES_OK | 4;

/// The part of the configuration space that is read: address, status, pairs, MTU.
///
/// Spec: VIRTIO 1.3 §5.1.4.
pub(super) const CONFIG: ConfigSpan = ConfigSpan { offset: 0, size: 12, flags: 0 };

/// One thing to say.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) message: Message,
    pub(super) fd: Option<OwnedFd>,
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
        if config.queue_pairs > 1 && has_pairs(agreed) {
            self.ask(Request::GetQueueNum);
        }
        if tells_config(agreed) {
            self.answered(Message::GetConfig(CONFIG));
        }
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
        let MemoryOffer { region, fd } = offer.memory;
        self.say(Message::MemTable(vec![region]), Some(fd));
        let tells_mtu =
            features & feature::MTU != 0 && protocol.contains(ProtocolFeatures::NET_MTU);
        if let Some(mtu) = config.mtu.filter(|_| tells_mtu) {
            self.say(Message::Number(Request::NetSetMtu, mtu.into()), None);
        }
        let rings = u8::try_from(offer.rings.len()).unwrap_or(u8::MAX);
        let base = RingBase::start(features & feature::RING_PACKED != 0);
        for (index, ring) in (0..).zip(offer.rings) {
            self.set_up(index, ring, base);
        }
        if features & feature::PROTOCOL_FEATURES != 0 {
            for index in 0..rings {
                self.set_ring(Request::SetVringEnable, index, 1);
            }
        }
        if has_status {
            self.say(Message::Number(Request::SetStatus, DRIVER_OK.into()), None);
        }
        if !self.acks {
            self.ask(Request::GetFeatures);
        }
    }

    /// Everything that stops all rings.
    pub(super) fn stop(&mut self, agreed: &Agreed) {
        let rings = agreed.queue_pairs.saturating_mul(2);
        for index in 0..u32::from(rings) {
            let state = VringState { index, value: 0 };
            self.answered(Message::VringState(Request::GetVringBase, state));
        }
        if agreed.protocol_features.contains(ProtocolFeatures::STATUS) {
            self.say(Message::Number(Request::SetStatus, 0), None);
        }
    }

    /// The ring starts with its kick.
    fn set_up(&mut self, index: u8, ring: RingSetup, base: u32) {
        self.set_ring(Request::SetVringNum, index, ring.size.into());
        self.set_ring(Request::SetVringBase, index, base);
        let address = VringAddress {
            index: index.into(),
            log: false,
            descriptor_area: ring.descriptor_area,
            device_area: ring.device_area,
            driver_area: ring.driver_area,
            log_address: 0,
        };
        self.say(Message::VringAddress(address), None);
        self.set_fd(Request::SetVringCall, index, ring.call);
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
    fn say(&mut self, message: Message, fd: Option<OwnedFd>) {
        let reply = if self.acks { Wait::Ack } else { Wait::Nothing };
        self.lines.push_back(Line { message, fd, reply });
    }

    /// Says something that has no answer.
    fn plainly(&mut self, message: Message) {
        self.lines.push_back(Line { message, fd: None, reply: Wait::Nothing });
    }

    fn answered(&mut self, message: Message) {
        self.lines.push_back(Line { message, fd: None, reply: Wait::Answer });
    }
}

/// Whether more than one pair can be had: DPDK's devices want both bits.
fn has_pairs(agreed: &Agreed) -> bool {
    agreed.protocol_features.contains(ProtocolFeatures::MQ) && agreed.features & feature::MQ != 0
}

/// Whether the configuration space has something for us.
fn tells_config(agreed: &Agreed) -> bool {
    let tells = feature::MAC | feature::MTU;
    agreed.protocol_features.contains(ProtocolFeatures::CONFIG) && agreed.features & tells != 0
}
