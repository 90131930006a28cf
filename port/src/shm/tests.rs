#![expect(unsafe_code, reason = "reads and writes mapped bytes")]

use super::*;
use crate::link::{LinkState, LinkStatus};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

const PAGE: usize = 4096;
const HUGE_PAGE: usize = 2 << 20;

fn link() -> Arc<LinkState> {
    Arc::new(LinkState::new().unwrap())
}

/// A peer's memfd of `len` bytes.
fn memfd(name: &str, len: usize, flags: MFdFlags) -> OwnedFd {
    let fd = memfd_create(name, flags | MFdFlags::MFD_CLOEXEC).unwrap();
    ftruncate(&fd, i64::try_from(len).unwrap()).unwrap();
    fd
}

fn sealable(len: usize) -> OwnedFd {
    memfd("sealable", len, MFdFlags::MFD_ALLOW_SEALING)
}

fn unsealable(len: usize) -> OwnedFd {
    memfd("unsealable", len, MFdFlags::empty())
}

/// Two huge pages from a peer, or `None` (with a note) where the machine has none to spare.
fn huge(flags: MFdFlags) -> Option<OwnedFd> {
    let flags = flags | MFdFlags::MFD_HUGETLB | MFdFlags::MFD_HUGE_2MB | MFdFlags::MFD_CLOEXEC;
    let found = memfd_create("huge", flags)
        .map_err(|errno| errno.to_string())
        .and_then(|fd| ftruncate(&fd, 2 * HUGE_PAGE as i64).map(|()| fd).map_err(|e| e.to_string()))
        .and_then(|fd| {
            let mapped = Mapping::from_peer(&fd, HUGE_PAGE as u64, MemoryPolicy::Trust, &link());
            mapped.map(|_| fd).map_err(|error| format!("{error:?}"))
        });
    found.inspect_err(|error| eprintln!("SKIPPED: no huge pages here: {error}")).ok()
}

fn read(mapping: &Mapping, offset: usize) -> u8 {
    assert!(offset < mapping.len());
    // SAFETY: within the mapping, as just checked.
    unsafe { mapping.base().add(offset).read_volatile() }
}

fn write(mapping: &Mapping, offset: usize, value: u8) {
    assert!(offset < mapping.len());
    // SAFETY: within the mapping, as just checked.
    unsafe { mapping.base().add(offset).write_volatile(value) }
}

fn refused(fd: impl AsFd, announced: u64) -> RegionError {
    Mapping::from_peer(fd, announced, MemoryPolicy::Trust, &link()).unwrap_err()
}

#[test]
fn sealable_memfd_is_sealed_and_cannot_shrink_any_more() {
    for policy in [MemoryPolicy::Guarded, MemoryPolicy::Sealed] {
        let fd = sealable(2 * PAGE);
        let mapping = Mapping::from_peer(&fd, 2 * PAGE as u64, policy, &link()).unwrap();
        assert!(ftruncate(&fd, 0).is_err());
        write(&mapping, 2 * PAGE - 1, 7);
        assert_eq!(read(&mapping, 2 * PAGE - 1), 7);
    }
}

#[test]
fn hole_in_sealed_memory_reads_as_zeros() {
    let fd = sealable(PAGE);
    let link = link();
    let mapping = Mapping::from_peer(&fd, PAGE as u64, MemoryPolicy::Sealed, &link).unwrap();
    write(&mapping, 0, 7);
    punch_hole(&fd, PAGE);
    assert_eq!(read(&mapping, 0), 0);
    assert!(link.is_up());
}

fn punch_hole(fd: &OwnedFd, len: usize) {
    use nix::fcntl::{FallocateFlags, fallocate};
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(fd, flags, 0, i64::try_from(len).unwrap()).unwrap();
}

#[test]
fn trusted_memory_is_left_unsealed() {
    let fd = sealable(PAGE);
    drop(Mapping::from_peer(&fd, PAGE as u64, MemoryPolicy::Trust, &link()).unwrap());
    ftruncate(&fd, 0).unwrap();
}

#[test]
fn unsealable_memory_is_refused_by_sealed_and_accepted_by_the_others() {
    let fd = unsealable(PAGE);
    let map = |policy| Mapping::from_peer(&fd, PAGE as u64, policy, &link());
    let error = map(MemoryPolicy::Sealed).unwrap_err();
    assert!(matches!(error, RegionError::Unsealable { seals: 1, huge_pages: false }), "{error}");
    assert!(map(MemoryPolicy::Guarded).is_ok());
    assert!(map(MemoryPolicy::Trust).is_ok());
}

#[test]
fn truncated_memory_under_guard_reads_zeros_and_brings_the_link_down() {
    let fd = unsealable(4 * PAGE);
    let link = link();
    let map = || Mapping::from_peer(&fd, 4 * PAGE as u64, MemoryPolicy::Guarded, &link).unwrap();
    let (mapping, other) = (map(), map());
    assert!(guard::is_installed());
    write(&mapping, 3 * PAGE, 7);
    ftruncate(&fd, 0).unwrap();
    assert!(link.is_up(), "nobody touched it yet");
    assert_eq!(read(&mapping, 3 * PAGE), 0);
    assert_eq!(link.status(), LinkStatus::MemoryLost);
    assert_eq!(link.reason(), crate::error::QueueError::MemoryLost);
    write(&mapping, 0, 9);
    assert_eq!(read(&mapping, 0), 9, "private memory has taken its place");
    assert_eq!(read(&other, 0), 0, "other mappings are replaced when touched");
}

