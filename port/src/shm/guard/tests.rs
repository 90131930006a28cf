use super::*;
use crate::shm::MemoryPolicy;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

/// Set in the processes that tests start to see how they end.
const CHILD: &str = "RINGPORT_GUARD_TEST";

/// Runs the test `name` alone in another process; `None` in that process.
fn in_child(name: &str) -> Option<ExitStatus> {
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([&format!("shm::guard::tests::{name}"), "--exact", "--nocapture"])
        .env(CHILD, "1")
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("{name} hangs");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Memory that its owner has truncated, mapped without protection.
fn lost_unguarded() -> Mapping {
    let link = Arc::new(LinkState::new().unwrap());
    let fd = memfd_create("lost", MFdFlags::MFD_CLOEXEC).unwrap();
    ftruncate(&fd, 4096).unwrap();
    let mapping = Mapping::from_peer(&fd, 4096, MemoryPolicy::Trust, &link).unwrap();
    ftruncate(&fd, 0).unwrap();
    mapping
}

/// Memory that its owner has truncated, under the guard.
fn lost_guarded() -> (Mapping, Arc<LinkState>) {
    let link = Arc::new(LinkState::new().unwrap());
    let fd = memfd_create("lost", MFdFlags::MFD_CLOEXEC).unwrap();
    ftruncate(&fd, 4096).unwrap();
    let mapping = Mapping::from_peer(&fd, 4096, MemoryPolicy::Guarded, &link).unwrap();
    ftruncate(&fd, 0).unwrap();
    (mapping, link)
}

fn touch(mapping: &Mapping) -> u8 {
    // SAFETY: a mapping has at least one byte.
    unsafe { mapping.base().read_volatile() }
}

fn set_handler(handler: libc::sighandler_t, flags: c_int) {
    // SAFETY: zero is a value for all fields.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    sigaction(Some(&action)).unwrap();
}

#[test]
fn fault_outside_guarded_memory_still_kills() {
    if let Some(status) = in_child("fault_outside_guarded_memory_still_kills") {
        assert_eq!(status.signal(), Some(libc::SIGBUS));
        return;
    }
    // The test harness itself may handle SIGBUS (to report stack overflows), and passes it on.
    let (guarded, _link) = lost_guarded();
    assert_eq!(touch(&guarded), 0);
    touch(&lost_unguarded());
}

#[test]
fn fault_outside_guarded_memory_kills_though_ignored() {
    if let Some(status) = in_child("fault_outside_guarded_memory_kills_though_ignored") {
        assert_eq!(status.signal(), Some(libc::SIGBUS));
        return;
    }
    set_handler(libc::SIG_IGN, 0);
    install().unwrap();
    touch(&lost_unguarded());
}

#[test]
fn signal_sent_to_a_process_with_default_action_kills() {
    if let Some(status) = in_child("signal_sent_to_a_process_with_default_action_kills") {
        assert_eq!(status.signal(), Some(libc::SIGBUS));
        return;
    }
    set_handler(libc::SIG_DFL, 0);
    install().unwrap();
    nix::sys::signal::raise(nix::sys::signal::SIGBUS).unwrap();
}

#[test]
fn signal_sent_to_a_process_that_ignores_it_is_ignored() {
    if let Some(status) = in_child("signal_sent_to_a_process_that_ignores_it_is_ignored") {
        assert!(status.success());
        return;
    }
    set_handler(libc::SIG_IGN, 0);
    install().unwrap();
    nix::sys::signal::raise(nix::sys::signal::SIGBUS).unwrap();
    assert!(is_installed());
}

static PASSED_ON: AtomicUsize = AtomicUsize::new(0);

extern "C" fn plain_handler(signal: c_int) {
    assert_eq!(signal, libc::SIGBUS);
    PASSED_ON.fetch_add(1, Ordering::Relaxed);
}

/// Gives the page that faulted, as a program with a guard of its own would.
extern "C" fn mapping_handler(_: c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    assert!(!context.is_null());
    PASSED_ON.fetch_add(1, Ordering::Relaxed);
    // SAFETY: called by the kernel, or as the kernel would.
    let page = unsafe { (*info).si_addr() }.map_addr(|address| address & !4095);
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: replaces the page that just faulted, which is the test's.
    unsafe { libc::mmap(page, 4096, access, flags, -1, 0) };
}

#[test]
fn earlier_handlers_get_what_is_not_ours_only() {
    if let Some(status) = in_child("earlier_handlers_get_what_is_not_ours_only") {
        assert!(status.success());
        return;
    }
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::c_void) = mapping_handler;
    set_handler(handler as libc::sighandler_t, libc::SA_SIGINFO);
    let (guarded, link) = lost_guarded();
    assert_eq!(touch(&guarded), 0);
    assert_eq!((PASSED_ON.load(Ordering::Relaxed), link.is_up()), (0, false));
    assert_eq!(touch(&lost_unguarded()), 0);
    assert_eq!(PASSED_ON.load(Ordering::Relaxed), 1);
}

#[test]
fn earlier_handler_without_siginfo_is_called() {
    if let Some(status) = in_child("earlier_handler_without_siginfo_is_called") {
        assert!(status.success());
        return;
    }
    let handler: extern "C" fn(c_int) = plain_handler;
    set_handler(handler as libc::sighandler_t, 0);
    install().unwrap();
    nix::sys::signal::raise(nix::sys::signal::SIGBUS).unwrap();
    assert_eq!(PASSED_ON.load(Ordering::Relaxed), 1);
}

#[test]
fn replaced_guard_is_noticed_and_never_installed_twice() {
    if let Some(status) = in_child("replaced_guard_is_noticed_and_never_installed_twice") {
        assert!(status.success());
        return;
    }
    assert!(!is_installed());
    install().unwrap();
    install().unwrap();
    assert!(is_installed());
    set_handler(libc::SIG_DFL, 0);
    install().unwrap();
    assert!(!is_installed());
}

#[test]
fn forked_child_keeps_the_guard() {
    if let Some(status) = in_child("forked_child_keeps_the_guard") {
        assert!(status.success());
        return;
    }
    let (guarded, link) = lost_guarded();
    // SAFETY: the child makes one memory access and leaves.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => {
            let kept = touch(&guarded) == 0 && !link.is_up();
            // SAFETY: ends the process without running anything else of it.
            unsafe { libc::_exit(if kept { 0 } else { 1 }) };
        }
        nix::unistd::ForkResult::Parent { child } => {
            let status = nix::sys::wait::waitpid(child, None).unwrap();
            assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
            assert!(link.is_up(), "what the child lost is the child's");
        }
    }
}

#[test]
fn errno_survives_a_fault() {
    let (guarded, _link) = lost_guarded();
    Errno::EXFULL.set();
    touch(&guarded);
    assert_eq!(Errno::last(), Errno::EXFULL);
}
