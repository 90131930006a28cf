//! Bridge domains.

use super::message::{BRIDGE, BRIDGE_DUMP, SET_BRIDGE};
use super::retval::{
    BD_ALREADY_EXISTS, BD_IN_USE, INVALID_INTERFACE, INVALID_SW_IF_INDEX, NO_SUCH_ENTRY,
};
use super::wire::Fields;
use super::{Session, VppError, accept};

const TAG_LEN: usize = 64;
/// Every bridge domain, every interface.
const ALL: u32 = u32::MAX;
/// Most interfaces of a bridge domain that are read.
const MEMBERS_MAX: u32 = 1 << 17;

/// A bridge domain that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeDomain {
    /// Its number.
    pub id: u32,
    /// Its mark.
    pub tag: String,
    /// Numbers of the interfaces on it.
    pub members: Vec<u32>,
}

impl Session {
    /// Makes a bridge domain that learns and floods. Returns whether it was not there before.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn add_bridge(&mut self, id: u32, tag: &str) -> Result<bool, VppError> {
        let made = self.set_bridge_domain(id, true, tag);
        accept(made, &[BD_ALREADY_EXISTS]).map(|made| made.is_some())
    }

    /// Removes a bridge domain if no interface is on it. One that is absent is removed already.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn remove_bridge(&mut self, id: u32) -> Result<(), VppError> {
        let removed = self.set_bridge_domain(id, false, "");
        accept(removed, &[NO_SUCH_ENTRY, BD_IN_USE]).map(|_| ())
    }

    fn set_bridge_domain(&mut self, id: u32, add: bool, tag: &str) -> Result<(), VppError> {
        let fields = Fields::new()
            .u32(id)
            // Flood, flood what is unknown, forward, learn.
            .bool(add)
            .bool(add)
            .bool(add)
            .bool(add)
            // No ARP of its own; what was learnt does not age.
            .zeros(3)
            .text(tag.as_bytes(), TAG_LEN)
            .bool(add);
        self.call(BRIDGE, &fields).map(|_| ())
    }

    /// Puts an interface on a bridge domain, which must be there: VPP would make a useless one.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn join_bridge(&mut self, sw_if_index: u32, id: u32) -> Result<(), VppError> {
        self.set_membership(sw_if_index, id, true)
    }

    /// Takes an interface from a bridge domain.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn leave_bridge(&mut self, sw_if_index: u32, id: u32) -> Result<(), VppError> {
        let left = self.set_membership(sw_if_index, id, false);
        accept(left, &[INVALID_SW_IF_INDEX, INVALID_INTERFACE, NO_SUCH_ENTRY]).map(|_| ())
    }

    fn set_membership(&mut self, sw_if_index: u32, id: u32, on: bool) -> Result<(), VppError> {
        // An ordinary port, of no split-horizon group.
        let fields = Fields::new().u32(sw_if_index).u32(id).u32(0).u8(0).bool(on);
        self.call(SET_BRIDGE, &fields).map(|_| ())
    }

    /// The bridge domains.
    ///
    /// # Errors
    /// See [`Session::dump`].
    pub fn bridges(&mut self) -> Result<Vec<BridgeDomain>, VppError> {
        let answers = self.dump(BRIDGE_DUMP, &Fields::new().u32(ALL).u32(ALL))?;
        let read = answers.iter().map(|answer| {
            let mut fields = answer.reader();
            let id = fields.u32()?;
            // Six flags and the age.
            fields.skip(7)?;
            let tag = fields.text(TAG_LEN)?;
            // Interfaces with special roles.
            fields.skip(8)?;
            let count = fields.u32()?.min(MEMBERS_MAX);
            let member = |_| {
                fields.skip(4)?;
                let sw_if_index = fields.u32()?;
                fields.skip(1)?;
                Ok(sw_if_index)
            };
            let members = (0..count).map(member).collect::<Result<_, VppError>>()?;
            Ok(BridgeDomain { id, tag, members })
        });
        read.collect()
    }
}
