//! The calls that are about one ring, and about groups of them.

use super::file::number;
use super::sys::{self, Request, RingFile, RingState};
use super::{AddressSpace, RingAddresses, VhostVdpaFile};
use crate::error::CallError;
use std::os::fd::{AsFd, BorrowedFd};

impl VhostVdpaFile {
    /// The group that a ring is in.
    ///
    /// # Errors
    /// `EOPNOTSUPP`; `ENOBUFS`: there is no such ring.
    pub fn ring_group(&self, ring: u16) -> Result<u32, CallError> {
        self.ask_ring("ask for a ring's group", sys::GET_RING_GROUP, ring)
    }

    /// The group that a ring's descriptors are in.
    ///
    /// # Errors
    /// As [`ring_group`](Self::ring_group).
    pub fn ring_descriptor_group(&self, ring: u16) -> Result<u32, CallError> {
        self.ask_ring("ask for a ring's group", sys::GET_RING_DESCRIPTOR_GROUP, ring)
    }

    /// Puts a group of rings into an address space.
    ///
    /// # Errors
    /// `EOPNOTSUPP`; `EINVAL`: there is no such space.
    pub fn set_group_space(&self, group: u32, space: AddressSpace) -> Result<(), CallError> {
        let state = RingState { index: group, num: space.0 };
        self.call("set the address space of a group", sys::SET_GROUP_SPACE, state).map(drop)
    }

    /// Rings that there are.
    ///
    /// # Errors
    /// The kernel's; it is too old (before 5.18).
    pub fn rings(&self) -> Result<u32, CallError> {
        self.call("count rings", sys::GET_RINGS, 0)
    }

    /// Most descriptors of a ring.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ring_size_max(&self) -> Result<u16, CallError> {
        self.call("ask for the largest size of a ring", sys::GET_RING_SIZE_MAX, 0)
    }

    /// Descriptors that a ring has.
    ///
    /// # Errors
    /// `EOPNOTSUPP`; `ENOBUFS`: there is no such ring.
    pub fn ring_size(&self, ring: u16) -> Result<u32, CallError> {
        self.ask_ring("ask for the size of a ring", sys::GET_RING_SIZE, ring)
    }

    /// Gives a ring as many descriptors: a power of two.
    ///
    /// # Errors
    /// `EINVAL`: it cannot have as many; `ENOBUFS`: there is no such ring.
    pub fn set_ring_size(&self, ring: u16, size: u16) -> Result<(), CallError> {
        self.set_ring("set the size of a ring", sys::SET_RING_SIZE, ring, size.into())
    }

    /// Where a ring stands, as vhost-user has it: 16 bits of a split ring, 32 of a packed one.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: the device does not say.
    pub fn ring_base(&self, ring: u16) -> Result<u32, CallError> {
        self.ask_ring("ask where a ring stands", sys::GET_RING_BASE, ring)
    }

    /// Where a ring begins.
    ///
    /// # Errors
    /// `EINVAL`: it can only begin at its beginning, or runs.
    pub fn set_ring_base(&self, ring: u16, base: u32) -> Result<(), CallError> {
        self.set_ring("set where a ring begins", sys::SET_RING_BASE, ring, base)
    }

    /// Where a ring is.
    ///
    /// # Errors
    /// `EINVAL`: it runs; `ENOBUFS`: there is no such ring.
    pub fn set_ring_addresses(&self, addresses: RingAddresses) -> Result<(), CallError> {
        self.call("set the addresses of a ring", sys::SET_RING_ADDRESSES, addresses).map(drop)
    }

    /// Enables a ring. Disabling is no more than a reset can do: virtio devices over PCI take it for a
    /// fault.
    ///
    /// # Errors
    /// `ENOBUFS`: there is no such ring.
    pub fn enable_ring(&self, ring: u16) -> Result<(), CallError> {
        self.set_ring("enable a ring", sys::ENABLE_RING, ring, 1)
    }

    /// Has the kernel kick the device when an eventfd is signalled, or no more.
    ///
    /// # Errors
    /// `EINVAL`: it is no eventfd; `ENOBUFS`: there is no such ring.
    pub fn set_kick(&self, ring: u16, kick: Option<BorrowedFd<'_>>) -> Result<(), CallError> {
        self.set_eventfd("set the eventfd of kicks", sys::SET_KICK, ring, kick)
    }

    /// Has the kernel signal an eventfd when the device calls the driver, or none.
    ///
    /// # Errors
    /// As [`set_kick`](Self::set_kick).
    pub fn set_call(&self, ring: u16, call: Option<BorrowedFd<'_>>) -> Result<(), CallError> {
        self.set_eventfd("set the eventfd of calls", sys::SET_CALL, ring, call)
    }

    /// Has the kernel signal an eventfd when a ring is at fault, or none. Drivers do not use it.
    ///
    /// # Errors
    /// As [`set_kick`](Self::set_kick).
    pub fn set_error(&self, ring: u16, error: Option<BorrowedFd<'_>>) -> Result<(), CallError> {
        self.set_eventfd("set the eventfd of errors", sys::SET_ERROR, ring, error)
    }

    /// Whether the doorbell of a ring that exists has a page of its own, which can be mapped for writing
    /// at offset `ring * page_len()`.
    #[must_use]
    pub fn has_doorbell(&self, ring: u16) -> bool {
        sys::can_map(self.as_fd(), ring)
    }

    fn ask_ring(
        &self,
        operation: &'static str,
        request: Request<RingState>,
        ring: u16,
    ) -> Result<u32, CallError> {
        let state = RingState { index: ring.into(), num: 0 };
        self.call(operation, request, state).map(|state| state.num)
    }

    fn set_ring(
        &self,
        operation: &'static str,
        request: Request<RingState>,
        ring: u16,
        num: u32,
    ) -> Result<(), CallError> {
        self.call(operation, request, RingState { index: ring.into(), num }).map(drop)
    }

    fn set_eventfd(
        &self,
        operation: &'static str,
        request: Request<RingFile>,
        ring: u16,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), CallError> {
        self.call(operation, request, RingFile { index: ring.into(), fd: number(fd) }).map(drop)
    }
}
