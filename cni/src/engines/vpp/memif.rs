//! Sockets of memif, and the interfaces on them.

use super::message::{
    MEMIF_CREATE, MEMIF_CREATE_V2, MEMIF_DELETE, MEMIF_DUMP, MEMIF_SOCKET, MEMIF_SOCKET_DUMP,
    MEMIF_SOCKET_V2,
};
use super::retval::{
    ENTRY_ALREADY_EXISTS, INVALID_ARGUMENT, INVALID_SW_IF_INDEX, UNEXPECTED_INTF_STATE,
};
use super::wire::Fields;
use super::{Session, VppError, accept};
use crate::conf::Secret;
use serde::{Deserialize, Serialize};

/// Bytes of a socket's name before 23.06, and in lists.
const FILE_NAME_LEN: usize = 108;
const SECRET_LEN: usize = 24;
/// How many numbers of sockets are tried when others take them before us.
const ATTEMPTS: u32 = 16;

/// A socket that VPP knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemifSocket {
    /// Its number.
    pub id: u32,
    /// Its path.
    pub file: String,
}

impl MemifSocket {
    /// Whether it has a name.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        is_same_file(&self.file, name)
    }
}

/// Whether a name that VPP lists is `name`: it lists the first 107 bytes.
#[must_use]
pub fn is_same_file(listed: &str, name: &str) -> bool {
    listed == name || listed.len() == FILE_NAME_LEN - 1 && name.starts_with(listed)
}

/// What packets start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u32)]
pub enum MemifMode {
    /// An Ethernet header.
    Ethernet = 0,
    /// An IP header.
    Ip = 1,
    /// Punt and inject.
    PuntInject = 2,
}

/// A memif to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewMemif {
    /// Whether VPP listens.
    pub server: bool,
    /// What packets start with.
    pub mode: MemifMode,
    /// Receive queues; a server takes what the client offers.
    pub rx_queues: u8,
    /// Transmit queues; a server takes what the client offers.
    pub tx_queues: u8,
    /// Number of the interface on its socket.
    pub id: u32,
    /// Slots of a ring, a power of two.
    pub ring_size: u32,
    /// Bytes of a buffer.
    pub buffer_size: u16,
    /// What both ends must know; at most 23 bytes.
    pub secret: Secret,
}

/// A memif that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memif {
    /// Number of the interface.
    pub sw_if_index: u32,
    /// Number on its socket.
    pub id: u32,
    /// Whether VPP listens.
    pub server: bool,
    /// What packets start with: see [`MemifMode`].
    pub mode: u32,
    /// Number of its socket.
    pub socket: u32,
    /// VPP's name of it.
    pub name: String,
}

impl Session {
    /// The sockets, the preset one among them.
    ///
    /// # Errors
    /// See [`Session::dump`].
    pub fn memif_sockets(&mut self) -> Result<Vec<MemifSocket>, VppError> {
        let answers = self.dump_if_any(MEMIF_SOCKET_DUMP, &Fields::new())?;
        let read = answers.iter().map(|answer| {
            let mut fields = answer.reader();
            Ok(MemifSocket { id: fields.u32()?, file: fields.text(FILE_NAME_LEN)? })
        });
        read.collect()
    }

    /// Names a socket, and returns its number: the lowest that is not `taken`.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn add_memif_socket(&mut self, file: &str, taken: &[u32]) -> Result<u32, VppError> {
        // Number 0 is VPP's own.
        let mut free = (1..u32::MAX).filter(|id| !taken.contains(id));
        let mut attempts = 0;
        loop {
            let id = free.next().unwrap_or(u32::MAX);
            attempts += 1;
            match self.set_memif_socket(id, Some(file)) {
                // Somebody who is no plugin was faster.
                Err(e) if e.is_refusal(&[ENTRY_ALREADY_EXISTS]) && attempts < ATTEMPTS => {}
                other => return other.map(|()| id),
            }
        }
    }

    /// Forgets a socket, unless an interface uses it. One that is absent is forgotten already.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn remove_memif_socket(&mut self, id: u32) -> Result<(), VppError> {
        let removed = self.set_memif_socket(id, None);
        accept(removed, &[INVALID_ARGUMENT, UNEXPECTED_INTF_STATE]).map(|_| ())
    }

    fn set_memif_socket(&mut self, id: u32, file: Option<&str>) -> Result<(), VppError> {
        let name = file.unwrap_or_default().as_bytes();
        let fields = Fields::new().bool(file.is_some()).u32(id);
        let exchange = self.newest(&[MEMIF_SOCKET_V2, MEMIF_SOCKET]);
        let fields = if exchange == MEMIF_SOCKET_V2 {
            fields.long_text(name)
        } else {
            fields.text(name, FILE_NAME_LEN)
        };
        self.call(exchange, &fields).map(|_| ())
    }

    /// Makes an interface on a socket; returns its number.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn create_memif(&mut self, socket: u32, memif: &NewMemif) -> Result<u32, VppError> {
        let exchange = self.newest(&[MEMIF_CREATE_V2, MEMIF_CREATE]);
        let role = u32::from(!memif.server);
        let mut fields = Fields::new()
            .u32(role)
            .u32(memif.mode as u32)
            .u8(memif.rx_queues)
            .u8(memif.tx_queues)
            .u32(memif.id)
            .u32(socket)
            .u32(memif.ring_size)
            .u16(memif.buffer_size)
            // Zero copy, as far as VPP can.
            .bool(false);
        if exchange == MEMIF_CREATE_V2 {
            // No DMA.
            fields = fields.bool(false);
        }
        // VPP makes up its MAC address.
        fields = fields.zeros(6).text(memif.secret.0.as_bytes(), SECRET_LEN);
        self.call(exchange, &fields)?.reader().u32()
    }

    /// Removes an interface. One that is absent is removed already.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn delete_memif(&mut self, sw_if_index: u32) -> Result<(), VppError> {
        let deleted = self.call(MEMIF_DELETE, &Fields::new().u32(sw_if_index));
        accept(deleted, &[INVALID_SW_IF_INDEX]).map(|_| ())
    }

    /// The interfaces.
    ///
    /// # Errors
    /// See [`Session::dump`].
    pub fn memifs(&mut self) -> Result<Vec<Memif>, VppError> {
        let answers = self.dump_if_any(MEMIF_DUMP, &Fields::new())?;
        let read = answers.iter().map(|answer| {
            let mut fields = answer.reader();
            let sw_if_index = fields.u32()?;
            fields.skip(6)?;
            let id = fields.u32()?;
            let server = fields.u32()? == 0;
            let mode = fields.u32()?;
            // Whether it copies.
            fields.skip(1)?;
            let socket = fields.u32()?;
            // Sizes that are those of the connection, and flags.
            fields.skip(10)?;
            Ok(Memif { sw_if_index, id, server, mode, socket, name: fields.text(64)? })
        });
        read.collect()
    }
}
