//! Ports as text: `vhost:/run/vm.sock,role=device,queues=2`.
//!
//! After `vhost:` comes the socket's [address](ringport::socket::SocketAddress), then `key=value`
//! items, separated by commas. Neither an address nor a value can contain a comma.
//!
//! | key | role | value | default |
//! |---|---|---|---|
//! | `role` | | `device`: the side that QEMU and DPDK's virtio_user connect to; `driver`: the side of a switch's `dpdkvhostuserclient` port, or of DPDK's net_vhost | (required) |
//! | `socket` | both | `listen`, or `connect` to a peer that listens | `listen` |
//! | `queues` | both | pairs of queues, 1 to 128; the peer may use fewer | 1 |
//! | `ring-size` | both | entries of a ring, 2 to 32768: of a device the most; of a driver a power of two where rings are not packed | device 32768, driver 1024 |
//! | `packed` | both | whether packed rings are used where both sides have them: `on`, `off` | `on` |
//! | `in-order`, `mergeable`, `event-idx` | both | the same of that: `on`, `off` | `on` |
//! | `control` | both | whether the control queue is a ring of the device's, and is used; with at most 127 pairs: `on`, `off` | `off` |
//! | `offload` | both | what packets may leave to be done: `none`, `checksum`, `segmentation` | `none` |
//! | `mtu` | both | longest packet without its Ethernet header that the peer is told, 68 to 65535 | none |
//! | `rx-mode` | both | `polling`, `interrupt`, `adaptive` | `adaptive` |
//! | `policy` | both | memory that the peer could take back: `guarded`, refused (`sealed`), `trust` | `guarded` |
//! | `timeout` | both | such as `500ms` or `5s`: of a device, how long a change may wait for a burst, and a message for its end; of a driver, how long its device may take to start or stop | `5s` |
//! | `indirect` | device | whether descriptors may be in tables outside the ring: `on`, `off` | `on` |
//! | `mac` | device | the driver's network address | its own |
//! | `regions` | device | most memory regions, 1 to 512 | 32 |
//! | `buffer-size` | driver | bytes of a packet that a buffer holds, 64 to 65536 | 2048 |
//! | `memory` | driver | `pages`, `hugepages` | `pages` |
//! | `keep-features` | driver | whether a device that comes later has to have all features of the first link: `on`, `off` | `off` |
//! | `reconnect` | both | with `socket=connect`: `never`, or first and longest wait such as `100ms-3s` | `100ms-3s` |
//! | `socket-mode` | both | with `socket=listen`: permissions of the socket file, octal | the umask's |
//! | `socket-uid`, `socket-gid` | both | with `socket=listen`: owner of the socket file, numbers | ours |

mod common;
mod show;
mod values;

use crate::device::{DeviceConfig, SocketRole};
use crate::driver::{BUFFER_SIZE_MAX, BUFFER_SIZE_MIN, DriverConfig};
use crate::error::ConfigError;
use crate::memory::GuestMemory;
use crate::port::{PortConfig, RoleConfig};
use common::Common;
use ringport::port_string::{ItemError, Items, Key, choice, mac, number};
use ringport::retry::Reconnect;
use ringport::socket::SocketOptions;
use std::str::FromStr;
use values::{KICK_MODES, ROLES, Role, SIDES};

pub use values::{BACKINGS, CALL_MODES, OFFLOADS, SWITCH};

/// What every port string of this crate starts with.
pub const SCHEME: &str = "vhost:";

const LISTEN: &str = "listen";
const CONNECT: &str = "connect";

/// Every key, and the side of the socket that it is for.
const KEYS: [Key; 24] = [
    ("role", None),
    ("socket", None),
    ("queues", None),
    ("ring-size", None),
    ("packed", None),
    ("in-order", None),
    ("mergeable", None),
    ("event-idx", None),
    ("control", None),
    ("offload", None),
    ("mtu", None),
    ("rx-mode", None),
    ("policy", None),
    ("timeout", None),
    ("indirect", None),
    ("mac", None),
    ("regions", None),
    ("buffer-size", None),
    ("memory", None),
    ("keep-features", None),
    ("reconnect", Some(CONNECT)),
    ("socket-mode", Some(LISTEN)),
    ("socket-uid", Some(LISTEN)),
    ("socket-gid", Some(LISTEN)),
];

const DEVICE_KEYS: [&str; 3] = ["indirect", "mac", "regions"];
const DRIVER_KEYS: [&str; 3] = ["buffer-size", "memory", "keep-features"];

impl FromStr for PortConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| ConfigError::NotVhost { given: text.to_owned() })?;
        let (address, items) = rest.split_once(',').unwrap_or((rest, ""));
        let address = address.parse()?;
        let items = Items::parse(items, &KEYS)?;
        let role = items.required("role", ROLES.1, |key, value| choice(key, value, &ROLES))?;
        let socket = socket(&items)?;
        let role = match role {
            Role::Device => RoleConfig::Device(device(&items)?),
            Role::Driver => RoleConfig::Driver(driver(&items)?),
        };
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
    items.refuse(&DRIVER_KEYS, "role", "device")?;
    let mut config = DeviceConfig::default();
    Common::of_device(&mut config).read(items)?;
    items.set(&mut config.kicks, "rx-mode", |key, value| choice(key, value, &KICK_MODES))?;
    items.set(&mut config.indirect, "indirect", |key, value| choice(key, value, &SWITCH))?;
    items.set(&mut config.mac, "mac", |key, value| mac(key, value).map(Some))?;
    let most = u16::try_from(GuestMemory::REGIONS_MAX).unwrap_or(u16::MAX);
    items.set(&mut config.limits.regions, "regions", |key, value| number(key, value, 1, most))?;
    Ok(config)
}

fn driver(items: &Items<'_>) -> Result<DriverConfig, ItemError> {
    items.refuse(&DEVICE_KEYS, "role", "driver")?;
    let mut config = DriverConfig::default();
    Common::of_driver(&mut config).read(items)?;
    items.set(&mut config.calls, "rx-mode", |key, value| choice(key, value, &CALL_MODES))?;
    items.set(&mut config.buffer_size, "buffer-size", |key, value| {
        number(key, value, BUFFER_SIZE_MIN, BUFFER_SIZE_MAX)
    })?;
    items.set(&mut config.backing, "memory", |key, value| choice(key, value, &BACKINGS))?;
    items.set(&mut config.keep_features, "keep-features", |key, value| {
        choice(key, value, &SWITCH)
    })?;
    Ok(config)
}

#[cfg(test)]
mod tests;
