//! Comparing interfaces with what they should be.

use super::super::bridge::BridgeDomain;
use super::super::interface::Interface;
use super::super::memif::is_same_file;
use super::super::tag::tag_of;
use super::super::vlan::{POP_ONE, REST};
use super::super::{Session, VppError};
use super::{Kind, PortSpec, Routes};

impl Session {
    /// Says what of an interface is not as it should be; nothing when all is well. How VPP receives is
    /// not looked at: it forgets that whenever the other end connects, and `userspace reconcile` sets it
    /// again; an attachment is as good without.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn differences(
        &mut self,
        port: &PortSpec,
        routes: &Routes,
    ) -> Result<Vec<String>, VppError> {
        let tag = tag_of(&port.owner);
        let all = self.interfaces()?;
        let Some(interface) = all.iter().find(|it| it.tag == tag) else {
            return Ok(vec![format!("VPP has no interface with tag {tag}")]);
        };
        let mut found = common_differences(port, interface);
        found.extend(match &port.kind {
            Kind::Memif(_) => self.memif_differences(port, interface.sw_if_index)?,
            Kind::Vhost { server } => self.vhost_differences(port, *server, interface)?,
        });
        let bridges = self.bridges()?;
        found.extend(bridge_difference(&bridges, interface.sw_if_index, port.bridge, "its"));
        found.extend(vlan_differences(port, interface.sw_if_index, &all, &bridges));
        found.extend(self.route_differences(&port.owner, interface.sw_if_index, &all, routes)?);
        Ok(found)
    }

    fn memif_differences(&mut self, port: &PortSpec, index: u32) -> Result<Vec<String>, VppError> {
        let Kind::Memif(wanted) = &port.kind else { return Ok(Vec::new()) };
        let Some(memif) = self.memifs()?.into_iter().find(|it| it.sw_if_index == index) else {
            return Ok(vec!["the interface is no memif".to_owned()]);
        };
        let sockets = self.memif_sockets()?;
        let file = sockets.into_iter().find(|socket| socket.id == memif.socket);
        let mut found = file_difference(port, &file.map(|it| it.file).unwrap_or_default());
        if memif.id != wanted.id {
            found.push(format!("its memif ID is {}, not {}", memif.id, wanted.id));
        }
        if memif.server != wanted.server {
            found.push("its memif role is the other one".to_owned());
        }
        if memif.mode != wanted.mode as u32 {
            found.push(format!("its memif mode is {}, not {:?}", memif.mode, wanted.mode));
        }
        Ok(found)
    }

    fn vhost_differences(
        &mut self,
        port: &PortSpec,
        server: bool,
        interface: &Interface,
    ) -> Result<Vec<String>, VppError> {
        let index = interface.sw_if_index;
        let Some(vhost) = self.vhosts()?.into_iter().find(|it| it.sw_if_index == index) else {
            return Ok(vec!["the interface is no vhost-user one".to_owned()]);
        };
        let mut found = file_difference(port, &vhost.file);
        if vhost.server != server {
            found.push("the other end should listen on its socket".to_owned());
        }
        Ok(found)
    }
}

fn bridge_difference(
    bridges: &[BridgeDomain],
    index: u32,
    wanted: Option<u32>,
    whose: &str,
) -> Option<String> {
    let on = bridges.iter().find(|bridge| bridge.members.contains(&index)).map(|it| it.id);
    let name = |id: Option<u32>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
    (on != wanted).then(|| format!("{whose} bridge domain is {}, not {}", name(on), name(wanted)))
}

fn vlan_differences(
    port: &PortSpec,
    parent: u32,
    all: &[Interface],
    bridges: &[BridgeDomain],
) -> Vec<String> {
    let part = |id: u32| all.iter().find(|it| it.is_part_of(parent) && it.sub_id == id);
    let mut found = Vec::new();
    if port.refuses_tags && part(REST).is_none_or(|sub| sub.up) {
        found.push("tagged packets of other VLANs are not dropped".to_owned());
    }
    for tagged in &port.trunk {
        let whose = format!("VLAN {}'s", tagged.vlan);
        let Some(sub) = part(u32::from(tagged.vlan)) else {
            found.push(format!("{whose} sub-interface is not there"));
            continue;
        };
        if !sub.up {
            found.push(format!("{whose} sub-interface {} is switched off", sub.name));
        }
        if sub.rewrite != POP_ONE {
            found.push(format!("{whose} tag is not taken off"));
        }
        found.extend(bridge_difference(bridges, sub.sw_if_index, Some(tagged.bridge), &whose));
    }
    found
}

fn common_differences(port: &PortSpec, interface: &Interface) -> Vec<String> {
    let mut found = Vec::new();
    if !interface.up {
        found.push(format!("interface {} is switched off", interface.name));
    }
    if let Some(mtu) = port.mtu.filter(|mtu| *mtu != interface.mtu) {
        found.push(format!("its MTU is {}, not {mtu}", interface.mtu));
    }
    found
}

fn file_difference(port: &PortSpec, file: &str) -> Vec<String> {
    let wanted = port.socket_name();
    if is_same_file(file, &wanted) {
        Vec::new()
    } else {
        vec![format!("its socket is `{file}`, not {wanted}")]
    }
}
