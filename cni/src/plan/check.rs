//! What cannot go together.

use super::Access;
use crate::conf::{Bridge, Engine, IfType, MemifMode, NetConf, NetType, Side};
use crate::env::is_identifier;
use crate::error::{CniError, code};
use nix::unistd::Group;

const MTU_MIN: u32 = 68;
const MTU_MAX: u32 = 65_535;
const VLAN_MAX: u16 = 4094;
/// Largest number of a bridge domain: it has 24 bits.
const BRIDGE_DOMAIN_MAX: u32 = (1 << 24) - 1;
/// VPP takes one byte less than the protocol has.
const SECRET_MAX: usize = 23;
/// Longest name of a bridge: it is that of a network device as well.
const BRIDGE_NAME_MAX: usize = 15;

/// Checks everything that needs neither the container nor the file system.
pub(super) fn all(conf: &NetConf) -> Result<(Engine, IfType), CniError> {
    let host = &conf.host;
    let engine = host.engine.ok_or_else(|| CniError::refused("host.engine", "", "missing"))?;
    let iftype = host.iftype.ok_or_else(|| CniError::refused("host.iftype", "", "missing"))?;
    match engine {
        Engine::Ovs => ovs(conf, iftype)?,
        Engine::Vpp => vpp(conf)?,
    }
    if iftype == IfType::Memif {
        memif(host)?;
    }
    vlans(host)?;
    sizes(host)?;
    for (key, mac) in [
        ("runtimeConfig.mac", &conf.runtime_config.mac),
        ("container.mac", &conf.container.mac),
        ("host.mac", &host.mac),
    ] {
        check_mac(key, mac)?;
    }
    ipam(conf)?;
    Ok((engine, iftype))
}

fn ovs(conf: &NetConf, iftype: IfType) -> Result<(), CniError> {
    let host = &conf.host;
    if iftype == IfType::Memif {
        let reason = "Open vSwitch has no memif; it takes vhostuser";
        return Err(CniError::refused("host.iftype", "memif", reason));
    }
    if !matches!(host.net_type, NetType::Unset | NetType::Bridge) {
        let reason = "a port of Open vSwitch is always on a bridge";
        return Err(CniError::refused("host.netType", format!("{:?}", host.net_type), reason));
    }
    let name = &host.bridge.bridge_name;
    if !name.is_empty() && (!is_identifier(name) || name.len() > BRIDGE_NAME_MAX) {
        let reason = format!("not a name of at most {BRIDGE_NAME_MAX} letters, digits, _ . -");
        return Err(CniError::refused("host.bridge.bridgeName", name, reason));
    }
    let db = super::ovs_db(conf).db;
    if !["unix:", "tcp:", "ssl:"].iter().any(|kind| db.starts_with(kind)) {
        let reason = "neither unix:PATH nor tcp:HOST:PORT nor ssl:HOST:PORT";
        return Err(CniError::refused("ovs.db", db, reason));
    }
    tls(conf, db.starts_with("ssl:"))?;
    vpp_only(host)
}

fn tls(conf: &NetConf, wanted: bool) -> Result<(), CniError> {
    let ovs = &conf.ovs;
    if wanted && !cfg!(feature = "ovs-tls") {
        return Err(CniError::refused("ovs.db", &ovs.db, "this build has no TLS"));
    }
    for (key, file) in [
        ("ovs.privateKey", &ovs.private_key),
        ("ovs.certificate", &ovs.certificate),
        ("ovs.caCert", &ovs.ca_cert),
    ] {
        let reason = match (wanted, file.as_str()) {
            (true, "") => "missing: ssl:HOST:PORT needs it",
            (true, file) if !file.starts_with('/') => "not an absolute path",
            (false, file) if !file.is_empty() => "only ssl:HOST:PORT needs it",
            _ => continue,
        };
        return Err(CniError::refused(key, file, reason));
    }
    Ok(())
}

