//! Sub-interfaces: the packets of an interface that have a VLAN tag.

use super::message::{SUB_CREATE, SUB_DELETE, TAG_REWRITE};
use super::retval::{INVALID_SUB_SW_IF_INDEX, INVALID_SW_IF_INDEX};
use super::wire::Fields;
use super::{Session, VppError, accept};

/// Number of the sub-interface that takes all tags which no other one takes.
pub const REST: u32 = 4095;
/// The rewrite that takes one tag off what is received, and puts it on what is sent.
pub const POP_ONE: u32 = 3;

/// Flag: packets with one tag.
const ONE_TAG: u32 = 1 << 1;
/// Flag: and with no other one behind it.
const EXACT_MATCH: u32 = 1 << 4;
/// Flag: packets that no other sub-interface takes.
const DEFAULT: u32 = 1 << 5;

impl Session {
    /// Makes the sub-interface of an interface that has the packets of a VLAN; it is switched off and
    /// has the VLAN's number on its interface. Returns its number as an interface.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn add_vlan(&mut self, parent: u32, vlan: u16) -> Result<u32, VppError> {
        self.add_sub(parent, u32::from(vlan), ONE_TAG | EXACT_MATCH, vlan)
    }

    /// Makes the sub-interface, [`REST`], that has the tagged packets of all other VLANs. As long as it
    /// is switched off VPP drops them: they would be the interface's own otherwise.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn refuse_tags(&mut self, parent: u32) -> Result<u32, VppError> {
        self.add_sub(parent, REST, DEFAULT, 0)
    }

    fn add_sub(&mut self, parent: u32, id: u32, flags: u32, vlan: u16) -> Result<u32, VppError> {
        // No second tag.
        let fields = Fields::new().u32(parent).u32(id).u32(flags).u16(vlan).u16(0);
        self.call(SUB_CREATE, &fields)?.reader().u32()
    }

    /// Takes the tag off what a sub-interface receives, and puts it on what it sends. It must be on a
    /// bridge domain: VPP forgets it when the sub-interface leaves.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn pop_tag(&mut self, sub: u32) -> Result<(), VppError> {
        // Nothing is pushed that was not there.
        let fields = Fields::new().u32(sub).u32(POP_ONE).zeros(12);
        self.call(TAG_REWRITE, &fields).map(|_| ())
    }

    /// Removes a sub-interface. One that is absent is removed already.
    ///
    /// # Errors
    /// See [`Session::call`].
    pub fn delete_sub(&mut self, sub: u32) -> Result<(), VppError> {
        let deleted = self.call(SUB_DELETE, &Fields::new().u32(sub));
        accept(deleted, &[INVALID_SW_IF_INDEX, INVALID_SUB_SW_IF_INDEX]).map(|_| ())
    }
}