#[test]
fn lost_memory_keeps_the_first_reason_of_a_link_that_is_down() {
    let fd = unsealable(PAGE);
    let link = link();
    let mapping = Mapping::from_peer(&fd, PAGE as u64, MemoryPolicy::Guarded, &link).unwrap();
    link.close();
    ftruncate(&fd, 0).unwrap();
    assert_eq!(read(&mapping, 0), 0);
    assert_eq!(link.status(), LinkStatus::Down);
}

#[test]
fn lost_memory_of_one_peer_leaves_the_others_alone() {
    let (bad, good) = (unsealable(PAGE), unsealable(PAGE));
    let (bad_link, good_link) = (link(), link());
    let map = |fd, link| Mapping::from_peer(fd, PAGE as u64, MemoryPolicy::Guarded, link).unwrap();
    let (bad_mapping, good_mapping) = (map(&bad, &bad_link), map(&good, &good_link));
    write(&good_mapping, 0, 7);
    ftruncate(&bad, 0).unwrap();
    assert_eq!(read(&bad_mapping, 0), 0);
    assert_eq!(read(&good_mapping, 0), 7);
    assert!(good_link.is_up() && !bad_link.is_up());
}

#[test]
fn threads_that_lose_memory_at_once_all_continue() {
    let fd = unsealable(64 * PAGE);
    let link = link();
    let mapping = Mapping::from_peer(&fd, 64 * PAGE as u64, MemoryPolicy::Guarded, &link).unwrap();
    ftruncate(&fd, 0).unwrap();
    std::thread::scope(|scope| {
        for first in 0..4 {
            let mapping = &mapping;
            scope.spawn(move || (first..64).for_each(|page| write(mapping, page * PAGE, 1)));
        }
    });
    assert_eq!(link.status(), LinkStatus::MemoryLost);
}

#[test]
fn watched_memory_of_our_own_tells_every_link() {
    let theirs = unsealable(PAGE);
    let memory = OwnedMemory::from_fd(theirs.try_clone().unwrap(), PAGE).unwrap();
    let links = [link(), link()];
    let watches = links.each_ref().map(|link| memory.watch(link).unwrap());
    ftruncate(&theirs, 0).unwrap();
    assert_eq!(read(memory.mapping(), 0), 0);
    assert!(links.iter().all(|link| link.status() == LinkStatus::MemoryLost));
    drop(memory);
    drop(watches);
}

#[test]
fn length_zero_or_beyond_isize_is_refused() {
    assert!(matches!(refused(sealable(PAGE), 0), RegionError::Empty));
    let error = refused(sealable(PAGE), u64::MAX);
    assert!(matches!(error, RegionError::TooLong { announced: u64::MAX, .. }), "{error}");
    let error = refused(sealable(PAGE), isize::MAX.unsigned_abs() as u64);
    assert!(matches!(error, RegionError::Short { .. }), "{error}");
}

#[test]
fn file_shorter_than_announced_is_refused() {
    let error = refused(sealable(PAGE), PAGE as u64 + 1);
    assert!(matches!(error, RegionError::Short { size: 4096, announced: 4097 }), "{error}");
}

