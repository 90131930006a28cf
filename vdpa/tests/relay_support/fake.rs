//! A device that works: it maps what it is told, and moves packets on the rings that it is given, as our
//! own virtio device. What it was told is written down, and what it cannot do is up to the test.

use nix::sys::eventfd::{EfdFlags, EventFd};
use ringport::doorbell::Doorbell;
use ringport::link::LinkState;
use ringport::shm::write_u32;
use ringport_vdpa::device::{DeviceMemory, DoorbellPage, RingSetup, Setup};
use ringport_vdpa::{Capabilities, DeviceError, VdpaDevice};
use ringport_vhost_user::backend::RingBase;
use ringport_vhost_user::memory::{GuestMemory, Region};
use ringport_vhost_user::virtqueue::{
    KickMode, RingAddresses, RingControl, RingFeatures, RingStart, RxQueue, TxQueue, rx_ring,
    tx_ring,
};
use ringport_vhost_user::wire::feature;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};

/// What the device was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Map(Vec<RangeInclusive<u64>>),
    Unmap(Vec<RangeInclusive<u64>>),
    Start { features: u64, rings: usize },
    SetCall(u16),
    SetKick(u16),
    Stop,
    GiveUp,
}

/// What it can and cannot.
#[derive(Debug, Clone)]
pub struct FakeConfig {
    pub capabilities: Capabilities,
    pub space: Vec<u8>,
    /// So many mappings succeed.
    pub mappings: usize,
    pub starts: bool,
    /// Why kicks would go through a thread while it runs.
    pub kick_thread: Option<&'static str>,
    /// Memory is not given back.
    pub keeps: bool,
}

impl Default for FakeConfig {
    fn default() -> Self {
        let features = feature::VERSION_1
            | feature::MRG_RXBUF
            | feature::EVENT_IDX
            | feature::INDIRECT_DESC
            | feature::IN_ORDER
            | feature::MAC
            | feature::STATUS;
        Self {
            capabilities: Capabilities {
                device_id: 1,
                features,
                rings: 2,
                ring_size_max: 256,
                config_len: 12,
                iova: Vec::from([0..=u64::MAX]),
                mappings_max: None,
                locks_memory: false,
                translated: false,
                starts_midway: false,
                tells_base: false,
            },
            space: vec![2, 0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0],
            mappings: usize::MAX,
            starts: true,
            kick_thread: None,
            keeps: false,
        }
    }
}

/// The device.
#[derive(Debug)]
pub struct Fake {
    capabilities: Capabilities,
    handle: Handle,
    changed: Arc<EventFd>,
    gone: Arc<EventFd>,
}

/// What a test has of it.
#[derive(Debug, Clone)]
pub struct Handle {
    state: Arc<Mutex<State>>,
    changed: Arc<EventFd>,
    gone: Arc<EventFd>,
}

#[derive(Debug)]
struct State {
    config: FakeConfig,
    calls: Vec<Told>,
    mapped: Vec<DeviceMemory>,
    running: Option<Running>,
    /// Where rings are said to have stopped, if not where they did; as it travels.
    stopped_at: Option<u32>,
    started_at: Vec<u32>,
    /// It was given up, or nobody has it any more.
    closed: bool,
}

#[derive(Debug)]
struct Running {
    rx: RxQueue,
    tx: TxQueue,
    controls: [RingControl; 2],
    bells: Vec<(u16, Arc<OwnedFd>)>,
    /// IOVAs of the used rings, by number.
    device_areas: Vec<u64>,
}

impl Fake {
    pub fn new(config: FakeConfig) -> (Self, Handle) {
        let bell = || Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap());
        let (changed, gone, capabilities) = (bell(), bell(), config.capabilities.clone());
        let state = State {
            config,
            calls: Vec::new(),
            mapped: Vec::new(),
            running: None,
            stopped_at: None,
            started_at: Vec::new(),
            closed: false,
        };
        let state = Arc::new(Mutex::new(state));
        let handle = Handle { state, changed: Arc::clone(&changed), gone: Arc::clone(&gone) };
        (Self { capabilities, handle: handle.clone(), changed, gone }, handle)
    }
}

impl Handle {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, DeviceError> {
        let state = self.lock();
        if state.closed { Err(DeviceError::Gone) } else { Ok(state) }
    }

    pub fn calls(&self) -> Vec<Told> {
        std::mem::take(&mut self.lock().calls)
    }

