//! What the back-end's answers change.

use super::features::common_features;
use super::machine::{FrontendMachine, Phase};
use super::told::{CONFIG, Told};
use super::{PeerIncompatible, PeerMisbehaved};
use crate::error::ControlError;
use crate::wire::{Message, ProtocolFeatures, Reply, Request, VringState, feature};

/// Feature negotiation is complete.
///
/// Spec: VIRTIO 1.3 §2.1.
const STATUS_FEATURES_OK: u64 = 8;

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
                self.hear_protocol_features(ProtocolFeatures::from_bits(offered))
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
                self.agreed.told = Told::read(self.agreed.features, &contents);
                Ok(())
            }
            (Message::VringState(_, VringState { index, .. }), Reply::VringState(state))
                if *index == state.index =>
            {
                Ok(())
            }
            // Back-ends differ in what they say, and none says no.
            (Message::LogBase(_), Reply::Empty | Reply::Number(_)) => Ok(()),
            (Message::LogBase(asked), Reply::Log(area)) if *asked == area => Ok(()),
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
        self.logs = offered & feature::LOG_ALL != 0;
        self.agreed.features = common_features(wanted, offered);
        self.check_required()?;
        if self.agreed.features & feature::PROTOCOL_FEATURES == 0 {
            return self.hear_protocol_features(ProtocolFeatures::NONE);
        }
        self.script.ask(Request::GetProtocolFeatures);
        Ok(())
    }

    fn check_required(&self) -> Result<(), ControlError> {
        let bits = self.config.required_features & !self.agreed.features;
        if bits != 0 {
            return Err(PeerIncompatible::FeaturesMissing { bits }.into());
        }
        Ok(())
    }

    fn hear_protocol_features(&mut self, offered: ProtocolFeatures) -> Result<(), ControlError> {
        let common = self.config.protocol_features.bits() & offered.bits();
        let protocol = ProtocolFeatures::from_bits(common);
        self.agreed.protocol_features = protocol;
        // Nowhere else does the device say which address it has, and whether its link is up.
        if !protocol.contains(ProtocolFeatures::CONFIG) {
            let told = feature::MAC | feature::STATUS | feature::GUEST_ANNOUNCE;
            self.agreed.features &= !told;
            self.check_required()?;
        }
        if self.config.control_ring && self.agreed.features & feature::CTRL_VQ != 0 {
            // Unless there are several pairs.
            self.agreed.control_ring = Some(2);
        }
        self.script.set_acks(protocol.contains(ProtocolFeatures::REPLY_ACK));
        self.script.introduce(&self.config, &self.agreed);
        Ok(())
    }

    /// There are as many pairs as both sides have.
    fn hear_pairs(&mut self, pairs: u64) -> Result<(), ControlError> {
        if pairs == 0 {
            let request = Request::GetQueueNum;
            return Err(PeerMisbehaved::Value { request, value: pairs }.into());
        }
        let pairs = u16::try_from(pairs).unwrap_or(u16::MAX);
        if self.agreed.control_ring.is_some() {
            // Rings have 8 bits.
            self.agreed.control_ring = pairs.checked_mul(2).and_then(|ring| ring.try_into().ok());
        }
        self.agreed.queue_pairs = pairs.min(self.config.queue_pairs);
        Ok(())
    }
}
