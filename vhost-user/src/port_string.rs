//! Ports as text: `vhost:/run/vm.sock,role=device,queues=2`.
//!
//! After `vhost:` comes the socket's [address](ringport::socket::SocketAddress), then `key=value`
//! items, separated by commas. Neither an address nor a value can contain a comma.
//!
//! | key | value | default |
//! |---|---|---|
//! | `role` | `device`: the side that QEMU and DPDK's virtio_user connect to | (required) |
//! | `socket` | `listen`, or `connect` to a front-end that listens | `listen` |
//! | `queues` | pairs of queues, 1 to 128; the driver may use fewer | 1 |
//! | `ring-size` | most entries of a ring, 2 to 32768 | 32768 |
//! | `packed` | whether packed rings are offered: `on`, `off` | `on` |
//! | `in-order`, `mergeable`, `indirect`, `event-idx` | whether that is offered: `on`, `off` | `on` |
//! | `offload` | what packets may leave to be done: `none`, `checksum`, `segmentation` | `none` |
//! | `mac` | the driver's network address | its own |
//! | `mtu` | longest packet without its Ethernet header that the driver is told, 68 to 65535 | none |
//! | `rx-mode` | `polling`, `interrupt`, `adaptive` | `adaptive` |
//! | `policy` | memory that the peer could take back: `guarded`, refused (`sealed`), `trust` | `guarded` |
//! | `regions` | most memory regions, 1 to 512 | 32 |
//! | `timeout` | how long a change may wait for a burst, such as `500ms` or `5s` | `5s` |
//! | `reconnect` | with `socket=connect`: `never`, or first and longest wait such as `100ms-3s` | `100ms-3s` |
//! | `socket-mode` | with `socket=listen`: permissions of the socket file, octal | the umask's |
//! | `socket-uid`, `socket-gid` | with `socket=listen`: owner of the socket file, numbers | ours |

use crate::backend::RING_SIZE_MAX;
use crate::device::{DeviceConfig, Offloads, QUEUE_PAIRS_MAX, SocketRole};
use crate::error::ConfigError;
use crate::memory::GuestMemory;
use crate::port::{PortConfig, RoleConfig};
use crate::virtqueue::KickMode;
use ringport::port_string::{
    Choices, ItemError, ItemWriter, Items, Key, POLICIES, choice, duration, number,
};
use ringport::retry::Reconnect;
use ringport::socket::SocketOptions;
use std::fmt::{self, Display};
use std::str::FromStr;

/// What every port string of this crate starts with.
pub const SCHEME: &str = "vhost:";

const LISTEN: &str = "listen";
const CONNECT: &str = "connect";

/// Every key, and the side of the socket that it is for.
const KEYS: [Key; 20] = [
    ("role", None),
    ("socket", None),
    ("queues", None),
    ("ring-size", None),
    ("packed", None),
    ("in-order", None),
    ("mergeable", None),
    ("indirect", None),
    ("event-idx", None),
    ("offload", None),
    ("mac", None),
    ("mtu", None),
    ("rx-mode", None),
    ("policy", None),
    ("regions", None),
    ("timeout", None),
    ("reconnect", Some(CONNECT)),
    ("socket-mode", Some(LISTEN)),
    ("socket-uid", Some(LISTEN)),
    ("socket-gid", Some(LISTEN)),
];

const ROLES: Choices<(), 1> = ([("device", ())], "device");
const SIDES: Choices<bool, 2> = ([(LISTEN, true), (CONNECT, false)], "listen or connect");
const SWITCH: Choices<bool, 2> = ([("on", true), ("off", false)], "on or off");
const OFFLOADS: Choices<Offloads, 3> = (
    [
        ("none", Offloads::None),
        ("checksum", Offloads::Checksum),
        ("segmentation", Offloads::Segmentation),
    ],
    "none, checksum or segmentation",
);
const RX_MODES: Choices<KickMode, 3> = (
    [
        ("polling", KickMode::Polling),
        ("interrupt", KickMode::Interrupt),
        ("adaptive", KickMode::Adaptive),
    ],
    "polling, interrupt or adaptive",
);

impl FromStr for PortConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| ConfigError::NotVhost { given: text.to_owned() })?;
        let (address, items) = rest.split_once(',').unwrap_or((rest, ""));
        let address = address.parse()?;
        let items = Items::parse(items, &KEYS)?;
        items.required("role", ROLES.1, |key, value| choice(key, value, &ROLES))?;
        let (socket, role) = (socket(&items)?, RoleConfig::Device(device(&items)?));
        Self { address, socket, role }.check()
    }
}

