//! A kernel's device that can lie and fail, and writes down what it is told.

use super::calls::Calls;
use nix::errno::Errno;
use ringport::error::CallError;
use ringport::shm::Mapping;
use ringport::vhost_vdpa::{BackendFeatures, RingAddresses};
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard};

type Done<T = ()> = Result<T, CallError>;

/// What it does otherwise than others.
#[derive(Debug, Clone)]
pub(super) struct Lies {
    pub(super) backend: u64,
    pub(super) features: u64,
    pub(super) rings: u32,
    pub(super) ring_size_max: u16,
    pub(super) config_len: u32,
    pub(super) iova: RangeInclusive<u64>,
    /// Features are not accepted.
    pub(super) refuses_features: bool,
    /// Resets are never over.
    pub(super) never_reset: bool,
    /// Bits that are in the status as well, unless it is 0.
    pub(super) status: u8,
    /// Where all rings stand.
    pub(super) base: u32,
    /// The call of this name fails.
    pub(super) fails: Option<&'static str>,
    /// This mapping fails, counted from 0.
    pub(super) map_fails_at: Option<usize>,
}

impl Default for Lies {
    fn default() -> Self {
        Self {
            backend: BackendFeatures::MESSAGE_V2.0
                | BackendFeatures::BATCH.0
                | BackendFeatures::SUSPEND.0,
            features: 1 << 32 | 1 << 33,
            rings: 3,
            ring_size_max: 256,
            config_len: 24,
            iova: 0..=(1 << 40) - 1,
            refuses_features: false,
            never_reset: false,
            status: 0,
            base: 0,
            fails: None,
            map_fails_at: None,
        }
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) lies: Lies,
    /// Names of the calls, in order.
    pub(super) told: Vec<&'static str>,
    pub(super) status: u8,
    pub(super) mapped: Vec<RangeInclusive<u64>>,
    /// Kick and call of each ring.
    pub(super) eventfds: Vec<[Option<i32>; 2]>,
    maps: usize,
    batch: bool,
    pub(super) closed: bool,
}

/// The device. What a test has of it is the state.
#[derive(Debug)]
pub(super) struct Fake {
    state: Shared,
    file: File,
}

#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Mutex<State>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Whether no eventfd is set.
    pub(super) fn has_no_eventfds(&self) -> bool {
        self.lock().eventfds.iter().flatten().all(Option::is_none)
    }
}

impl Fake {
    pub(super) fn new(lies: Lies) -> (Self, Shared) {
        let rings = usize::try_from(lies.rings.min(1024)).unwrap();
        let state = State {
            lies,
            told: Vec::new(),
            status: 0,
            mapped: Vec::new(),
            eventfds: vec![[None; 2]; rings],
            maps: 0,
            batch: false,
            closed: false,
        };
        let state = Shared(Arc::new(Mutex::new(state)));
        let file = File::open("/dev/null").unwrap();
        (Self { state: state.clone(), file }, state)
    }

    /// Writes a call down, unless it fails.
    fn told(&self, call: &'static str) -> Done<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        state.told.push(call);
        if state.lies.fails == Some(call) {
            return Err(CallError { operation: call, source: Errno::EIO.into() });
        }
        Ok(state)
    }

    fn set_eventfd(&self, call: &'static str, ring: u16, fd: Option<BorrowedFd<'_>>) -> Done {
        let which = usize::from(call == "set_call");
        // To take them back does not fail.
        let mut state = if fd.is_some() { self.told(call)? } else { self.state.lock() };
        state.eventfds[usize::from(ring)][which] = fd.map(|fd| fd.as_raw_fd());
        Ok(())
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.mapped.clear();
    }
}

impl Calls for Fake {
    fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn device_number(&self) -> io::Result<u64> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn set_owner(&self) -> Done {
        self.told("set_owner").map(drop)
    }

    fn backend_features(&self) -> Done<BackendFeatures> {
        Ok(BackendFeatures(self.told("backend_features")?.lies.backend))
    }

    fn set_backend_features(&self, features: BackendFeatures) -> Done {
        let state = self.told("set_backend_features")?;
        assert_eq!(features.0 & !state.lies.backend, 0, "not all of it is there");
        Ok(())
    }

