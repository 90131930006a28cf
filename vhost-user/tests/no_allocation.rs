//! A burst never allocates, in either direction and layout; nor do packets that are held, once there
//! were as many before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{
    Foreign, LAYOUTS, OwnPair, Place, Served, bursts_from_driver, bursts_to_driver,
};
use ringport_bench::interop::allocations::{Counting, allocations};
use ringport_vhost_user::DeviceConfig;

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn bursts_do_not_allocate() {
    let before = allocations();
    let _ = std::hint::black_box(vec![1; 10]);
    assert_eq!(allocations(), before + 1, "the allocator counts");
    for features in LAYOUTS {
        let place = Place::new();
        let device = Served::listen(&place, DeviceConfig::default());
        let mut driver = Foreign::connect(&place, features, 64);
        let mut link = device.link_up();
        for len in [64, 1514] {
            let before = allocations();
            bursts_from_driver(&mut driver.tx, &mut link.rx[0], 100, len);
            bursts_to_driver(&mut link.tx[0], &mut driver.rx, 100, len);
            assert_eq!(allocations(), before, "{features:?}, {len} bytes");
        }
        let mut held = Vec::with_capacity(8);
        let mut hold = |count| {
            for _ in 0..count {
                assert!(driver.tx.send(64));
                while link.rx[0].hold(8, &mut held).unwrap() == 0 {}
                if held.len() > 3 {
                    held.remove(0);
                }
                driver.tx.take_back();
            }
        };
        hold(20);
        let before = allocations();
        hold(100);
        assert_eq!(allocations(), before, "{features:?}, held");
    }
}

#[test]
fn bursts_of_a_driver_do_not_allocate() {
    for mut pair in OwnPair::all(64) {
        for len in [64, 1514, 2048] {
            let before = allocations();
            pair.send(100, len);
            pair.receive(100, len);
            assert_eq!(allocations(), before, "{pair:?}, {len} bytes");
        }
    }
}
