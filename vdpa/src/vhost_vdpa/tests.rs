//! Devices that lie, and fail at any call.

use super::fake::{Fake, Lies, Shared};
use super::*;
use crate::device::RingSetup;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringport::shm::{Backing, OwnedMemory};
use std::fs;
use std::time::Instant;
use tempfile::TempDir;

const PAGE: u64 = 4096;
const FEATURES: u64 = 1 << 32 | 1 << 33;

/// A device with a node, which is a file, in a directory that is to stay.
fn opened(lies: Lies) -> (Result<VhostVdpa, DeviceError>, Shared, TempDir) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("vhost-vdpa-0");
    fs::write(&path, "").unwrap();
    let (fake, state) = Fake::new(lies);
    let watch = Watch::new(&path).unwrap();
    let asked = open::ask(Box::new(fake), &Discovery::below(root.path()));
    let device = asked.and_then(|opened| VhostVdpa::new("fake".to_owned(), opened, watch));
    (device, state, root)
}

fn device(lies: Lies) -> (VhostVdpa, Shared, TempDir) {
    let (device, state, root) = opened(lies);
    state.lock().told.clear();
    (device.unwrap(), state, root)
}

fn memory(pages: &[u64]) -> Vec<DeviceMemory> {
    let owned = OwnedMemory::create("t", 4096, Backing::Pages).unwrap();
    let one = |&at: &u64| DeviceMemory {
        iova: at * PAGE,
        len: PAGE,
        mapping: Arc::clone(owned.mapping()),
        offset: 0,
    };
    pages.iter().map(one).collect()
}

fn range(page: u64) -> RangeInclusive<u64> {
    page * PAGE..=(page + 1) * PAGE - 1
}

/// Two rings, in pages 1 and 2.
fn setup() -> Setup {
    let ring = |index: u16| {
        let at = (u64::from(index) + 1) * PAGE;
        let eventfd = || Arc::new(watch::eventfd().unwrap().into());
        RingSetup {
            index,
            size: 16,
            descriptor_area: at,
            driver_area: at + 0x400,
            device_area: at + 0x800,
            base: RingBase::Split { avail: 0 },
            kick: eventfd(),
            call: eventfd(),
        }
    };
    Setup { features: FEATURES, rings: vec![ring(0), ring(1)] }
}

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
}

#[test]
fn device_that_says_what_cannot_be_is_refused_as_it_is_opened_and_closed() {
    let bad: [(Lies, &str); 9] = [
        (Lies { rings: 0, ..Lies::default() }, "it has 0 rings"),
        (Lies { rings: 0x1_0000, ..Lies::default() }, "it has 65536 rings"),
        (Lies { rings: u32::MAX, ..Lies::default() }, "it has 4294967295 rings"),
        (Lies { ring_size_max: 0, ..Lies::default() }, "no descriptors"),
        (
            Lies { iova: RangeInclusive::new(4096, 0), ..Lies::default() },
            "reaches memory at 0x1000 to 0x0 only",
        ),
        (Lies { features: 1 << 32, ..Lies::default() }, "goes past the IOMMU"),
        (Lies { backend: 0, ..Lies::default() }, "too old"),
        (Lies { fails: Some("set_owner"), ..Lies::default() }, "set_owner"),
        (Lies { fails: Some("iova_range"), ..Lies::default() }, "iova_range"),
    ];
    for (lies, wanted) in bad {
        let (opened, state, _root) = opened(lies);
        let said = opened.unwrap_err().to_string();
        assert!(said.contains(wanted), "{said}");
        assert!(state.lock().closed, "{said}");
    }
}

