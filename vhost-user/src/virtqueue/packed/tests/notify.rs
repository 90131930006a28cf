//! Kicks and calls.

use super::*;

#[test]
fn driver_is_called_as_its_event_area_says() {
    for (position, flags, called) in [
        (0u16, 0u16, true),
        (0, 1, false),
        (0x8000, 2, true),
        (0x8001, 2, true),
        (0x8002, 2, false),
        (0, 2, false),
        (0x7fff, 2, false),
        (0x8000, 3, false),
    ] {
        let mut driver = Packed::new(5);
        let event = [position.to_le_bytes(), flags.to_le_bytes()].concat();
        driver.memory.put(GUEST + 0x8_0000, &event);
        let features = RingFeatures { event_idx: true, ..FEATURES };
        let mut rx = driver.rx(features, KickMode::default());
        (0..2).for_each(|id| driver.send(id, &frame(60, 1), 100, false));
        assert_eq!(receive(&mut rx).len(), 2);
        assert_eq!(driver.memory.called(), called, "{position:#x} {flags}");
    }
}

#[test]
fn kicks_are_asked_for_as_the_mode_says() {
    for (kicks, at_first, armed, behind) in [
        (KickMode::Polling, 1, 1, 1),
        (KickMode::Interrupt, 0, 0, 0),
        (KickMode::Adaptive, 1, 0, 1),
    ] {
        let mut driver = Packed::new(5);
        let mut rx = driver.rx(FEATURES, kicks);
        let flags = |driver: &Packed| driver.memory.get(GUEST + 0xa_0000 + 2, 1)[0];
        assert_eq!(flags(&driver), at_first, "{kicks:?}");
        assert_eq!(rx.arm(), Ok(kicks == KickMode::Polling));
        assert_eq!(flags(&driver), armed, "{kicks:?}");
        driver.send(0, &frame(60, 1), 100, false);
        assert_eq!(rx.arm(), Ok(true));
        assert_eq!(receive(&mut rx).len(), 1);
        assert_eq!(flags(&driver), behind, "{kicks:?}");
    }
}

#[test]
fn transmit_queue_calls_and_counts() {
    let mut driver = Packed::new(5);
    let mut tx = driver.tx(FEATURES);
    for (flags, doorbells) in [(0u16, 1), (1, 1), (0, 2)] {
        driver.memory.put(GUEST + 0x8_0000 + 2, &flags.to_le_bytes());
        driver.offer(0, &[(GUEST + DATA, 300, WRITE)]);
        assert_eq!(tx.arm(), Ok(true));
        assert_eq!(send(&mut tx, &[frame(60, 1)]), 1);
        assert_eq!((driver.memory.called(), tx.stats().doorbells), (flags == 0, doorbells));
    }
    assert_eq!(tx.stats().doorbells_suppressed, 1);
    assert_eq!(tx.arm(), Ok(false), "no buffer is left");
}

#[test]
fn kick_is_taken_before_the_ring_is_looked_at() {
    let mut driver = Packed::new(5);
    let mut rx = driver.rx(FEATURES, KickMode::default());
    driver.send(0, &frame(60, 1), 100, false);
    driver.memory.ends.kick.ring().unwrap();
    assert_eq!(rx.arm(), Ok(true));
    assert_eq!(rx.stats().wake_ups, 1);
    assert!(!driver.memory.ends.kick.drain().unwrap(), "taken");
}
