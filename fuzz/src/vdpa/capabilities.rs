//! [`crate::pci_capabilities`].
//!
//! Input: log2 of the length of each of the six BARs, 0 where there is none, and the configuration space.

use crate::input::Input;
use ringport_vdpa::vfio_virtio::layout::{BARS, CONFIG_LEN, Layout, Structure, device_id, layout};

/// Kinds of structures, and bytes that each has at least.
const COMMON: (u8, u64) = (1, 56);
const NOTIFY: (u8, u64) = (2, 2);
const DEVICE: (u8, u64) = (4, 1);

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let lengths: [u8; BARS] = input.take();
    let bars = lengths.map(|log2| if log2 == 0 { 0 } else { 1_u64 << (log2 % 48) });
    let config: [u8; CONFIG_LEN] = input.take();
    let _ = device_id(&config);
    let Ok(found) = layout(&config, &bars) else { return };
    let Layout { common, notify, device, multiplier } = found;
    check(&config, &bars, common, COMMON);
    check(&config, &bars, notify, NOTIFY);
    match device {
        Some(device) => check(&config, &bars, device, DEVICE),
        None => assert_eq!(first(&config, DEVICE.0), None),
    }
    assert!(multiplier == 0 || multiplier.is_power_of_two() && multiplier > 1);
    for number in [0, 1, 2, 255, 256, 0x7fff, u16::MAX] {
        if let Ok(at) = found.doorbell(number) {
            assert_eq!(at, u64::from(number) * u64::from(multiplier));
            assert!(at + 2 <= notify.len && at % 2 == 0);
        }
    }
}

/// It is what the first capability of its kind says, and in its BAR.
fn check(config: &[u8], bars: &[u64; BARS], found: Structure, (kind, least): (u8, u64)) {
    assert_eq!(first(config, kind), Some(found));
    let Structure { bar, offset, len } = found;
    assert!(len >= least && offset.checked_add(len).unwrap() <= bars[bar]);
    assert_eq!(offset % if kind == NOTIFY.0 { 2 } else { 4 }, 0);
}

/// The first structure of a kind, whatever it says.
fn first(config: &[u8], kind: u8) -> Option<Structure> {
    let mut at = usize::from(config[0x34] & 0xfc);
    for _ in 0..64 {
        let capability = config.get(at..).filter(|_| at >= 0x40)?;
        let number = |at: usize| {
            capability.get(at..at + 4).map_or(0, |it| u32::from_le_bytes(it.try_into().unwrap()))
        };
        if capability[0] == 9 && capability[2] >= 16 && capability[3] == kind && capability[4] < 6 {
            let (offset, len) = (number(8).into(), number(12).into());
            return Some(Structure { bar: capability[4].into(), offset, len });
        }
        at = usize::from(capability[1] & 0xfc);
    }
    None
}
