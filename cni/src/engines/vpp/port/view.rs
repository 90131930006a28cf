//! What is there: interfaces that stand on sockets.

use super::super::interface::Interface;
use super::super::memif::{MemifSocket, is_same_file};
use super::super::tag::is_gateway_tag;
use super::super::{Session, VppError};

/// An interface that stands on a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) sw_if_index: u32,
    pub(super) name: String,
    pub(super) tag: String,
    /// Path of its socket.
    pub(super) file: String,
    /// Number of its socket, if it is a memif.
    pub(super) memif_socket: Option<u32>,
    /// Numbers of its sub-interfaces.
    pub(super) subs: Vec<u32>,
}

impl User {
    /// Whether it stands on a socket.
    pub(super) fn is_on(&self, file: &str) -> bool {
        is_same_file(&self.file, file)
    }
}

/// All of them, and all sockets of memif, used or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) users: Vec<User>,
    pub(super) sockets: Vec<MemifSocket>,
    /// All interfaces, also those that stand on nothing.
    pub(super) interfaces: Vec<Interface>,
}

impl View {
    /// Whether any network has gateways of ours.
    pub(super) fn has_gateways(&self) -> bool {
        self.interfaces.iter().any(|it| is_gateway_tag(&it.tag))
    }

    /// Numbers of the sockets that have a path and no interface.
    pub(super) fn unused(&self, file: &str) -> Vec<u32> {
        let of_file = self.sockets.iter().filter(|socket| socket.is(file));
        let used = |id: u32| self.users.iter().any(|user| user.memif_socket == Some(id));
        of_file.map(|socket| socket.id).filter(|id| !used(*id)).collect()
    }
}

impl Session {
    pub(super) fn view(&mut self) -> Result<View, VppError> {
        let sockets = self.memif_sockets()?;
        let interfaces = self.interfaces()?;
        let tag_of = |index: u32| {
            let interface = interfaces.iter().find(|it| it.sw_if_index == index);
            interface.map(|it| it.tag.clone()).unwrap_or_default()
        };
        let subs_of = |index: u32| {
            let subs = interfaces.iter().filter(|it| it.is_part_of(index));
            subs.map(|it| it.sw_if_index).collect()
        };
        let file_of = |id: u32| {
            let socket = sockets.iter().find(|socket| socket.id == id);
            socket.map(|socket| socket.file.clone()).unwrap_or_default()
        };
        let memifs = self.memifs()?.into_iter().map(|memif| User {
            sw_if_index: memif.sw_if_index,
            name: memif.name,
            tag: tag_of(memif.sw_if_index),
            file: file_of(memif.socket),
            memif_socket: Some(memif.socket),
            subs: subs_of(memif.sw_if_index),
        });
        let mut users: Vec<User> = memifs.collect();
        users.extend(self.vhosts()?.into_iter().map(|vhost| User {
            sw_if_index: vhost.sw_if_index,
            name: vhost.name,
            tag: tag_of(vhost.sw_if_index),
            file: vhost.file,
            memif_socket: None,
            subs: subs_of(vhost.sw_if_index),
        }));
        Ok(View { users, sockets, interfaces })
    }
}