fn vpp_only(host: &Side) -> Result<(), CniError> {
    let reason = "only VPP has this";
    if host.rx_mode.is_some() {
        return Err(CniError::refused("host.rxMode", format!("{:?}", host.rx_mode), reason));
    }
    if !host.rx_placement.is_empty() {
        return Err(CniError::refused("host.rxPlacement", host.rx_placement.len(), reason));
    }
    Ok(())
}

fn vpp(conf: &NetConf) -> Result<(), CniError> {
    let host = &conf.host;
    match host.net_type {
        NetType::Bridge => {
            let bridge = &host.bridge;
            let parsed = bridge.bridge_name.parse::<u32>();
            if !bridge.bridge_name.is_empty() && parsed.is_err() {
                let reason = "a bridge domain of VPP is a number";
                return Err(CniError::refused(
                    "host.bridge.bridgeName",
                    &bridge.bridge_name,
                    reason,
                ));
            }
            vpp_bridge(bridge, parsed.unwrap_or(bridge.bridge_id))
        }
        NetType::Interface => no_vlans(host),
        other => {
            let reason = "VPP needs `bridge` or `interface`";
            Err(CniError::refused("host.netType", format!("{other:?}"), reason))
        }
    }?;
    if !super::vpp_api(conf).is_absolute() {
        return Err(CniError::refused("vpp.api", &conf.vpp.api, "not an absolute path"));
    }
    not_on_vpp(host)
}

fn not_on_vpp(host: &Side) -> Result<(), CniError> {
    if host.ingress_rate.is_some() {
        return Err(CniError::refused("host.ingressRate", "", "only Open vSwitch has this"));
    }
    let mut queues: Vec<u32> = host.rx_placement.iter().map(|it| it.queue).collect();
    queues.sort_unstable();
    if let Some([queue, _]) = queues.windows(2).find(|pair| pair.first() == pair.last()) {
        let reason = "two workers cannot receive from one queue";
        return Err(CniError::refused("host.rxPlacement", queue, reason));
    }
    Ok(())
}

fn vpp_bridge(bridge: &Bridge, number: u32) -> Result<(), CniError> {
    let refused = |reason| Err(CniError::refused("host.bridge.bridgeName", number, reason));
    if number == 0 {
        return refused("bridge domain 0 of VPP cannot be used");
    }
    if number > BRIDGE_DOMAIN_MAX {
        return refused("numbers of bridge domains of VPP end at 16777215");
    }
    let vlans = bridge.vlan_id != 0 || !bridge.trunk.is_empty();
    if vlans && super::vlan_domain(number, 1).is_none() {
        return refused(
            "bridges of VPP with VLANs have the numbers 1 to 4095: VLAN V of bridge B is \
                        bridge domain 4096 * B + V",
        );
    }
    Ok(())
}

fn no_vlans(host: &Side) -> Result<(), CniError> {
    let reason = "only an interface on a bridge has VLANs";
    let Bridge { vlan_id, trunk, .. } = &host.bridge;
    if *vlan_id != 0 {
        return Err(CniError::refused("host.bridge.vlanId", vlan_id, reason));
    }
    let first = trunk.first();
    first.map_or(Ok(()), |vlan| Err(CniError::refused("host.bridge.trunk", vlan, reason)))
}

