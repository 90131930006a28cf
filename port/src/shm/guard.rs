//! The SIGBUS guard: memory that a peer takes back brings its link down, not this process.
//!
//! A process that touches a page which its file no longer has gets `SIGBUS`, which by default kills
//! it. A peer causes that by truncating memory that cannot be sealed, or by punching a hole in huge
//! pages. Under the guard, the handler of that signal puts private zeroed memory in the place of the
//! whole range, sets the link's status to [`LinkStatus::MemoryLost`], and lets the access continue.
//! The queues report it with their next burst.
//!
//! # What it does to the process
//! * It installs one handler for `SIGBUS`, once, when first needed: by
//!   [`Mapping::from_peer`](super::Mapping::from_peer) under
//!   [`MemoryPolicy::Guarded`](super::MemoryPolicy), by
//!   [`OwnedMemory::watch`](super::OwnedMemory::watch), or by [`install`]. It is never removed, so a
//!   shared library that contains this crate must not be unloaded afterwards.
//! * Faults at other addresses, and `SIGBUS` sent by a process, go to the handler that was there
//!   before, under the signal mask and flags that it had asked for; without one, the process ends as
//!   it would have.
//! * A program that replaces the handler later loses the guard, unless its own handler calls ours in
//!   turn. [`is_installed`] tells.
//! * A forked child keeps it, with the mappings. `exec` ends it.
//! * A thread that blocks `SIGBUS` is not protected: the kernel kills the process then.
//! * System calls given guarded memory fail with `EFAULT` instead, and tell no link.
//! * The private memory is charged to this process when it is written to. When the kernel grants
//!   none (strict overcommit), the fault is treated like one at any other address.
#![expect(unsafe_code, reason = "a signal handler that maps memory over a range that was lost")]

mod table;

use super::{Mapping, RegionError};
use crate::link::{LinkState, LinkStatus};
use nix::errno::Errno;
use nix::libc;
use std::ffi::c_int;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
pub(super) use table::Registration;
use table::{Range, TABLE};

/// The handler that was there before ours.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Serializes [`install`].
static INSTALLING: Mutex<()> = Mutex::new(());

/// Keeps a range of our own memory watched. Dropping it ends that.
#[derive(Debug)]
#[must_use = "the memory is watched for as long as this lives"]
pub struct Watch {
    /// Dropped first: a range must not be unmapped while it is registered.
    _registration: Registration,
    _mapping: Arc<Mapping>,
}

impl Watch {
    pub(super) fn new(mapping: &Arc<Mapping>, link: &Arc<LinkState>) -> Result<Self, RegionError> {
        Ok(Self { _registration: mapping.watch(link)?, _mapping: Arc::clone(mapping) })
    }
}

/// Installs the guard's handler, if this process has not done so before.
///
/// # Errors
/// [`RegionError::System`]: the kernel refuses the handler.
pub fn install() -> Result<(), RegionError> {
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if PREVIOUS.get().is_some() {
        // Not again, even if it was replaced since: whoever did may call ours, which would then
        // call them, and so on.
        return Ok(());
    }
    let mut action = sigaction(None)?;
    // Known before the first signal can arrive.
    PREVIOUS.get_or_init(|| action);
    // The previous handler's mask and the flags that matter to it are kept, for when we call it.
    // On the alternate stack as its users may run with little stack, or none left.
    let kept = libc::SA_NODEFER | libc::SA_RESTART;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | (action.sa_flags & kept);
    action.sa_sigaction = handler_address();
    sigaction(Some(&action)).map(drop)
}

/// Whether the guard's handler is the one that this process runs on `SIGBUS` now.
#[must_use]
pub fn is_installed() -> bool {
    sigaction(None).is_ok_and(|current| current.sa_sigaction == handler_address())
}

/// Watches `len` bytes at `start`, whole pages that are mapped and stay so until the registration
/// is dropped. Installs the guard.
pub(super) fn register(
    start: NonNull<u8>,
    len: usize,
    link: Arc<LinkState>,
) -> Result<Registration, RegionError> {
    install()?;
    Ok(Registration::new(start, len, link))
}

fn handler_address() -> libc::sighandler_t {
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
    handler as libc::sighandler_t
}

