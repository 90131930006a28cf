//! A device that keeps books: whatever it is told has to fit what it was told before.

use nix::sys::eventfd::{EfdFlags, EventFd};
use ringport_vdpa::device::{DeviceMemory, DoorbellPage, RingSetup, Setup};
use ringport_vdpa::{Capabilities, DeviceError, VdpaDevice};
use ringport_vhost_user::backend::RingBase;
use ringport_vhost_user::wire::feature;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};

const PAGE: u64 = 4096;
const ACCESS_PLATFORM: u64 = 1 << 33;

/// What fails: bits of [`Books::fails`].
const MAP: u8 = 1;
const START: u8 = 2;
const UNMAP: u8 = 4;
const EVENTFDS: u8 = 8;
const CONFIG: u8 = 16;

#[derive(Debug)]
pub(super) struct Device {
    capabilities: Capabilities,
    books: Arc<Mutex<Books>>,
    changed: EventFd,
    gone: EventFd,
}

#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) mapped: Vec<DeviceMemory>,
    /// Its rings, while it runs.
    pub(super) running: Option<Vec<RingSetup>>,
    pub(super) fails: u8,
    pub(super) given_up: bool,
    /// Where it says that rings stopped.
    pub(super) base: u32,
    packed: bool,
}

impl Device {
    pub(super) fn new(capabilities: Capabilities) -> (Self, Arc<Mutex<Books>>) {
        let books = Arc::new(Mutex::new(Books::default()));
        let bell = || EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap();
        let (changed, gone) = (bell(), bell());
        (Self { capabilities, books: Arc::clone(&books), changed, gone }, books)
    }

    fn open(&self) -> Result<MutexGuard<'_, Books>, DeviceError> {
        let books = self.books.lock().unwrap();
        if books.given_up { Err(DeviceError::Gone) } else { Ok(books) }
    }

    /// Fails, if that is to fail.
    fn attempt(&self, what: u8) -> Result<MutexGuard<'_, Books>, DeviceError> {
        let books = self.open()?;
        if books.fails & what == 0 { Ok(books) } else { Err(DeviceError::Unable("do that")) }
    }

    fn check_ring(&self, books: &Books, ring: &RingSetup, packed: bool) {
        let RingSetup { size, base, .. } = *ring;
        assert!(size.is_power_of_two() && size <= self.capabilities.ring_size_max);
        let beginning = match base {
            RingBase::Split { avail } => !packed && avail == 0,
            RingBase::Packed { avail, used } => {
                assert!(packed && avail.index < size && used.index < size);
                base.to_wire() == 0x8000_8000
            }
        };
        assert!(beginning || self.capabilities.starts_midway);
        assert_eq!(packed, matches!(base, RingBase::Packed { .. }));
        let size = u64::from(size);
        let (driver, device) = if packed { (4, 4) } else { (6 + 2 * size, 6 + 8 * size) };
        for (at, len, align) in [
            (ring.descriptor_area, 16 * size, 16),
            (ring.driver_area, driver, if packed { 4 } else { 2 }),
            (ring.device_area, device, 4),
        ] {
            assert_eq!(at % align, 0);
            let holds = |it: &DeviceMemory| {
                let range = range(it);
                range.contains(&at) && range.contains(&at.checked_add(len - 1).unwrap())
            };
            assert!(books.mapped.iter().any(holds), "a ring where there is no memory");
        }
    }
}

impl Books {
    fn ring(&mut self, ring: u16) -> &mut RingSetup {
        let running = self.running.as_mut().expect("it runs");
        running.iter_mut().find(|it| it.index == ring).expect("that ring runs")
    }
}

fn range(memory: &DeviceMemory) -> RangeInclusive<u64> {
    memory.iova..=memory.iova.checked_add(memory.len - 1).unwrap()
}

fn is_in(at: u64, memory: &DeviceMemory) -> bool {
    range(memory).contains(&at)
}

impl VdpaDevice for Device {
    fn name(&self) -> &str {
        "books"
    }