fn memif(host: &Side) -> Result<(), CniError> {
    let memif = &host.memif;
    if memif.role.is_none() {
        return Err(CniError::refused("host.memif.role", "", "missing: master or slave"));
    }
    if memif.mode == Some(MemifMode::Ip) && host.net_type == NetType::Bridge {
        return Err(CniError::refused("host.memif.mode", "ip", "a bridge takes Ethernet only"));
    }
    let socket = &host.socket;
    let shared = socket.uid.or(socket.gid).is_some() || !socket.mode.is_empty();
    if memif.abstract_socket && (shared || !host.vhost.group.is_empty()) {
        let reason = "an abstract socket has neither owner nor permissions";
        return Err(CniError::refused("host.memif.abstract", true, reason));
    }
    if memif.secret.0.len() > SECRET_MAX {
        let reason = format!("longer than {SECRET_MAX} bytes");
        return Err(CniError::refused("host.memif.secret", "(secret)", reason));
    }
    if let Some(size) = memif.ring_size
        && !(size.is_power_of_two() && (2..=1 << 14).contains(&size))
    {
        let reason = "not a power of two from 2 to 16384";
        return Err(CniError::refused("host.memif.ringSize", size, reason));
    }
    for (key, value) in
        [("host.memif.rxQueues", memif.rx_queues), ("host.memif.txQueues", memif.tx_queues)]
    {
        if value == Some(0) {
            return Err(CniError::refused(key, 0, "at least one queue is needed"));
        }
    }
    Ok(())
}

fn vlans(host: &Side) -> Result<(), CniError> {
    let vlan = host.bridge.vlan_id;
    if vlan > VLAN_MAX {
        return Err(CniError::refused("host.bridge.vlanId", vlan, "not from 1 to 4094"));
    }
    let wrong = host.bridge.trunk.iter().find(|vlan| !(1..=VLAN_MAX).contains(*vlan));
    wrong.map_or(Ok(()), |vlan| {
        Err(CniError::refused("host.bridge.trunk", vlan, "not from 1 to 4094"))
    })
}

fn sizes(host: &Side) -> Result<(), CniError> {
    if let Some(mtu) = host.mtu.filter(|mtu| !(MTU_MIN..=MTU_MAX).contains(mtu)) {
        let reason = format!("not from {MTU_MIN} to {MTU_MAX}");
        return Err(CniError::refused("host.mtu", mtu, reason));
    }
    if let (None, Some(burst)) = (host.ingress_rate, host.ingress_burst) {
        return Err(CniError::refused("host.ingressBurst", burst, "ingressRate is missing"));
    }
    Ok(())
}

/// Refuses what is neither empty nor the MAC address of one device.
pub(super) fn check_mac(key: &str, mac: &str) -> Result<(), CniError> {
    if mac.is_empty() {
        return Ok(());
    }
    let bytes: Vec<Option<u8>> = mac
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2))
        .collect();
    match bytes.as_slice() {
        [Some(first), Some(_), Some(_), Some(_), Some(_), Some(_)] if first & 1 == 0 => Ok(()),
        _ => Err(CniError::refused(key, mac, "not a unicast MAC address")),
    }
}

fn ipam(conf: &NetConf) -> Result<(), CniError> {
    let plugin = conf.ipam.as_ref().map_or("", |ipam| ipam.plugin.as_str());
    if plugin == "dhcp" {
        let reason = "it needs an interface of the kernel, and there is none";
        return Err(CniError::refused("ipam.type", plugin, reason));
    }
    if !plugin.is_empty() && !is_identifier(plugin) {
        return Err(CniError::refused("ipam.type", plugin, "not the name of a plugin"));
    }
    Ok(())
}

/// Owner, group and permissions of sockets.
pub(super) fn access(host: &Side) -> Result<Access, CniError> {
    let socket = &host.socket;
    let mode = match socket.mode.as_str() {
        "" => None,
        text => Some(u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777).ok_or_else(
            || CniError::refused("host.socket.mode", text, "not permissions in octal"),
        )?),
    };
    let gid = match (socket.gid, host.vhost.group.as_str()) {
        (None, "") => None,
        (Some(gid), "") => Some(gid),
        (None, name) => Some(group(name)?),
        (Some(gid), name) => {
            let reason = format!("host.vhost.group says {name}: give one of both");
            return Err(CniError::refused("host.socket.gid", gid, reason));
        }
    };
    Ok(Access { uid: socket.uid, gid, mode })
}

fn group(name: &str) -> Result<u32, CniError> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(CniError::refused("host.vhost.group", name, "no such group")),
        Err(e) => Err(CniError::caused(code::IO, "cannot look up a group", &e)),
    }
}