    pub fn change(&self, change: impl FnOnce(&mut FakeConfig)) {
        change(&mut self.lock().config);
    }

    pub fn mapped(&self) -> Vec<RangeInclusive<u64>> {
        self.lock().mapped.iter().map(range).collect()
    }

    pub fn runs(&self) -> bool {
        self.lock().running.is_some()
    }

    /// Whether it was dropped, which resets it.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Says of a split ring that it has used more than it was ever given.
    pub fn break_ring(&self, ring: usize) {
        let state = self.lock();
        let area = state.running.as_ref().expect("it runs").device_areas[ring];
        let memory = state.mapped.iter().find(|it| range(it).contains(&area)).unwrap();
        // The flags, which say nothing, and the index.
        write_u32(&memory.mapping, area - memory.iova, 0x4000 << 16).unwrap();
    }

    /// Where it says from now on that rings stopped.
    pub fn pretend_stopped_at(&self, base: u32) {
        self.lock().stopped_at = Some(base);
    }

    /// Where the rings began last.
    pub fn started_at(&self) -> Vec<u32> {
        self.lock().started_at.clone()
    }

    pub fn yank(&self) {
        self.gone.write(1).unwrap();
    }

    pub fn config_changes(&self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.lock().config.space);
        self.changed.write(1).unwrap();
    }

    /// Packets that the driver has sent.
    pub fn receive(&self) -> Vec<Vec<u8>> {
        let mut state = self.lock();
        let Some(Running { rx, .. }) = &mut state.running else { return Vec::new() };
        let burst = rx.rx_burst(64).unwrap();
        burst.packets().map(|packet| packet.detach().to_vec()).collect()
    }

    /// Sends packets to the driver; how many it had room for.
    pub fn send(&self, frames: &[Vec<u8>]) -> usize {
        let mut state = self.lock();
        let Some(Running { tx, .. }) = &mut state.running else { return 0 };
        let mut burst = tx.tx_burst(frames.len()).unwrap();
        for frame in frames {
            if burst.push(frame).is_err() {
                break;
            }
        }
        burst.commit()
    }

    /// Writes to the eventfd of a ring by which its driver is called.
    pub fn call(&self, ring: u16) {
        let state = self.lock();
        let bells = state.running.iter().flat_map(|running| &running.bells);
        for (_, fd) in bells.filter(|(of, _)| *of == ring) {
            nix::unistd::write(fd, &1_u64.to_ne_bytes()).unwrap();
        }
    }
}

fn range(memory: &DeviceMemory) -> RangeInclusive<u64> {
    memory.iova..=memory.iova + (memory.len - 1)
}

impl Drop for Fake {
    fn drop(&mut self) {
        let mut state = self.handle.lock();
        state.running = None;
        state.mapped.clear();
        state.closed = true;
    }
}

