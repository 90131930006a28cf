//! One link: a device that runs, and our side of its rings.

use super::features::{agree, config_len, ring_size};
use super::{DownReason, LinkParameters, PortConfig, PortError, PortEvent, PortLink};
use crate::device::{DeviceError, DeviceMemory, RingSetup, Setup, VdpaDevice};
use ringport::doorbell::Doorbell;
use ringport::error::CallError;
use ringport::link::LinkState;
use ringport_vhost_user::backend::{PackedIndex, RingBase};
use ringport_vhost_user::driver::queue::{
    DriverMemory, DriverMemoryConfig, LayoutError, QueueOptions, RingLayout,
};
use ringport_vhost_user::driver::ring_features;
use ringport_vhost_user::frontend::Told;
use ringport_vhost_user::wire::feature;
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

/// Where memory goes if the device reaches that. Not zero, which a device could take for none; and what
/// needs 32 bits on a machine is below.
const USUAL: u64 = 1 << 32;

/// Elsewhere memory begins at multiples of this, in bytes: those of huge pages.
const ALIGN: u64 = 2 << 20;

/// A device that runs.
#[derive(Debug)]
pub(super) struct Session {
    device: Box<dyn VdpaDevice>,
    link: Arc<LinkState>,
    features: u64,
    /// What was said of the configuration.
    told: Told,
    /// Since when the link is up.
    pub(super) up: Instant,
}

impl Session {
    /// Makes rings, gives them to a device, and has it begin. If it does not, it is closed.
    pub(super) fn begin(
        mut device: Box<dyn VdpaDevice>,
        config: &PortConfig,
    ) -> Result<(Self, PortLink), PortError> {
        let features = agree(config, device.capabilities())?;
        let size = ring_size(config, device.capabilities());
        let link = Arc::new(LinkState::new().map_err(CallError::io("eventfd"))?);
        let mut memory = DriverMemory::allocate(&memory(config, features, size), &link)?;
        memory.move_to(place(memory.region().size, &device.capabilities().iova)?)?;
        let [rx_bells, tx_bells] = [Bells::new()?, Bells::new()?];
        let rings =
            vec![ring(&memory, 0, features, &rx_bells)?, ring(&memory, 1, features, &tx_bells)?];
        let rx = memory.rx_queue(0, &rx_bells.options(config, features))?;
        let tx = memory.tx_queue(0, &tx_bells.options(config, features))?;
        device.map(&[device_memory(&memory)])?;
        device.start(&Setup { features, rings })?;
        let told = ask(&*device, features)?;
        let parameters = LinkParameters {
            device: device.name().to_owned(),
            features,
            packed: features & feature::RING_PACKED != 0,
            ring_sizes: [size; 2],
            mac: told.mac,
            mtu: told.mtu,
            carrier: told.carrier,
            buffer_size: config.buffer_size,
        };
        let session = Self { device, link, features, told, up: Instant::now() };
        Ok((session, PortLink { rx: vec![rx], tx: vec![tx], parameters }))
    }

    /// Readable when the device is to be given up, when its configuration changed, and when a queue found
    /// it breaking a ring.
    pub(super) fn fds(&self) -> [BorrowedFd<'_>; 3] {
        [self.device.gone(), self.device.config_changed(), self.link.wake_fd()]
    }

    /// Reports what the configuration says now and did not before.
    pub(super) fn on_change(&mut self, events: &mut VecDeque<PortEvent>) -> Result<(), DownReason> {
        // Eight bytes of a counter; there is nothing to learn from it.
        let _ = nix::unistd::read(self.device.config_changed(), &mut [0; 8]);
        let now = ask(&*self.device, self.features).map_err(|error| match error {
            DeviceError::Gone => DownReason::Gone,
            error => DownReason::Failed(error.into()),
        })?;
        let before = std::mem::replace(&mut self.told, now);
        if now.carrier != before.carrier {
            events.push_back(PortEvent::Carrier(now.carrier));
        }
        if let Some(mtu) = now.mtu.filter(|_| now.mtu != before.mtu) {
            events.push_back(PortEvent::Mtu(mtu));
        }
        Ok(())
    }

    /// What a queue found, if it did.
    pub(super) fn on_fault(&self) -> Result<(), DownReason> {
        self.link.fault().map_or(Ok(()), |fault| Err(DownReason::Fault(fault)))
    }
}

impl Drop for Session {
    /// The queues learn of the end before the device is closed, which may take its time.
    fn drop(&mut self) {
        self.link.close();
    }
}

/// The doorbells of one ring.
struct Bells {
    kick: Arc<Doorbell>,
    call: Arc<Doorbell>,
}

