//! Making an interface.

use super::super::message::{
    ARP_ON_INTERFACE, ARP_PROXY, IP6_ENABLE, LOOPBACK_CREATE, LOOPBACK_DELETE, ROUTE, ROUTE_LOOKUP,
    UNNUMBERED, UNNUMBERED_DUMP,
};
use super::super::message::{
    BRIDGE, INTERFACE_DUMP, MEMIF_CREATE, MEMIF_CREATE_V2, MEMIF_DELETE, MEMIF_DUMP, MEMIF_SOCKET,
    MEMIF_SOCKET_DUMP, MEMIF_SOCKET_V2, SET_ADDRESS, SET_BRIDGE, SET_FLAGS, SET_MTU, SET_TAG,
    SUB_CREATE, SUB_DELETE, TAG_REWRITE, VHOST_CREATE, VHOST_CREATE_V2, VHOST_DELETE, VHOST_DUMP,
};
use super::super::message::{BRIDGE_DUMP, Exchange, RX_DUMP, SET_RX_MODE, SET_RX_PLACEMENT};
use super::super::tag::tag_of;
use super::super::vhost::NewVhost;
use super::super::{Session, VppError};
use super::view::View;
use super::{BRIDGE_TAG, Kind, Needs, PortSpec};
use crate::conf::IfType;
use crate::state::Owner;

/// What is asked about those that route.
const ROUTING: [Exchange; 9] = [
    LOOPBACK_CREATE,
    LOOPBACK_DELETE,
    UNNUMBERED,
    UNNUMBERED_DUMP,
    IP6_ENABLE,
    ROUTE,
    ROUTE_LOOKUP,
    ARP_PROXY,
    ARP_ON_INTERFACE,
];

/// What is asked about every interface.
const COMMON: [Exchange; 7] =
    [INTERFACE_DUMP, BRIDGE, BRIDGE_DUMP, SET_BRIDGE, SET_FLAGS, SET_MTU, SET_ADDRESS];

impl Session {
    /// Whether VPP knows everything that an interface needs.
    ///
    /// # Errors
    /// [`VppError::Missing`], [`VppError::UnknownCrc`]
    pub fn can_make(&self, needs: &Needs) -> Result<(), VppError> {
        self.require(&COMMON)?;
        if needs.abstract_socket {
            // The first version has no room for the name of a namespace.
            self.require(&[MEMIF_SOCKET_V2])?;
        }
        if needs.vlans {
            self.require(&[SUB_CREATE, SUB_DELETE, TAG_REWRITE])?;
        }
        if needs.receiving {
            self.require(&[RX_DUMP, SET_RX_MODE, SET_RX_PLACEMENT])?;
        }
        if needs.routed {
            self.require(&ROUTING)?;
        }
        match needs.iftype {
            IfType::Memif => {
                let newest = [
                    self.newest(&[MEMIF_SOCKET_V2, MEMIF_SOCKET]),
                    self.newest(&[MEMIF_CREATE_V2, MEMIF_CREATE]),
                ];
                self.require(&newest)?;
                self.require(&[MEMIF_SOCKET_DUMP, MEMIF_DUMP, MEMIF_DELETE, SET_TAG])
            }
            IfType::Vhostuser => {
                self.require(&[self.newest(&[VHOST_CREATE_V2, VHOST_CREATE])])?;
                self.require(&[VHOST_DUMP, VHOST_DELETE])
            }
        }
    }

    /// Makes an interface, marked, on its bridge domain, switched on. What a failure leaves is what
    /// [`Session::remove_port`] removes.
    ///
    /// # Errors
    /// [`VppError::Foreign`]: the socket is somebody else's; those of the connection.
    pub fn add_port(&mut self, port: &PortSpec) -> Result<(), VppError> {
        self.can_make(&port.needs())?;
        let view = self.view()?;
        let (file, tag) = (port.socket_name(), tag_of(&port.owner));
        let foreign = |tagged: &str| tagged != tag && !tagged.is_empty();
        if let Some(user) = view.users.iter().find(|it| it.is_on(&file) && foreign(&it.tag)) {
            return Err(VppError::Foreign { name: user.name.clone() });
        }
        // What an ADD that was killed has left.
        self.remove_leftovers(&view, &port.owner, &file)?;
        let sw_if_index = self.create(port, &view)?;
        if let Some(mtu) = port.mtu {
            self.set_mtu(sw_if_index, mtu)?;
        }
        for bridge in port.bridges() {
            self.add_bridge(bridge, BRIDGE_TAG)?;
        }
        if port.refuses_tags {
            self.refuse_tags(sw_if_index)?;
        }
        if let Some(bridge) = port.bridge {
            self.join_bridge(sw_if_index, bridge)?;
        }
        let vlans = self.add_vlans(port, sw_if_index)?;
        // VPP switches no sub-interface on before its interface.
        self.set_up(sw_if_index)?;
        vlans.into_iter().try_for_each(|sub| self.set_up(sub))?;
        tracing::info!(sw_if_index, socket = file, bridge = port.bridge, "interface made");
        Ok(())
    }

    /// Makes the sub-interfaces of VLANs that pass tagged, each on its bridge domain, switched off.
    fn add_vlans(&mut self, port: &PortSpec, parent: u32) -> Result<Vec<u32>, VppError> {
        let mut subs = Vec::new();
        for tagged in &port.trunk {
            let sub = self.add_vlan(parent, tagged.vlan)?;
            self.join_bridge(sub, tagged.bridge)?;
            self.pop_tag(sub)?;
            subs.push(sub);
        }
        Ok(subs)
    }

    /// Whether the interface of an attachment is there.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn has_port(&mut self, owner: &Owner) -> Result<bool, VppError> {
        let tag = tag_of(owner);
        Ok(self.interfaces()?.iter().any(|interface| interface.tag == tag))
    }

    fn create(&mut self, port: &PortSpec, view: &View) -> Result<u32, VppError> {
        let (file, tag) = (port.socket_name(), tag_of(&port.owner));
        match &port.kind {
            Kind::Memif(memif) => {
                let taken: Vec<u32> = view.sockets.iter().map(|socket| socket.id).collect();
                let socket = self.add_memif_socket(&file, &taken)?;
                let sw_if_index = self.create_memif(socket, memif)?;
                self.set_tag(sw_if_index, &tag)?;
                Ok(sw_if_index)
            }
            Kind::Vhost { server } => {
                self.create_vhost(&NewVhost { server: *server, file: &file, tag: &tag })
            }
        }
    }
}
