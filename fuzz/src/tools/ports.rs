//! [`crate::port_strings`].
//!
//! Input: text, in which bytes from 0x80 on stand for [`TOKENS`].

use ringport::tap::TapConfig;
use std::error::Error;
use std::str::FromStr;

/// What port strings are made of.
pub(crate) const TOKENS: [&str; 59] = [
    "memif:",
    "vhost:",
    "tap:",
    "/run/a.sock",
    "@name",
    "abstract:",
    ",role=server",
    ",role=client",
    ",role=device",
    ",role=driver",
    ",id=",
    ",secret=",
    ",mode=ip",
    ",mode=ethernet",
    ",name=",
    ",if-name=",
    ",rings=",
    ",c2s=",
    ",s2c=",
    ",ring-size=",
    ",log2-ring-size=",
    ",cache-line=128",
    ",rx-mode=polling",
    ",rx-mode=interrupt",
    ",chain-max=",
    ",policy=sealed",
    ",policy=trust",
    ",timeout=",
    ",buffer-size=",
    ",headroom=",
    ",spacing=packed",
    ",memory=hugepages",
    ",reconnect=never",
    ",reconnect=100ms-3s",
    ",pending-max=",
    ",socket-mode=",
    ",socket-uid=",
    ",socket-gid=",
    ",socket=connect",
    ",queues=",
    ",packed=off",
    ",in-order=off",
    ",mergeable=off",
    ",event-idx=off",
    ",indirect=off",
    ",offload=segmentation",
    ",offload=checksum",
    ",mtu=",
    ",mac=02:00:00:00:00:01",
    ",mac=",
    ",regions=",
    ",address=",
    "10.0.0.1/24",
    "fd00::1/64",
    ",netns=",
    "1024",
    "vdpa:",
    "/dev/vhost-vdpa-0",
    "0000:83:00.2",
];

pub(crate) fn run(data: &[u8]) {
    let text = text(data);
    if let Some(port) = read::<ringport_memif::PortConfig>(&text) {
        // Such configurations cannot be compared; the string has the secret, the other the rest.
        assert!(!names(&port).iter().any(|name| name.contains(char::is_control)), "{text:?}");
        let shown =
            |port: &ringport_memif::PortConfig| (port.to_port_string(), format!("{port:?}"));
        let again = port.to_port_string().parse().expect("our own");
        assert_eq!(shown(&port), shown(&again), "{text:?}");
    }
    if let Some(port) = read::<ringport_vhost_user::PortConfig>(&text) {
        assert_eq!(port.to_string().parse(), Ok(port), "{text:?}");
    }
    if let Some(port) = read::<ringport_vdpa::PortConfig>(&text) {
        assert_eq!(port.to_string().parse(), Ok(port), "{text:?}");
    }
    if let Some(tap) = read::<TapConfig>(&text) {
        assert_eq!(tap.to_string().parse::<TapConfig>().ok(), Some(tap), "{text:?}");
    }
}

/// Of an application and an interface.
fn names(port: &ringport_memif::PortConfig) -> [String; 2] {
    use ringport_memif::config::RoleConfig;
    let names = match &port.role {
        RoleConfig::Server(listener, interface) => [listener.name, interface.if_name],
        RoleConfig::Client(client) => [client.name, client.if_name],
    };
    names.map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned())
}

fn text(data: &[u8]) -> String {
    let mut text = String::new();
    for &byte in data {
        match byte.checked_sub(0x80) {
            Some(token) => text.push_str(TOKENS[usize::from(token) % TOKENS.len()]),
            None => text.push(byte.into()),
        }
    }
    text
}

/// Reads a port string; of one that is none, something is said.
fn read<T: FromStr<Err: Error>>(text: &str) -> Option<T> {
    let port = text.parse::<T>();
    if let Err(error) = &port {
        assert!(!error.to_string().is_empty());
    }
    port.ok()
}