impl VdpaDevice for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn kind(&self) -> &'static str {
        "fake"
    }

    fn kick_thread(&self) -> Option<&str> {
        let state = self.handle.lock();
        state.config.kick_thread.filter(|_| state.running.is_some())
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn read_config(&self, offset: u32, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let state = self.handle.lock();
        let space = &state.config.space;
        let len = u32::try_from(space.len()).unwrap();
        let there = space.get(offset as usize..).and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(there.ok_or(DeviceError::NoConfig { offset, len })?);
        Ok(())
    }

    fn map(&mut self, memory: &[DeviceMemory]) -> Result<(), DeviceError> {
        let mut state = self.handle.open()?;
        state.calls.push(Told::Map(memory.iter().map(range).collect()));
        if state.mapped.len() + memory.len() > state.config.mappings {
            let (wanted, limit) = (memory.len() as u64, state.config.mappings as u64);
            return Err(DeviceError::TooManyMappings { wanted, limit, setting: "the fake's" });
        }
        state.mapped.extend_from_slice(memory);
        Ok(())
    }

    fn unmap(&mut self, ranges: &[RangeInclusive<u64>]) -> Result<(), DeviceError> {
        let mut state = self.handle.open()?;
        assert!(ranges.iter().all(|gone| state.mapped.iter().any(|known| range(known) == *gone)));
        state.calls.push(Told::Unmap(ranges.to_vec()));
        if state.config.keeps {
            let source = nix::errno::Errno::EFAULT.into();
            return Err(DeviceError::Call { call: "unmap memory", source });
        }
        state.mapped.retain(|known| !ranges.contains(&range(known)));
        Ok(())
    }

    fn start(&mut self, setup: &Setup) -> Result<(), DeviceError> {
        let mut state = self.handle.open()?;
        let (features, rings) = (setup.features, setup.rings.len());
        state.calls.push(Told::Start { features, rings });
        assert!(state.running.is_none(), "it has begun already");
        if !state.config.starts {
            return Err(DeviceError::FeaturesRefused { features });
        }
        state.started_at = setup.rings.iter().map(|ring| ring.base.to_wire()).collect();
        state.running = Some(Running::new(&state.mapped, setup));
        Ok(())
    }

    fn set_call(&mut self, ring: u16, call: &Arc<OwnedFd>) -> Result<(), DeviceError> {
        let mut state = self.handle.lock();
        state.calls.push(Told::SetCall(ring));
        let running = state.running.as_mut().expect("it runs");
        running.bells.retain(|(of, _)| *of != ring);
        running.bells.push((ring, Arc::clone(call)));
        Ok(())
    }

    fn set_kick(&mut self, ring: u16, _: &Arc<OwnedFd>) -> Result<(), DeviceError> {
        self.handle.lock().calls.push(Told::SetKick(ring));
        Ok(())
    }

    fn stop(&mut self) -> Vec<Option<RingBase>> {
        let mut state = self.handle.lock();
        state.calls.push(Told::Stop);
        let Some(Running { mut controls, .. }) = state.running.take() else { return Vec::new() };
        let tells = state.config.capabilities.tells_base;
        if let Some(word) = state.stopped_at {
            return vec![RingBase::from_wire(true, word, 64); 2];
        }
        let bases = controls.iter_mut().map(|control| {
            control.stop();
            control.base().filter(|_| tells)
        });
        bases.collect()
    }

    fn give_up(&mut self) {
        let mut state = self.handle.lock();
        state.calls.push(Told::GiveUp);
        (state.running, state.closed) = (None, true);
        state.mapped.clear();
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

impl Running {
    fn new(mapped: &[DeviceMemory], setup: &Setup) -> Self {
        let link = Arc::new(LinkState::new().unwrap());
        let wake = Arc::new(Doorbell::create().unwrap());
        let memory = Arc::new(GuestMemory::new(mapped.iter().map(region).collect()).unwrap());
        let (mut tx, mut to_driver) = tx_ring(Arc::clone(&link), Arc::clone(&wake)).unwrap();
        let (mut rx, mut to_device) = rx_ring(link, wake).unwrap();
        let [receiving, sending] = &setup.rings[..] else { panic!("a pair: {setup:?}") };
        to_driver.start(Arc::clone(&memory), start(receiving, setup.features)).unwrap();
        to_device.start(memory, start(sending, setup.features)).unwrap();
        // They take their rings with the first burst.
        drop(tx.tx_burst(0).unwrap());
        drop(rx.rx_burst(0).unwrap());
        let bells = setup.rings.iter().map(|ring| (ring.index, Arc::clone(&ring.call)));
        let device_areas = setup.rings.iter().map(|ring| ring.device_area).collect();
        Self { rx, tx, controls: [to_driver, to_device], bells: bells.collect(), device_areas }
    }
}

/// Guest addresses, front-end addresses and IOVAs are the same to a device.
fn region(memory: &DeviceMemory) -> Region {
    Region {
        guest: memory.iova,
        front_end: memory.iova,
        size: memory.len,
        mapping: Arc::clone(&memory.mapping),
        offset: memory.offset,
    }
}

fn start(ring: &RingSetup, features: u64) -> RingStart {
    let bell = |fd: &Arc<OwnedFd>| {
        Some(Arc::new(Doorbell::from_peer(fd.as_fd().try_clone_to_owned().unwrap()).unwrap()))
    };
    RingStart {
        addresses: RingAddresses {
            size: ring.size,
            descriptor: ring.descriptor_area,
            driver: ring.driver_area,
            device: ring.device_area,
        },
        base: ring.base,
        features: RingFeatures {
            mergeable: features & feature::MRG_RXBUF != 0,
            indirect: features & feature::INDIRECT_DESC != 0,
            event_idx: features & feature::EVENT_IDX != 0,
            in_order: features & feature::IN_ORDER != 0,
            ..RingFeatures::default()
        },
        kicks: KickMode::Polling,
        kick: bell(&ring.kick),
        call: bell(&ring.call),
        enabled: true,
        log: None,
        inflight: None,
    }
}
