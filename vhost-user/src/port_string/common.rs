//! What devices and drivers have in common.

use super::values::{OFFLOADS, SWITCH};
use crate::backend::RING_SIZE_MAX;
use crate::device::{DeviceConfig, Offloads, QUEUE_PAIRS_MAX};
use crate::driver::DriverConfig;
use ringport::port_string::{ItemError, ItemWriter, Items, POLICIES, choice, duration, number};
use ringport::shm::MemoryPolicy;
use std::fmt;
use std::time::Duration;

/// The settings that both roles have, in the configuration of one.
pub(super) struct Common<'c> {
    queue_pairs: &'c mut u16,
    ring_size: &'c mut u16,
    packed: &'c mut bool,
    in_order: &'c mut bool,
    mergeable: &'c mut bool,
    event_idx: &'c mut bool,
    control: &'c mut bool,
    offloads: &'c mut Offloads,
    mtu: &'c mut Option<u16>,
    policy: &'c mut MemoryPolicy,
    timeout: &'c mut Duration,
}

impl<'c> Common<'c> {
    pub(super) fn of_device(config: &'c mut DeviceConfig) -> Self {
        Self {
            queue_pairs: &mut config.queue_pairs,
            ring_size: &mut config.limits.ring_size,
            packed: &mut config.packed,
            in_order: &mut config.in_order,
            mergeable: &mut config.mergeable,
            event_idx: &mut config.event_idx,
            control: &mut config.control,
            offloads: &mut config.offloads,
            mtu: &mut config.mtu,
            policy: &mut config.policy,
            timeout: &mut config.answer_timeout,
        }
    }

    pub(super) fn of_driver(config: &'c mut DriverConfig) -> Self {
        Self {
            queue_pairs: &mut config.queue_pairs,
            ring_size: &mut config.ring_size,
            packed: &mut config.packed,
            in_order: &mut config.in_order,
            mergeable: &mut config.mergeable,
            event_idx: &mut config.event_idx,
            control: &mut config.control,
            offloads: &mut config.offloads,
            mtu: &mut config.mtu,
            policy: &mut config.policy,
            timeout: &mut config.timeout,
        }
    }

    /// Takes what the items say.
    pub(super) fn read(self, items: &Items<'_>) -> Result<(), ItemError> {
        let switch = |key, value: &str| choice(key, value, &SWITCH);
        items
            .set(self.queue_pairs, "queues", |key, value| number(key, value, 1, QUEUE_PAIRS_MAX))?;
        items
            .set(self.ring_size, "ring-size", |key, value| number(key, value, 2, RING_SIZE_MAX))?;
        items.set(self.packed, "packed", switch)?;
        items.set(self.in_order, "in-order", switch)?;
        items.set(self.mergeable, "mergeable", switch)?;
        items.set(self.event_idx, "event-idx", switch)?;
        items.set(self.control, "control", switch)?;
        items.set(self.offloads, "offload", |key, value| choice(key, value, &OFFLOADS))?;
        items.set(self.mtu, "mtu", |key, value| number(key, value, 68, u16::MAX).map(Some))?;
        items.set(self.policy, "policy", |key, value| choice(key, value, &POLICIES))?;
        items.set(self.timeout, "timeout", duration)
    }

    /// Writes what differs from `usual`.
    pub(super) fn show(&self, items: &mut ItemWriter<'_, '_>, usual: &Common<'_>) -> fmt::Result {
        items.item("queues", self.queue_pairs, usual.queue_pairs)?;
        items.item("ring-size", self.ring_size, usual.ring_size)?;
        let switches: [(_, &bool, &bool); 5] = [
            ("packed", self.packed, usual.packed),
            ("in-order", self.in_order, usual.in_order),
            ("mergeable", self.mergeable, usual.mergeable),
            ("event-idx", self.event_idx, usual.event_idx),
            ("control", self.control, usual.control),
        ];
        for (key, on, usually) in switches {
            items.word(key, on, usually, &SWITCH)?;
        }
        items.word("offload", self.offloads, usual.offloads, &OFFLOADS)?;
        if let Some(mtu) = *self.mtu {
            items.item("mtu", &mtu, &0)?;
        }
        items.word("policy", self.policy, usual.policy, &POLICIES)?;
        items.time("timeout", *self.timeout, *usual.timeout)
    }
}
