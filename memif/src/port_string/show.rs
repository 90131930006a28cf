//! From a configuration back to a port string.

use super::SCHEME;
use super::values::{BACKINGS, CACHE_LINES, MODES, RX_MODES, SPACINGS};
use crate::config::{ClientConfig, InterfaceConfig, ListenerConfig, PortConfig, RoleConfig};
use crate::queue::DataConfig;
use ringport::port_string::{ItemWriter, POLICIES};
use std::fmt::{self, Display, Write as _};

impl PortConfig {
    /// The port string, with the secret in clear: for another configuration, not for a log.
    #[must_use]
    pub fn to_port_string(&self) -> String {
        let secret = match &self.role {
            RoleConfig::Server(_, interface) => &interface.secret,
            RoleConfig::Client(client) => &client.secret,
        };
        let mut text = self.to_string();
        if !secret.is_empty() {
            // Writing to a string does not fail.
            let _ = write!(text, ",secret={}", String::from_utf8_lossy(secret.reveal()));
        }
        text
    }
}

/// The port string, without the secret, so that it may be logged; settings at their default are left
/// out. [`PortConfig::to_port_string`] has the secret too.
impl Display for PortConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.address)?;
        let mut items = Items(ItemWriter(f));
        match &self.role {
            RoleConfig::Server(listener, interface) => items.server(listener, interface),
            RoleConfig::Client(client) => items.client(client),
        }
    }
}

struct Items<'a, 'f>(ItemWriter<'a, 'f>);

impl Items<'_, '_> {
    fn server(&mut self, listener: &ListenerConfig, interface: &InterfaceConfig) -> fmt::Result {
        let (usual, usual_face) = (ListenerConfig::default(), InterfaceConfig::new(interface.id));
        write!(self.0.0, ",role=server,id={}", interface.id)?;
        self.0.word("mode", &interface.mode, &usual_face.mode, &MODES)?;
        self.0.item("name", &listener.name, &usual.name)?;
        self.0.item("if-name", &interface.if_name, &usual_face.if_name)?;
        let (limits, most) = (&interface.limits, &usual_face.limits);
        self.0.item("c2s", &limits.c2s_rings, &most.c2s_rings)?;
        self.0.item("s2c", &limits.s2c_rings, &most.s2c_rings)?;
        self.0.item("log2-ring-size", &limits.log2_ring_size, &most.log2_ring_size)?;
        if let Some(cache_line) = limits.cache_line {
            self.0.item("cache-line", &cache_line.bytes(), &0)?;
        }
        self.data(&interface.data, &usual_face.data)?;
        self.0.time("timeout", listener.handshake_timeout, usual.handshake_timeout)?;
        self.0.item("pending-max", &listener.pending_max, &usual.pending_max)?;
        self.0.socket(&listener.socket)
    }

    fn client(&mut self, client: &ClientConfig) -> fmt::Result {
        let usual = ClientConfig::new(client.id);
        write!(self.0.0, ",role=client,id={}", client.id)?;
        self.0.word("mode", &client.mode, &usual.mode, &MODES)?;
        self.0.item("name", &client.name, &usual.name)?;
        self.0.item("if-name", &client.if_name, &usual.if_name)?;
        self.0.item("c2s", &client.c2s_rings, &usual.c2s_rings)?;
        self.0.item("s2c", &client.s2c_rings, &usual.s2c_rings)?;
        self.0.item("log2-ring-size", &client.log2_ring_size, &usual.log2_ring_size)?;
        let (memory, pages) = (&client.memory, &usual.memory);
        self.0.word("cache-line", &memory.cache_line, &pages.cache_line, &CACHE_LINES)?;
        self.0.item("buffer-size", &memory.buffer_size, &pages.buffer_size)?;
        self.0.item("headroom", &memory.headroom, &pages.headroom)?;
        self.0.word("spacing", &memory.spacing, &pages.spacing, &SPACINGS)?;
        self.0.word("memory", &memory.backing, &pages.backing, &BACKINGS)?;
        self.data(&client.data, &usual.data)?;
        self.0.time("timeout", client.handshake_timeout, usual.handshake_timeout)?;
        self.0.reconnect(client.reconnect, usual.reconnect)
    }

    fn data(&mut self, data: &DataConfig, usual: &DataConfig) -> fmt::Result {
        self.0.word("rx-mode", &data.rx_mode, &usual.rx_mode, &RX_MODES)?;
        self.0.item("chain-max", &data.chain_max, &usual.chain_max)?;
        self.0.word("policy", &data.policy, &usual.policy, &POLICIES)
    }
}
