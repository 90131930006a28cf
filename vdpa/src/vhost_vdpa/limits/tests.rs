use super::*;
use ringport::shm::{Backing, Mapping, OwnedMemory};
use std::io;
use std::sync::Arc;

const PAGE: u64 = 4096;

fn capabilities() -> Capabilities {
    Capabilities {
        device_id: 1,
        features: 0,
        rings: 3,
        ring_size_max: 256,
        config_len: 24,
        iova: vec![0..=0xfedf_ffff, 0xfef0_0000..=(1 << 39) - 1],
        mappings_max: Some(8),
        locks_memory: true,
        translated: true,
        starts_midway: false,
        tells_base: false,
    }
}

fn mapping(pages: u64) -> Arc<Mapping> {
    let bytes = usize::try_from(pages * PAGE).unwrap();
    let memory = OwnedMemory::create("t", bytes, Backing::Pages).unwrap();
    Arc::clone(memory.mapping())
}

fn memory(iova: u64, pages: u64) -> DeviceMemory {
    DeviceMemory { iova, len: pages * PAGE, mapping: mapping(pages), offset: 0 }
}

fn check(memory: &[DeviceMemory], mapped: &[Taken]) -> Result<Vec<Taken>, DeviceError> {
    Limits { capabilities: &capabilities(), lock: None }.check(memory, mapped)
}

#[test]
fn memory_in_reach_beside_other_memory_is_fit() {
    let mapped = check(&[memory(0, 2)], &[]).unwrap();
    let taken = check(&[memory(2 * PAGE, 1), memory((1 << 39) - PAGE, 1)], &mapped).unwrap();
    let ranges: Vec<_> = taken.into_iter().map(|it| it.range).collect();
    assert_eq!(ranges, [2 * PAGE..=3 * PAGE - 1, (1 << 39) - PAGE..=(1 << 39) - 1]);
}

#[test]
fn memory_out_of_reach_or_across_a_hole_is_refused_with_what_is_in_reach() {
    for iova in [1 << 39, (1 << 39) - PAGE, 0xfee0_0000, 0xfedf_f000, 0xfeef_f000] {
        let error = check(&[memory(iova, 2)], &[]).unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, DeviceError::OutOfReach { .. }), "{said}");
        assert!(said.contains("0x0 to 0xfedfffff, 0xfef00000 to 0x7fffffffff"), "{said}");
    }
}

#[test]
fn memory_that_overlaps_what_is_mapped_or_comes_with_it_is_refused() {
    let mapped = check(&[memory(4 * PAGE, 4)], &[]).unwrap();
    for iova in [PAGE, 4 * PAGE, 7 * PAGE] {
        let error = check(&[memory(iova, 4)], &mapped).unwrap_err();
        assert!(matches!(error, DeviceError::Overlap(range) if *range.start() == iova));
    }
    let twice = check(&[memory(0, 2), memory(PAGE, 1)], &[]);
    assert!(matches!(twice, Err(DeviceError::Overlap(_))), "{twice:?}");
}

#[test]
fn memory_of_parts_of_pages_or_beyond_its_mapping_is_refused() {
    let part = |iova, offset, len| DeviceMemory { iova, len, mapping: mapping(4), offset };
    for bad in [
        part(1, 0, PAGE),
        part(0, 1, PAGE),
        part(0, 0, PAGE + 1),
        part(0, 0, 0),
        part(0, 0, 5 * PAGE),
        part(0, 4 * PAGE, PAGE),
        part(0, u64::MAX - PAGE + 1, PAGE),
        part(u64::MAX - PAGE + 1, 0, 2 * PAGE),
    ] {
        let result = check(std::slice::from_ref(&bad), &[]);
        assert!(matches!(result, Err(DeviceError::Unable(_))), "{bad:?} {result:?}");
    }
}

#[test]
fn more_memory_than_may_be_locked_is_refused_with_both_figures() {
    let capabilities = capabilities();
    let limits = |limit| Limits { capabilities: &capabilities, lock: Some((PAGE, limit)) };
    let wanted = [memory(0, 2), memory(8 * PAGE, 1)];
    assert!(limits(4 * PAGE).check(&wanted, &[]).is_ok());
    let error = limits(4 * PAGE - 1).check(&wanted, &[]).unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with("16384 bytes would be locked, and 16383 may be"), "{said}");
    assert!(said.contains("RLIMIT_MEMLOCK"), "{said}");
}

#[test]
fn more_memories_than_mappings_are_refused_and_pages_only_when_the_kernel_does() {
    let nine: Vec<_> = (0..9).map(|at| memory(at * PAGE, 1)).collect();
    let error = check(&nine, &[]).unwrap_err();
    assert!(matches!(error, DeviceError::TooManyMappings { wanted: 9, limit: 8, .. }));
    let mapped = check(&nine[..8], &[]).unwrap();
    assert!(check(&nine[8..], &mapped).is_err());
    assert!(check(&[memory(0, 9)], &[]).is_ok());
}

#[test]
fn worst_case_is_a_mapping_for_each_page_that_is_locked() {
    let mut capabilities = capabilities();
    let huge = Taken { range: 0..=(4 << 20) - 1, page: 2 << 20 };
    let small = Taken { range: 4 << 20..=(6 << 20) - 1, page: 4096 };
    let worst = |capabilities: &Capabilities| {
        Limits { capabilities, lock: None }.mappings([&huge, &small].into_iter())
    };
    assert_eq!(worst(&capabilities), 2 + 512);
    capabilities.locks_memory = false;
    assert_eq!(worst(&capabilities), 2);
}

#[test]
fn refusal_is_explained_by_what_was_not_excluded_before() {
    let error = |errno: i32| CallError {
        operation: "map memory",
        source: io::Error::from_raw_os_error(errno),
    };
    let efault = Errno::EFAULT as i32;
    let many = refused(error(efault), 9, Some(8)).to_string();
    assert!(many.contains("up to 9 mappings, and 8 are allowed") && many.contains("vhost_vdpa"));
    for (worst, max) in [(8, Some(8)), (9, None)] {
        let unforeseen = refused(error(efault), worst, max).to_string();
        assert!(unforeseen.contains("dmesg"), "{unforeseen}");
    }
    assert_eq!(refused(error(Errno::EPERM as i32), 9, Some(8)).to_string(), "map memory");
}

#[test]
fn holes_leave_what_is_around_them() {
    assert_eq!(subtract(0..=9, &[]), [0..=9]);
    assert_eq!(subtract(0..=9, &[0..=3, 9..=20]), [4..=8]);
    assert_eq!(subtract(0..=9, &[5..=5, 2..=2]), [0..=1, 3..=4, 6..=9]);
    assert_eq!(subtract(0..=u64::MAX, &[0..=0, u64::MAX..=u64::MAX]), [1..=u64::MAX - 1]);
    assert_eq!(subtract(3..=5, &[0..=u64::MAX]), []);
    assert_eq!(subtract(RangeInclusive::new(5, 4), &[]), []);
}

#[test]
fn locked_memory_is_read_in_kibibytes() {
    assert_eq!(locked("VmLck:\t  8 kB\nVmPin:\t  262144 kB\n", "VmPin:"), 256 << 20);
    assert_eq!(locked("VmPin: no\n", "VmPin:"), 0);
    assert_eq!(locked("", "VmPin:"), 0);
}
