//! Ports as text: `memif:/run/vpp/memif.sock,role=client,id=0`.
//!
//! After `memif:` comes the socket's [address](crate::SocketAddress), then `key=value` items, separated by
//! commas. Neither an address nor a value can contain a comma.
//!
//! | key | role | value | default |
//! |---|---|---|---|
//! | `role` | | `server`, `client` | (required) |
//! | `id` | both | number of the interface | 0 |
//! | `secret` | both | up to 23 bytes | none |
//! | `mode` | both | `ethernet`, `ip` | `ethernet` |
//! | `name` | both | our application's name | `ringport` and its version |
//! | `if-name` | both | our name of the interface | `memif` and the id |
//! | `rings` | both | rings each way: of a client what it wants, of a server the most that it takes | client 1, server 255 |
//! | `c2s`, `s2c` | both | the same for one direction | `rings` |
//! | `ring-size` | both | descriptors in a ring, a power of two from 2 to 16384; of a server the most | client 1024, server 16384 |
//! | `log2-ring-size` | both | the same as base-2 logarithm | |
//! | `cache-line` | both | `64`, `128`: layout of the rings | client 64, server: found out |
//! | `rx-mode` | both | `polling`, `interrupt`, `adaptive` | `adaptive` |
//! | `chain-max` | both | most descriptors of one packet | 256 |
//! | `policy` | both | memory that the peer could take back: `guarded`, refused (`sealed`), `trust` | `guarded` |
//! | `timeout` | both | time for a handshake, such as `500ms` or `5s` | `5s` |
//! | `buffer-size` | client | bytes | 2048 |
//! | `headroom` | client | bytes left free in front of each received packet | 0 |
//! | `spacing` | client | distance of buffers: `staggered` over the cache, `packed` back to back | `staggered` |
//! | `memory` | client | `pages`, `hugepages` | `pages` |
//! | `reconnect` | client | `never`, or first and longest wait such as `100ms-3s` | `100ms-3s` |
//! | `pending-max` | server | most clients in their handshake at one time | 16 |
//! | `socket-mode` | server | permissions of the socket file, octal | the umask's |
//! | `socket-uid`, `socket-gid` | server | owner of the socket file, numbers | ours |

mod show;
mod values;

use crate::config::{
    BUFFER_SIZE_MAX, BUFFER_SIZE_MIN, ClientConfig, InterfaceConfig, ListenerConfig, PortConfig,
    RoleConfig,
};
use crate::control::Role;
use crate::error::ConfigError;
use crate::queue::DataConfig;
use crate::wire::{LOG2_RING_SIZE_MAX, Name, RINGS_MAX, Secret};
use ringport::port_string::{ItemError, Items, Key, POLICIES, choice, duration, number};
use std::str::FromStr;
use values::{BACKINGS, CACHE_LINES, MODES, ROLES, RX_MODES, SPACINGS, ring_size};

/// What every port string of this crate starts with.
pub const SCHEME: &str = "memif:";

/// Every key, and the role that it is for.
const KEYS: [Key; 25] = [
    ("role", None),
    ("id", None),
    ("secret", None),
    ("mode", None),
    ("name", None),
    ("if-name", None),
    ("rings", None),
    ("c2s", None),
    ("s2c", None),
    ("ring-size", None),
    ("log2-ring-size", None),
    ("cache-line", None),
    ("rx-mode", None),
    ("chain-max", None),
    ("policy", None),
    ("timeout", None),
    ("buffer-size", Some("client")),
    ("headroom", Some("client")),
    ("spacing", Some("client")),
    ("memory", Some("client")),
    ("reconnect", Some("client")),
    ("socket-mode", Some("server")),
    ("socket-uid", Some("server")),
    ("socket-gid", Some("server")),
    ("pending-max", Some("server")),
];

impl FromStr for PortConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| ConfigError::NotMemif { given: text.to_owned() })?;
        let (address, items) = rest.split_once(',').unwrap_or((rest, ""));
        let address = address.parse()?;
        let items = PortItems(Items::parse(items, &KEYS)?);
        let role = items.0.required("role", ROLES.1, |key, value| choice(key, value, &ROLES))?;
        items.0.check_role("role", role.name())?;
        let role = match role {
            Role::Server => RoleConfig::Server(items.listener()?, items.interface()?),
            Role::Client => RoleConfig::Client(items.client()?),
        };
        Ok(Self { address, role })
    }
}

/// The items of one string.
struct PortItems<'a>(Items<'a>);

