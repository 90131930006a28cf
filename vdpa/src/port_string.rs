//! Ports as text: `vdpa:/dev/vhost-vdpa-0,ring-size=256`, `vdpa:0000:83:00.2`.
//!
//! After `vdpa:` comes the [device](crate::name::DeviceName): the node of a vhost-vdpa device, or the PCI
//! address of a function that has one or is under vfio-pci. Then `key=value` items, separated by commas.
//! Neither a path nor a value can contain a comma. Keys mean what they mean in port strings of
//! [vhost-user](ringport_vhost_user::port_string).
//!
//! | key | value | default |
//! |---|---|---|
//! | `ring-size` | most entries of a ring, a power of two from 2 to 32768; the device may have fewer | 1024 |
//! | `packed` | whether packed rings are used where the device has them: `on`, `off` | `on` |
//! | `in-order`, `mergeable`, `event-idx` | the same of that: `on`, `off` | `on` |
//! | `offload` | what packets may leave to be done: `none`, `checksum`, `segmentation` | `none` |
//! | `rx-mode` | `polling`, `interrupt`, `adaptive` | `adaptive` |
//! | `buffer-size` | bytes of a packet that a buffer holds, 64 to 65536 | 2048 |
//! | `memory` | `pages`, `hugepages` | `pages` |
//! | `policy` | memory that the device could take back: `guarded`, refused (`sealed`), `trust` | `guarded` |
//! | `reconnect` | when there is no device, or no more: `never`, or first and longest wait such as `100ms-3s` | `100ms-3s` |

use crate::port::{ConfigError, PortConfig};
use ringport::port_string::{ItemWriter, Items, Key, POLICIES, choice, number};
use ringport::retry::Reconnect;
use ringport_vhost_user::backend::RING_SIZE_MAX;
use ringport_vhost_user::driver::{BUFFER_SIZE_MAX, BUFFER_SIZE_MIN};
use ringport_vhost_user::port_string::{BACKINGS, CALL_MODES, OFFLOADS, SWITCH};
use std::fmt::{self, Display};
use std::str::FromStr;

/// What every port string of this crate starts with.
pub const SCHEME: &str = "vdpa:";

const KEYS: [Key; 11] = [
    ("ring-size", None),
    ("packed", None),
    ("in-order", None),
    ("mergeable", None),
    ("event-idx", None),
    ("offload", None),
    ("rx-mode", None),
    ("buffer-size", None),
    ("memory", None),
    ("policy", None),
    ("reconnect", None),
];

impl FromStr for PortConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| ConfigError::NotVdpa { given: text.to_owned() })?;
        let (device, items) = rest.split_once(',').unwrap_or((rest, ""));
        let mut config = Self::new(device.parse()?);
        let items = Items::parse(items, &KEYS)?;
        let switch = |key, value: &str| choice(key, value, &SWITCH);
        items.set(&mut config.ring_size, "ring-size", |key, value| {
            number(key, value, 2, RING_SIZE_MAX)
        })?;
        items.set(&mut config.packed, "packed", switch)?;
        items.set(&mut config.in_order, "in-order", switch)?;
        items.set(&mut config.mergeable, "mergeable", switch)?;
        items.set(&mut config.event_idx, "event-idx", switch)?;
        items.set(&mut config.offloads, "offload", |key, value| choice(key, value, &OFFLOADS))?;
        items.set(&mut config.calls, "rx-mode", |key, value| choice(key, value, &CALL_MODES))?;
        items.set(&mut config.buffer_size, "buffer-size", |key, value| {
            number(key, value, BUFFER_SIZE_MIN, BUFFER_SIZE_MAX)
        })?;
        items.set(&mut config.backing, "memory", |key, value| choice(key, value, &BACKINGS))?;
        items.set(&mut config.policy, "policy", |key, value| choice(key, value, &POLICIES))?;
        items.reconnect(&mut config.reconnect)?;
        config.check()?;
        Ok(config)
    }
}