impl Bells {
    fn new() -> Result<Self, LayoutError> {
        let bell = || Doorbell::create().map(Arc::new);
        Ok(Self { kick: bell()?, call: bell()? })
    }

    fn options(self, config: &PortConfig, features: u64) -> QueueOptions {
        QueueOptions {
            features: ring_features(features),
            calls: config.calls,
            kick: Some(self.kick),
            call: Some(self.call),
        }
    }
}

fn memory(config: &PortConfig, features: u64, size: u16) -> DriverMemoryConfig {
    let packed = features & feature::RING_PACKED != 0;
    DriverMemoryConfig {
        pairs: 1,
        layout: if packed { RingLayout::Packed } else { RingLayout::Split },
        rx_size: size,
        tx_size: size,
        buffer_size: config.buffer_size,
        backing: config.backing,
        policy: config.policy,
    }
}

/// Where so many bytes go that a device reaches these addresses.
fn place(len: u64, reach: &[RangeInclusive<u64>]) -> Result<u64, DeviceError> {
    let last = |first: u64| first.checked_add(len - 1);
    let fits = |first: &u64| {
        let holds =
            |range: &RangeInclusive<u64>, last| range.contains(first) && range.contains(&last);
        last(*first).is_some_and(|last| reach.iter().any(|range| holds(range, last)))
    };
    let first_of =
        |range: &RangeInclusive<u64>| (*range.start()).max(1).checked_next_multiple_of(ALIGN);
    let elsewhere = reach.iter().filter_map(first_of);
    std::iter::once(USUAL).chain(elsewhere).find(fits).ok_or_else(|| DeviceError::OutOfReach {
        wanted: USUAL..=USUAL + (len - 1),
        reach: reach.to_vec(),
    })
}

fn device_memory(memory: &DriverMemory) -> DeviceMemory {
    let region = memory.region();
    DeviceMemory {
        iova: region.guest_address,
        len: region.size,
        mapping: Arc::clone(memory.mapping()),
        offset: region.mmap_offset,
    }
}

/// What a device is told of a ring that begins.
fn ring(
    memory: &DriverMemory,
    index: u16,
    features: u64,
    bells: &Bells,
) -> Result<RingSetup, LayoutError> {
    let (ring, rings) = (usize::from(index), memory.rings());
    let at = memory.guest_addresses(ring).ok_or(LayoutError::NoSuchRing { ring, rings })?;
    let beginning = PackedIndex { index: 0, wrap: true };
    let base = if features & feature::RING_PACKED != 0 {
        RingBase::Packed { avail: beginning, used: beginning }
    } else {
        RingBase::Split { avail: 0 }
    };
    Ok(RingSetup {
        index,
        size: at.size,
        descriptor_area: at.descriptor,
        driver_area: at.driver,
        device_area: at.device,
        base,
        kick: Arc::new(bells.kick.try_clone_fd()?),
        call: Arc::new(bells.call.try_clone_fd()?),
    })
}

/// Reads as much of the configuration as a device with these features has.
fn ask(device: &dyn VdpaDevice, features: u64) -> Result<Told, DeviceError> {
    let mut space = vec![0; config_len(features)];
    device.read_config(0, &mut space)?;
    Ok(Told::read(features, &space))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_where_the_device_reaches() {
        let place = |reach: &[RangeInclusive<u64>]| place(0x5000, reach).unwrap();
        assert_eq!(place(&[0..=u64::MAX]), 1 << 32);
        assert_eq!(place(&[0..=0xfedf_ffff, 0xfef0_0000..=1 << 39]), 1 << 32);
        // Never at zero.
        assert_eq!(place(&[0..=0xffff_ffff]), ALIGN);
        assert_eq!(place(&[0x1000..=0x1fff, 0x8000_1000..=0xffff_ffff]), 0x8020_0000);
        assert_eq!(place(&[1 << 40..=u64::MAX]), 1 << 40);
        assert_eq!(place(&[0x20_0000..=0x20_4fff]), 0x20_0000, "the last byte");
    }

    #[test]
    fn memory_that_fits_nowhere_is_refused_with_what_the_device_reaches() {
        for reach in [&[0x20_0000..=0x20_4ffe][..], &[u64::MAX - 9..=u64::MAX], &[]] {
            let error = place(0x5000, reach).unwrap_err();
            assert!(matches!(&error, DeviceError::OutOfReach { reach: said, .. } if said == reach));
            assert!(error.to_string().contains("0x100000000 to 0x100004fff"), "{error}");
        }
    }
}
