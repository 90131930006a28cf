//! Links that end.

use super::*;
use ringport::error::QueueError;

#[test]
fn end_of_the_link_is_reported_for_ever_and_wakes_sleepers() {
    for setup in LAYOUTS.map(|layout| Setup::new(layout, 8)) {
        let Pair { mut rx, mut tx, link, device_rx: _d, .. } = Pair::new(&setup);
        assert_eq!(rx.arm(), Ok(false));
        assert!(!is_readable(&rx.doorbell()));
        link.close();
        assert!(is_readable(&rx.doorbell()));
        assert!(is_readable(&tx.doorbell().unwrap()));
        for _ in 0..3 {
            assert_eq!(rx.rx_burst(8).unwrap_err(), QueueError::LinkDown);
            assert_eq!(rx.arm(), Err(QueueError::LinkDown));
            assert_eq!(tx.tx_burst(8).unwrap_err(), QueueError::LinkDown);
            assert_eq!(tx.arm(), Err(QueueError::LinkDown));
        }
    }
}

#[test]
fn queue_without_a_call_is_woken_by_the_end_of_the_link_only() {
    for layout in LAYOUTS {
        let (setup, link) = (Setup::new(layout, 8), link());
        let mut memory = DriverMemory::allocate(&setup.config(), &link).unwrap();
        let mut rx = memory.rx_queue(0, &QueueOptions::default()).unwrap();
        let mut tx = memory.tx_queue(0, &QueueOptions::default()).unwrap();
        assert_eq!((rx.arm(), tx.arm()), (Ok(true), Ok(true)), "to be polled");
        assert!(PacketTx::doorbell(&tx).is_none());
        assert!(!is_readable(&rx.doorbell()));
        link.close();
        assert!(is_readable(&rx.doorbell()));
    }
}

/// Whether a descriptor is readable now.
pub(super) fn is_readable(fd: &impl std::os::fd::AsFd) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() > 0
}
