use super::*;
use crate::virtqueue::{KickMode, RingFeatures};

const EVENT_IDX: RingFeatures = RingFeatures {
    mergeable: false,
    indirect: false,
    event_idx: true,
    in_order: false,
    rx_offloads: false,
    tx_offloads: ringport::offload::Accepts {
        checksum: false,
        tcp4: false,
        tcp6: false,
        ecn: false,
    },
};

fn offer(driver: &mut Driver, packets: u16) {
    for _ in 0..packets {
        driver.send_cut(0, &frame(60, 1), &[], GUEST + DATA);
    }
}

#[test]
fn driver_is_called_unless_its_flag_says_no() {
    let (mut driver, mut rx) = Setup::new(8).rx();
    // Other bits of the flags mean nothing.
    for (flags, called) in [(0, true), (1, false), (2, true), (0xfffe, true), (0xffff, false)] {
        driver.set_available_flags(flags);
        offer(&mut driver, 2);
        assert_eq!(receive(&mut rx).len(), 2);
        assert_eq!(driver.called(), called, "flags {flags:#x}");
    }
}

#[test]
fn driver_is_called_exactly_when_the_entry_it_named_is_used() {
    for base in [0u16, 0xfffb] {
        for event in (0..6).chain([0x8000, 0xffff]) {
            for packets in 1..5u16 {
                let setup = Setup { base, features: EVENT_IDX, ..Setup::new(8) };
                let (mut driver, mut rx) = setup.rx();
                // The flag has no meaning any more.
                driver.set_available_flags(1);
                driver.set_used_event(base.wrapping_add(event));
                offer(&mut driver, packets);
                assert_eq!(receive(&mut rx).len(), usize::from(packets));
                assert_eq!(driver.called(), event < packets, "base {base} {event} of {packets}");
            }
        }
    }
}

#[test]
fn driver_that_polls_is_never_called() {
    let setup = Setup::new(8);
    let mut driver = setup.driver();
    let call = driver.ends.call.take();
    let mut rx = driver.rx_from(0);
    driver.ends.call = call;
    offer(&mut driver, 2);
    assert_eq!(receive(&mut rx).len(), 2);
    assert!(!driver.called());
}

#[test]
fn empty_bursts_call_nobody() {
    let (driver, mut rx) = Setup::new(8).rx();
    assert!(receive(&mut rx).is_empty());
    assert!(!driver.called());
}

#[test]
fn kicks_are_asked_for_as_the_mode_says() {
    for (kicks, at_first, armed, behind) in [
        (KickMode::Polling, 1, 1, 1),
        (KickMode::Interrupt, 0, 0, 0),
        (KickMode::Adaptive, 1, 0, 1),
    ] {
        let (mut driver, mut rx) = Setup { kicks, ..Setup::new(8) }.rx();
        assert_eq!(driver.used_flags(), at_first, "{kicks:?}");
        assert_eq!(rx.arm(), Ok(kicks == KickMode::Polling));
        assert_eq!(driver.used_flags(), armed, "{kicks:?}");
        offer(&mut driver, 1);
        assert_eq!(rx.arm(), Ok(true), "a packet is waiting");
        assert_eq!(receive(&mut rx).len(), 1);
        assert_eq!(driver.used_flags(), behind, "{kicks:?}");
    }
}

/// Whether a driver that goes from `before` to its published index must kick.
fn must_kick(driver: &Driver, before: u16) -> bool {
    let (now, event) = (driver.published, driver.available_event());
    now.wrapping_sub(event).wrapping_sub(1) < now.wrapping_sub(before)
}

#[test]
fn kicks_are_asked_for_by_index_as_the_mode_says() {
    for base in [0, 0xfffe] {
        for (kicks, at_first, armed, behind) in [
            (KickMode::Polling, false, false, false),
            (KickMode::Interrupt, true, true, true),
            (KickMode::Adaptive, false, true, false),
        ] {
            let setup = Setup { kicks, base, features: EVENT_IDX, ..Setup::new(8) };
            let (mut driver, mut rx) = setup.rx();
            let next = |driver: &mut Driver, rx: &mut RxQueue| {
                let before = driver.published;
                offer(driver, 2);
                let kick = must_kick(driver, before);
                assert_eq!(receive(rx).len(), 2);
                kick
            };
            assert_eq!(next(&mut driver, &mut rx), at_first, "{kicks:?}");
            assert_eq!(rx.arm(), Ok(kicks == KickMode::Polling));
            assert_eq!(next(&mut driver, &mut rx), armed, "{kicks:?}");
            assert_eq!(next(&mut driver, &mut rx), behind, "{kicks:?}");
        }
    }
}

#[test]
fn kick_is_taken_before_the_ring_is_looked_at() {
    let (mut driver, mut rx) = Setup::new(8).rx();
    offer(&mut driver, 1);
    driver.ends.kick.ring().unwrap();
    assert_eq!(rx.arm(), Ok(true));
    assert_eq!(rx.stats().wake_ups, 1);
    assert!(!driver.ends.kick.drain().unwrap(), "taken");
    assert_eq!(receive(&mut rx).len(), 1);
    assert_eq!(rx.arm(), Ok(false));
}

#[test]
fn transmit_queue_calls_and_counts() {
    let (mut driver, mut tx) = Setup::new(8).tx();
    for (flags, doorbells) in [(0, 1), (1, 1), (0, 2)] {
        driver.set_available_flags(flags);
        driver.describe(0, GUEST + DATA, 200, 2, 0);
        driver.offer(0);
        assert_eq!(tx.arm(), Ok(true));
        assert_eq!(send(&mut tx, &[frame(60, 1)]), 1);
        assert_eq!((driver.called(), tx.stats().doorbells), (flags == 0, doorbells));
    }
    assert_eq!(tx.stats().doorbells_suppressed, 1);
    assert_eq!(tx.arm(), Ok(false), "no buffer is left");
    assert_eq!(driver.used_flags(), 0, "so kicks are asked for");
}