fn socket(items: &Items<'_>) -> Result<SocketRole, ItemError> {
    let mut listens = true;
    items.set(&mut listens, "socket", |key, value| choice(key, value, &SIDES))?;
    items.check_role("socket", if listens { LISTEN } else { CONNECT })?;
    if listens {
        let mut options = SocketOptions::default();
        items.socket(&mut options)?;
        return Ok(SocketRole::Listen(options));
    }
    let mut reconnect = Reconnect::default();
    items.reconnect(&mut reconnect)?;
    Ok(SocketRole::Connect(reconnect))
}

fn device(items: &Items<'_>) -> Result<DeviceConfig, ItemError> {
    let mut config = DeviceConfig::default();
    let switch = |key, value: &str| choice(key, value, &SWITCH);
    items.set(&mut config.queue_pairs, "queues", |key, value| {
        number(key, value, 1, QUEUE_PAIRS_MAX)
    })?;
    items.set(&mut config.packed, "packed", switch)?;
    items.set(&mut config.in_order, "in-order", switch)?;
    items.set(&mut config.mergeable, "mergeable", switch)?;
    items.set(&mut config.indirect, "indirect", switch)?;
    items.set(&mut config.event_idx, "event-idx", switch)?;
    items.set(&mut config.offloads, "offload", |key, value| choice(key, value, &OFFLOADS))?;
    items.set(&mut config.mac, "mac", |key, value| mac(key, value).map(Some))?;
    items.set(&mut config.mtu, "mtu", |key, value| number(key, value, 68, u16::MAX).map(Some))?;
    items.set(&mut config.kicks, "rx-mode", |key, value| choice(key, value, &RX_MODES))?;
    items.set(&mut config.policy, "policy", |key, value| choice(key, value, &POLICIES))?;
    items.set(&mut config.answer_timeout, "timeout", duration)?;
    let limits = &mut config.limits;
    items.set(&mut limits.ring_size, "ring-size", |key, value| {
        number(key, value, 2, RING_SIZE_MAX)
    })?;
    let most = u16::try_from(GuestMemory::REGIONS_MAX).unwrap_or(u16::MAX);
    items.set(&mut limits.regions, "regions", |key, value| number(key, value, 1, most))?;
    Ok(config)
}

/// Six bytes in hexadecimal, separated by colons; not a group's.
fn mac(key: &'static str, value: &str) -> Result<[u8; 6], ItemError> {
    let bad =
        || ItemError::bad(key, value, "an address of one interface such as 02:00:00:00:00:01");
    let bytes = value.split(':').map(|byte| u8::from_str_radix(byte, 16).ok());
    let bytes = bytes.collect::<Option<Vec<_>>>().ok_or_else(bad)?;
    let mac: [u8; 6] = bytes.try_into().map_err(|_| bad())?;
    if mac[0] & 1 != 0 || mac == [0; 6] { Err(bad()) } else { Ok(mac) }
}

/// The port string; settings at their default are left out.
impl Display for PortConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RoleConfig::Device(device) = &self.role;
        write!(f, "{SCHEME}{},role=device", self.address)?;
        let mut items = ItemWriter(f);
        match &self.socket {
            SocketRole::Listen(options) => items.socket(options)?,
            SocketRole::Connect(reconnect) => {
                items.word("socket", &false, &true, &SIDES)?;
                items.reconnect(*reconnect, Reconnect::default())?;
            }
        }
        show(&mut items, device)
    }
}

fn show(items: &mut ItemWriter<'_, '_>, device: &DeviceConfig) -> fmt::Result {
    let usual = DeviceConfig::default();
    items.item("queues", &device.queue_pairs, &usual.queue_pairs)?;
    items.item("ring-size", &device.limits.ring_size, &usual.limits.ring_size)?;
    for (key, on) in [
        ("packed", device.packed),
        ("in-order", device.in_order),
        ("mergeable", device.mergeable),
        ("indirect", device.indirect),
        ("event-idx", device.event_idx),
    ] {
        items.word(key, &on, &true, &SWITCH)?;
    }
    items.word("offload", &device.offloads, &usual.offloads, &OFFLOADS)?;
    if let Some([a, b, c, d, e, f]) = device.mac {
        write!(items.0, ",mac={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")?;
    }
    if let Some(mtu) = device.mtu {
        write!(items.0, ",mtu={mtu}")?;
    }
    items.word("rx-mode", &device.kicks, &usual.kicks, &RX_MODES)?;
    items.word("policy", &device.policy, &usual.policy, &POLICIES)?;
    items.item("regions", &device.limits.regions, &usual.limits.regions)?;
    items.time("timeout", device.answer_timeout, usual.answer_timeout)
}

#[cfg(test)]
mod tests;