impl PortItems<'_> {
    fn listener(&self) -> Result<ListenerConfig, ConfigError> {
        let mut config = ListenerConfig::default();
        self.0.set(&mut config.name, "name", name)?;
        self.0.set(&mut config.handshake_timeout, "timeout", duration)?;
        self.0.set(&mut config.pending_max, "pending-max", |key, value| {
            number(key, value, 1, 4096)
        })?;
        self.0.socket(&mut config.socket)?;
        Ok(config)
    }

    fn interface(&self) -> Result<InterfaceConfig, ConfigError> {
        let mut config = InterfaceConfig::new(self.id()?);
        self.0.set(&mut config.mode, "mode", |key, value| choice(key, value, &MODES))?;
        self.0.set(&mut config.secret, "secret", |_, value| Secret::new(value.as_bytes()))?;
        self.0.set(&mut config.if_name, "if-name", name)?;
        let limits = &mut config.limits;
        self.rings(&mut limits.c2s_rings, &mut limits.s2c_rings)?;
        self.log2_ring_size(&mut limits.log2_ring_size)?;
        self.0.set(&mut limits.cache_line, "cache-line", |key, value| {
            choice(key, value, &CACHE_LINES).map(Some)
        })?;
        self.data(&mut config.data)?;
        Ok(config)
    }

    fn client(&self) -> Result<ClientConfig, ConfigError> {
        let mut config = ClientConfig::new(self.id()?);
        self.0.set(&mut config.mode, "mode", |key, value| choice(key, value, &MODES))?;
        self.0.set(&mut config.secret, "secret", |_, value| Secret::new(value.as_bytes()))?;
        self.0.set(&mut config.name, "name", name)?;
        self.0.set(&mut config.if_name, "if-name", name)?;
        self.rings(&mut config.c2s_rings, &mut config.s2c_rings)?;
        self.log2_ring_size(&mut config.log2_ring_size)?;
        let memory = &mut config.memory;
        self.0.set(&mut memory.cache_line, "cache-line", |key, value| {
            choice(key, value, &CACHE_LINES)
        })?;
        self.0.set(&mut memory.buffer_size, "buffer-size", |key, value| {
            number(key, value, BUFFER_SIZE_MIN, BUFFER_SIZE_MAX)
        })?;
        self.0.set(&mut memory.headroom, "headroom", |key, value| number(key, value, 0, 4096))?;
        self.0.set(&mut memory.spacing, "spacing", |key, value| choice(key, value, &SPACINGS))?;
        self.0.set(&mut memory.backing, "memory", |key, value| choice(key, value, &BACKINGS))?;
        self.data(&mut config.data)?;
        self.0.reconnect(&mut config.reconnect)?;
        self.0.set(&mut config.handshake_timeout, "timeout", duration)?;
        Ok(config)
    }

    fn id(&self) -> Result<u32, ItemError> {
        let mut id = 0;
        self.0.set(&mut id, "id", |key, value| number(key, value, 0, u32::MAX))?;
        Ok(id)
    }

    fn rings(&self, c2s: &mut u16, s2c: &mut u16) -> Result<(), ItemError> {
        let count = |key, value: &str| number(key, value, 1, RINGS_MAX);
        self.0.set(c2s, "rings", count)?;
        self.0.set(s2c, "rings", count)?;
        self.0.set(c2s, "c2s", count)?;
        self.0.set(s2c, "s2c", count)
    }

    fn log2_ring_size(&self, log2: &mut u8) -> Result<(), ItemError> {
        if self.0.text("ring-size").is_some() && self.0.text("log2-ring-size").is_some() {
            return Err(ItemError::DuplicateKey { key: "ring-size" });
        }
        self.0.set(log2, "ring-size", ring_size)?;
        let number = |key, value: &str| number(key, value, 1, LOG2_RING_SIZE_MAX);
        self.0.set(log2, "log2-ring-size", number)
    }

    fn data(&self, config: &mut DataConfig) -> Result<(), ItemError> {
        self.0.set(&mut config.rx_mode, "rx-mode", |key, value| choice(key, value, &RX_MODES))?;
        self.0.set(&mut config.policy, "policy", |key, value| choice(key, value, &POLICIES))?;
        self.0.set(&mut config.chain_max, "chain-max", |key, value| number(key, value, 1, 16384))
    }
}

/// A name that is too long, or has a NUL, would silently be another one; control characters are shown
/// as something else.
fn name(key: &'static str, value: &str) -> Result<Name, ItemError> {
    if value.is_empty() || value.len() > Name::CAPACITY || value.contains(char::is_control) {
        return Err(ItemError::bad(key, value, "1 to 31 bytes of text"));
    }
    Ok(Name::new(value))
}

#[cfg(test)]
mod tests;