#[test]
fn numbers_that_no_device_has_are_taken_for_limits_only() {
    let lies = Lies { rings: 1024, ring_size_max: 65_535, config_len: u32::MAX, ..Lies::default() };
    let (mut device, _, _root) = device(lies);
    let can = device.capabilities().clone();
    assert_eq!((can.rings, can.ring_size_max, can.config_len), (1024, 65_535, u32::MAX));
    let mut bytes = [0; 2];
    for offset in [u32::MAX - 1, u32::MAX] {
        let read = device.read_config(offset, &mut bytes);
        assert!(matches!(read, Err(DeviceError::NoConfig { .. })), "{read:?}");
    }
    device.read_config(u32::MAX - 2, &mut bytes).unwrap();
    device.map(&memory(&[1, 2])).unwrap();
    for size in [0, 3, 65_535] {
        let mut setup = setup();
        setup.rings[0].size = size;
        assert!(
            matches!(device.start(&setup), Err(DeviceError::BadRing { ring: 0, .. })),
            "{size}"
        );
    }
    device.start(&setup()).unwrap();
}

#[test]
fn device_without_a_configuration_is_not_asked_for_it() {
    let (device, state, _root) = device(Lies { config_len: 0, ..Lies::default() });
    device.read_config(0, &mut []).unwrap();
    assert!(matches!(device.read_config(0, &mut [0]), Err(DeviceError::NoConfig { .. })));
    assert!(state.lock().told.is_empty());
}

#[test]
fn device_begins_in_the_order_that_kernels_take_and_each_ring_is_kicked_once() {
    let (mut device, state, _root) = device(Lies::default());
    device.map(&memory(&[1, 2])).unwrap();
    state.lock().told.clear();
    let setup = setup();
    device.start(&setup).unwrap();
    let told = std::mem::take(&mut state.lock().told);
    let ring = ["set_ring_size", "set_ring_base", "set_ring_addresses", "set_call", "set_kick"];
    // Mappings may have gone with the reset before; a ring that nobody uses is called all the same.
    let wanted = [
        &["begin_batch", "end_batch", "status", "set_status", "set_status"][..],
        &["set_features", "set_status", "status"],
        &ring,
        &ring,
        &["set_call", "set_config_call", "enable_ring", "enable_ring", "set_status", "status"],
    ];
    assert_eq!(told, wanted.concat());
    assert_eq!(state.lock().status, 0xf);
    for ring in &setup.rings {
        let mut count = [0; 8];
        nix::unistd::read(&ring.kick, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1, "buffers may have been there before");
    }
    device.stop();
    assert_eq!(state.lock().told, ["suspend", "ring_base", "ring_base", "status"]);
    assert!(state.has_no_eventfds());
    assert_eq!(state.lock().mapped.len(), 2, "memory stays");
}

#[test]
fn device_that_fails_at_any_call_is_reset_and_gives_back_its_eventfds() {
    let calls = [
        "set_status",
        "set_features",
        "set_ring_size",
        "set_ring_base",
        "set_ring_addresses",
        "set_call",
        "set_kick",
        "set_config_call",
        "enable_ring",
    ];
    let (mut device, state, _root) = device(Lies::default());
    device.map(&memory(&[1, 2])).unwrap();
    for call in calls {
        state.lock().lies.fails = Some(call);
        let error = device.start(&setup()).unwrap_err();
        assert!(error.to_string().contains(call), "{error}");
        assert_eq!(state.lock().status, 0, "{call}");
        assert!(state.has_no_eventfds(), "{call}");
        state.lock().lies.fails = None;
        device.start(&setup()).unwrap_or_else(|error| panic!("after {call}: {error}"));
        device.stop();
    }
    assert!(!is_readable(device.gone()));
}

#[test]
fn device_that_never_takes_its_features_or_is_never_ready_is_reset() {
    let bad = [
        (Lies { refuses_features: true, ..Lies::default() }, "refuses features"),
        (Lies { status: 0x40, ..Lies::default() }, "status 0x4f"),
        (Lies { status: 0xff, ..Lies::default() }, "status 0xff"),
    ];
    for (lies, wanted) in bad {
        let (mut device, state, _root) = device(lies);
        device.map(&memory(&[1, 2])).unwrap();
        let said = device.start(&setup()).unwrap_err().to_string();
        assert!(said.contains(wanted), "{said}");
        assert_eq!(state.lock().status, 0);
        assert!(state.has_no_eventfds());
    }
}

