//! From a configuration back to a port string.

use super::SCHEME;
use super::values::{BACKINGS, CACHE_LINES, Choices, MODES, POLICIES, RX_MODES, SPACINGS};
use crate::config::{
    ClientConfig, InterfaceConfig, ListenerConfig, PortConfig, Reconnect, RoleConfig, millis,
};
use crate::queue::DataConfig;
use std::fmt::{self, Display, Write as _};
use std::time::Duration;

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
        let mut items = Items(f);
        match &self.role {
            RoleConfig::Server(listener, interface) => items.server(listener, interface),
            RoleConfig::Client(client) => items.client(client),
        }
    }
}

struct Items<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl Items<'_, '_> {
    fn server(&mut self, listener: &ListenerConfig, interface: &InterfaceConfig) -> fmt::Result {
        let (usual, usual_face) = (ListenerConfig::default(), InterfaceConfig::new(interface.id));
        write!(self.0, ",role=server,id={}", interface.id)?;
        self.word("mode", &interface.mode, &usual_face.mode, &MODES)?;
        self.item("name", &listener.name, &usual.name)?;
        self.item("if-name", &interface.if_name, &usual_face.if_name)?;
        let (limits, most) = (&interface.limits, &usual_face.limits);
        self.item("c2s", &limits.c2s_rings, &most.c2s_rings)?;
        self.item("s2c", &limits.s2c_rings, &most.s2c_rings)?;
        self.item("log2-ring-size", &limits.log2_ring_size, &most.log2_ring_size)?;
        if let Some(cache_line) = limits.cache_line {
            self.item("cache-line", &cache_line.bytes(), &0)?;
        }
        self.data(&interface.data, &usual_face.data)?;
        self.time("timeout", listener.handshake_timeout, usual.handshake_timeout)?;
        self.item("pending-max", &listener.pending_max, &usual.pending_max)?;
        if let Some(mode) = listener.socket.mode {
            write!(self.0, ",socket-mode={mode:o}")?;
        }
        for (key, owner) in
            [("socket-uid", listener.socket.uid), ("socket-gid", listener.socket.gid)]
        {
            if let Some(owner) = owner {
                write!(self.0, ",{key}={owner}")?;
            }
        }
        Ok(())
    }

    fn client(&mut self, client: &ClientConfig) -> fmt::Result {
        let usual = ClientConfig::new(client.id);
        write!(self.0, ",role=client,id={}", client.id)?;
        self.word("mode", &client.mode, &usual.mode, &MODES)?;
        self.item("name", &client.name, &usual.name)?;
        self.item("if-name", &client.if_name, &usual.if_name)?;
        self.item("c2s", &client.c2s_rings, &usual.c2s_rings)?;
        self.item("s2c", &client.s2c_rings, &usual.s2c_rings)?;
        self.item("log2-ring-size", &client.log2_ring_size, &usual.log2_ring_size)?;
        let (memory, pages) = (&client.memory, &usual.memory);
        self.word("cache-line", &memory.cache_line, &pages.cache_line, &CACHE_LINES)?;
        self.item("buffer-size", &memory.buffer_size, &pages.buffer_size)?;
        self.item("headroom", &memory.headroom, &pages.headroom)?;
        self.word("spacing", &memory.spacing, &pages.spacing, &SPACINGS)?;
        self.word("memory", &memory.backing, &pages.backing, &BACKINGS)?;
        self.data(&client.data, &usual.data)?;
        self.time("timeout", client.handshake_timeout, usual.handshake_timeout)?;
        match client.reconnect {
            reconnect if reconnect == usual.reconnect => Ok(()),
            Reconnect::Never => self.0.write_str(",reconnect=never"),
            Reconnect::Backoff { initial, max } => {
                write!(self.0, ",reconnect={}-{}", Time(initial), Time(max))
            }
        }
    }

    fn data(&mut self, data: &DataConfig, usual: &DataConfig) -> fmt::Result {
        self.word("rx-mode", &data.rx_mode, &usual.rx_mode, &RX_MODES)?;
        self.item("chain-max", &data.chain_max, &usual.chain_max)?;
        self.word("policy", &data.policy, &usual.policy, &POLICIES)
    }

    fn item<T: Display + PartialEq>(&mut self, key: &str, value: &T, usual: &T) -> fmt::Result {
        if value == usual {
            return Ok(());
        }
        write!(self.0, ",{key}={value}")
    }

    fn word<T: PartialEq, const N: usize>(
        &mut self,
        key: &str,
        value: &T,
        usual: &T,
        (words, _): &Choices<T, N>,
    ) -> fmt::Result {
        match words.iter().find(|(_, meaning)| meaning == value) {
            Some((word, _)) if value != usual => write!(self.0, ",{key}={word}"),
            _ => Ok(()),
        }
    }

    fn time(&mut self, key: &str, value: Duration, usual: Duration) -> fmt::Result {
        if value == usual {
            return Ok(());
        }
        write!(self.0, ",{key}={}", Time(value))
    }
}

struct Time(Duration);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match millis(self.0) {
            millis if millis % 1000 == 0 => write!(f, "{}s", millis / 1000),
            millis => write!(f, "{millis}ms"),
        }
    }
}
