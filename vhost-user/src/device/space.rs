//! The device's configuration space.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 6 | network address |
//! | 6 | 2 | status: bit 0, the link is up; bit 1, the driver is to announce itself |
//! | 8 | 2 | pairs of queues |
//! | 10 | 2 | longest packet, without its Ethernet header |
//! | 12 | 4 | speed in Mb/s, all ones when unknown |
//! | 16 | 1 | duplex, all ones when unknown |
//!
//! Spec: VIRTIO 1.3 §5.1.4 (`struct virtio_net_config`).

use super::DeviceConfig;
use crate::wire::ConfigSpan;

const SPACE_LEN: usize = 17;
/// Where the status is.
const STATUS: std::ops::Range<u32> = 6..8;

/// The part of the space that a front-end asks for; behind the end it reads as zeros, for a
/// front-end asks for as much as it knows of.
pub(super) fn read(config: &DeviceConfig, status: u16, span: ConfigSpan) -> Vec<u8> {
    let space = space(config, status);
    let bytes = space.into_iter().chain(std::iter::repeat(0));
    bytes.skip(span.offset as usize).take(span.size as usize).collect()
}

/// Whether whoever reads this part knows the status then.
pub(super) fn has_status(span: ConfigSpan) -> bool {
    span.offset <= STATUS.start && span.offset.saturating_add(span.size) >= STATUS.end
}

fn space(config: &DeviceConfig, status: u16) -> [u8; SPACE_LEN] {
    let mut space = [0xff; SPACE_LEN];
    space[..6].copy_from_slice(&config.mac.unwrap_or_default());
    space[6..8].copy_from_slice(&status.to_le_bytes());
    space[8..10].copy_from_slice(&config.queue_pairs.to_le_bytes());
    space[10..12].copy_from_slice(&config.mtu.unwrap_or_default().to_le_bytes());
    space
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_driver_looks() {
        let config = DeviceConfig {
            mac: Some([2, 0, 0, 0, 0, 7]),
            mtu: Some(9000),
            queue_pairs: 3,
            ..DeviceConfig::default()
        };
        let part = |offset, size| read(&config, 3, ConfigSpan { offset, size, flags: 0 });
        assert_eq!(part(0, 6), [2, 0, 0, 0, 0, 7]);
        assert_eq!(part(6, 6), [3, 0, 3, 0, 0x28, 0x23]);
        assert_eq!(part(12, 8), [0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]);
        assert_eq!(part(250, 2), [0, 0]);
    }
}
