//! A fence in every thread of the process, on behalf of one of them.
//!
//! Spec: membarrier(2), `MEMBARRIER_CMD_PRIVATE_EXPEDITED` (Linux 4.14).

#[cfg(any(loom, miri))]
pub(super) use absent::{is_available, run};
#[cfg(not(any(loom, miri)))]
pub(super) use system::{is_available, run};

#[cfg(not(any(loom, miri)))]
#[expect(unsafe_code, reason = "a system call that nix does not wrap")]
mod system {
    use nix::libc;
    use std::ffi::c_long;
    use std::sync::OnceLock;

    const PRIVATE_EXPEDITED: c_long = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: c_long = 1 << 4;

    /// Whether the kernel takes the call: asked once, because both sides must think the same.
    pub(in super::super) fn is_available() -> bool {
        static AVAILABLE: OnceLock<bool> = OnceLock::new();
        *AVAILABLE.get_or_init(|| membarrier(REGISTER_PRIVATE_EXPEDITED) && run())
    }

    /// Whether every thread of the process has had a fence.
    pub(in super::super) fn run() -> bool {
        // A process that has forgotten its registration is asked for it again.
        membarrier(PRIVATE_EXPEDITED)
            || membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED)
    }

    fn membarrier(command: c_long) -> bool {
        let (flags, cpu): (c_long, c_long) = (0, 0);
        // SAFETY: these commands take no pointers, and change nothing but the order in which other
        // threads' accesses are seen, to a stricter one.
        unsafe { libc::syscall(libc::SYS_membarrier, command, flags, cpu) == 0 }
    }
}

/// Model checkers know fences only.
#[cfg(any(loom, miri))]
mod absent {
    pub(in super::super) fn is_available() -> bool {
        false
    }

    pub(in super::super) fn run() -> bool {
        false
    }
}