    fn kind(&self) -> &'static str {
        "books"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn read_config(&self, offset: u32, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let end = u64::from(offset) + bytes.len() as u64;
        let len = self.capabilities.config_len;
        if end > len.into() {
            return Err(DeviceError::NoConfig { offset, len });
        }
        drop(self.attempt(CONFIG)?);
        bytes.fill(1);
        Ok(())
    }

    fn map(&mut self, memory: &[DeviceMemory]) -> Result<(), DeviceError> {
        let mut books = self.attempt(MAP)?;
        for new in memory {
            assert!(new.len > 0 && (new.iova | new.len | new.offset) % PAGE == 0, "{new:?}");
            assert!(new.offset + new.len <= new.mapping.len() as u64);
            let (ours, known) = (range(new), &books.mapped);
            let free = |it: &DeviceMemory| {
                let theirs = range(it);
                ours.end() < theirs.start() || theirs.end() < ours.start()
            };
            assert!(known.iter().all(free), "{new:?} is over {known:?}");
            books.mapped.push(new.clone());
        }
        Ok(())
    }

    fn unmap(&mut self, ranges: &[RangeInclusive<u64>]) -> Result<(), DeviceError> {
        let mut books = self.attempt(UNMAP)?;
        for gone in ranges {
            let at = books.mapped.iter().position(|it| range(it) == *gone);
            let memory = books.mapped.remove(at.expect("it was mapped"));
            let rings = books.running.iter().flatten();
            let mut areas =
                rings.flat_map(|it| [it.descriptor_area, it.driver_area, it.device_area]);
            assert!(!areas.any(|area| is_in(area, &memory)), "a running ring is in it");
        }
        Ok(())
    }

    fn start(&mut self, setup: &Setup) -> Result<(), DeviceError> {
        let mut books = self.attempt(START)?;
        assert!(books.running.is_none(), "it runs already");
        assert_eq!(setup.features & !self.capabilities.features, 0, "features of nobody");
        let translated = self.capabilities.translated;
        assert!(!translated || setup.features & ACCESS_PLATFORM != 0, "past the IOMMU");
        let packed = setup.features & feature::RING_PACKED != 0;
        let indices: Vec<_> = setup.rings.iter().map(|ring| ring.index).collect();
        assert_eq!(indices, [0, 1]);
        setup.rings.iter().for_each(|ring| self.check_ring(&books, ring, packed));
        (books.running, books.packed) = (Some(setup.rings.clone()), packed);
        Ok(())
    }

    fn set_call(&mut self, ring: u16, call: &Arc<OwnedFd>) -> Result<(), DeviceError> {
        self.attempt(EVENTFDS)?.ring(ring).call = Arc::clone(call);
        Ok(())
    }

    fn set_kick(&mut self, ring: u16, kick: &Arc<OwnedFd>) -> Result<(), DeviceError> {
        self.attempt(EVENTFDS)?.ring(ring).kick = Arc::clone(kick);
        Ok(())
    }

    fn stop(&mut self) -> Vec<Option<RingBase>> {
        let mut books = self.books.lock().unwrap();
        let (packed, base) = (books.packed, books.base);
        let tells = self.capabilities.tells_base;
        let place = |ring: &RingSetup| {
            let said = RingBase::from_wire(packed, base, ring.size);
            said.or_else(|| RingBase::from_wire(packed, 0x8000 * u32::from(packed), ring.size))
        };
        let rings = books.running.take().unwrap_or_default();
        rings.iter().map(|ring| place(ring).filter(|_| tells)).collect()
    }

    fn give_up(&mut self) {
        let mut books = self.books.lock().unwrap();
        (books.running, books.given_up) = (None, true);
        books.mapped.clear();
        self.gone.write(1).unwrap();
    }

    fn config_changed(&self) -> BorrowedFd<'_> {
        self.changed.as_fd()
    }

    fn gone(&self) -> BorrowedFd<'_> {
        self.gone.as_fd()
    }

    fn doorbell(&self, _: u16) -> Option<DoorbellPage<'_>> {
        None
    }
}