#[test]
fn reset_that_never_ends_is_late_and_the_device_is_closed() {
    let (mut device, state, _root) = device(Lies::default());
    device.map(&memory(&[1, 2])).unwrap();
    device.start(&setup()).unwrap();
    state.lock().lies.never_reset = true;
    let began = Instant::now();
    device.stop();
    assert!(began.elapsed() < 3 * within::PATIENCE, "{:?}", began.elapsed());
    assert!(is_readable(device.gone()));
    assert!(matches!(device.map(&memory(&[5])), Err(DeviceError::Gone)));
    assert!(matches!(device.start(&setup()), Err(DeviceError::Gone)));
    let deadline = Instant::now() + 10 * within::PATIENCE;
    while !state.lock().closed {
        assert!(Instant::now() < deadline, "its thread never ends");
        std::thread::yield_now();
    }
}

#[test]
fn mapping_that_fails_half_way_is_undone_and_works_afterwards() {
    for batch in [BackendFeatures::BATCH.0, 0] {
        for at in 0..3 {
            let backend = BackendFeatures::MESSAGE_V2.0 | batch;
            let lies = Lies { backend, map_fails_at: Some(at), ..Lies::default() };
            let (mut device, state, _root) = device(lies);
            let error = device.map(&memory(&[1, 2, 3])).unwrap_err();
            assert!(error.to_string().contains("dmesg"), "{error}");
            assert_eq!(state.lock().mapped, []);
            device.map(&memory(&[1, 2, 3])).unwrap();
            device.unmap(&[range(1), range(2), range(3)]).unwrap();
            assert_eq!(state.lock().mapped, []);
        }
    }
}

#[test]
fn memory_that_is_not_given_back_stays_known_until_the_device_is_given_up() {
    let (mut device, state, _root) = device(Lies::default());
    device.map(&memory(&[1, 2])).unwrap();
    state.lock().lies.fails = Some("unmap");
    assert!(device.unmap(&[range(1), range(2)]).is_err());
    assert!(matches!(device.map(&memory(&[1])), Err(DeviceError::Overlap(_))));
    device.give_up();
    assert!(is_readable(device.gone()));
    let state = state.lock();
    assert!(state.closed && state.mapped.is_empty());
    assert!(matches!(device.unmap(&[range(1)]), Err(DeviceError::Gone)));
}

#[test]
fn batch_whose_end_fails_closes_the_device() {
    let (mut device, state, _root) = device(Lies { fails: Some("end_batch"), ..Lies::default() });
    assert!(device.map(&memory(&[1])).is_err());
    assert!(is_readable(device.gone()) && state.lock().closed);
    assert!(matches!(device.map(&memory(&[2])), Err(DeviceError::Gone)));
}

#[test]
fn place_of_a_ring_that_cannot_be_is_none() {
    for (features, base, known) in
        [(0, 0xffff, true), (0, 0x1_0000, false), (1 << 34, 0x8010_8010, false)]
    {
        let lies = Lies { features: FEATURES | features, base, ..Lies::default() };
        let (mut device, _, _root) = device(lies);
        device.map(&memory(&[1, 2])).unwrap();
        let mut setup = Setup { features: FEATURES | features, ..setup() };
        if features != 0 {
            let start = RingBase::from_wire(true, 0x8000_8000, 16).unwrap();
            setup.rings.iter_mut().for_each(|ring| ring.base = start);
        }
        device.start(&setup).unwrap();
        let bases = device.stop();
        assert_eq!(bases.iter().map(Option::is_some).collect::<Vec<_>>(), [known, known, false]);
    }
}

#[test]
fn device_that_cannot_be_suspended_is_not_asked_where_its_rings_stand() {
    let (mut device, state, _root) =
        device(Lies { backend: BackendFeatures::MESSAGE_V2.0, ..Lies::default() });
    device.map(&memory(&[1, 2])).unwrap();
    device.start(&setup()).unwrap();
    state.lock().told.clear();
    assert_eq!(device.stop(), [None; 3]);
    assert!(!state.lock().told.contains(&"ring_base"));
}