/// Reads, and with `new` replaces, what the process does on `SIGBUS`.
fn sigaction(new: Option<&libc::sigaction>) -> Result<libc::sigaction, RegionError> {
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: sigaction is integers, a signal set of integers and a nullable function pointer: zero
    // is a value for all of them.
    let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: `new` is null or a valid action, `old` is writable. The only handlers ever installed
    // here are `on_sigbus`, which has the signature that SA_SIGINFO promises and calls nothing that
    // a signal handler may not call, and SIG_DFL.
    let result = unsafe { libc::sigaction(libc::SIGBUS, new, &raw mut old) };
    Errno::result(result).map_err(RegionError::system("install the SIGBUS guard"))?;
    Ok(old)
}

/// The handler. Does nothing but loads and compares of atomics, `mmap`, `sigaction` and `raise`, all
/// of which are plain system calls; takes no lock and allocates nothing.
extern "C" fn on_sigbus(signal: c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let errno = Errno::last_raw();
    // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler.
    let code = unsafe { (*info).si_code };
    // SAFETY: as above; for SIGBUS raised by a fault, which is the only case that uses the address,
    // the field is set, and otherwise it is some of the union's integers.
    let address = unsafe { (*info).si_addr() }.addr();
    if !(is_fault(code) && replace_lost_memory(address)) {
        call_previous(signal, code, info, context);
    }
    Errno::set_raw(errno);
}

/// Whether the signal comes from an access that this very thread is making. `BUS_MCEERR_AO` does
/// not, nor does what `kill` sends.
fn is_fault(code: c_int) -> bool {
    matches!(code, libc::BUS_ADRERR | libc::BUS_OBJERR | libc::BUS_MCEERR_AR)
}

/// Replaces the registered range that contains `address`, and brings down the links that use it.
/// False when there is none.
fn replace_lost_memory(address: usize) -> bool {
    let mut replaced = false;
    // One range may be registered for several links: all of them are told.
    for range in TABLE.ranges().filter(|range| range.contains(address)) {
        replaced |= replace(&range);
    }
    replaced
}

fn replace(range: &Range) -> bool {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: this thread is in the middle of an access to an address in the range, so somebody
    // down its stack holds the mapping; it cannot be unregistered or unmapped before we return (see
    // `table`). The range is whole pages of that one mapping, hence nobody else's memory. What was
    // there is lost already; other threads that write to it meanwhile lose their writes, which the
    // peer could do to them at any time.
    let new = unsafe { libc::mmap(range.start.cast(), range.len, access, flags, -1, 0) };
    if new == libc::MAP_FAILED {
        return false;
    }
    let up = LinkStatus::Up as u32;
    let lost = LinkStatus::MemoryLost as u32;
    // SAFETY: as above: the registration, which owns a share of the link's state, still exists.
    let status = unsafe { &*range.status };
    // A link that is down already keeps its first reason.
    let _ = status.compare_exchange(up, lost, Ordering::AcqRel, Ordering::Relaxed);
    true
}

/// Does what would have been done without us.
fn call_previous(
    signal: c_int,
    code: c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let Some(previous) = PREVIOUS.get() else {
        return;
    };
    match previous.sa_sigaction {
        // The kernel ignores an ignored SIGBUS only when a process sent it.
        libc::SIG_IGN if !is_fault(code) => {}
        libc::SIG_DFL | libc::SIG_IGN => end_process(signal, code),
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: installed with SA_SIGINFO, so this is its type.
            let handler = unsafe {
                std::mem::transmute::<
                    *const (),
                    extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::c_void),
                >(ptr::with_exposed_provenance(handler))
            };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: neither a special value nor installed with SA_SIGINFO, so this is its type.
            let handler = unsafe {
                std::mem::transmute::<*const (), extern "C" fn(c_int)>(
                    ptr::with_exposed_provenance(handler),
                )
            };
            handler(signal);
        }
    }
}

/// Restores the default action and has the signal happen again: on return the faulting access is
/// repeated; a signal that was sent is raised anew.
fn end_process(signal: c_int, code: c_int) {
    // SAFETY: as in `sigaction`, zero is a value for all fields; it means SIG_DFL without flags.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    let _ = sigaction(Some(&default));
    if !is_fault(code) {
        // SAFETY: raise has no preconditions.
        unsafe { libc::raise(signal) };
    }
}

#[cfg(test)]
mod tests;
