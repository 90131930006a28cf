//! What the back-end's answers change.

use super::features::common;
use super::machine::{FrontendMachine, Phase};
use super::script::CONFIG;
use super::{PeerIncompatible, PeerMisbehaved};
use crate::error::ControlError;
use crate::wire::{Message, ProtocolFeatures, Reply, Request, VringState, feature};
use std::ops::RangeInclusive;

/// Feature negotiation is complete.
///
/// Spec: VIRTIO 1.3 §2.1.
const STATUS_FEATURES_OK: u64 = 8;

/// Spec: VIRTIO 1.3 §5.1.4.1.
const MTU: RangeInclusive<u16> = 68..=65535;

impl FrontendMachine {
    /// Takes the answer to `asked`.
    pub(super) fn hear(&mut self, asked: &Message, reply: Reply) -> Result<(), ControlError> {
        let request = asked.request();
        match (asked, reply) {
            (Message::Plain(Request::GetFeatures), Reply::Number(offered)) => {
                // The last question is the first again, and asked for the sake of the answer.
                if self.phase == Phase::Negotiating { self.hear_features(offered) } else { Ok(()) }
            }
            (Message::Plain(Request::GetProtocolFeatures), Reply::Number(offered)) => {
                self.hear_protocol_features(ProtocolFeatures::from_bits(offered));
                Ok(())
            }
            (Message::Plain(Request::GetQueueNum), Reply::Number(pairs)) => self.hear_pairs(pairs),
            (Message::Plain(Request::GetStatus), Reply::Number(status)) => {
                let bits = self.agreed.features;
                if status & STATUS_FEATURES_OK == 0 {
                    return Err(PeerIncompatible::FeaturesNotAccepted { bits }.into());
                }
                Ok(())
            }
            // It has nothing to tell.
            (Message::GetConfig(_), Reply::Empty) => Ok(()),
            (Message::GetConfig(_), Reply::Config(span, contents)) if span == CONFIG => {
                self.hear_config(&contents);
                Ok(())
            }
            (Message::VringState(_, VringState { index, .. }), Reply::VringState(state))
                if *index == state.index =>
            {
                Ok(())
            }
            (Message::GetConfig(_), _) | (_, Reply::VringState(_)) => {
                Err(PeerMisbehaved::OtherReply { request }.into())
            }
            (_, Reply::Number(0)) => Ok(()),
            (_, Reply::Number(code)) => Err(ControlError::Refused { request, code }),
            _ => Err(PeerMisbehaved::OtherReply { request }.into()),
        }
    }

    fn hear_features(&mut self, offered: u64) -> Result<(), ControlError> {
        let mut wanted = self.config.features | self.config.required_features;
        if !self.config.protocol_features.is_empty() {
            wanted |= feature::PROTOCOL_FEATURES;
        }
        let features = common(wanted, offered);
        let bits = self.config.required_features & !features;
        if bits != 0 {
            return Err(PeerIncompatible::FeaturesMissing { bits }.into());
        }
        self.agreed.features = features;
        if features & feature::PROTOCOL_FEATURES != 0 {
            self.script.ask(Request::GetProtocolFeatures);
        } else {
            self.hear_protocol_features(ProtocolFeatures::NONE);
        }
        Ok(())
    }

    fn hear_protocol_features(&mut self, offered: ProtocolFeatures) {
        let common = self.config.protocol_features.bits() & offered.bits();
        let protocol = ProtocolFeatures::from_bits(common);
        self.agreed.protocol_features = protocol;
        // Nowhere else does the device say which address it has.
        if !protocol.contains(ProtocolFeatures::CONFIG) {
            self.agreed.features &= !feature::MAC;
        }
        self.script.set_acks(protocol.contains(ProtocolFeatures::REPLY_ACK));
        self.script.introduce(&self.config, &self.agreed);
    }

    /// There are as many pairs as both sides have.
    fn hear_pairs(&mut self, pairs: u64) -> Result<(), ControlError> {
        if pairs == 0 {
            let request = Request::GetQueueNum;
            return Err(PeerMisbehaved::Value { request, value: pairs }.into());
        }
        let pairs = u16::try_from(pairs).unwrap_or(u16::MAX);
        self.agreed.queue_pairs = pairs.min(self.config.queue_pairs);
        Ok(())
    }

    /// Address 0:6, status 6:2, pairs 8:2, MTU 10:2, the numbers little-endian. What makes no sense is
    /// as good as nothing.
    fn hear_config(&mut self, contents: &[u8]) {
        let has = |bit| self.agreed.features & bit != 0;
        let mac = contents.first_chunk().copied().filter(|mac: &[u8; 6]| {
            has(feature::MAC) && mac.first().is_some_and(|byte| byte & 1 == 0) && *mac != [0; 6]
        });
        let mtu = contents.last_chunk().map(|bytes| u16::from_le_bytes(*bytes));
        let mtu = mtu.filter(|mtu| has(feature::MTU) && MTU.contains(mtu));
        (self.agreed.mac, self.agreed.mtu) = (mac, mtu);
    }
}
