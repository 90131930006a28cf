//! The calls of a vhost-vdpa file that a device is driven by. Tests have one that lies.

use ringport::error::CallError;
use ringport::shm::Mapping;
use ringport::vhost_vdpa::{AddressSpace, BackendFeatures, RingAddresses, VhostVdpaFile};
use std::fmt::Debug;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

type Done<T = ()> = Result<T, CallError>;

/// All rings and all memory are in the first address space, whatever groups and spaces there are.
const SPACE: AddressSpace = AddressSpace(0);

/// An open device. Each method is the one of [`VhostVdpaFile`] that has its name.
pub(super) trait Calls: Debug + Send {
    fn fd(&self) -> BorrowedFd<'_>;
    fn device_number(&self) -> io::Result<u64>;
    fn set_owner(&self) -> Done;
    fn backend_features(&self) -> Done<BackendFeatures>;
    fn set_backend_features(&self, features: BackendFeatures) -> Done;
    fn device_id(&self) -> Done<u32>;
    fn features(&self) -> Done<u64>;
    fn set_features(&self, features: u64) -> Done;
    fn status(&self) -> Done<u8>;
    fn set_status(&self, status: u8) -> Done;
    fn suspend(&self) -> Done;
    fn config_len(&self) -> Done<u32>;
    fn read_config(&self, offset: u32, bytes: &mut [u8]) -> Done;
    fn set_config_call(&self, call: Option<BorrowedFd<'_>>) -> Done;
    fn iova_range(&self) -> Done<RangeInclusive<u64>>;
    fn rings(&self) -> Done<u32>;
    fn ring_size_max(&self) -> Done<u16>;
    fn set_ring_size(&self, ring: u16, size: u16) -> Done;
    fn ring_base(&self, ring: u16) -> Done<u32>;
    fn set_ring_base(&self, ring: u16, base: u32) -> Done;
    fn set_ring_addresses(&self, addresses: RingAddresses) -> Done;
    fn enable_ring(&self, ring: u16) -> Done;
    fn set_kick(&self, ring: u16, kick: Option<BorrowedFd<'_>>) -> Done;
    fn set_call(&self, ring: u16, call: Option<BorrowedFd<'_>>) -> Done;
    fn has_doorbell(&self, ring: u16) -> bool;
    fn begin_batch(&mut self) -> Done;
    fn end_batch(&mut self) -> Done;
    fn map(&mut self, iova: u64, memory: &Arc<Mapping>, offset: u64, len: u64) -> Done;
    fn unmap(&mut self, range: &RangeInclusive<u64>) -> Done;
}

/// Methods that do no more than call their namesakes.
macro_rules! as_they_are {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {$(
        fn $name(&self, $($argument: $kind),*) -> $result {
            Self::$name(self, $($argument),*)
        }
    )*};
}

impl Calls for VhostVdpaFile {
    as_they_are! {
        device_number() -> io::Result<u64>;
        set_owner() -> Done;
        backend_features() -> Done<BackendFeatures>;
        set_backend_features(features: BackendFeatures) -> Done;
        device_id() -> Done<u32>;
        features() -> Done<u64>;
        set_features(features: u64) -> Done;
        status() -> Done<u8>;
        set_status(status: u8) -> Done;
        suspend() -> Done;
        config_len() -> Done<u32>;
        read_config(offset: u32, bytes: &mut [u8]) -> Done;
        set_config_call(call: Option<BorrowedFd<'_>>) -> Done;
        iova_range() -> Done<RangeInclusive<u64>>;
        rings() -> Done<u32>;
        ring_size_max() -> Done<u16>;
        set_ring_size(ring: u16, size: u16) -> Done;
        ring_base(ring: u16) -> Done<u32>;
        set_ring_base(ring: u16, base: u32) -> Done;
        set_ring_addresses(addresses: RingAddresses) -> Done;
        enable_ring(ring: u16) -> Done;
        set_kick(ring: u16, kick: Option<BorrowedFd<'_>>) -> Done;
        set_call(ring: u16, call: Option<BorrowedFd<'_>>) -> Done;
        has_doorbell(ring: u16) -> bool;
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn begin_batch(&mut self) -> Done {
        Self::begin_batch(self, SPACE)
    }

    fn end_batch(&mut self) -> Done {
        Self::end_batch(self, SPACE)
    }

    fn map(&mut self, iova: u64, memory: &Arc<Mapping>, offset: u64, len: u64) -> Done {
        Self::map(self, SPACE, iova, memory, offset, len)
    }

    fn unmap(&mut self, range: &RangeInclusive<u64>) -> Done {
        Self::unmap(self, SPACE, range)
    }
}