/// The port string; settings at their default are left out.
impl Display for PortConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.device)?;
        let usual = Self::new(self.device.clone());
        let mut items = ItemWriter(f);
        items.item("ring-size", &self.ring_size, &usual.ring_size)?;
        let switches = [
            ("packed", self.packed, usual.packed),
            ("in-order", self.in_order, usual.in_order),
            ("mergeable", self.mergeable, usual.mergeable),
            ("event-idx", self.event_idx, usual.event_idx),
        ];
        for (key, on, usually) in switches {
            items.word(key, &on, &usually, &SWITCH)?;
        }
        items.word("offload", &self.offloads, &usual.offloads, &OFFLOADS)?;
        items.word("rx-mode", &self.calls, &usual.calls, &CALL_MODES)?;
        items.item("buffer-size", &self.buffer_size, &usual.buffer_size)?;
        items.word("memory", &self.backing, &usual.backing, &BACKINGS)?;
        items.word("policy", &self.policy, &usual.policy, &POLICIES)?;
        items.reconnect(self.reconnect, Reconnect::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::DeviceName;
    use ringport::shm::{Backing, MemoryPolicy};
    use ringport_vhost_user::driver::{CallMode, Offloads};
    use std::time::Duration;

    const ALL: &str = "vdpa:/dev/vhost-vdpa-0,ring-size=256,packed=off,in-order=off,mergeable=off,event-idx=off,\
        offload=segmentation,rx-mode=polling,buffer-size=9216,memory=hugepages,policy=trust,reconnect=50ms-2s";

    #[track_caller]
    fn parse(text: &str) -> PortConfig {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check_error(text: &str, message: &str) {
        assert_eq!(text.parse::<PortConfig>().unwrap_err().to_string(), message);
    }

    #[test]
    fn port_takes_every_key() {
        let config = parse(ALL);
        assert_eq!(config.device, DeviceName::Node("/dev/vhost-vdpa-0".to_owned()));
        assert_eq!((config.ring_size, config.buffer_size), (256, 9216));
        let on = [config.packed, config.in_order, config.mergeable, config.event_idx];
        assert_eq!(on, [false; 4]);
        assert_eq!((config.offloads, config.calls), (Offloads::Segmentation, CallMode::Polling));
        assert_eq!((config.backing, config.policy), (Backing::HugePages2M, MemoryPolicy::Trust));
        let [initial, max] = [50, 2000].map(Duration::from_millis);
        assert_eq!(config.reconnect, Reconnect::Backoff { initial, max });
        assert_eq!(ALL.matches('=').count(), KEYS.len());
    }

    #[test]
    fn shown_port_reads_as_the_same_port() {
        for text in [
            ALL,
            "vdpa:/dev/vhost-vdpa-0",
            "vdpa:0000:83:00.2",
            "vdpa:0000:83:00.2,reconnect=never",
        ] {
            assert_eq!(parse(text).to_string(), text);
        }
        assert_eq!(parse("vdpa:83:00.2,packed=on").to_string(), "vdpa:0000:83:00.2");
    }

    #[test]
    fn mistakes_are_named_with_key_value_and_what_is_expected() {
        check_error("vhost:/a", "port string \"vhost:/a\" does not start with \"vdpa:\"");
        check_error(
            "vdpa:vdpa0",
            "\"vdpa0\" is no PCI address, such as 0000:82:00.2: it has no dot before a function, or a node, \
             such as /dev/vhost-vdpa-0",
        );
        check_error("vdpa:/a,packed=yes", "packed=yes: expected on or off");
        check_error("vdpa:/a,ring-size=1", "ring-size=1 is out of range 2 to 32768");
        check_error("vdpa:/a,ring-size=1000", "ring-size=1000: expected a power of two");
        check_error("vdpa:/a,buffer-size=63", "buffer-size=63 is out of range 64 to 65536");
        check_error("vdpa:/a,role=driver", "unknown key \"role\"");
        check_error("vdpa:/a,packed", "\"packed\" is not key=value");
    }
}