    fn device_id(&self) -> Done<u32> {
        self.told("device_id").map(|_| 1)
    }

    fn features(&self) -> Done<u64> {
        Ok(self.told("features")?.lies.features)
    }

    fn set_features(&self, _: u64) -> Done {
        self.told("set_features").map(drop)
    }

    fn status(&self) -> Done<u8> {
        let state = self.told("status")?;
        Ok(if state.status == 0 { 0 } else { state.status | state.lies.status })
    }

    fn set_status(&self, status: u8) -> Done {
        let mut state = if status == 0 { self.state.lock() } else { self.told("set_status")? };
        let ignored = status == 0 && state.lies.never_reset;
        let refused = if state.lies.refuses_features { 8 } else { 0 };
        state.status = if ignored { state.status | 1 } else { status & !refused };
        Ok(())
    }

    fn suspend(&self) -> Done {
        self.told("suspend").map(drop)
    }

    fn config_len(&self) -> Done<u32> {
        Ok(self.told("config_len")?.lies.config_len)
    }

    fn read_config(&self, _: u32, bytes: &mut [u8]) -> Done {
        drop(self.told("read_config")?);
        bytes.fill(7);
        Ok(())
    }

    fn set_config_call(&self, _: Option<BorrowedFd<'_>>) -> Done {
        self.told("set_config_call").map(drop)
    }

    fn iova_range(&self) -> Done<RangeInclusive<u64>> {
        Ok(self.told("iova_range")?.lies.iova.clone())
    }

    fn rings(&self) -> Done<u32> {
        Ok(self.told("rings")?.lies.rings)
    }

    fn ring_size_max(&self) -> Done<u16> {
        Ok(self.told("ring_size_max")?.lies.ring_size_max)
    }

    fn set_ring_size(&self, _: u16, _: u16) -> Done {
        self.told("set_ring_size").map(drop)
    }

    fn ring_base(&self, _: u16) -> Done<u32> {
        Ok(self.told("ring_base")?.lies.base)
    }

    fn set_ring_base(&self, _: u16, _: u32) -> Done {
        self.told("set_ring_base").map(drop)
    }

    fn set_ring_addresses(&self, _: RingAddresses) -> Done {
        self.told("set_ring_addresses").map(drop)
    }

    fn enable_ring(&self, _: u16) -> Done {
        self.told("enable_ring").map(drop)
    }

    fn set_kick(&self, ring: u16, kick: Option<BorrowedFd<'_>>) -> Done {
        self.set_eventfd("set_kick", ring, kick)
    }

    fn set_call(&self, ring: u16, call: Option<BorrowedFd<'_>>) -> Done {
        self.set_eventfd("set_call", ring, call)
    }

    fn has_doorbell(&self, _: u16) -> bool {
        false
    }

    fn begin_batch(&mut self) -> Done {
        let mut state = self.told("begin_batch")?;
        assert!(!std::mem::replace(&mut state.batch, true), "a batch within one");
        Ok(())
    }

    fn end_batch(&mut self) -> Done {
        let mut state = self.told("end_batch")?;
        assert!(std::mem::replace(&mut state.batch, false), "the end of no batch");
        Ok(())
    }

    fn map(&mut self, iova: u64, _: &Arc<Mapping>, _: u64, len: u64) -> Done {
        let mut state = self.told("map")?;
        let batches = state.lies.backend & BackendFeatures::BATCH.0 != 0;
        assert!(state.batch || !batches, "not in a batch");
        state.maps += 1;
        if state.lies.map_fails_at == Some(state.maps - 1) {
            return Err(CallError { operation: "map memory", source: Errno::EFAULT.into() });
        }
        state.mapped.push(iova..=iova + (len - 1));
        Ok(())
    }

    fn unmap(&mut self, range: &RangeInclusive<u64>) -> Done {
        let mut state = self.told("unmap")?;
        let at = state.mapped.iter().position(|it| it == range).expect("it is mapped");
        state.mapped.remove(at);
        Ok(())
    }
}