#[test]
fn what_is_not_memory_is_refused_by_name() {
    let (pipe, _write) = nix::unistd::pipe().unwrap();
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let event = nix::sys::eventfd::EventFd::new().unwrap();
    let disk = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    disk.set_len(PAGE as u64).unwrap();
    let open = |path| File::open(path).unwrap();
    let descriptors: [(OwnedFd, &str); 7] = [
        (pipe, "pipe:["),
        (socket.into(), "socket:["),
        (OwnedFd::from(event), "anon_inode:[eventfd]"),
        (disk.into(), "(deleted)"),
        (open("/proc/self/maps").into(), "/maps"),
        (open("/dev/zero").into(), "/dev/zero"),
        (open("/dev/shm").into(), "/dev/shm"),
    ];
    for (fd, name) in descriptors {
        let error = refused(&fd, PAGE as u64);
        assert!(matches!(error, RegionError::NotMemory { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn memory_sealed_against_writing_is_refused() {
    for seal in [SealFlag::F_SEAL_WRITE, SealFlag::F_SEAL_FUTURE_WRITE] {
        let fd = sealable(PAGE);
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seal)).unwrap();
        let error = refused(&fd, PAGE as u64);
        assert!(matches!(error, RegionError::WriteSealed { .. }), "{error}");
    }
}

#[test]
fn read_only_descriptor_is_refused_by_mmap() {
    use std::os::fd::AsRawFd;
    let fd = sealable(PAGE);
    let read_only = File::open(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
    let error = refused(read_only, PAGE as u64);
    assert!(matches!(error, RegionError::System { operation: "map the memory", .. }), "{error}");
}

#[test]
fn tmpfs_file_is_memory_that_cannot_be_sealed() {
    let Ok(file) = tempfile::tempfile_in("/dev/shm") else {
        eprintln!("SKIPPED: no /dev/shm here");
        return;
    };
    file.set_len(PAGE as u64).unwrap();
    let map = |policy| Mapping::from_peer(&file, PAGE as u64, policy, &link());
    let error = map(MemoryPolicy::Sealed).unwrap_err();
    assert!(matches!(error, RegionError::Unsealable { .. }), "{error}");
    assert_eq!(map(MemoryPolicy::Guarded).unwrap().len(), PAGE);
}

#[test]
fn huge_pages_are_refused_by_sealed_though_sealable() {
    let Some(fd) = huge(MFdFlags::MFD_ALLOW_SEALING) else {
        return;
    };
    let error = Mapping::from_peer(&fd, 1, MemoryPolicy::Sealed, &link()).unwrap_err();
    assert!(matches!(error, RegionError::Unsealable { huge_pages: true, .. }), "{error}");
}

#[test]
fn truncated_huge_pages_under_guard_bring_the_link_down() {
    let Some(fd) = huge(MFdFlags::empty()) else {
        return;
    };
    let link = link();
    let announced = HUGE_PAGE as u64 + 10;
    let mapping = Mapping::from_peer(&fd, announced, MemoryPolicy::Guarded, &link).unwrap();
    assert_eq!(mapping.len() as u64, announced);
    write(&mapping, HUGE_PAGE + 9, 7);
    ftruncate(&fd, 0).unwrap();
    assert_eq!(read(&mapping, HUGE_PAGE + 9), 0);
    assert_eq!(link.status(), LinkStatus::MemoryLost);
    assert_eq!(read(&mapping, 0), 0);
}

#[test]
fn own_memory_is_sealed_zeroed_and_shared() {
    let memory = OwnedMemory::create("own", 3 * PAGE + 1, Backing::Pages).unwrap();
    assert_eq!(memory.mapping().len(), 3 * PAGE + 1);
    assert_eq!(read(memory.mapping(), 3 * PAGE), 0);
    let peer = memory.fd().try_clone_to_owned().unwrap();
    assert!(ftruncate(&peer, 0).is_err() && ftruncate(&peer, 1 << 20).is_err());
    assert!(fcntl(&peer, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_FUTURE_WRITE)).is_err());
    let theirs =
        Mapping::from_peer(&peer, 3 * PAGE as u64 + 1, MemoryPolicy::Sealed, &link()).unwrap();
    write(memory.mapping(), 5, 42);
    assert_eq!(read(&theirs, 5), 42);
}

#[test]
fn own_huge_pages_are_whole_and_mapped() {
    if huge(MFdFlags::empty()).is_none() {
        return;
    }
    let memory = OwnedMemory::create("own-huge", PAGE, Backing::HugePages2M).unwrap();
    assert_eq!(memory.mapping().len(), PAGE);
    write(memory.mapping(), 0, 1);
    assert!(ftruncate(memory.fd(), 0).is_err());
    let fd = memory.fd().try_clone_to_owned().unwrap();
    let theirs = Mapping::from_peer(fd, PAGE as u64, MemoryPolicy::Guarded, &link()).unwrap();
    assert_eq!(read(&theirs, 0), 1);
}

#[test]
fn own_memory_of_no_or_impossible_size_is_refused() {
    let error = OwnedMemory::create("none", 0, Backing::Pages).unwrap_err();
    assert!(matches!(error, RegionError::Empty));
    assert!(OwnedMemory::create("much", usize::MAX, Backing::Pages).is_err());
    assert!(OwnedMemory::create("much", isize::MAX.unsigned_abs(), Backing::Pages).is_err());
    assert!(OwnedMemory::create("nul\0", PAGE, Backing::Pages).is_err());
}

#[test]
fn mappings_and_descriptors_do_not_outlive_their_owners() {
    let name = "shm-leak-test";
    let link = link();
    for _ in 0..300 {
        for policy in [MemoryPolicy::Guarded, MemoryPolicy::Sealed, MemoryPolicy::Trust] {
            let theirs = memfd(name, PAGE, MFdFlags::empty());
            let mapped = Mapping::from_peer(theirs, PAGE as u64, policy, &link);
            assert_eq!(mapped.is_err(), policy == MemoryPolicy::Sealed);
        }
        let memory = OwnedMemory::create(name, PAGE, Backing::Pages).unwrap();
        assert!(OwnedMemory::from_fd(memory.fd().try_clone_to_owned().unwrap(), 1 << 20).is_err());
        drop(memory.watch(&link).unwrap());
    }
    assert_eq!(Arc::strong_count(&link), 1);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert_eq!(maps.lines().filter(|line| line.contains(name)).count(), 0);
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
    assert_eq!(links.filter(|link| link.to_string_lossy().contains(name)).count(), 0);
}
