//! vhost-user interfaces.

use super::message::{VHOST_CREATE, VHOST_CREATE_V2, VHOST_DELETE, VHOST_DUMP};
use super::retval::INVALID_SW_IF_INDEX;
use super::wire::Fields;
use super::{Session, VppError, accept};

const FILE_NAME_LEN: usize = 256;
const TAG_LEN: usize = 64;
/// Every interface.
const ALL: u32 = u32::MAX;

/// A vhost-user interface to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVhost<'a> {
    /// Whether VPP listens.
    pub server: bool,
    /// Path of its socket.
    pub file: &'a str,
    /// Mark; it is there as soon as the interface is.
    pub tag: &'a str,
}

/// A vhost-user interface that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vhost {
    /// Number of the interface.
    pub sw_if_index: u32,
    /// VPP's name of it.
    pub name: String,
    /// Whether VPP listens.
    pub server: bool,
    /// Path of its socket.
    pub file: String,
}

impl Session {
    /// Makes an interface with whatever features VPP offers by itself; returns its number.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn create_vhost(&mut self, vhost: &NewVhost<'_>) -> Result<u32, VppError> {
        let exchange = self.newest(&[VHOST_CREATE_V2, VHOST_CREATE]);
        let mut fields = Fields::new()
            .bool(vhost.server)
            .text(vhost.file.as_bytes(), FILE_NAME_LEN)
            // Numbered by VPP; mergeable buffers and indirect descriptors as offered.
            .zeros(3)
            // No GSO: whoever shares the bridge domain may not take it. No packed ring.
            .zeros(2);
        if exchange == VHOST_CREATE_V2 {
            // No event index.
            fields = fields.bool(false);
        }
        // No number of its own, no MAC address of its own.
        fields = fields.u32(0).bool(false).zeros(6).text(vhost.tag.as_bytes(), TAG_LEN);
        self.call(exchange, &fields)?.reader().u32()
    }

    /// Removes an interface, and its socket if VPP made it. One that is absent is removed already.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn delete_vhost(&mut self, sw_if_index: u32) -> Result<(), VppError> {
        let deleted = self.call(VHOST_DELETE, &Fields::new().u32(sw_if_index));
        accept(deleted, &[INVALID_SW_IF_INDEX]).map(|_| ())
    }

    /// The interfaces.
    ///
    /// # Errors
    /// See [`Session::dump`].
    pub fn vhosts(&mut self) -> Result<Vec<Vhost>, VppError> {
        let answers = self.dump_if_any(VHOST_DUMP, &Fields::new().u32(ALL))?;
        let read = answers.iter().map(|answer| {
            let mut fields = answer.reader();
            let sw_if_index = fields.u32()?;
            let name = fields.text(64)?;
            // Header size and features of the connection.
            fields.skip(12)?;
            let server = fields.bool()?;
            Ok(Vhost { sw_if_index, name, server, file: fields.text(FILE_NAME_LEN)? })
        });
        read.collect()
    }
}
